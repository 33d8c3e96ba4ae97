"""The noise of the frames as the template knows it: of each block, and as a line in their intensities."""

from __future__ import annotations

import numpy as np

from .block_statistics import blocks, mean_of_seen
from .kernels.gauss_newton import noise_line
from .kernels.shifting import BlockNoise


class NoiseModel:
    """Variance [ADU²] and intensity [ADU] of each block (by, bx), and the variance as a line in the intensity.

    `line`: constant, slope and the least variance of a pixel. `filtered`: what is registered is high-passed, so that
    its intensity does not predict the shot noise.
    """

    def __init__(self, shape: tuple[int, int], filtered: bool) -> None:
        self.blocks = BlockNoise(*np.zeros((2, *shape)))
        self.line = np.array([1.0, 0.0, 1.0])
        self.filtered = filtered

    def begin(self, first: np.ndarray) -> None:
        """Estimate it from one frame (y, x), NaN where it was not seen."""
        variance, intensity = self.blocks
        squares = 0.5 * np.diff(first, axis=1) ** 2
        for out, pixels, default in ((variance, squares, 1.0), (intensity, first, 0.0)):
            out[...] = [[mean_of_seen(block) for block in row] for row in blocks(pixels, *out.shape)]
            known = np.isfinite(out)
            out[~known] = np.median(out[known]) if known.any() else default
        self.fit()

    def fit(self) -> None:
        """Fit the line to the blocks."""
        variance, intensity = self.blocks
        finite = np.isfinite(variance) & np.isfinite(intensity)
        if finite.any():
            light = intensity[finite]
            order = np.argsort(light, kind="stable")  # numba's own takes a second to compile
            line = noise_line(light, variance[finite], order)
            self.line[:] = (np.median(variance[finite]), 0, 0) if self.filtered else line

    def of_row(self, by: int) -> np.ndarray:
        """Return the lines (bx, 3) of a row of blocks."""
        variance = self.blocks.variance[by]
        lines = np.empty((len(variance), 3))
        lines[:] = self.line
        if self.filtered:
            lines[:, 0], lines[:, 1:] = np.maximum(variance, self.line[0] / 10), 0
        return lines

    def at(self, image: np.ndarray) -> np.ndarray:
        """Return the noise variance [ADU²] of a frame's pixels of these intensities [ADU]."""
        constant, slope, least = self.line
        variance: np.ndarray = np.maximum(constant + slope * image, least)
        return variance
