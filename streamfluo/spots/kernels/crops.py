"""Crops around spots, in electrons, as the fits and integrals take them.

A pixel that is missing, NaN or outside the field has 0 electrons and infinite variance, and so no weight. Rows are
padded with such pixels to a multiple of LANES: loops without a remainder are a third faster at 11 pixels.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel

LANES = 16
ROUNDING_ADU2 = 1 / 12  # variance of rounding to integer ADU


class Crop(NamedTuple):
    """Electrons above the offset and their variance in the dark (h, ≥ width), the width, poisson and measured.

    A pixel that expects m electrons has the variance `variance` + poisson · m; poisson is the camera's excess noise (1,
    with an EM register 2), or 0 without a calibration. measured: whether standard errors follow from the residuals, as
    the variance is not known.
    """

    electrons: Any
    variance: Any
    width: int
    poisson: float
    measured: bool


class Calibration(NamedTuple):
    """Gain [e/ADU], offset [ADU], variance in the dark [e²], poisson and measured (see Crop) of one camera's crops."""

    gain: float
    offset: float
    variance: float
    poisson: float
    measured: bool


# Loops, as numba takes ten times as long to compile an assignment to a slice.


@kernel
def fill(values, value):  # type: ignore[no-untyped-def]
    """Write one value into values (n,)."""
    for k in range(len(values)):
        values[k] = value


@kernel
def copy(values, out):  # type: ignore[no-untyped-def]
    """Write values (n,) into out (n,)."""
    for k in range(len(out)):
        out[k] = values[k]


@kernel
def padded(width):  # type: ignore[no-untyped-def]
    """Return the length of a padded row that holds `width` pixels."""
    return LANES * -(-width // LANES)


@kernel(error_model="numpy")
def load_crop(pixels, calibration, crop):  # type: ignore[no-untyped-def]
    """Write a crop (h, w) in ADU as a Crop in electrons."""
    gain, offset, variance = calibration.gain, calibration.offset, calibration.variance
    height, width = pixels.shape
    for y in range(height):
        source, row, noise = pixels[y], crop.electrons[y], crop.variance[y]
        for x in range(width):
            e = (source[x] - offset) * gain
            seen = abs(e) < math.inf
            row[x] = e if seen else 0.0
            noise[x] = variance if seen else math.inf


@kernel(error_model="numpy")
def blank_lanes(width, electrons, variance):  # type: ignore[no-untyped-def]
    """Make the pixels of every row beyond `width` missing."""
    for y in range(electrons.shape[0]):
        for x in range(width, electrons.shape[1]):
            electrons[y, x], variance[y, x] = 0.0, math.inf


@kernel(error_model="numpy")
def cut_crop(frame, corner, sensor, crop):  # type: ignore[no-untyped-def]
    """Write the square crop of a frame (y, x) whose first pixel is `corner` (y, x); return how many of its pixels are
    seen, and how many saturated.

    It may reach outside the field. Each of the sensor's maps is (y, x) or (1, x), whatever the others are.
    """
    top, left = corner
    size, (height, width) = crop.width, frame.shape
    first, last = max(0, -left), min(size, width - left)
    begin, end = max(0, -top), min(size, height - top)
    if first < last:
        near = np.float32(0)
        for y in range(begin, end):  # their memory comes for all rows at once: a sixth of a spot's time otherwise
            near += frame[top + y, left + first] + frame[top + y, left + last - 1]
        crop.electrons[0, 0] = near
    if max(first, begin) > 0 or min(last, end) < size:
        blank_lanes(0, crop.electrons, crop.variance)
    seen = saturated = 0
    for y in range(begin, end):
        counts = cut_row(frame, (top + y, left + first), sensor, (y, first, last), crop)
        seen, saturated = seen + counts[0], saturated + counts[1]
    return seen, saturated


@kernel(error_model="numpy")
def cut_row(frame, corner, sensor, at, crop):  # type: ignore[no-untyped-def]
    """Write the pixels from `corner` on into a row of a crop, at (row, first, one past the last); return how many are
    seen, and how many saturated."""
    offset, gain, dark = sensor.offset, sensor.gain, sensor.variance
    row, first, left, to = np.uint64(corner[0]), np.uint64(at[1]), np.uint64(corner[1]), np.uint64(at[0])
    of_offset, of_gain = np.uint64(corner[0] % len(offset)), np.uint64(corner[0] % len(gain))
    of_dark = np.uint64(corner[0] % len(dark))
    seen = saturated = 0
    for k in range(at[2] - at[1]):
        i, x = np.uint64(k) + left, np.uint64(k) + first
        e = (frame[row, i] - offset[of_offset, i]) * gain[of_gain, i]
        known = abs(e) < math.inf
        crop.electrons[to, x] = e if known else 0.0
        crop.variance[to, x] = dark[of_dark, i] if known else math.inf
        seen += known
        saturated += frame[row, i] >= sensor.saturation
    return seen, saturated


@kernel(error_model="numpy")
def pixels_seen(variance):  # type: ignore[no-untyped-def]
    """Return the number of pixels of a crop that are not missing."""
    count = 0
    for y in range(variance.shape[0]):
        for x in range(variance.shape[1]):
            count += variance[y, x] < math.inf
    return count
