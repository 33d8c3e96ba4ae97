"""Where the tissue is displaced: one shift for all of it, or a smooth field through the shifts of patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from .interpolation_weights import FOUR, SIX, tap_weights
from .kernels.displacement_field import answer_field
from .kernels.gauss_newton import BLOCK_PX
from .kernels.shifting import shift_frame
from .kernels.warping import warp_frame

_FOUR = tuple(tuple(np.float32(c) for c in tap) for tap in FOUR)

Window = tuple[int, int, int, int]  # top, bottom, left, right

# Gaussian prior on the patch shifts: how far those of neighbouring patches are apart, and how far a
# patch strays from the others within a frame. The second halves the error at the rims and lags a fast field by a tenth.
NEIGHBOUR_PX, STRAY_PX = 1.0, 0.3


class PatchGrid:
    """A grid of patches `shape` (py, px), and the field through their shifts (py, px, 2) [px].

    The field is the natural cubic spline, with straight rims, that has each patch's shift at its centre; one patch is a
    rigid shift. Patches lie evenly, at most stride_px apart and stride_px + overlap_px long; a field no longer than
    that has one.
    """

    def __init__(
        self,
        field: tuple[int, int],
        stride_px: float = math.inf,
        overlap_px: float = 0,
        max_deviation_px: float = math.inf,
    ) -> None:
        self._max_deviation_px = max_deviation_px
        self.centres_px = [_centres(side, stride_px, overlap_px) for side in field]
        self.shape = (len(self.centres_px[0]), len(self.centres_px[1]))
        self.single = self.shape == (1, 1)
        self.taps = SIX if self.single else FOUR
        blocks = [np.arange(-(-side // BLOCK_PX)) * BLOCK_PX for side in field]
        middles = [(b + np.minimum(b + BLOCK_PX, side) - 1) / 2 for b, side in zip(blocks, field, strict=True)]
        self._blocks = [_basis(c, at) for c, at in zip(self.centres_px, middles, strict=True)]
        self._pixels = [
            _basis(c, np.arange(side)).astype(np.float32) for c, side in zip(self.centres_px, field, strict=True)
        ]
        count = self.shape[0] * self.shape[1]
        prior = _first_differences(self.shape) / NEIGHBOUR_PX**2 + (np.eye(count) - 1 / count) / STRAY_PX**2
        self._prior = np.kron(prior, np.eye(2))
        self._room = np.zeros((10, field[1]), np.float32)
        self._row = np.zeros(0, np.float32)

    def at_blocks(self, patches_px: np.ndarray) -> np.ndarray:
        """Return the field in the middle of each block (by, bx, 2) for the shifts of the patches."""
        return np.einsum("bqj,qc->bcj", np.einsum("pb,pqj->bqj", self._blocks[0], patches_px), self._blocks[1])

    def solve(self, matrix: np.ndarray, answer: np.ndarray, last_px: np.ndarray) -> np.ndarray:
        """Return the shifts (py, px, 2) whose field d answers best: Σ over blocks of (matrix · d − answer) = 0, seen
        through each patch's part of the field; where little is seen, patches stay among each other as they were.

        matrix (by, bx, 2, 2), answer (by, bx, 2), of the noise's inverse variance; last_px (py, px, 2): the shifts
        before. NaN where nothing can be told.
        """
        usual = (last_px - self.mean(last_px)) / STRAY_PX**2
        patches = answer_field(matrix, answer, self._blocks[0], self._blocks[1], self._prior, usual)
        mean = self.mean(patches)
        most = self._max_deviation_px
        return np.asarray(mean + np.clip(patches - mean, -most, most))

    def read(self, frame: np.ndarray, patches_px: np.ndarray, out: np.ndarray) -> tuple[Window, float]:
        """Write the frame (y, x) as read at the field into out (y, x) float32.

        Returns the window for which all pixels of the interpolation lie inside the frame, and what the interpolation
        leaves of a pixel's noise variance.
        """
        if not self.single:
            pixels, shifts = frame.astype(np.float32, copy=False), patches_px.astype(np.float32)
            reach = warp_frame(pixels, shifts, self._pixels[0], self._pixels[1], _FOUR, self._room, out)
            weights = tap_weights(self.at_blocks(patches_px) % 1, FOUR)
            return _window(reach, frame.shape, 1), float((weights**2).sum(0).prod(-1).mean())
        y_px, x_px = patches_px[0, 0].tolist()
        room = frame.shape[1] + 2 * (math.ceil(abs(x_px)) + 5)
        if len(self._row) < room:
            self._row = np.zeros(room, np.float32)
        y, x, kept = shift_frame(frame, y_px, x_px, SIX, self._row, out)
        return _window((y, y, x, x), frame.shape, 2), kept

    def mean(self, patches_px: np.ndarray) -> np.ndarray:
        """Return the mean (2,) of the patches' shifts."""
        return patches_px[0, 0] if self.single else patches_px.mean((0, 1))


def _centres(side: int, stride_px: float, overlap_px: float) -> np.ndarray:
    length = stride_px + overlap_px
    if side <= length:
        return np.array([(side - 1) / 2])
    count = 1 + math.ceil((side - length) / stride_px)
    return (length - 1) / 2 + np.linspace(0, side - length, count)


def _basis(centres_px: np.ndarray, at_px: np.ndarray) -> np.ndarray:
    """The spline that is 1 at one centre and 0 at the others, for each centre (p, at)."""
    if len(centres_px) == 1:
        return np.ones((1, len(at_px)))
    spline = CubicSpline(centres_px, np.eye(len(centres_px)), bc_type="natural")
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


def _window(reach: Sequence[int], shape: tuple[int, int], before: int) -> Window:
    """Rows and columns for which all pixels of the interpolation, so many of them before the place, lie inside."""
    (top, bottom), (left, right) = (
        (max(0, before - int(least)), max(0, min(side, side - 1 - before - int(most))))
        for least, most, side in zip(reach[::2], reach[1::2], shape, strict=True)
    )
    return top, bottom, left, right
