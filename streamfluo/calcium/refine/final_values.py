"""The values of a refined recording, as the run would have given them had it known all frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ...core.operator import Output, Table
from ...core.step_values import IDS, PRESENT
from ..extract.components import REJECTED, Components
from ..extract.settled_traces import COLUMNS, delta_f_over_f
from ..extract.tables import Tables
from .looking_ahead import Course

STRETCH = 256  # frames of an Output


def final_values(
    cells: Components, course: Course, modes: np.ndarray, index: np.ndarray, tables: Tables
) -> Iterator[Output]:
    """Yield the values of all frames `index` (T,) in order, and the tables with the last ones.

    Those of accepted components by id, those of the others in the table `settled`. modes (T, M): of the background.
    """
    rows = np.argsort(cells["id"])
    accepted = cells["accepted"][rows]
    open_ones = int((~accepted & (cells["verdict"][rows] != REJECTED)).sum())
    overlap = (cells["mode_overlap"] / cells["energy"][:, None])[rows]
    resting = cells["resting"][rows][:, None]
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    edges = sorted({0, len(index), *cuts.tolist(), *range(0, len(index), STRETCH)})
    for start, stop in pairwise(edges):
        span = np.s_[:, start:stop]
        raw, baseline = course.raw[span].astype(float), course.baseline[span].astype(float)
        dff = delta_f_over_f(raw, baseline, resting + overlap @ modes[start:stop].T)
        named = {"traces": course.trace[span], "raw": raw, "spikes": course.rate[span], "dff": dff}
        counts = np.tile(np.array([[accepted.sum(), open_ones]], np.int32), (stop - start, 1))
        by_id = {name: array[accepted].T.astype(np.float32) for name, array in named.items()}
        there = np.ones((stop - start, int(accepted.sum())), bool)
        settled = _rows(course.ids[~accepted], index[start:stop], [array[~accepted] for array in named.values()])
        rest = {"settled": settled}
        if stop == len(index):
            tables.add("settled", settled)
            rest = tables.give()
        yield Output(
            int(index[start]), {IDS: course.ids[accepted], PRESENT: there, **by_id, "components": counts, **rest}
        )


def _rows(ids: np.ndarray, index: np.ndarray, arrays: list[np.ndarray]) -> Table:
    """Rows of `settled`, frame after frame, of the components `ids` (n,) in frames `index` (t,); arrays (n, t)."""
    columns = {"frame": np.repeat(index, len(ids)), "id": np.tile(ids, len(index))}
    columns |= dict(zip(list(COLUMNS)[2:], (array.T.ravel() for array in arrays), strict=True))
    return Table({name: array.astype(COLUMNS[name]) for name, array in columns.items()})
