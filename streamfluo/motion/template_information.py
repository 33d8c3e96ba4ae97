"""What the normal matrices of a template tell of a shift: its information, and what of it is the template's noise."""

from __future__ import annotations

import math

import numpy as np

from .smoothing import KERNELS

MEMORY_FRAMES = 800  # the template's mean forgets frames older than this number
NOISE_SHARE = 0.2  # of H that may come from the template's own noise; beyond it a wider smoothing kernel is taken
SETTLED_SHARE = 0.1
# Of a frame's gain, expected of a template whose noise is below its contrast, and of any. Frames are aligned with the
# noise of a template as well, which then passes for structure: at 1 photon a pixel and 9 the contrast doubled.
EXPECTED_SIGNIFICANCE = (8.0, 16.0)
COMPLETE_SHARE, MIN_CONTRAST = 0.5, 36.0  # noise of the template by its contrast: averaging more helps little
CANCELLED = 1.03


class TemplateInformation:
    """The Fisher information of a shift against a template (y, x), of `frames` frames, from the normal matrices and the
    noise of its blocks."""

    image: np.ndarray
    frames: int
    _matrix: np.ndarray  # (by, bx, 3, 3)
    _noise_bias: np.ndarray  # (by, bx)
    _noise_shares: list[tuple[float, float]]
    _kernel: int
    _next_kernel: int
    _information: np.ndarray | None = None  # of the matrices as they are; a frame asks four times
    _least = 0.0  # along the worse axis
    _total: np.ndarray | None = None  # the sum of the matrices (3, 3), the same

    @property
    def information(self) -> np.ndarray:
        """The Fisher information (2,) [px⁻²] of a shift: 1 / its variance along y and x, the other one unknown too.

        Of stripes a shift along them is unknown, whatever their direction; rims leave 1 % of what cancels there.
        """
        if self._information is None:
            yy, yx, _, xy, xx = self._normal.ravel()[:5].tolist()
            cross = CANCELLED * yx * xy
            known = min(yy, xx) > 0
            self._information = np.array([yy - cross / xx, xx - cross / yy]).clip(0) if known else np.zeros(2)
            self._least = min(self._information.tolist())
        return self._information

    @property
    def _least_information(self) -> float:
        """That along the worse axis."""
        return self._least if self._information is not None else min(self.information.tolist())

    @property
    def sure_information(self) -> float:
        """The information [px⁻²] along the worse axis less what the template's noise may pass for, 3 σ of it."""
        chance = 3 * math.sqrt(100 / self.image.size)  # smoothed noise has a correlation area of about 100 pixels
        return self._least_information - chance * self._noise_information(self._kernel)

    @property
    def settled(self) -> bool:
        """Whether its own noise is small beside its structure: blocks of one frame do not deviate by it."""
        return self._noise_information(self._kernel) < SETTLED_SHARE * self._least_information

    @property
    def contrast_sigma(self) -> float:
        """The r.m.s. contrast of the template within its blocks, in standard deviations of a pixel's noise."""
        return math.sqrt(max(0.0, float(self._normal[2, 2])) / self.image.size)

    @property
    def slope_share(self) -> float:
        """What of the template's slopes is its structure's rather than its noise's, 0 to 1."""
        structure = max(0.0, float(np.trace(self._normal[:2, :2])))
        return structure / (structure + 2 * self._noise_information(self._kernel))

    @property
    def effective_frames(self) -> float:
        """How many frames its noise is averaged over."""
        return min(self.frames, 2 * MEMORY_FRAMES - 1)

    @property
    def _normal(self) -> np.ndarray:
        if self._total is None:
            self._total = np.einsum("bckl->kl", self._matrix)
        return self._total

    def _has_structure(self) -> bool:
        """Whether a frame's gain is expected to be significant, or as much so as it will ever be."""
        slopes = self.sure_information > 0.25
        contrast, noise = float(self._normal[2, 2]), self._whole_noise_bias()
        expected = contrast / math.sqrt(max(contrast + noise, 1e-9))
        measurable = expected > EXPECTED_SIGNIFICANCE[contrast < noise]
        complete = contrast > max(MIN_CONTRAST, noise / COMPLETE_SHARE)
        return bool(slopes and (measurable or complete))

    def _whole_noise_bias(self) -> float:
        return float(self._noise_bias.sum())

    def _noise_information(self, kernel: int) -> float:
        """The part of H for a shift [px⁻²] that the template's own noise contributes before it is subtracted."""
        return self._noise_shares[kernel][0] * self.image.size / self.effective_frames

    def _choose_kernel(self) -> None:
        """Choose the narrowest smoothing for which noise contributes at most NOISE_SHARE of H."""
        allowed = NOISE_SHARE * float(self.information.min())
        fitting = (n for n in range(len(KERNELS)) if self._noise_information(n) < allowed)
        self._next_kernel = next(fitting, len(KERNELS) - 1)
