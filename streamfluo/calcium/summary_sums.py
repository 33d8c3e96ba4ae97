"""What live summary images are made of: sums over frames that can be added to, put together and read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from ..core.state import State, require_array, require_int
from ..core.thread_pool import in_bands
from .kernels.neighbour_sums import NeighbourSums, add_frames
from .summary_images import LEAST_FRAMES

# Rows are cast, or copied, and added at a time: of 32 frames of 512 pixels that is 1 MiB, which stays in the cache. In
# place, rows that lie a power of two apart drive each other out of it: floats take a tenth longer.
ROWS = 16
NS_A_PIXEL = 1.0  # of a frame, on one core
NEIGHBOURS = ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]))  # pixels, and their right or lower ones
ROUNDING = 1e-13  # a variance below so much of the mean square about the pivot is that of a constant


class PairSums(NamedTuple):
    """Of pairs of pixels, over the n frames in which both were seen: Σ d and Σ d² of each, Σ of the products."""

    n: Any
    first: np.ndarray
    second: np.ndarray
    first_squares: np.ndarray
    second_squares: np.ndarray
    products: np.ndarray

    def correlation(self) -> np.ndarray:
        """Return the correlation of each pair, 0 where one is constant."""
        n = np.maximum(self.n, 1)
        covariance = self.products - self.first * self.second / n
        found = np.ones_like(covariance)
        for total, squares in ((self.first, self.first_squares), (self.second, self.second_squares)):
            variance = squares - total**2 / n
            sound = variance > ROUNDING * squares
            found *= np.divide(
                1, np.sqrt(variance, where=sound, out=np.ones_like(variance)), where=sound, out=np.zeros_like(variance)
            )
        return covariance * found


class SummarySums:
    """Sums of every pixel over `n` frames, `steps` of which followed directly on the one before.

    Frames of float32 and of integers up to 16 bits are taken as float32, others as float64; sums are float64, of
    integers of 16 bits exact to 2²¹ frames at full range. `unbroken` is 1 where the next frame follows on the last one.
    """

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        kind = np.dtype(dtype)
        self._inside = np.dtype(np.float32 if kind.itemsize <= (4 if kind.kind == "f" else 2) else np.float64)
        partly = shape if kind.kind == "f" else (0, 0)  # integers are all seen
        self.n = self.steps = self.unbroken = 0
        high, self._first, self._last = np.zeros((3, *shape), self._inside)
        pivot, total, squares, right, down, steps = np.zeros((6, *shape))
        missing, alone = np.zeros((4, *partly), np.int32), np.zeros((8, *partly))
        self._sums = NeighbourSums(pivot, total, squares, right, down, steps, high, missing, alone)
        self._lent = False  # a copy reads the arrays: they are not added to any more
        self.add(np.empty((0, *shape), dtype))

    def begin(self, frame: np.ndarray) -> None:
        """Take the first frame (y, x), which is added later, as the pivot."""
        self._own()
        self._first[...] = frame
        seen = np.isfinite(self._first)
        middle = np.rint(self._first[seen].mean(dtype=float)) if seen.any() else 0
        self._sums.pivot[...] = np.where(seen, self._first, middle)
        self._sums.high[...] = np.where(seen, self._first, -np.inf)

    def add(self, cell: np.ndarray) -> None:
        """Add consecutive frames (n, y, x)."""
        self._own()
        before, (n, height, width) = self._last[None][: self.unbroken], cell.shape

        def add_band(first: int, stop: int) -> None:
            part = np.empty((n, ROWS + 1, width), self._inside)
            for top in range(first, stop, ROWS):
                rows = cell[:, top : top + ROWS + 1]
                part[:, : rows.shape[1]] = rows
                add_frames(part, before, self._sums, (top, min(top + ROWS, stop)), top)

        in_bands(height, NS_A_PIXEL * cell.size, add_band)
        if len(cell):
            self.n += len(cell)
            self.steps += len(cell) - 1 + self.unbroken
            self._last[...] = cell[-1]
            self.unbroken = 1

    def absorb(self, other: SummarySums, follows: bool) -> None:
        """Add the sums of later frames; `follows`: the first of them came directly after the last one here."""
        self._own()
        other.to_read()
        mine, theirs = self._sums, other._about(self._sums.pivot)
        for name in ("total", "squares", "right", "down", "steps", "missing", "alone"):
            array = getattr(mine, name)
            array += getattr(theirs, name)
        np.maximum(mine.high, theirs.high, out=mine.high)
        self.n += other.n
        self.steps += other.steps + follows
        if follows:
            step = np.abs(other._first.astype(float) - self._last)
            mine.steps[...] += np.where(np.isnan(step), 0, step)
            if mine.missing.size:
                mine.missing[3] += np.isnan(step)
        self._last[...] = other._last
        self.unbroken = other.unbroken

    def _about(self, pivot: np.ndarray) -> NeighbourSums:
        """Return the sums about another pivot."""
        new = NeighbourSums(*(array.copy() for array in self._sums))
        shift, seen = self._sums.pivot - pivot, self._seen()
        _move(new.total, new.squares, shift, seen)
        for k, ((a, b), both, product) in enumerate(zip(NEIGHBOURS, self._pairs(), (new.right, new.down), strict=True)):
            product[a] += shift[a] * both.second + shift[b] * both.first + both.n * shift[a] * shift[b]
            if new.alone.size:
                alone = new.alone[4 * k : 4 * k + 4]
                _move(alone[0][a], alone[1][a], shift[a], seen[a] - both.n)
                _move(alone[2][a], alone[3][a], shift[b], seen[b] - both.n)
        return new

    def _seen(self) -> Any:
        """In how many frames each pixel was seen (y, x)."""
        missing = self._sums.missing
        return self.n - missing[0] if missing.size else np.broadcast_to(self.n, self._sums.total.shape)

    def _pairs(self) -> Iterator[PairSums]:
        """Yield the sums of pixels and their right, then lower, neighbours over frames in which both were seen."""
        s = self._sums
        for k, ((a, b), product) in enumerate(zip(NEIGHBOURS, (s.right, s.down), strict=True)):
            n: Any = self.n
            first, second, first_squares, second_squares = s.total[a], s.total[b], s.squares[a], s.squares[b]
            if s.alone.size:
                n = self.n - s.missing[1 + k][a]
                alone = s.alone[4 * k : 4 * k + 4]
                first, first_squares = first - alone[0][a], first_squares - alone[1][a]
                second, second_squares = second - alone[2][a], second_squares - alone[3][a]
            yield PairSums(n, first, second, first_squares, second_squares, product[a])

    # Images, each (y, x), NaN for pixels that were seen in fewer than LEAST_FRAMES

    def local_correlation(self) -> np.ndarray:
        """Mean correlation of each pixel with its four neighbours."""
        total, neighbours = np.zeros((2, *self._last.shape))
        for at, pairs in zip(NEIGHBOURS, self._pairs(), strict=True):
            correlation, counts = pairs.correlation(), pairs.n >= LEAST_FRAMES
            for part in at:
                total[part] += np.where(counts, correlation, 0)
                neighbours[part] += counts
        return self._known(total / np.maximum(neighbours, 1))

    def peak_to_noise(self) -> np.ndarray:
        """(Maximum − mean) / noise σ of each pixel, 0 without noise."""
        s = self._sums
        steps = self.steps - s.missing[3] if s.missing.size else np.full(s.steps.shape, self.steps)
        with np.errstate(all="ignore"):
            noise = s.steps / steps * (math.sqrt(math.pi) / 2)
            rise = s.high - s.pivot - s.total / self._seen()
            ratio = np.divide(rise, noise, out=np.zeros_like(noise), where=noise > 0)
        return self._known(np.where(steps > 0, ratio, np.nan))

    def std(self) -> np.ndarray:
        """Standard deviation of each pixel."""
        seen = np.maximum(self._seen(), 1)
        return self._known(np.sqrt(np.maximum(self._sums.squares / seen - (self._sums.total / seen) ** 2, 0)))

    def max(self) -> np.ndarray:
        """Largest value of each pixel."""
        return self._known(self._sums.high)

    def _known(self, image: np.ndarray) -> np.ndarray:
        return np.where(self._seen() >= LEAST_FRAMES, image, np.nan)

    # State

    def lent(self) -> SummarySums:
        """Return what can be read elsewhere while this one goes on; the arrays are copied when frames are added."""
        self._lent = True
        return copy(self)

    def _own(self) -> None:
        if self._lent:
            self._take({name: array.copy() for name, array in self._arrays().items()})

    def to_read(self) -> None:
        """Have the arrays where they are read, before images are asked for."""

    def _arrays(self) -> dict[str, np.ndarray]:
        self.to_read()
        return {**self._sums._asdict(), "first": self._first, "last": self._last}

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._hold(arrays)
        self._lent = False

    def _hold(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._sums = NeighbourSums(*(arrays[name] for name in NeighbourSums._fields))
        self._first, self._last = arrays["first"], arrays["last"]

    def state(self) -> State:
        """Return all carried values as state entries."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {"n": self.n, "n_steps": self.steps, "unbroken": self.unbroken, **arrays}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        arrays = {name: require_array(state, name, like, where).copy() for name, like in self._arrays().items()}
        self.n, self.steps, unbroken = (require_int(state, name, where) for name in ("n", "n_steps", "unbroken"))
        self.unbroken = int(unbroken == 1)
        self._take(arrays)


def _move(total: np.ndarray, squares: np.ndarray, shift: np.ndarray, n: Any) -> None:
    """Take Σ d and Σ d² of n values to those of d + shift."""
    squares += shift * (2 * total + n * shift)
    total += n * shift
