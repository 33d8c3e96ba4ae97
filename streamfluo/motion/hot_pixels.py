"""Hot pixels of the camera, and single outliers of a frame such as cosmic rays."""

from __future__ import annotations

import numpy as np

from ..core.state import State, require_array, require_int
from ..pixels.kernels.seen import inside, seen_window
from .kernels.gauss_newton import read_only

OUTLIER_SIGMA = 6.0
ISOLATED = 0.25  # of its excess, at most, in a neighbour; a molecule with a PSF of σ = 0.7 px has 0.36 there
DETECTION_FRAMES = 5  # a hot pixel is an outlier in all of them

_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


def without_outliers(image: np.ndarray) -> np.ndarray:
    """Return an image (y, x) as float32, outliers and NaN replaced by the median of their neighbours.

    An unseen rim takes the values of the nearest seen pixels.
    """
    y, x = window = inside(seen_window(image))
    median, outlier = _outliers(image[window])
    seen = np.where(outlier, median, image[window]).astype(np.float32)
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
        """Detect hot pixels in one of the first frames (y, x); 30 ms at 512 × 512. Later frames cost nothing."""
        if not self.looks:
            return
        outlier, window = np.zeros(frame.shape, bool), inside(seen_window(frame))
        outlier[window] = _outliers(frame[window])[1] & _isolated(frame[window])
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


def _neighbours(pixels: np.ndarray) -> np.ndarray:
    """The eight neighbours of each pixel (8, y, x), NaN as 0."""
    padded, (height, width) = np.pad(pixels, 1, mode="reflect"), pixels.shape
    neighbours = np.array([padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in _NEIGHBOURS])
    return np.where(np.isfinite(neighbours), neighbours, np.float32(0))


def _outliers(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median of each pixel's neighbours, and which pixels lie beyond OUTLIER_SIGMA of it, given shot noise."""
    pixels = image.astype(np.float32)
    median, known = np.median(_neighbours(pixels), axis=0), np.isfinite(pixels)
    excess = np.where(known, pixels - median, 0)
    spread = np.median(np.abs(excess[known])) / 0.6745 if known.any() else 0.0
    brightness = np.sqrt(np.maximum(median / max(float(np.median(median)), 1e-9), 1))
    return median, ~known | (np.abs(excess) > OUTLIER_SIGMA * brightness * spread)


def _isolated(image: np.ndarray) -> np.ndarray:
    """Which pixels have no neighbour that exceeds the median with them; a PSF spreads light over several pixels."""
    pixels = image.astype(np.float32)
    neighbours = _neighbours(pixels)
    median = np.median(neighbours, axis=0)
    excess = np.where(pixels > median, neighbours.max(0) - median, median - neighbours.min(0))
    return np.asarray(~np.isfinite(pixels) | (excess < ISOLATED * np.abs(pixels - median)))
