"""Hot pixels of the camera, and single outliers of a frame such as cosmic rays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.state import State, require_array, require_int
from ..pixels.kernels.seen import inside, seen_window
from .kernels.gauss_newton import read_only

OUTLIER_SIGMA = 6.0
ISOLATED = 0.25  # of its excess, at most, in a neighbour; a molecule with a PSF of σ = 0.7 px has 0.36 there
DETECTION_FRAMES = 5  # a hot pixel is an outlier in all of them

_BAND_PX = 32768  # pixels that are worked on at once, in the nearest caches
# Pairs of eight values that, each put in order after the other, sort them: as few as can be (Knuth, TAOCP 3, 5.3.4).
_SORTED = (
    (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7), (0, 1), (2, 3), (4, 5), (6, 7), (2, 4), (3, 5),
    (1, 4), (3, 6), (1, 2), (3, 4), (5, 6),
)  # fmt: skip
_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


def without_outliers(image: np.ndarray) -> np.ndarray:
    """Return an image (y, x) as float32, outliers and NaN replaced by the median of their neighbours.

    An unseen rim takes the values of the nearest seen pixels.
    """
    y, x = window = inside(seen_window(image))
    around = _around(image[window])
    seen = np.where(_outliers(around), around.median, image[window]).astype(np.float32)
    return np.pad(seen, ((y.start, len(image) - y.stop), (x.start, image.shape[1] - x.stop)), mode="edge")


class HotPixels:
    """Hot pixels: isolated outliers in each of the first five frames; `mask` (y, x) is 1 there.

    Interpolation spreads such a pixel over 36: thirty in 120 × 136 made the error of shifts five times as large.
    """

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self.mask = np.zeros(shape, np.uint8)
        self._frames = 0
        self._repaired = np.zeros(shape, dtype)
        self._find()

    def observe(self, frame: np.ndarray) -> None:
        """Detect hot pixels in one of the first frames (y, x); 15 ms at 512 × 512. Later frames cost nothing."""
        if not self.looks:
            return
        outlier, window = np.zeros(frame.shape, bool), inside(seen_window(frame))
        around = _around(frame[window])
        outlier[window] = _outliers(around) & _isolated(around)
        self.mask[...] = outlier if self._frames == 0 else self.mask & outlier
        self._frames += 1
        self._find()

    @property
    def looks(self) -> bool:
        """Whether the next frame is looked at."""
        return self._frames < DETECTION_FRAMES

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._at[0])

    def places(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the hot pixels (n,) in a frame of a width, and of their neighbours (8, n)."""
        return self._at[0] * width + self._at[1], self._neighbours[0] * width + self._neighbours[1]

    def repair(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame (y, x) with hot pixels replaced by the median of their neighbours.

        The result is the frame itself if there are none, else a buffer that the next call overwrites.
        """
        if not len(self._at[0]):
            return frame
        np.copyto(self._repaired, frame)
        self._repaired[self._at] = np.median(frame[self._neighbours], axis=0)
        return read_only(self._repaired)

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        return {"hot_pixels": self.mask.copy(), "hot_looks": self._frames}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self.mask[...] = require_array(state, "hot_pixels", self.mask, "motion")
        self._frames = require_int(state, "hot_looks", "motion")
        self._find()

    def _find(self) -> None:
        known = self._frames == DETECTION_FRAMES
        self._at = np.nonzero(self.mask) if known else (np.empty(0, np.int64),) * 2
        height, width = self.mask.shape
        (y, x), step = self._at, np.array(_NEIGHBOURS).T[..., None]
        self._neighbours = np.clip(y + step[0], 0, height - 1), np.clip(x + step[1], 0, width - 1)


class _Around(NamedTuple):
    """The pixels of an image as float32, and the least, the median and the largest of the eight around each (y, x)."""

    pixels: np.ndarray
    least: np.ndarray
    median: np.ndarray
    largest: np.ndarray


def _around(image: np.ndarray) -> _Around:
    """What lies around each pixel, NaN as 0: numpy's median took 2 s of the first frames of 2048 × 2048, each."""
    pixels, (height, width) = image.astype(np.float32), image.shape
    padded = np.pad(pixels, 1, mode="reflect")
    padded = np.where(np.isfinite(padded), padded, np.float32(0))
    least, median, largest = np.empty((3, height, width), np.float32)
    band = max(1, _BAND_PX // width)
    for top in range(0, height, band):
        rows = slice(top, min(top + band, height))
        near = np.array([padded[1 + i + top : 1 + i + rows.stop, 1 + j : 1 + j + width] for i, j in _NEIGHBOURS])
        for one, other in _SORTED:
            lower = np.minimum(near[one], near[other])
            np.maximum(near[one], near[other], out=near[other])
            near[one] = lower
        least[rows], median[rows], largest[rows] = near[0], (near[3] + near[4]) / 2, near[7]
    return _Around(pixels, least, median, largest)


def _outliers(around: _Around) -> np.ndarray:
    """Which pixels lie beyond OUTLIER_SIGMA of the median around them, given shot noise."""
    pixels, median, known = around.pixels, around.median, np.isfinite(around.pixels)
    excess = np.where(known, pixels - median, 0)
    spread = np.median(np.abs(excess[known])) / 0.6745 if known.any() else 0.0
    brightness = np.sqrt(np.maximum(median / max(float(np.median(median)), 1e-9), 1))
    return np.asarray(~known | (np.abs(excess) > OUTLIER_SIGMA * brightness * spread))


def _isolated(around: _Around) -> np.ndarray:
    """Which pixels have no neighbour that exceeds the median with them; a PSF spreads light over several pixels."""
    pixels, least, median, largest = around
    excess = np.where(pixels > median, largest - median, median - least)
    return np.asarray(~np.isfinite(pixels) | (excess < ISOLATED * np.abs(pixels - median)))
