"""Single pixels that stand out from those around them: of one frame, or of the camera."""

from __future__ import annotations

import numpy as np

from ..core.state import State, require_array, require_int

SPIKE_SIGMA = 6.0
ALONE = 0.25  # of its excess may be in a neighbour; a molecule with σ = 0.7 px has 0.36 there
LOOKS = 5  # frames in all of which a pixel of the camera's has to stand out

_AROUND = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


def despiked(image: np.ndarray) -> np.ndarray:
    """Return an image (y, x) whose pixels far from their neighbours' median, or NaN, are that median, float32."""
    median, stands_out = _spikes(image)
    return np.where(stands_out, median, image).astype(np.float32)


class HotPixels:
    """Pixels that stand out from their neighbours, alone, in each of the first five frames, and their repair.

    Interpolation spreads such a pixel over 36, wherever the tissue is: thirty in 120 × 136 made shifts five times as
    inaccurate.
    """

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self.mask = np.zeros(shape, np.uint8)
        self._looks = 0
        self._repaired = np.zeros(shape, dtype)
        self._find()

    def look(self, frame: np.ndarray) -> None:
        """Take one of the first frames (y, x); 30 ms at 512 × 512, nothing for later ones."""
        if self._looks == LOOKS:
            return
        stands_out = _spikes(frame)[1] & _alone(frame)
        self.mask[...] = stands_out if self._looks == 0 else self.mask & stands_out
        self._looks += 1
        self._find()

    def repair(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame, or a copy, good until the next, in which hot pixels are their neighbours' median."""
        if not len(self._at[0]):
            return frame
        np.copyto(self._repaired, frame)
        self._repaired[self._at] = np.median(frame[self._neighbours], axis=0)
        return self._repaired

    def state(self) -> State:
        """What it carries, as state entries."""
        return {"hot_pixels": self.mask.copy(), "hot_looks": self._looks}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self.mask[...] = require_array(state, "hot_pixels", self.mask, "motion")
        self._looks = require_int(state, "hot_looks", "motion")
        self._find()

    def _find(self) -> None:
        known = self._looks == LOOKS
        self._at = np.nonzero(self.mask) if known else (np.empty(0, np.int64),) * 2
        height, width = self.mask.shape
        (y, x), step = self._at, np.array(_AROUND).T[..., None]
        self._neighbours = np.clip(y + step[0], 0, height - 1), np.clip(x + step[1], 0, width - 1)


def _around(pixels: np.ndarray) -> np.ndarray:
    """The eight neighbours of each pixel (8, y, x), NaN as 0."""
    padded, (height, width) = np.pad(pixels, 1, mode="reflect"), pixels.shape
    around = np.array([padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in _AROUND])
    return np.where(np.isfinite(around), around, np.float32(0))


def _spikes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median around each pixel, and which are far from it, by the noise of their brightness."""
    pixels = image.astype(np.float32)
    median, known = np.median(_around(pixels), axis=0), np.isfinite(pixels)
    excess = np.where(known, pixels - median, 0)
    spread = np.median(np.abs(excess[known])) / 0.6745 if known.any() else 0.0
    brightness = np.sqrt(np.maximum(median / max(float(np.median(median)), 1e-9), 1))
    return median, ~known | (np.abs(excess) > SPIKE_SIGMA * brightness * spread)


def _alone(image: np.ndarray) -> np.ndarray:
    """Which pixels have no neighbour that stands out with them: light is spread over several by any lens."""
    pixels = image.astype(np.float32)
    around = _around(pixels)
    median = np.median(around, axis=0)
    beside = np.where(pixels > median, around.max(0) - median, median - around.min(0))
    return np.asarray(~np.isfinite(pixels) | (beside < ALONE * np.abs(pixels - median)))
