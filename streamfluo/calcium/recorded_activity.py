"""The activity that a session holds of its cells, from one pass over the values, whose memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from ..core.findings import ReportedStep, ReportedValues
from ..core.step_values import IDS

COLUMNS = 900  # stretches of frames, at most


class RecordedActivity:
    """What one pass over the values leaves of cells `ids`, ascending.

    traces (t, n): of the cells `chosen`, final values where the run reached them; heat (K, columns): of all cells the
    largest value in each stretch of frames; dff (K,): the largest ΔF/F; present (columns,): how many cells were there.
    NaN where nothing is known.
    """

    def __init__(self, step: ReportedStep, ids: np.ndarray, chosen: np.ndarray) -> None:
        columns = max(1, min(COLUMNS, step.stop))
        self._ids, self._stop, self._of_stretch = ids, step.stop, columns / max(1, step.stop)
        self._in_stack = np.full(len(ids) + 1, -1)
        self._in_stack[np.searchsorted(ids, chosen)] = np.arange(len(chosen))
        self._here, self._matched = np.empty(0, np.int64), (np.empty(0, np.int64), np.empty(0, np.int64))
        self.traces = np.full((step.stop, len(chosen)), np.nan, np.float32)
        self.dff, self.present = np.full(len(ids), np.nan), np.full(columns, np.nan)
        live, self._final = np.full((2, len(ids), columns), np.nan)
        with np.errstate(invalid="ignore"):
            for record in step.records():
                self._add_live(record, live)
                self._add_final(record.arrays)
        self.heat = np.where(np.isfinite(self._final), self._final, live)

    def _add_live(self, record: ReportedValues, live: np.ndarray) -> None:
        arrays, frames = record.arrays, np.arange(record.index, record.index + record.frames)
        frames = frames[frames < self._stop]
        if not len(frames) or not {IDS, "traces"} <= arrays.keys() or not len(arrays[IDS]):
            return
        rows, at = self._match(arrays[IDS])
        column, traces = (frames * self._of_stretch).astype(int), arrays["traces"][: len(frames), at]
        for start, stop in _stretches(column):
            here = rows, column[start]
            live[here] = np.fmax(live[here], np.fmax.reduce(traces[start:stop], 0))
            if "present" in arrays:
                there = arrays["present"][start:stop].astype(bool).sum(1)
                self.present[column[start]] = np.fmax(self.present[column[start]], there.max())
        drawn = np.flatnonzero(self._in_stack[rows] >= 0)
        self.traces[frames[:, None], self._in_stack[rows[drawn]][None]] = traces[:, drawn]
        if "dff" in arrays:
            self.dff[rows] = np.fmax(self.dff[rows], np.fmax.reduce(arrays["dff"][:, at], 0))

    def _add_final(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take final values, which speak of earlier frames."""
        if not len(arrays.get("settled/id", ())):
            return
        ids, frame, trace = (arrays[f"settled/{name}"] for name in ("id", "frame", "trace"))
        row = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        good = (self._ids[row] == ids) & (frame >= 0) & (frame < self._stop)
        row, frame, trace = row[good], frame[good], trace[good].astype(float)
        columns = self._final.shape[1]
        cell = row * columns + np.minimum((frame * self._of_stretch).astype(int), columns - 1)
        np.fmax.at(self._final.reshape(-1), cell, trace)
        at = self._in_stack[row]
        self.traces[frame[at >= 0], at[at >= 0]] = trace[at >= 0]

    def _match(self, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where cells that both know stand among all and in a record; ids seldom change from one to the next."""
        if not np.array_equal(here, self._here):
            _, rows, at = np.intersect1d(self._ids, here, return_indices=True)
            self._here, self._matched = here.copy(), (rows, at)
        return self._matched


def _stretches(column: np.ndarray) -> Iterator[tuple[int, int]]:
    yield from pairwise([0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)])
