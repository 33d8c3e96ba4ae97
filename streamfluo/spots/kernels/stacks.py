"""Fits of whole stacks of crops: one call for all of them."""

import math

import numpy as np
from numba import njit

from .crops import LANES, blank_lanes, load_crop, pixels_seen
from .fits import LEAST_LIGHT, MLE, NARROWEST_PX, PARAMETERS, TWO_WIDTHS, WIDEST, fit_spot, phasor
from .integration import border_median, likeliest
from .psf import gaussian_image


@njit(nogil=True, cache=True, error_model="numpy")
def fit_stack(crops, numbers, how, free, starts, found, errors, chi2, converged):  # type: ignore[no-untyped-def]
    """Fit every crop (n, side, side); write parameters and errors (n, 6), reduced χ² and success (n,).

    numbers: e/ADU, offset [ADU], variance [e²], poisson. starts (n, 6), NaN where the phasor has to tell. Parameters
    as in `spot_fits`, light in electrons. Where the camera is unknown (poisson 0) errors are those that the residuals
    tell, and χ² is NaN.
    """
    gain, offset, variance, poisson = numbers
    side = crops.shape[1]
    crop = np.zeros((3, side, LANES * -(-side // LANES)))
    d, v, p = crop[0], crop[1], crop[2]  # unpacked at once they would not be known to be contiguous
    blank_lanes(side, d, v)
    matrices, vectors = np.empty((3, PARAMETERS, PARAMETERS)), np.empty((5, PARAMETERS))
    profiles = np.zeros((6, d.shape[1]))
    room = np.empty((3, LANES * (side // LANES + 1)))
    ring = np.empty(4 * side)
    for k in range(len(crops)):
        load_crop(crops[k], offset, gain, variance, d, v)
        at = found[k]
        at[:] = starts[k]
        if math.isnan(at.sum()):
            begin(d, v, side, free, ring, starts[k], at)
        if how == MLE:
            total, converged[k] = fit_spot(d, v, poisson, free, at, errors[k], matrices, vectors, profiles, room)
            chi2[k] = total / (pixels_seen(v) - free)
        else:
            gaussian_image(at[0], at[1], at[4], at[5], room, side, p)
            errors[k] = math.nan
            at[2], errors[k, 2], at[3], chi2[k] = likeliest(
                d.reshape(-1), v.reshape(-1), p.reshape(-1), math.nan, poisson
            )
            converged[k] = at[2] > 0 and NARROWEST_PX < at[4] < WIDEST * side and NARROWEST_PX < at[5] < WIDEST * side
        if poisson == 0:
            errors[k] *= math.sqrt(chi2[k])
            chi2[k] = math.nan


@njit(nogil=True, cache=True, error_model="numpy")
def begin(d, v, side, free, ring, start, at):  # type: ignore[no-untyped-def]
    """Write where a fit begins: what `start` tells, else the border's background and the phasor's place and widths."""
    b, _ = border_median(d, v, side, ring)
    for i in range(side):
        for j in range(side):
            if not v[i, j] < math.inf:
                d[i, j] = b
    phasor(d, side, b, at)
    at[2], at[3] = max(at[2], 1.0), max(at[3], LEAST_LIGHT)
    if free < TWO_WIDTHS:
        at[4] = at[5] = math.sqrt(at[4] * at[5])
    for k in range(PARAMETERS):
        if not math.isnan(start[k]):
            at[k] = start[k]
