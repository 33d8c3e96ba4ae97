"""Batches of consecutive frames, for standard errors and the convergence of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.card import Card
from ..core.errors import StateError
from ..core.grid import GRID_FRAMES
from ..core.state import State, require_int

Sums = Callable[[int, Any], int]  # writes the sums at an index, returns the frames in them


class Batches:
    """Up to `most` batches; marks keep the sums at multiples of 32 · 2^level of the frame index.

    The level is the smallest with fewer than `most` marks between the first frame and the next one. It depends on
    these two alone, so that merged parts have the marks of an undivided movie. A batch of a movie of T frames has
    T/most to 2T/most of them, far more than a blink.
    """

    def __init__(self, most: int, shape: tuple[int, ...], card: Card | None = None) -> None:
        """`card`: marks are kept there."""
        self._most, self._card = most, card
        self._spare: list[Any] = []  # arrays of the card for the next marks
        self.first = -1  # index of the first frame; -1: none yet
        self.stop = -1  # index past the last frame added
        self._marks: dict[int, tuple[int, Any]] = {}  # index → frames before it, the sums there, never changed
        self._shape = shape

    def prepare(self, first: int, stop: int) -> None:
        """Take the memory for the marks of frames from `first` to `stop` before any is added: a card may be full."""
        if self._card is None:
            return
        begin, before = (first, first) if self.first < 0 else (self.first, self.stop)
        step = self._step(begin, stop)
        while len(self._spare) < min(stop // step - before // step, self._most - 1):
            self._spare.append(self._card.xp.empty(self._shape))

    def advance(self, stop: int, sums: Sums) -> None:
        """Mark the multiples up to `stop`: the frames before it are added or missing."""
        before, self.stop = self.stop, stop
        step = self._step(self.first, stop)
        self._thin(step)
        for at in range((before // step + 1) * step, stop + 1, step):
            self._mark(at, sums)

    def absorb(self, other: Batches, mine: Sums, theirs: Sums) -> None:
        """Take over the later part's marks: `mine` writes those up to its first frame, `theirs` the rest, merged."""
        before, self.stop = self.stop, other.stop
        step = self._step(self.first, self.stop)
        self._thin(step)
        for at in range((before // step + 1) * step, other.stop + 1, step):
            self._mark(at, mine if at <= other.first else theirs)

    def rebase(self, moved: Callable[[int, np.ndarray], np.ndarray]) -> None:
        """Replace every mark's sums by `moved(frames, sums)`."""
        self._marks = {at: (n, self._there(moved(n, self.host(sums)))) for at, (n, sums) in self._marks.items()}

    def mark(self, at: int) -> tuple[int, np.ndarray]:
        """Return the frames before a mark's index, and the sums there."""
        n, sums = self._marks[at]
        return n, self.host(sums)

    def frames_and_sums(self) -> tuple[np.ndarray, list[Any]]:
        """Return (frames before each mark, its sums where they are kept), without marks that end empty batches."""
        kept = [self._marks[at] for at in sorted(self._marks)]
        grew = [mark for mark, before in zip(kept, [0, *(n for n, _ in kept)], strict=False) if mark[0] > before]
        return np.array([n for n, _ in grew], np.int64), [sums for _, sums in grew]

    def read(self) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return `frames_and_sums` on the host.

        The sums are padded with empty ones to the largest number of marks: kernels are compiled for one number.
        """
        counts, sums = self.frames_and_sums()
        empty = (np.empty((0, *self._shape[1:])),) * (self._most - 1 - len(counts))
        return counts, (*map(self.host, sums), *empty)

    def host(self, sums: Any) -> np.ndarray:
        """Return the sums of a mark on the host."""
        return sums if self._card is None else self._card.get(sums)

    def copy(self) -> Batches:
        """Return an independent copy, which shares the sums of the marks."""
        new = object.__new__(Batches)
        new.__dict__.update(self.__dict__, _marks=dict(self._marks), _spare=[])
        return new

    def state(self) -> State:
        """Return state entries."""
        at = sorted(self._marks)
        return {
            "first": self.first,
            "stop": self.stop,
            "marks_at": np.array(at, np.int64),
            "marks_n": np.array([self._marks[a][0] for a in at], np.int64),
            "marks": np.array([self.host(self._marks[a][1]) for a in at]).reshape(-1, *self._shape),
        }

    def restore(self, state: State) -> None:
        """Restore the entries of `state`. Raises StateError."""
        at, counts, sums = (np.asarray(state.get(name)) for name in ("marks_at", "marks_n", "marks"))
        fits = at.ndim == counts.ndim == 1 and len(at) == len(counts) < self._most
        if not fits or sums.shape != (len(at), *self._shape):
            raise StateError(f"sofi: state 'marks' must be fewer than {self._most} arrays {self._shape}")
        self.first, self.stop = require_int(state, "first", "sofi"), require_int(state, "stop", "sofi")
        marks = zip(at.tolist(), counts.tolist(), sums.astype(float), strict=True)
        self._marks = {index: (n, self._there(array.copy())) for index, n, array in marks}

    def _mark(self, at: int, sums: Sums) -> None:
        xp = np if self._card is None else self._card.xp
        array = self._spare.pop() if self._spare else xp.empty(self._shape)
        self._marks[at] = (sums(at, array), array)

    def _there(self, sums: np.ndarray) -> Any:
        """Return the sums of a mark where they are kept."""
        return sums if self._card is None else self._card.put(sums)

    def _step(self, first: int, stop: int) -> int:
        step = GRID_FRAMES
        while stop // step - first // step >= self._most:
            step *= 2
        return step

    def _thin(self, step: int) -> None:
        self._marks = {at: mark for at, mark in self._marks.items() if at % step == 0}
