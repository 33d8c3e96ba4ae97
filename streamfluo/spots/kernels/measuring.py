"""What measuring spots in frames shares: the sensor, the method, the crop, and the subtraction of neighbours."""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .crops import LANES, blank_lanes, cut_crop, padded
from .fits import PARAMETERS, SUMS, TOTALS
from .integration import BORDER, WEIGHTED, Psf, border, flat, likeliest, weighted
from .psf import Ellipse, Place, gaussian_image

AT_EDGE, SATURATED, CROWDED, NOT_CONVERGED, OUTSIDE, WIDTH_KEPT, LEFT_OVER, BELOW_ZERO = 1, 2, 4, 8, 16, 32, 64, 128
SURE = 4.0  # standard errors below zero that no background is, where the offset is right
LEFT, OWN_SIGMA = 6.0, 2.0  # standard errors of light that no fit leaves; the reach of a spot itself


class Sensor(NamedTuple):
    """Maps, each (y, x) or (1, x) float32, of ADU, e/ADU and e²; poisson and measured as in Crop."""

    offset: Any
    gain: Any
    variance: Any
    saturation: float
    poisson: float
    measured: bool


class Measurement(NamedTuple):
    """How spots are measured: the sensor, the PSF with its usual ellipse, the crop's side [px], and codes.

    fit: MLE …; method: WEIGHTED …, or None: the likeliest, of found spots that of the fit; free: FIXED_WIDTH …
    """

    sensor: Sensor
    psf: Psf
    ellipse: Ellipse
    side: int
    fit: int
    method: int | None
    free: int


class Workspace(NamedTuple):
    """Scratch: images (4, side, lanes), matrices (4, 6, 6), vectors (8, 6), down and across (3, lanes), and others.

    sums (SUMS · LANES,) and totals (28,): of the normal equations; rows (3, > side); outermost (4 · side,): the crop's
    outermost pixels.
    """

    images: Any
    matrices: Any
    vectors: Any
    down: Any
    across: Any
    sums: Any
    totals: Any
    rows: Any
    outermost: Any


@kernel(error_model="numpy")
def workspace(side):  # type: ignore[no-untyped-def]
    """Return the Workspace for square crops of this side."""
    images = np.zeros((4, side, padded(side)))
    blank_lanes(side, images[0], images[1])
    matrices, vectors = np.empty((4, PARAMETERS, PARAMETERS)), np.empty((8, PARAMETERS))
    rows = np.empty((3, padded(side + 1)))
    down, across = np.zeros((3, images.shape[2])), np.zeros((3, images.shape[2]))
    sums, totals = np.empty(SUMS * LANES), np.empty(TOTALS)
    return Workspace(images, matrices, vectors, down, across, sums, totals, rows, np.empty(4 * side))


@kernel(error_model="numpy")
def integrate(crop, psf, b, method, outermost):  # type: ignore[no-untyped-def]
    """Return N, its standard error, b and χ² of one crop by a method; psf (h, ≥ width): the PSF in each pixel.

    Of a method of None, the likeliest, the others are not compiled.
    """
    if method is None:
        return likeliest(flat(crop, psf), b)
    if method == BORDER:
        return border(crop, outermost)
    if method == WEIGHTED:
        return weighted(flat(crop, psf), b)
    return likeliest(flat(crop, psf), b)


@kernel(error_model="numpy")
def cut(frame, corner, sensor, crop):  # type: ignore[no-untyped-def]
    """Write the crop of a frame whose first pixel is `corner` (y, x); return the flags AT_EDGE and SATURATED."""
    seen, saturated = cut_crop(frame, corner, sensor, crop)
    return (AT_EDGE if seen < crop.width**2 else 0) | (SATURATED if saturated > 0 else 0)


@part(error_model="numpy")
def light_left(crop, at, scratch):  # type: ignore[no-untyped-def]
    """Whether 3 × 3 pixels beside the spot `at` (6,) hold light that it does not explain.

    Where the variance is not known, that of the residuals counts.
    """
    d, v, poisson, side = crop.electrons, crop.variance, crop.poisson, crop.width
    image, own = scratch.images[3], OWN_SIGMA * max(at[4], at[5])
    gaussian_image(Place(at[0], at[1], 0.0), Ellipse(at[4], at[5], 0.0), scratch.rows, side, image)
    total, count = 0.0, 0
    for y in range(side):
        for x in range(side):
            image[y, x] = at[2] * image[y, x] + at[3]
            if v[y, x] < math.inf:
                total += (d[y, x] - image[y, x]) ** 2
                count += 1
    typical = total / max(count, 1)
    for y in range(1, side - 1):
        for x in range(1, side - 1):
            if (y - at[0]) ** 2 + (x - at[1]) ** 2 < own**2:
                continue
            light = noise = 0.0
            for i in range(y - 1, y + 2):
                for j in range(x - 1, x + 2):
                    if v[i, j] < math.inf:
                        light += d[i, j] - image[i, j]
                        noise += typical if crop.measured else v[i, j] + poisson * max(image[i, j], 0.0)
            if light > 0 and light * light > LEFT * LEFT * noise:
                return True
    return False


@kernel(error_model="numpy")
def subtract_spot(crop, psf, n):  # type: ignore[no-untyped-def]
    """Subtract n electrons of a neighbour, its PSF in each pixel being psf; their shot noise stays in the variance."""
    d, v, poisson = crop.electrons, crop.variance, crop.poisson
    for y in range(d.shape[0]):
        for x in range(d.shape[1]):
            if v[y, x] < math.inf:
                d[y, x] -= n * psf[y, x]
                v[y, x] += poisson * max(n, 0.0) * psf[y, x]
