"""F0 of regions: a running percentile of their light, taken of its means over stretches of a window."""

from __future__ import annotations

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array, require_int

COARSE = 64  # means of so many stretches of the window are what F0 is a percentile of


class RunningF0:
    """F0 (n,) of the light of n regions, each known by its pixels; `stretch` is a 64th of the window [frames]."""

    def __init__(self, regions: list[np.ndarray], stretch: int, percentile: float) -> None:
        self._regions, self._stretch, self._percentile = regions, stretch, percentile
        self._coarse = np.full((COARSE, len(regions)), np.nan)
        self._sums, self._seen = np.zeros((2, len(regions)))
        self._next_index = self._stretches = 0
        self.value = np.full(len(regions), np.nan)

    def of(self, regions: list[np.ndarray]) -> RunningF0:
        """Return that of other regions: those with the same pixels in the same place go on, others begin anew."""
        if regions is self._regions:
            return self
        new = RunningF0(regions, self._stretch, self._percentile)
        new._next_index, new._stretches = self._next_index, self._stretches
        pairs = zip(regions, self._regions, strict=False)
        same = [n for n, (one, other) in enumerate(pairs) if np.array_equal(one, other)]
        for mine, old in zip(new._arrays().values(), self._arrays().values(), strict=True):
            mine[..., same] = old[..., same]
        return new

    def follow(self, index: int, light: np.ndarray) -> None:
        """Take a frame's light (n,) into the stretch of the window that its index falls in."""
        over = index // self._stretch - self._next_index // self._stretch  # ends of stretches that a gap went over
        for _ in range(min(over, COARSE + 1)):
            self._end_stretch()
        known = np.isfinite(light)
        self._sums[known] += light[known]
        self._seen += known
        self._next_index = index + 1
        if self._next_index % self._stretch == 0:
            self._end_stretch()

    def _end_stretch(self) -> None:
        with np.errstate(invalid="ignore"):  # of a stretch of which no frame is known nothing is, and its time goes by
            self._coarse[self._stretches % COARSE] = self._sums / self._seen
        self._stretches += 1
        self._sums[:], self._seen[:] = 0, 0
        filled = self._coarse[: min(self._stretches, COARSE)]
        self.value[:] = _percentile(filled, self._percentile)
        filled = np.roll(filled, -(self._stretches % COARSE), 0) if self._stretches > COARSE else filled  # by time
        scatter = 1.0484 * _percentile(np.abs(np.diff(filled, axis=0)), 50)  # σ of a stretch, of normal ones
        self.value[~(self.value > 3 * scatter)] = np.nan  # light at rest that is none: the ratio would be anything

    @property
    def memory_frames(self) -> int:
        """Frames after which nothing of what was before is left."""
        return (COARSE + 1) * self._stretch

    def state(self) -> State:
        """Return all carried values as state entries, with the pixels of the regions that they are of."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        pixels, counts = np.concatenate([*self._regions, np.empty(0, np.int64)]), [len(one) for one in self._regions]
        regions = {"region_pixels": pixels.astype(np.int64), "region_sizes": np.array(counts, np.int64)}
        return {"next_index": self._next_index, "stretches": self._stretches, **regions, **arrays}

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned, which may be of other regions. Raises StateError."""
        pixels, sizes = (np.asarray(state.get(f"region_{name}")) for name in ("pixels", "sizes"))
        fits = all(one.ndim == 1 and one.dtype == np.int64 for one in (pixels, sizes))
        if not fits or (sizes < 1).any() or sizes.sum() != len(pixels):
            raise StateError(f"{where}: state 'region_pixels' and 'region_sizes' must be those of the regions")
        self._regions = np.split(pixels.copy(), np.cumsum(sizes)[:-1]) if len(sizes) else []
        found = RunningF0(self._regions, self._stretch, self._percentile)
        arrays = {name: require_array(state, name, like, where).copy() for name, like in found._arrays().items()}
        self._coarse, self._sums, self._seen, self.value = arrays.values()
        self._next_index = require_int(state, "next_index", where)
        self._stretches = require_int(state, "stretches", where)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"coarse": self._coarse, "sums": self._sums, "seen": self._seen, "f0": self.value}


def _percentile(values: np.ndarray, percent: float) -> np.ndarray:
    """Return a percentile of the known values (n, k) of each column, NaN of none: as numpy's, which takes a loop."""
    known = np.count_nonzero(~np.isnan(values), 0)
    ordered = np.sort(values, 0)  # NaN is last
    if not len(ordered):
        return np.full(values.shape[1], np.nan)
    place = percent / 100 * np.maximum(known - 1, 0)
    low = np.floor(place).astype(int)
    columns = np.arange(values.shape[1])
    below, above = ordered[low, columns], ordered[np.minimum(low + 1, np.maximum(known - 1, 0)), columns]
    found: np.ndarray = below + (place - low) * (above - below)
    return found
