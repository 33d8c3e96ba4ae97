"""Batches of consecutive frames: how the sums grew, for standard errors and for how much an image still moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...core.errors import StateError
from ...core.grid import GRID_FRAMES
from ...core.state import State, require_int

Sums = Callable[[int, np.ndarray], int]  # writes the sums as they stand at an index, returns the frames in them


class Batches:
    """Up to `most` batches, by marks of what the sums were when the frame index passed multiples of 32 · 2^level.

    The level is the smallest at which there are fewer than `most` marks between the first frame and the next one: it
    depends on these two alone, so that parts merged have the marks of the whole. A batch is thus between T/most and
    2T/most long, far longer than any blinking once a movie is.
    """

    def __init__(self, most: int, shape: tuple[int, ...]) -> None:
        self._most = most
        self.first = -1  # index of the first frame; -1: none yet
        self.stop = -1  # index behind the last one added
        self._slots: dict[int, int] = {}  # index of a mark → where it stands
        self._frames: dict[int, int] = {}  # index of a mark → frames before it
        self._sums = np.empty((most - 1, *shape))

    def advance(self, stop: int, sums: Sums) -> None:
        """Frames up to `stop` are in, or never came: mark the multiples passed."""
        before, self.stop = self.stop, stop
        step = self._step()
        self._thin(step)
        for at in range((before // step + 1) * step, stop + 1, step):
            self._mark(at, sums)

    def absorb(self, other: Batches, mine: Sums, theirs: Sums) -> None:
        """Take over the marks of the part that follows: `mine` up to its first frame, `theirs` as of the whole."""
        before, self.stop = self.stop, other.stop
        step = self._step()
        self._thin(step)
        for at in range((before // step + 1) * step, other.stop + 1, step):
            self._mark(at, mine if at <= other.first else theirs)

    def rebase(self, moved: Callable[[int, np.ndarray], np.ndarray]) -> None:
        """Replace every mark's sums by what `moved(frames, sums)` makes of them."""
        sums = self._sums.copy()  # a copy may share the ones there are
        for at, slot in self._slots.items():
            sums[slot] = moved(self._frames[at], self._sums[slot])
        self._sums = sums

    def mark(self, at: int) -> tuple[int, np.ndarray]:
        """Frames before a mark's index, and the sums then."""
        return self._frames[at], self._sums[self._slots[at]]

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(frames by each mark, its slot, sums by slot), without marks behind batches of no frames."""
        kept = [at for at in sorted(self._slots)]
        counts = [self._frames[at] for at in kept]
        grew = [n > before for n, before in zip(counts, [0, *counts], strict=False)]
        pick = [k for k, g in enumerate(grew) if g]
        slots = [self._slots[kept[k]] for k in pick]
        return np.array([counts[k] for k in pick], np.int64), np.array(slots, np.int64), self._sums

    def copy(self) -> Batches:
        """A copy that shares the sums of its marks: it must not pass another multiple."""
        new = object.__new__(Batches)
        new.__dict__.update(self.__dict__, _slots=dict(self._slots), _frames=dict(self._frames))
        return new

    def state(self) -> State:
        """As state entries."""
        at = sorted(self._slots)
        return {
            "first": self.first,
            "stop": self.stop,
            "marks_at": np.array(at, np.int64),
            "marks_n": np.array([self._frames[a] for a in at], np.int64),
            "marks": self._sums[[self._slots[a] for a in at]],
        }

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        at, counts, sums = (np.asarray(state.get(name)) for name in ("marks_at", "marks_n", "marks"))
        fits = at.ndim == counts.ndim == 1 and len(at) == len(counts) < self._most
        if not fits or sums.shape != (len(at), *self._sums.shape[1:]):
            raise StateError(f"sofi: state 'marks' must be fewer than {self._most} arrays {self._sums.shape[1:]}")
        self.first, self.stop = require_int(state, "first", "sofi"), require_int(state, "stop", "sofi")
        self._slots, self._frames = {}, {}
        for index, n, array in zip(at.tolist(), counts.tolist(), sums, strict=True):
            self._sums[self._mark(index, lambda at, out, n=n: n)] = array  # type: ignore[misc]

    def _mark(self, at: int, sums: Sums) -> int:
        slot = min(set(range(len(self._sums))) - set(self._slots.values()))
        self._slots[at], self._frames[at] = slot, sums(at, self._sums[slot])
        return slot

    def _step(self) -> int:
        step = GRID_FRAMES
        while self.stop // step - self.first // step >= self._most:
            step *= 2
        return step

    def _thin(self, step: int) -> None:
        for at in [at for at in self._slots if at % step]:
            del self._slots[at], self._frames[at]
