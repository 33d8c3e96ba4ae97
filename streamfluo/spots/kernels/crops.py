"""Crops around spots, in electrons, as the fits and integrals want them.

A crop is a pair d, v (h, w): electrons without the offset, and their variance without light (read noise and rounding).
Pixels that are missing, NaN or outside the field have d = 0 and an infinite v, and so no weight. Rows are filled up
with such pixels to a multiple of LANES: loops without a remainder are a third faster at 11 pixels.
"""

import math

from numba import njit

LANES = 8
ROUNDING_ADU2 = 1 / 12  # variance that rounding to whole ADU adds


def lanes(width: int) -> int:
    """Return the length of a row that holds `width` pixels."""
    return -(-width // LANES) * LANES


@njit(nogil=True, cache=True, error_model="numpy")
def load_crop(pixels, offset, gain, variance, d, v):  # type: ignore[no-untyped-def]
    """Write a crop (h, w) in ADU as electrons d and variances v (h, ≥ w)."""
    height, width = pixels.shape
    for y in range(height):
        source, row, noise = pixels[y], d[y], v[y]
        for x in range(width):
            e = (source[x] - offset) * gain
            seen = abs(e) < math.inf
            row[x] = e if seen else 0.0
            noise[x] = variance if seen else math.inf


@njit(nogil=True, cache=True, error_model="numpy")
def blank_lanes(width, d, v):  # type: ignore[no-untyped-def]
    """Make the pixels of every row beyond `width` missing."""
    d[:, width:] = 0
    v[:, width:] = math.inf


@njit(nogil=True, cache=True, error_model="numpy")
def cut_crop(frame, top, left, size, offset, gain, variance, d, v):  # type: ignore[no-untyped-def]
    """Write the crop of a frame (y, x) whose first pixel is (top, left), with maps (y, x) or (1, 1) of the camera.

    d, v (size, ≥ size). Return how many of its pixels there are; it may reach outside the field.
    """
    height, width = frame.shape
    d[:] = 0
    v[:] = math.inf
    first, last = max(0, -left), min(size, width - left)
    mapped = offset.shape[0] > 1
    seen = 0
    for y in range(max(0, -top), min(size, height - top)):
        source, row, noise = frame[top + y], d[y], v[y]
        for x in range(first, last):
            i, j = (top + y, left + x) if mapped else (0, 0)
            e = (source[left + x] - offset[i, j]) * gain[i, j]
            if abs(e) < math.inf:
                row[x] = e
                noise[x] = variance[i, j]
                seen += 1
    return seen


@njit(nogil=True, cache=True, error_model="numpy")
def pixels_seen(v):  # type: ignore[no-untyped-def]
    """Return how many pixels of a crop there are."""
    count = 0
    for y in range(v.shape[0]):
        for x in range(v.shape[1]):
            count += v[y, x] < math.inf
    return count
