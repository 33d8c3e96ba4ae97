"""The scene behind the cells: mean image, noise of each pixel, background patterns and how they vary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi

from ...core.state import State, require_array
from ..kernels.background_modes import leading_courses
from ..kernels.demixing import ROWS, inner

SEEN_PART = 0.8  # of the first frames that a pixel must have been in
_BLOCK_PX = 8  # blocks whose means show how the background varies
_SMOOTH_PX = 8.0  # of a pattern taken from the first frames


class Scene:
    """Mean (y, x), noise (y, x), weight = 1 / noise, and whitened background modes (m, y, x).

    From the first frames; modes that learned on took in cells not found yet (F1 .96 fell to .86), so they stay.
    (frame − mean) · weight = Σ modes · their activity + cells + noise of width 1. Pixels that a
    fifth of the first frames did not show have weight 0.
    """

    def __init__(self, shape: tuple[int, int], modes: int) -> None:
        planes = np.zeros((3 + modes, *shape), np.float32)  # one piece: beyond 4 MB numpy asks for large pages
        (self.mean, self.noise, self.weight), self.modes = planes[:3], planes[3:]
        self.gram = np.zeros((modes, modes))
        self._arrays: dict[str, np.ndarray] = {
            "mean": self.mean, "noise": self.noise, "weight": self.weight, "modes": self.modes, "gram": self.gram,
        }  # fmt: skip

    def begin(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> None:
        """Take mean, noise and background from the first frames, given as differences (y, x) to `first` (y, x).

        Noise comes from differences of consecutive frames: what is slower than a frame does not count.
        """
        total, squares, seen, pairs, before = (np.zeros(first.shape, np.float32) for _ in range(5))
        known_before = np.zeros(first.shape, bool)
        for part in frames:
            known = np.isfinite(part)
            now = np.where(known, part, np.float16(0)).astype(np.float32)
            total += now
            seen += known
            both = known & known_before
            squares += np.where(both, (now - before) ** 2, np.float32(0))
            pairs += both
            before, known_before = now, known
        mean = total / np.maximum(seen, 1)
        self.mean[...] = np.where(seen > 0, first + mean, np.float32(0))
        variance = _local_variance(squares / np.maximum(2 * pairs, 1), pairs)
        self.noise[...] = np.where(seen >= SEEN_PART * seen.max(), np.sqrt(variance), 0)
        np.divide(1, self.noise, out=self.weight, where=self.noise > 0)
        self._find_modes(frames, mean)

    def state(self) -> State:
        """Everything it carries, as state entries."""
        return {f"scene_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"scene_{name}", array, "extract")

    def _renew_gram(self) -> None:
        for m, mode in enumerate(self.modes):
            for other in range(m, len(self.modes)):
                self.gram[m, other] = self.gram[other, m] = inner(mode, self.modes[other], 0, ROWS)

    def _find_modes(self, frames: Sequence[np.ndarray], mean: np.ndarray) -> None:
        """The mean image, and the smooth patterns of the courses that vary most over blocks of pixels."""
        self.modes[0] = self.mean * self.weight
        if len(self.modes) > 1:
            blocks = np.stack([_block_means(self._whitened(part, mean)) for part in frames]).astype(np.float64)
            courses = leading_courses(blocks, len(self.modes) - 1)
            for m, course in enumerate(courses):
                pattern, known = np.zeros((2, *mean.shape), np.float32)
                for amount, part in zip(course, frames, strict=True):
                    pattern += np.float32(amount) * self._whitened(part, mean)
                    known += np.float32(amount**2) * (np.isfinite(part) & (self.weight > 0))
                known = ndi.gaussian_filter(known, _SMOOTH_PX)
                self.modes[m + 1] = ndi.gaussian_filter(pattern, _SMOOTH_PX) / np.maximum(known, np.float32(0.01))
        self.modes *= self.weight > 0
        for mode in self.modes:
            norm = np.sqrt(inner(mode, mode, 0, 1))
            mode /= np.float32(norm if norm > 0 else 1)
        self._renew_gram()

    def _whitened(self, part: np.ndarray, mean: np.ndarray) -> np.ndarray:
        return np.nan_to_num((part.astype(np.float32) - mean) * self.weight)


def _block_means(image: np.ndarray) -> np.ndarray:
    height, width = (n // _BLOCK_PX for n in image.shape)
    if not (height and width):
        return image.ravel()
    part = image[: height * _BLOCK_PX, : width * _BLOCK_PX]
    return part.reshape(height, _BLOCK_PX, width, _BLOCK_PX).mean((1, 3)).ravel()


def _local_variance(variance: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Noise variance (y, x), smoothed over the pixels that were seen; nowhere below a hundredth of its median."""
    known = pairs >= 0.5 * pairs.max()
    part = ndi.uniform_filter(known.astype(np.float32), 5)
    smooth = ndi.uniform_filter(np.where(known, variance, np.float32(0)), 5) / np.maximum(part, np.float32(1e-3))
    middle = float(np.median(smooth[known])) if known.any() else 1.0
    smooth = np.where(part > 0.01, smooth, np.float32(middle))
    return np.maximum(smooth, np.float32(max(0.01 * middle, 1e-12)))
