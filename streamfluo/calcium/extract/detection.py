"""Where something is active that no component explains: smoothed residual maps in units of each place's width."""

from __future__ import annotations

import numpy as np

from ...core.state import State, require_array, require_int
from ...pixels.kernels.medians import median_size
from ..kernels.residual import centre_map, combine, peaks, smooth

PEAK_Z = 5.0
MAPS = 4  # bins that a transient is pooled over
REST_PART = 1.2
CALM_WIDTH = np.float32(2.0)  # of what may look calm before it is looked back at, in typical widths
REST_DECAY = np.float32(0.98)
_CALM_RATE = 1 / 200
_BOUND = np.float32(3.0)


class Detector:
    """Maps (y // 2, x // 2) of the residual, smoothed at several widths and pooled over the last bins."""

    def __init__(self, shape: tuple[int, int], widths_px: tuple[float, ...], decay_a_bin: float) -> None:
        self.shape = (max(1, shape[0] // 2), max(1, shape[1] // 2))
        self.widths_px = widths_px
        self._taps = [_taps(width / 2) for width in widths_px]
        n = len(widths_px)
        self.maps = np.zeros((n, MAPS, *self.shape), np.float32)
        self.pooled = np.zeros((n, 2, *self.shape), np.float32)  # before, now
        self._mean = np.zeros((n, *self.shape), np.float32)
        self._square = np.ones((n, *self.shape), np.float32)
        self.resting = np.zeros(self.shape, np.float32)
        self._rows = np.zeros(self.shape, np.float32)
        weights = decay_a_bin ** np.arange(MAPS)[::-1]
        self._weights = (weights / np.sqrt((weights**2).sum())).astype(np.float32)
        self.bins = 0
        self._radius = max(1, round(widths_px[0] / 2))
        self._arrays: dict[str, np.ndarray] = {
            "maps": self.maps, "pooled": self.pooled, "mean": self._mean, "square": self._square,
            "resting": self.resting,
        }  # fmt: skip

    def look(self, binned: np.ndarray) -> None:
        """Take the residual of the next bin, 2 × 2-binned."""
        newest = self.bins % MAPS
        for n, taps in enumerate(self._taps):
            target = self.maps[n, newest]
            smooth(binned, taps, self._rows, target)
            rate = np.float32(max(_CALM_RATE, 1 / (self.bins + 10.0)))
            centre_map(target, self._mean[n], self._square[n], rate, _BOUND)
            target /= _width(target)
            self.pooled[n, 0] = self.pooled[n, 1]
            combine(self.maps[n], newest, self._weights, self.pooled[n, 1])
            self.pooled[n, 1] /= _width(self.pooled[n, 1])
        self.bins += 1
        self.resting *= REST_DECAY

    def look_back(self) -> None:
        """Be ready to look at all bins again: no place rests, and none that was active most of the time is calm."""
        self.resting[:] = 0
        np.minimum(self._square, CALM_WIDTH**2 * np.median(self._square), out=self._square)

    def candidates(self, most: int) -> list[tuple[float, float, float, float]]:
        """Return (y, x, width, z) [px] of places whose activity has peaked, the strongest first."""
        found: list[tuple[float, float, float, float]] = []
        if self.bins < MAPS:
            return found
        for n, width in enumerate(self.widths_px):
            places = np.zeros((most, 3))
            count = peaks(self.pooled[n, 1], self.pooled[n, 0], PEAK_Z, self._radius, self.resting, places)
            found += [(2 * y + 0.5, 2 * x + 0.5, width, z) for y, x, z in places[:count].tolist()]
        found.sort(key=lambda place: -place[3])
        chosen: list[tuple[float, float, float, float]] = []
        for place in found:
            if all(max(abs(place[0] - c[0]), abs(place[1] - c[1])) > 2 * self._radius for c in chosen):
                chosen.append(place)
        return chosen[:most]

    def rest(self, y: float, x: float, z: float) -> None:
        """A place was tried: leave it for a while, unless something stronger shows there."""
        j, i, r = int(y / 2), int(x / 2), self._radius
        self.resting[max(0, j - r) : j + r + 1, max(0, i - r) : i + r + 1] = REST_PART * z

    def image(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the larger of the pooled maps at each place, on the full grid (y, x)."""
        small = self.pooled[:, 1].max(0)
        rows, columns = (np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, small.shape, strict=True))
        return small[np.ix_(rows, columns)]

    def state(self) -> State:
        """Everything it carries, as state entries."""
        maps = {f"detector_{name}": array.copy() for name, array in self._arrays.items()}
        return {**maps, "detector_bins": self.bins}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"detector_{name}", array, "extract")
        self.bins = require_int(state, "detector_bins", "extract")


def _taps(sigma: float) -> np.ndarray:
    """A Gaussian whose square sums to 1 over two axes, so that white noise keeps its width."""
    x = np.arange(-int(np.ceil(2.5 * sigma)), int(np.ceil(2.5 * sigma)) + 1)
    taps = np.exp(-(x**2) / (2 * sigma**2))
    return (taps / np.sqrt((taps**2).sum())).astype(np.float32)


def _width(image: np.ndarray) -> np.float32:
    """Width of the noise in a map: its median absolute value, of every fifth row and column."""
    middle = median_size(image, 5 if image.size > 10_000 else 1)
    return np.float32(max(middle / 0.6745, 1e-6))
