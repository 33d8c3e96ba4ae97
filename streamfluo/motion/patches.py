"""The displacement of the tissue: one rigid shift, or a displacement field through the shifts of patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from ..pixels.kernels.seen import Window
from .banded import shifted
from .interpolation_weights import FOUR, FOUR_OUTER, SIX
from .kernels.displacement_field import SplineBasis, field_at, kept_noise, solve_field
from .kernels.frame_rows import BLOCK_PX
from .kernels.gauss_newton import Frame, read_only
from .kernels.warping import warp_frame

_FOUR = tuple(tuple(np.float32(c) for c in part) for part in FOUR_OUTER)

# Gaussian prior on the patch shifts: the σ of the difference of neighbours, and that of a patch's deviation from the
# mean against the frame before. The second halves the error at the rims and lags a fast field by a tenth.
NEIGHBOUR_PX, DEVIATION_PX = 1.0, 0.3


class PatchGrid:
    """A grid of patches `shape` (py, px), and the displacement field through their shifts (py, px, 2) [px].

    The field is the natural cubic spline, linear beyond the outermost centres, that has each patch's shift at its
    centre; one patch is a rigid shift. Patches are evenly spaced, at most stride_px apart and stride_px + overlap_px
    long; a frame no longer than that has one.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int],
        stride_px: float = math.inf,
        overlap_px: float = 0,
        max_deviation_px: float = math.inf,
    ) -> None:
        self._max_deviation_px = max_deviation_px
        self.centres_px = [_centres(side, stride_px, overlap_px) for side in frame_shape]
        self.shape = (len(self.centres_px[0]), len(self.centres_px[1]))
        self.single = self.shape == (1, 1)
        self.interpolation = SIX if self.single else FOUR
        blocks = [np.arange(-(-side // BLOCK_PX)) * BLOCK_PX for side in frame_shape]
        middles = [(b + np.minimum(b + BLOCK_PX, side) - 1) / 2 for b, side in zip(blocks, frame_shape, strict=True)]
        self._blocks = SplineBasis(*(_basis(c, at) for c, at in zip(self.centres_px, middles, strict=True)))
        sides = zip(self.centres_px, frame_shape, strict=True)
        self._pixels = SplineBasis(*(_basis(c, np.arange(side)).astype(np.float32) for c, side in sides))
        count = self.shape[0] * self.shape[1]
        prior = _first_differences(self.shape) / NEIGHBOUR_PX**2 + (np.eye(count) - 1 / count) / DEVIATION_PX**2
        self._prior = np.kron(prior, np.eye(2))
        self._scratch = np.zeros((4, frame_shape[1]), np.float32)
        self._field = np.zeros((len(blocks[0]), len(blocks[1]), 2))
        self._converted = np.zeros(frame_shape if not self.single else 0, np.float32)

    @property
    def pixel_basis(self) -> SplineBasis:
        """The splines at each row and column of pixels, float32."""
        return self._pixels

    def at_blocks(self, patches_px: np.ndarray) -> np.ndarray:
        """Return the field (by, bx, 2) [px] at the centre of each block for the shifts of the patches (py, px, 2)."""
        if self.single:
            return np.broadcast_to(patches_px, self._field.shape)
        field_at(patches_px, tuple(self._blocks), self._field)
        return self._field.copy()

    def solve(self, matrix: np.ndarray, vector: np.ndarray, last_px: np.ndarray) -> np.ndarray:
        """Return the shifts (py, px, 2) [px] whose field d solves matrix · d = vector over the blocks, given the prior.

        matrix (by, bx, 2, 2) [px⁻²], vector (by, bx, 2) [px⁻¹]: the normal equations of the blocks; last_px
        (py, px, 2): the shifts of the frame before, the mean of the prior on a patch's deviation. NaN if the system is
        singular.
        """
        expected = (last_px - self.mean(last_px)) / DEVIATION_PX**2
        patches = solve_field(matrix, vector, tuple(self._blocks), self._prior, expected)
        mean = self.mean(patches)
        most = self._max_deviation_px
        return np.asarray(mean + np.clip(patches - mean, -most, most))

    def resample(self, frame: Frame, patches_px: np.ndarray, out: np.ndarray) -> tuple[Window, float]:
        """Write a frame's pixels (y, x), interpolated at the displacement field, into out (y, x) float32.

        Returns the window in which all interpolation points lie inside what was seen of the frame, and the fraction of
        a pixel's noise variance that interpolation leaves.
        """
        if not self.single:
            pixels, shifts = frame.pixels, patches_px.astype(np.float32)
            if pixels.dtype != np.float32:
                np.copyto(self._converted, pixels, casting="unsafe")
                pixels = read_only(self._converted)
            reach = warp_frame(pixels, shifts, tuple(self._pixels), _FOUR, self._scratch, out)
            return window_of(reach, frame.seen, 1), kept_noise(self.at_blocks(patches_px), FOUR_OUTER)
        y_px, x_px = patches_px[0, 0].tolist()
        length = out.shape[1] + 2 * (math.ceil(abs(x_px)) + 5)
        y, x, kept = shifted(frame.pixels, (y_px, x_px), length, out)
        return window_of((y, y, x, x), frame.seen, 2), kept

    def mean(self, patches_px: np.ndarray) -> np.ndarray:
        """Return the mean (2,) [px] of the shifts of the patches (py, px, 2)."""
        return patches_px[0, 0] if self.single else patches_px.mean((0, 1))


def _centres(side: int, stride_px: float, overlap_px: float) -> np.ndarray:
    length = stride_px + overlap_px
    if side <= length:
        return np.array([(side - 1) / 2])
    count = 1 + math.ceil((side - length) / stride_px)
    return (length - 1) / 2 + np.linspace(0, side - length, count)


def _basis(centres_px: np.ndarray, at_px: np.ndarray) -> np.ndarray:
    """For each centre the natural spline (p, at) that is 1 there and 0 at the other centres."""
    if len(centres_px) == 1:
        return np.ones((1, len(at_px)))
    spline = scipy.interpolate.CubicSpline(centres_px, np.eye(len(centres_px)), bc_type="natural")
    inside = np.clip(at_px, centres_px[0], centres_px[-1])
    return np.ascontiguousarray((spline(inside) + spline(inside, 1) * (at_px - inside)[:, None]).T)


def _first_differences(shape: tuple[int, int]) -> np.ndarray:
    """The matrix of Σ (d_p − d_q)² over neighbours, (patches, patches)."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    total = np.zeros((number.size, number.size))
    for p, q in [*zip(number[1:].flat, number[:-1].flat), *zip(number[:, 1:].flat, number[:, :-1].flat)]:  # noqa: B905
        total[p, p] += 1
        total[q, q] += 1
        total[p, q] -= 1
        total[q, p] -= 1
    return total


def window_of(reach: Sequence[int], seen: Window, before: int) -> Window:
    """Return the window in which all interpolation points were seen; `before`: points left of the integer shift."""
    y_least, y_most, x_least, x_most = reach  # written out: a frame takes 6 µs less
    top, left = max(seen[0], seen[0] + before - int(y_least)), max(seen[2], seen[2] + before - int(x_least))
    bottom, right = min(seen[1], seen[1] - 1 - before - int(y_most)), min(seen[3], seen[3] - 1 - before - int(x_most))
    return top, max(top, bottom), left, max(left, right)
