"""Spots found in frames, fitted and integrated: one call a block, apart from the one that finds them.

One kernel for both took half as long again to compile, and on one core.

Neighbours are measured together, in rounds over all spots that have any: the current estimate of the others' light is
subtracted from a spot's crop, its shot noise stays. Spots without neighbours are measured once.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ...pixels.kernels.kernel import kernel, part
from .crops import Crop, copy, fill
from .fits import FIXED_WIDTH, LEAST_LIGHT, MLE, ONE_WIDTH, PARAMETERS, PHASOR, fit_spot, phasor
from .integration import BORDER, LIKELIEST, border_median
from .measuring import (
    BELOW_ZERO,
    CROWDED,
    LEFT_OVER,
    NOT_CONVERGED,
    SURE,
    WIDTH_KEPT,
    Measurement,
    cut,
    integrate,
    light_left,
    subtract_spot,
    workspace,
)
from .psf import Ellipse, Place, gaussian_image

FRAME, SPOT, Y, X, SIGMA_Y, SIGMA_X, PHOTONS, ERROR, LIGHT, CHI2, Y_ERROR, X_ERROR, FLAGS = range(13)
COLUMNS = 13
ROUNDS = 3  # over spots with neighbours
UNEXPLAINED = 1.25  # χ² that a spot with light beside it of 6 standard errors exceeds: 36 of 121 pixels
REACH_SIGMA = 2.0  # σ beyond a crop within which a neighbour counts


class Spots(NamedTuple):
    """Candidates (n, 7) of `find_maxima`, row by row, and the current parameters (n, 6) of their fits in the frame."""

    candidates: Any
    parameters: Any


@kernel(error_model="numpy")
def measure_spots(frames, found, counts, share, measurement):  # type: ignore[no-untyped-def]
    """Fit and integrate the spots of frames (t, y, x); return the rows (n, COLUMNS), frame counted from 0.

    found, counts: what `detect_spots` returned; share: 1/|B| of its Search; measurement: a Measurement as
    `by_likelihood` returns it.
    """
    scratch = workspace(measurement.side)
    rows = np.empty((len(found), COLUMNS))
    first = 0
    for t in range(len(frames)):
        stop = first + counts[t]
        candidates = found[first:stop]
        at = initial_values(candidates, share, measurement.ellipse, measurement.sensor.poisson)
        measure(frames[t], Spots(candidates, at), measurement, scratch, rows[first:stop])
        for k in range(first, stop):
            rows[k, FRAME] = t
        first = stop
    return rows


@part(error_model="numpy")
def initial_values(candidates, share, ellipse, poisson):  # type: ignore[no-untyped-def]
    """Return the initial values (n, 6) of fits from the matched filter's candidates, in electrons; share: 1/|B|.

    Where the offset is not known (poisson 0) what is left of it counts as background, of either sign.
    """
    at = np.empty((len(candidates), PARAMETERS))
    for k in range(len(candidates)):
        y, x = int(candidates[k, 0]), int(candidates[k, 1])
        at[k, 0], at[k, 1] = y + candidates[k, 4], x + candidates[k, 5]
        at[k, 4], at[k, 5] = ellipse.sigma_y, ellipse.sigma_x
        at[k, 2] = candidates[k, 2] / candidates[k, 6]
        at[k, 3] = candidates[k, 3] - at[k, 2] * share
        if poisson > 0:
            at[k, 2], at[k, 3] = max(at[k, 2], 1.0), max(at[k, 3], LEAST_LIGHT)
    return at


@part(error_model="numpy")
def measure(frame, spots, measurement, scratch, rows):  # type: ignore[no-untyped-def]
    """Fit and integrate the Spots of a frame; write rows (n, COLUMNS), photons in electrons."""
    for k in range(len(rows)):
        rows[k, SPOT], rows[k, FLAGS] = k, CROWDED
    for _ in range(ROUNDS):
        for k in range(len(rows)):
            if int(rows[k, FLAGS]) & CROWDED:
                measure_one(frame, spots, k, measurement, scratch, rows[k])


@part(error_model="numpy")
def measure_one(frame, spots, k, measurement, scratch, row):  # type: ignore[no-untyped-def]
    """Fit and integrate spot k less the current light of the others; write its parameters and its row."""
    sensor, ellipse, side, at = measurement.sensor, measurement.ellipse, measurement.side, spots.parameters
    crop = Crop(scratch.images[0], scratch.images[1], side, sensor.poisson, sensor.measured)
    errors, mine = scratch.vectors[5], scratch.vectors[6]
    top, left = int(spots.candidates[k, 0]) - side // 2, int(spots.candidates[k, 1]) - side // 2
    flags = cut(frame, (top, left), sensor, crop)
    reach = side / 2 + REACH_SIGMA * max(ellipse.sigma_y, ellipse.sigma_x)
    if subtract_neighbours(spots, k, (top, left), reach, crop, scratch):
        flags |= CROWDED
    copy(at[k], mine)
    mine[0] -= top
    mine[1] -= left
    fill(errors, math.nan)
    chi2, converged, kept = fit_and_integrate(crop, measurement, mine, errors, scratch)
    flags |= WIDTH_KEPT if kept else 0
    if not (chi2 < UNEXPLAINED and not sensor.measured) and light_left(crop, mine, scratch):
        flags |= LEFT_OVER
    if sensor.poisson > 0 and mine[3] < -SURE * errors[3]:
        flags |= BELOW_ZERO
        fill(errors, math.nan)
    if sensor.measured:
        chi2 = math.nan
    copy(mine, at[k])
    at[k, 0] += top
    at[k, 1] += left
    row[Y], row[X], row[SIGMA_Y], row[SIGMA_X] = at[k, 0], at[k, 1], at[k, 4], at[k, 5]
    row[PHOTONS], row[ERROR], row[LIGHT], row[CHI2] = at[k, 2], errors[2], at[k, 3], chi2
    row[Y_ERROR], row[X_ERROR], row[FLAGS] = errors[0], errors[1], flags if converged else flags | NOT_CONVERGED


def fit_and_integrate(crop, measurement, at, errors, scratch):  # type: ignore[no-untyped-def]
    """Fit and integrate a crop inside kernels, from `at` (6,) on; return reduced χ², whether the fit converged, and
    whether the width was fixed. Where the fit gives the photons (`by_likelihood`), nothing else is compiled: 3 s."""
    raise TypeError("fit_and_integrate is for kernels only")


@overload(fit_and_integrate, jit_options={"error_model": "numpy"})
def _fit_and_integrate(crop, measurement, at, errors, scratch):  # type: ignore[no-untyped-def]
    of_fit_alone = isinstance(measurement.types[measurement.fields.index("method")], types.NoneType)
    return _fitted if of_fit_alone else _by_any_method


def _fitted(crop, measurement, at, errors, scratch):  # type: ignore[no-untyped-def]
    return fit_spot_or_position(crop, measurement.free, measurement.ellipse, at, errors, scratch)


def _by_any_method(crop, measurement, at, errors, scratch):  # type: ignore[no-untyped-def]
    fit, method, free, ellipse, p = (
        measurement.fit, measurement.method, measurement.free, measurement.ellipse, scratch.images[2],
    )  # fmt: skip
    chi2, converged, kept = math.nan, True, False
    if fit == MLE:
        chi2, converged, kept = fit_spot_or_position(crop, free, ellipse, at, errors, scratch)
    elif fit == PHASOR:
        converged = phasor_position(crop, free, ellipse, at, scratch.outermost)
    if fit == MLE and method == LIKELIEST:
        return chi2, converged, kept
    b = at[3]
    if method == LIKELIEST:
        b = math.nan
    elif fit != MLE:
        b, _ = border_median(crop, scratch.outermost)
    if method != BORDER:
        # what is found has its widths along y and x: the other PSFs, of known spots, are not compiled for it
        gaussian_image(Place(at[0], at[1], 0.0), Ellipse(at[4], at[5], 0.0), scratch.rows, crop.width, p)
    at[2], errors[2], at[3], chi2 = integrate(crop, p, b, method, scratch.outermost)
    return chi2, converged, kept


def by_likelihood(measurement: Measurement) -> Measurement:
    """Return a Measurement without a method of integration where the likeliest fit gives the photons."""
    alone = measurement.fit == MLE and measurement.method == LIKELIEST
    return measurement._replace(method=None) if alone else measurement


@kernel(error_model="numpy")
def fit_spot_or_position(crop, free, ellipse, at, errors, scratch):  # type: ignore[no-untyped-def]
    """Fit a crop from `at` (6,) on; where the width of a faint spot diverges, again with the usual one fixed.

    Return reduced χ², whether the fit converged, and whether the width was fixed.
    """
    start = scratch.vectors[7]
    copy(at, start)
    total, seen, converged = fit_spot(crop, free, at, errors, scratch)
    kept = not converged and free != FIXED_WIDTH
    if kept:
        copy(start, at)
        at[4], at[5] = ellipse.sigma_y, ellipse.sigma_x
        free = FIXED_WIDTH
        total, seen, converged = fit_spot(crop, free, at, errors, scratch)
    return total / (seen - free), converged, kept


@kernel(error_model="numpy")
def phasor_position(crop, free, ellipse, at, outermost):  # type: ignore[no-untyped-def]
    """Write the phasor's position and widths; whether the position lies in the crop."""
    side = crop.width
    b, _ = border_median(crop, outermost)
    phasor(crop.electrons, side, b, at)
    if free == FIXED_WIDTH:
        at[4], at[5] = ellipse.sigma_y, ellipse.sigma_x
    elif free == ONE_WIDTH:
        at[4] = at[5] = math.sqrt(at[4] * at[5])
    return -0.5 <= at[0] < side - 0.5 and -0.5 <= at[1] < side - 0.5


@part(error_model="numpy")
def subtract_neighbours(spots, k, corner, reach, crop, scratch):  # type: ignore[no-untyped-def]
    """Subtract the spots within `reach` [px] of spot k from its crop at `corner`; return their number."""
    top, left = corner
    candidates, at, image = spots.candidates, spots.parameters, scratch.images[3]
    near = 0
    for step in (-1, 1):
        j = k + step
        while 0 <= j < len(at) and abs(candidates[j, 0] - candidates[k, 0]) <= reach:
            if abs(candidates[j, 1] - candidates[k, 1]) <= reach:
                place, ellipse = Place(at[j, 0] - top, at[j, 1] - left, 0.0), Ellipse(at[j, 4], at[j, 5], 0.0)
                gaussian_image(place, ellipse, scratch.rows, crop.width, image)
                subtract_spot(crop, image, at[j, 2])
                near += 1
            j += step
    return near
