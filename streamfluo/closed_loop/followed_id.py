"""An id that a condition names, followed where its component is merged into another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import StateError
from ..core.step_values import PRESENT
from .merges import Merge, merges


class ById(NamedTuple):
    """Values (t, K) of a block, whose they are (K,), who was present (t, K), and rows (frame, id, into) of merges."""

    values: np.ndarray
    ids: np.ndarray
    present: np.ndarray
    merged: Sequence[Merge]

    @classmethod
    def of(cls, inputs: Mapping[str, Any], need: str, values: np.ndarray) -> ById:
        """Return what a step gave under a name, beside what else it says; without a word all were present."""
        present = inputs.get(f"{need}.{PRESENT}")
        there = np.ones(values.shape, bool) if present is None else np.asarray(present, bool)
        return cls(values, np.asarray(inputs[f"{need}.ids"]), there, merges(inputs, need))


class FollowedId:
    """One id of a condition: `at` is the one that its component has now, `was` whether it was there in the last frame.

    What it does depends on frames alone, whatever blocks they come in.
    """

    def __init__(self, place: int, text: str) -> None:
        self._place, self._text = place, text
        self.at, self.was = place, False
        self.notes: list[tuple[int, str]] = []

    def column(self, first: int, block: ById) -> tuple[np.ndarray, np.ndarray]:
        """Return its value in each frame (t,) from index `first` on, NaN where it is not there, and its id (t,)."""
        found, now = np.full(len(block.values), np.nan), np.empty(len(block.values), np.int64)
        for start, stop in self._stretches(first, block):
            columns = np.flatnonzero(block.ids == self.at)
            there = block.present[start:stop, columns[0]] if len(columns) else np.zeros(stop - start, bool)
            if len(columns):
                found[start:stop] = np.where(there, block.values[start:stop, columns[0]], np.nan)
            now[start:stop] = self.at
            self._see(first + start, there)
        return found, now

    def _stretches(self, first: int, block: ById) -> Iterator[tuple[int, int]]:
        """Yield the frames from the first to behind the last under one id; between two it is merged into another."""
        count, start = len(block.values), 0
        for frame, name, into in block.merged:
            if name != self.at:
                continue
            stop = min(max(frame + 1 - first, start), count)
            if stop > start:
                yield start, stop
            start = stop
            was = f", which was merged from {self._place}" if self.at != self._place else ""
            self.notes.append((frame, f"{self._text}: {name}{was} is merged into {into}, which is followed"))
            self.at = into
        if count > start:
            yield start, count

    def _see(self, first: int, there: np.ndarray) -> None:
        before = np.concatenate(([self.was], there[:-1]))
        for n in np.flatnonzero(before & ~there).tolist():
            self.notes.append((first + n, f"{self._text}: {self.at} is not there any more, rejected or gone: unknown"))
        self.was = bool(there[-1])

    def memory(self) -> tuple[float, float]:
        """What it keeps of earlier frames."""
        return self.at, self.was

    def recall(self, at: float, was: float) -> None:
        """Take over what `memory` returned. Raises StateError."""
        if not (np.isfinite(at) and np.isfinite(was)):
            raise StateError("trigger: state 'memory' must hold numbers; the state was damaged")
        self.at, self.was = int(at), bool(was)
