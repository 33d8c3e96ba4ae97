"""Who is active with whom: correlations of cells that come and go, and the rate of events of all of them."""

from __future__ import annotations

import numpy as np

from ..core.state import State, require_array, require_int
from .activity_order import activity_order

LEAST_BINS = 10  # that two cells share, for a correlation
RATE_BINS = 300  # of a second, the newest ones


class Correlations:
    """Sums over bins of `bin_frames` frames for the correlation of the first `most` traces with each other.

    A bin is the mean of the frames of a trace that are known, half of them at least. Each pair has the bins that both
    have.
    """

    def __init__(self, bin_frames: int, most: int, columns: int = 0) -> None:
        self._bin_frames, self._most = bin_frames, most
        kept = min(columns, most)
        self._bin = -1
        self._total, self._known = np.zeros((2, kept))
        self._pivot = np.full(kept, np.nan)
        self._sums = np.zeros((4, kept, kept))  # bins, Σ a and Σ a² of the one where the other is known, Σ a b

    def grow(self, columns: int) -> None:
        """Have so many columns, `most` at most."""
        old, new = self._arrays(), Correlations(self._bin_frames, self._most, columns)._arrays()
        for name, array in new.items():
            array[tuple(slice(side) for side in old[name].shape)] = old[name]
        self._total, self._known, self._pivot, self._sums = new.values()

    def follow(self, index: int, values: np.ndarray) -> None:
        """Take a frame's values (columns,), NaN where unknown."""
        if index // self._bin_frames != self._bin:
            self._end_bin()
            self._bin = index // self._bin_frames
        values = values[: len(self._total)]
        known = ~np.isnan(values)
        self._total[known] += values[known]
        self._known += known

    def _end_bin(self) -> None:
        known = 2 * self._known >= self._bin_frames
        mean = np.where(known, self._total / np.maximum(self._known, 1), 0)
        fresh = known & np.isnan(self._pivot)
        self._pivot[fresh] = mean[fresh]
        x, there = np.where(known, mean - self._pivot, 0), known.astype(float)
        for sums, (a, b) in zip(self._sums, ((there, there), (x, there), (x * x, there), (x, x)), strict=True):
            sums += np.multiply.outer(a, b)
        self._total[:], self._known[:] = 0, 0

    def matrix(self) -> np.ndarray:
        """Return the correlation of each pair (n, n), 1 with itself, NaN of fewer than LEAST_BINS bins."""
        bins, total, squares, products = self._sums
        with np.errstate(all="ignore"):
            covariance = products - total * total.T / bins
            variance = np.maximum(squares - total**2 / bins, 0)
            found = np.clip(covariance / np.sqrt(variance * variance.T), -1, 1)
        found[~np.isfinite(found) | (bins < LEAST_BINS)] = np.nan
        np.fill_diagonal(found, np.where(np.diag(bins) >= LEAST_BINS, 1, np.nan))
        return found

    def copy(self) -> Correlations:
        """Return one that can be read while this one goes on."""
        new = Correlations(self._bin_frames, self._most, len(self._total))
        new._sums = self._sums.copy()
        return new

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"bin": self._bin, **{name: array.copy() for name, array in self._arrays().items()}}

    def restore(self, state: State, columns: int, where: str) -> None:
        """Take over what `state` returned, of so many columns. Raises StateError."""
        like = Correlations(self._bin_frames, self._most, columns)._arrays()
        arrays = {name: require_array(state, name, array, where) for name, array in like.items()}
        self._total, self._known, self._pivot, self._sums = arrays.values()
        self._bin = require_int(state, "bin", where)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"bin_total": self._total, "bin_known": self._known, "pivot": self._pivot, "products": self._sums}


def clustered(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an order of cells (n,) by similarity, and their correlations (n, n) in it."""
    order = activity_order(matrix)
    return order, matrix[np.ix_(order, order)]


class PopulationRate:
    """Events of all cells in the newest bins of `bin_frames` frames, and in how many frames of cells they were."""

    def __init__(self, bin_frames: int) -> None:
        self._bin_frames = bin_frames
        self._newest = -1
        self._sums = np.zeros((2, RATE_BINS))  # events and frames of cells, at the bin's number modulo RATE_BINS

    def follow(self, index: int, known: int) -> None:
        """Take a frame in which so many cells are known."""
        newest = index // self._bin_frames
        for bin_number in range(max(self._newest + 1, newest - RATE_BINS + 1), newest + 1):
            self._sums[:, bin_number % RATE_BINS] = 0
        self._newest = newest
        self._sums[1, newest % RATE_BINS] += known

    def add(self, frame: int) -> None:
        """Count an event with its onset at a frame, which may be one of before."""
        bin_number = frame // self._bin_frames
        if bin_number >= 0 and self._newest - RATE_BINS < bin_number <= self._newest:
            self._sums[0, bin_number % RATE_BINS] += 1

    def read(self, interval_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return when the bins begin [s], and events a second and cell in them, NaN without a cell."""
        numbers = np.arange(max(self._newest - RATE_BINS + 1, 0), self._newest + 1)
        events, frames = self._sums[:, numbers % RATE_BINS]
        with np.errstate(all="ignore"):
            return numbers * self._bin_frames * interval_s, np.where(frames > 0, events / (frames * interval_s), np.nan)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"newest_bin": self._newest, "rate_sums": self._sums.copy()}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        self._sums = require_array(state, "rate_sums", self._sums, where)
        self._newest = require_int(state, "newest_bin", where)
