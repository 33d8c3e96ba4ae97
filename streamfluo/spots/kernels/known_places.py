"""Spots at known places, integrated in every frame: one call a block.

Neighbours' photons are solved for in turns (Gauss–Seidel on the likelihood equations) until none changes by more than
a fiftieth of its standard error; the normalised overlap of their PSFs widens the errors of both.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .crops import Crop
from .integration import LIKELIEST, SPLINE, WEIGHTED, border_median, psf_image
from .measuring import (
    BELOW_ZERO,
    CROWDED,
    NOT_CONVERGED,
    OUTSIDE,
    SURE,
    Measurement,
    cut,
    integrate,
    subtract_spot,
    workspace,
)
from .psf import Place

ROUNDS, SETTLED = 20, 0.02  # over neighbours; the change, in standard errors, that ends them
LEAST_OWN = 0.05  # lower bound on 1 − Σ overlap², which divides the variance
NOT_MEASURED = -1  # a flag within the first round


class KnownSpots(NamedTuple):
    """Places (n, 3: y, x [px], z [nm]); near[starts[k] … starts[k + 1]] are the indices of spot k's neighbours."""

    places: Any
    starts: Any
    near: Any


class Measured(NamedTuple):
    """Photons, error, background and χ² (4, n) and flags (n,) of one frame."""

    values: Any
    flags: Any


def as_needed(measurement: Measurement) -> Measurement:
    """Return a Measurement without the spline and the methods that are not used: of None they are not compiled, 2 s."""
    psf = measurement.psf if measurement.psf.model == SPLINE else measurement.psf._replace(spline=None)
    return measurement._replace(psf=psf, method=None if measurement.method == LIKELIEST else measurement.method)


@kernel(error_model="numpy")
def measure_known(frames, spots, shifts, measurement, values, flags):  # type: ignore[no-untyped-def]
    """Integrate KnownSpots in frames (t, y, x), moved by shifts (t, 2).

    Write photons, error, background and χ² (4, t, n) and flags (t, n); NaN where a spot lies outside the field.
    measurement: as `as_needed` returns it.
    """
    scratch = workspace(measurement.side)
    moved = KnownSpots(np.empty_like(spots.places), spots.starts, spots.near)
    flags[:] = NOT_MEASURED
    for t in range(len(frames)):
        for k in range(len(spots.places)):
            moved.places[k, 0] = spots.places[k, 0] + shifts[t, 0]
            moved.places[k, 1] = spots.places[k, 1] + shifts[t, 1]
            moved.places[k, 2] = spots.places[k, 2]
        measured = Measured(values[:, t], flags[t])
        for rounds in range(ROUNDS):
            largest = 0.0
            for k in range(len(spots.places)):
                if rounds == 0 or spots.starts[k + 1] > spots.starts[k]:
                    largest = max(largest, measure_spot(frames[t], moved, k, measurement, scratch, measured))
            if (rounds == 0 and len(spots.near) == 0) or (rounds > 0 and largest < SETTLED):
                break


@part(error_model="numpy")
def measure_spot(frame, spots, k, measurement, scratch, measured):  # type: ignore[no-untyped-def]
    """Integrate spot k less its neighbours' current photons; return the change of its photons in standard errors."""
    psf, ellipse, side, method = measurement.psf, measurement.ellipse, measurement.side, measurement.method
    places, values, flags, sensor = spots.places, measured.values, measured.flags, measurement.sensor
    crop = Crop(scratch.images[0], scratch.images[1], side, sensor.poisson, sensor.measured)
    p, other = scratch.images[2], scratch.images[3]
    first = flags[k] == NOT_MEASURED
    y, x = places[k, 0], places[k, 1]
    inside = -0.5 <= y < frame.shape[0] - 0.5 and -0.5 <= x < frame.shape[1] - 0.5
    if not inside or math.isnan(frame[round(y), round(x)]):
        values[:, k] = math.nan
        flags[k] = OUTSIDE
        return 0.0
    top, left = round(y) - side // 2, round(x) - side // 2
    flags[k] = cut(frame, (top, left), sensor, crop)
    if not psf_image(psf, Place(y - top, x - left, places[k, 2]), ellipse, scratch.rows, side, p):
        values[:, k] = math.nan
        flags[k] |= NOT_CONVERGED
        return 0.0
    shared = 0.0
    for at in range(spots.starts[k], spots.starts[k + 1]):
        j = spots.near[at]
        if flags[j] == NOT_MEASURED:
            continue
        place = Place(places[j, 0] - top, places[j, 1] - left, places[j, 2])
        if values[0, j] == values[0, j] and psf_image(psf, place, ellipse, scratch.rows, side, other):
            subtract_spot(crop, other, values[0, j])
            shared += overlap(p, other) ** 2
        flags[k] |= CROWDED
    b = border_median(crop, scratch.outermost)[0] if method == WEIGHTED else math.nan
    n, error, b, chi2 = integrate(crop, p, b, method, scratch.outermost)
    error /= math.sqrt(max(1 - shared, LEAST_OWN))
    change = math.inf if first else abs(n - values[0, k]) / error
    if below_zero(crop, b):
        flags[k] |= BELOW_ZERO
        error = math.nan
    values[0, k], values[1, k], values[2, k], values[3, k] = n, error, b, chi2
    return change


@part(error_model="numpy")
def below_zero(crop, b):  # type: ignore[no-untyped-def]
    """Whether the background b lies below zero beyond the dark noise of half of a crop's pixels."""
    total, count = 0.0, 0
    if crop.poisson > 0:
        for y in range(crop.variance.shape[0]):
            for x in range(crop.width):
                if crop.variance[y, x] < math.inf:
                    total += crop.variance[y, x]
                    count += 1
    return count > 0 and b < 0 and b * b > SURE * SURE * 2 * total / count**2


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def overlap(p, other):  # type: ignore[no-untyped-def]
    """Return Σ p · other / √(Σ p² Σ other²), the normalised overlap of two PSFs (h, w)."""
    pp = oo = po = 0.0
    for y in range(p.shape[0]):
        for x in range(p.shape[1]):
            pp += p[y, x] * p[y, x]
            oo += other[y, x] * other[y, x]
            po += p[y, x] * other[y, x]
    return po / math.sqrt(pp * oo) if oo > 0 else 0.0
