"""How far two sessions of one recording lie apart: in shifts, cells, traces and rates, by the names of tolerances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import SessionError
from ..core.registry import operator_of
from ..session.reader import Session
from ..session.recorded_step import SessionStep

LEAST_SAMPLES = 100  # of both traces of a cell
AT_LEAST = ("matched_cells", "footprint_correlation", "trace_correlation", "rate_correlation")  # of tolerances


def agreement(single: Session, other: Session, step: str) -> dict[str, float]:
    """Return by measure how far a step's results in `other` lie from those in `single`.

    Of shifts the offset of the two templates is taken out first. Of cells those accepted in both are compared by their
    final values; medians over cells, and the worst where a name says so. Raises SessionError for a step of no shifts
    and no cells.
    """
    values = single.values(step)
    if "shift_px" in values:
        return _of_shifts(values, other.values(step))
    if "settled" in values:
        return _of_cells(single, other, step)
    raise SessionError(f"{single.path}: step {step!r} has neither shifts nor cells to compare")


def beyond(found: Mapping[str, float], tolerances: Mapping[str, float]) -> dict[str, float]:
    """Return the measures that lie beyond their tolerance."""
    return {
        name: found[name]
        for name, bound in tolerances.items()
        if not (found[name] >= bound if name in AT_LEAST else found[name] <= bound)
    }


def _of_shifts(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, float]:
    valid = one["valid"].astype(bool) & other["valid"].astype(bool)
    apart = one["shift_px"][valid] - other["shift_px"][valid]
    offset = np.median(apart, axis=0) if len(apart) else np.zeros(2)
    apart = apart - offset
    return {
        "shift_offset_px": float(np.hypot(*offset)),
        "shift_rms_px": float(np.sqrt(np.mean(apart**2, axis=0)).max()) if len(apart) else np.nan,
        "shift_worst_px": float(np.abs(apart).max(initial=0)),
        "valid_in_both": float(valid.sum() / max(1, one["valid"].sum())),
    }


def _of_cells(single: Session, other: Session, step: str) -> dict[str, float]:
    kind = operator_of(single.steps[step].kind)
    matched = None if kind is None else kind.matched(SessionStep(single, step), SessionStep(other, step), True)
    if matched is None:
        raise SessionError(f"{single.path}: step {step!r} does not say which of its cells are those of another session")
    cells, others = matched.counts
    found = {
        "cells": float(cells),
        "matched_cells": len(matched.ids) / max(1, cells),
        "added_cells": (others - len(matched.ids)) / max(1, cells),
        "footprint_correlation": float(np.median(matched.alike)) if len(matched.ids) else np.nan,
    }
    mine, theirs = _Settled(single, step), _Settled(other, step)
    for column, name in (("trace", "trace"), ("raw", "raw"), ("spike", "rate"), ("dff", "dff")):
        each = [_apart(mine.of(int(a), column), theirs.of(int(b), column)) for a, b in matched.ids]
        known = np.array([pair for pair in each if pair is not None]).reshape(-1, 2)
        found[f"{name}_correlation"] = float(np.median(known[:, 0])) if len(known) else np.nan
        found[f"{name}_correlation_worst"] = float(known[:, 0].min()) if len(known) else np.nan
        found[f"{name}_rms"] = float(np.median(known[:, 1])) if len(known) else np.nan
    return found


class _Settled:
    """Final values of a step's components by frame."""

    def __init__(self, session: Session, step: str) -> None:
        self._table = session.values(step)["settled"]
        self._order = np.argsort(self._table["id"], kind="stable")
        self._ids = self._table["id"][self._order]

    def of(self, cell: int, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Frames (n,) and values (n,) of a component."""
        rows = self._order[slice(*np.searchsorted(self._ids, [cell, cell + 1]))]
        return self._table["frame"][rows], self._table[column][rows]


def _apart(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[float, float] | None:
    """Correlation of two traces, and the rms of their difference by the first one's standard deviation."""
    _, here, there = np.intersect1d(one[0], other[0], return_indices=True)
    a, b = one[1][here].astype(float), other[1][there].astype(float)
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < LEAST_SAMPLES or not a[known].std() or not b[known].std():
        return None
    return float(np.corrcoef(a[known], b[known])[0, 1]), float(np.std(a[known] - b[known]) / np.std(a[known]))
