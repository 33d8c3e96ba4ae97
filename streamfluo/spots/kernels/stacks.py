"""Fits of stacks of crops in one call."""

import math
from typing import Any, NamedTuple

from ...pixels.kernels.kernel import kernel, part
from .crops import Crop, copy, load_crop
from .fits import LEAST_LIGHT, MLE, NARROWEST_PX, PARAMETERS, TWO_WIDTHS, WIDEST, fit_spot, phasor
from .integration import border_median, flat, likeliest
from .measuring import workspace
from .psf import Ellipse, Place, gaussian_image


class Fits(NamedTuple):
    """Parameters and standard errors (n, 6) in the order of `fits`, reduced χ² and convergence (n,)."""

    parameters: Any
    errors: Any
    chi2: Any
    converged: Any


@kernel(error_model="numpy")
def fit_stack(crops, calibration, fit, free, starts, fits):  # type: ignore[no-untyped-def]
    """Fit every crop (n, side, side) and write its Fits, photons in electrons.

    starts (n, 6): initial values, NaN for the phasor's. Where the variance is not known, errors follow from the
    residuals, and χ² is NaN.
    """
    side = crops.shape[1]
    scratch = workspace(side)
    crop = Crop(scratch.images[0], scratch.images[1], side, calibration.poisson, calibration.measured)
    p = scratch.images[2]
    errors, chi2, converged = fits.errors, fits.chi2, fits.converged
    for k in range(len(crops)):
        load_crop(crops[k], calibration, crop)
        at = fits.parameters[k]
        copy(starts[k], at)
        if math.isnan(at.sum()):
            initial_values(crop, free, scratch.outermost, starts[k], at)
        if fit == MLE:
            total, seen, converged[k] = fit_spot(crop, free, at, errors[k], scratch)
            chi2[k] = total / (seen - free)
        else:
            gaussian_image(Place(at[0], at[1], 0.0), Ellipse(at[4], at[5], 0.0), scratch.rows, side, p)
            errors[k] = math.nan
            at[2], errors[k, 2], at[3], chi2[k] = likeliest(flat(crop, p), math.nan)
            converged[k] = at[2] > 0 and NARROWEST_PX < at[4] < WIDEST * side and NARROWEST_PX < at[5] < WIDEST * side
        if calibration.measured:
            chi2[k] = math.nan


@part(error_model="numpy")
def largest(d):  # type: ignore[no-untyped-def]
    """Return the largest value of d (h, w)."""
    value = -math.inf
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            value = max(value, d[i, j])
    return value


@part(error_model="numpy")
def initial_values(crop, free, outermost, start, at):  # type: ignore[no-untyped-def]
    """Write a fit's initial values: those of `start`, and where it is NaN the phasor's on the border's background."""
    d, v, side = crop.electrons, crop.variance, crop.width
    b, _ = border_median(crop, outermost)
    for i in range(side):
        for j in range(side):
            if not v[i, j] < math.inf:
                d[i, j] = b
    phasor(d, side, b, at)
    if crop.poisson > 0:
        at[2], at[3] = max(at[2], 1.0), max(at[3], LEAST_LIGHT)
    elif not at[2] > 0:
        at[2] = largest(d) - b
    if free < TWO_WIDTHS:
        at[4] = at[5] = math.sqrt(at[4] * at[5])
    for k in range(PARAMETERS):
        if not math.isnan(start[k]):
            at[k] = start[k]
