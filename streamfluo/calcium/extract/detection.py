"""Detection of candidates: local maxima of smoothed, standardised residual maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...core.state import State, require_array, require_int
from ...pixels.kernels.medians import median_size
from ..kernels.residual import peaks, pool_maps, rows_of, smooth, standardise_map

MIN_Z = 5.0
MAPS = 4  # bins that a transient is pooled over
WIDTHS = (1.0, 1.6)  # of the filters, by that of a cell
SUPPRESSION = 1.2  # of its height: what a tried place must exceed to be tried again
SUPPRESSION_DECAY = np.float32(0.98)
MAX_SIGMA = np.float32(2.0)  # of the median σ: a cell that is active all the time is no noise
_RATE = 1 / 200
CLIP = np.float32(3.0)


class Candidate(NamedTuple):
    """A place (y, x) [px] whose smoothed residual has peaked: `width_px` of the filter, height `z` in noise σ."""

    y: float
    x: float
    width_px: float
    z: float


class Detector:
    """Maps (y // 2, x // 2) of the residual, smoothed at several widths and pooled over the last bins."""

    def __init__(self, shape: tuple[int, int], widths_px: tuple[float, ...], decay_per_bin: float) -> None:
        self.shape = (max(1, shape[0] // 2), max(1, shape[1] // 2))
        self.widths_px = widths_px
        self._step = 5 if self.shape[0] * self.shape[1] > 10_000 else 1  # between the rows of a map's median
        self._kernels = [_gaussian(width / 2) for width in widths_px]
        n = len(widths_px)
        planes = np.zeros((n, MAPS + 4, *self.shape), np.float32)  # one allocation, as in `Columns`
        self.maps, self.pooled = planes[:, :MAPS], planes[:, MAPS : MAPS + 2]  # pooled: before, now
        self._mean, self._variance = planes[:, -2], planes[:, -1]
        self._variance[...] = 1
        self.suppressed = np.zeros(self.shape, np.float32)
        self._rows = [rows_of(self.shape, kernel) for kernel in self._kernels]
        self._seen, self._all_seen = np.ones(self.shape, bool), True
        weights = decay_per_bin ** np.arange(MAPS)[::-1]
        self._weights = (weights / np.sqrt((weights**2).sum())).astype(np.float32)
        self.bins = 0
        self._radius = max(1, round(widths_px[0] / 2))
        self._arrays: dict[str, np.ndarray] = {
            "maps": self.maps, "pooled": self.pooled, "mean": self._mean, "square": self._variance,
            "resting": self.suppressed,
        }  # fmt: skip

    def see(self, pixels: np.ndarray) -> None:
        """State which pixels (y, x) are observed; nothing is detected in the others."""
        height, width = self.shape
        four = pixels[: 2 * height, : 2 * width].reshape(height, min(2, len(pixels)), width, -1)
        self._seen = np.asarray(four.all((1, 3)))
        self._all_seen = bool(self._seen.all())

    def add_bin(self, binned: np.ndarray) -> None:
        """Add the residual of the next bin, binned 2 × 2 (y // 2, x // 2)."""
        newest, rate = self.bins % MAPS, rate_of(self.bins)
        for n, kernel in enumerate(self._kernels):
            target, variance = self.maps[n, newest], self._variance[n]
            smooth(binned, kernel, self._rows[n], target)
            standardise_map(target, self._mean[n], variance, rate, (CLIP, self._largest(variance)))
            self.pooled[n, 0] = self.pooled[n, 1]
            pool_maps(self.maps[n], newest, 1 / self._sigma(target), self._weights, self.pooled[n, 1])
            self.pooled[n, 1] /= self._sigma(self.pooled[n, 1])
        self.bins += 1
        self.suppressed *= SUPPRESSION_DECAY

    def begin_second_pass(self) -> None:
        """Prepare to search the stored bins again: clear the suppression."""
        self.suppressed[:] = 0

    def candidates(self, limit: int) -> list[Candidate]:
        """Return up to `limit` places whose activity has peaked, the strongest first."""
        found: list[Candidate] = []
        if self.bins < MAPS:
            return found
        for width, places in zip(self.widths_px, self._peaks(limit), strict=True):
            found += [Candidate(2 * y + 0.5, 2 * x + 0.5, width, z) for y, x, z in places.tolist()]
        found.sort(key=lambda candidate: -candidate.z)
        chosen: list[Candidate] = []
        for one in found:
            if all(max(abs(one.y - other.y), abs(one.x - other.x)) > 2 * self._radius for other in chosen):
                chosen.append(one)
        return chosen[:limit]

    def suppress_all(self, candidates: Sequence[Candidate]) -> None:
        """Suppress the places of tried candidates until a higher peak appears or the suppression decays."""
        r = self._radius
        for candidate in candidates:
            j, i = int(candidate.y / 2), int(candidate.x / 2)
            self.suppressed[max(0, j - r) : j + r + 1, max(0, i - r) : i + r + 1] = SUPPRESSION * candidate.z

    def image(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the maximum over the pooled maps, on the full grid (y, x) of `shape`."""
        small = self.pooled[:, 1].max(0)
        rows, columns = (np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, small.shape, strict=True))
        return small[np.ix_(rows, columns)]

    def _peaks(self, limit: int) -> list[np.ndarray]:
        """The highest places (n, 3) that have peaked, for each width, as y, x and z."""
        found = []
        for pooled in self.pooled:
            places = np.zeros((limit, 3))
            found.append(places[: peaks(pooled[1], pooled[0], MIN_Z, self._radius, self.suppressed, places)])
        return found

    def _largest(self, variance: np.ndarray) -> np.float32:
        """The largest variance of a map: MAX_SIGMA times its median σ over observed pixels."""
        return self._bound(self._median(variance))

    def _bound(self, middle: float) -> np.float32:
        return np.float32(MAX_SIGMA**2 * middle if middle > 0 else np.inf)

    def _sigma(self, image: np.ndarray) -> np.float32:
        """Noise σ of a map: its median absolute value. Clears the pixels that are not observed."""
        if not self._all_seen:
            image[~self._seen] = 0
        return np.float32(max(self._median(image) / 0.6745, 1e-6))

    def _median(self, image: np.ndarray) -> float:
        """Median absolute value of the observed pixels, of every fifth row and column of large maps; 0 of none."""
        step = self._step
        if self._all_seen:
            return float(median_size(image, step))
        return float(median_size(image[::step, ::step][self._seen[::step, ::step]][None], 1))

    def state(self) -> State:
        """Return all carried values as state entries."""
        maps = {f"detector_{name}": array.copy() for name, array in self._arrays.items()}
        return {**maps, "detector_bins": self.bins}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"detector_{name}", array, "extract")
        self.bins = require_int(state, "detector_bins", "extract")


def rate_of(bins: int) -> np.float32:
    """Return by how much a map moves the running means after so many bins."""
    return np.float32(max(_RATE, 1 / (bins + 10.0)))


def _gaussian(sigma: float) -> np.ndarray:
    """Gaussian kernel with unit sum of squares, so that white noise keeps its variance."""
    x = np.arange(-int(np.ceil(2.5 * sigma)), int(np.ceil(2.5 * sigma)) + 1)
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)


def binned_2x2(image: np.ndarray) -> np.ndarray:
    """Return an image (y, x) summed over 2 × 2 pixels and halved, so that white noise keeps its σ."""
    height, width = (2 * (n // 2) for n in image.shape)
    # along both axes at once numpy takes ten times as long
    pairs = image[:height:2, :width] + image[1:height:2, :width]
    binned: np.ndarray = (pairs[:, ::2] + pairs[:, 1::2]) * np.float32(0.5)
    return binned
