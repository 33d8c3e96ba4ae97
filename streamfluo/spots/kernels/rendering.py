"""Localisations drawn as Gaussians into a picture of whole numbers, whose sums do not depend on their order."""

from __future__ import annotations

import math

import numpy as np

from ...pixels.kernels.kernel import kernel

ONE = 1 << 16  # parts of a localisation: 65,535 of them fit into a pixel
REACH = 4.0  # σ; beyond lie 6e-5 of it
_ROOM = 256  # pixels that one reaches over at most, so that no precision, however poor, costs more


@kernel
def draw(picture, y, x, sigma_y, sigma_x):  # type: ignore[no-untyped-def]
    """Add Gaussians at y, x with their σ (n,), in pixels of `picture` (y, x) uint32 from the corner of its first one.

    Each pixel gets what of a Gaussian lies in it, in parts of ONE.
    """
    height, width = picture.shape
    most = np.uint64(0xFFFFFFFF)
    across = np.empty(_ROOM)
    for n in range(len(y)):
        top, bottom = _reached(y[n], sigma_y[n], height)
        left, right = _reached(x[n], sigma_x[n], width)
        for column in range(left, right):
            across[column - left] = _share(column, x[n], sigma_x[n])
        for row in range(top, bottom):
            down = ONE * _share(row, y[n], sigma_y[n])
            for column in range(left, right):
                parts = np.uint64(round(down * across[column - left]))
                picture[row, column] = np.uint32(min(most, np.uint64(picture[row, column]) + parts))


@kernel
def _reached(at, sigma, side):  # type: ignore[no-untyped-def]
    reach = min(REACH * sigma, _ROOM / 2 - 1.0)
    return max(0, math.floor(at - reach)), min(side, math.floor(at + reach) + 1)


@kernel
def _share(pixel, at, sigma):  # type: ignore[no-untyped-def]
    scale = 1.0 / (sigma * math.sqrt(2.0))
    return 0.5 * (math.erf((pixel + 1 - at) * scale) - math.erf((pixel - at) * scale))
