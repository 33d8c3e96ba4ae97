"""The matched filter of spot detection: q and the background of every pixel of a frame.

q = (G − B) ∗ e over electrons e, G a Gaussian of the PSF's σ and B a wide box; the background λ is the box's mean.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

FILTERED, BACKGROUND = 0, 1


class Search(NamedTuple):
    """The matched filter, its thresholds and the memory of a detection in frames (y, x).

    weights (k,) float32: the Gaussian from its centre on; reach: of the box, a power of two; padded (4, y + 2 · pad,
    x + 2 · pad) float32, pad > reach and ≥ k: scratch; filtered (2, y, x) float32: q and the background λ. squares:
    Σ G² along y (y,) and along x (x,), larger at the borders, where pixels are repeated, and 1/|B|; table: of
    `thresholds`; candidates (n, 7).
    """

    weights: Any
    reach: int
    padded: Any
    filtered: Any
    squares: Any
    table: Any
    candidates: Any


@part(error_model="numpy")
def filter_frame(frame, window, sensor, search):  # type: ignore[no-untyped-def]
    """Write q and the background λ of the Window of a frame (y, x) into search.filtered from (0, 0) on.

    Its borders are repeated. sensor: Sensor, whose maps are (y, x) or (1, x); NaN is replaced by the pixel beside it.
    """
    offset, gain, weights, reach, out = sensor.offset, sensor.gain, search.weights, search.reach, search.filtered
    top, bottom, left, right = window
    height, width = bottom - top, right - left
    padded = search.padded
    pad = (padded.shape[1] - frame.shape[0]) // 2
    electrons, smooth, boxed, double = padded[0], padded[1], padded[2], padded[3]
    for y in range(height):
        row, at = electrons[y + pad], top + y
        offsets, gains = offset[at % len(offset), left:right], gain[at % len(gain), left:right]
        _to_electrons(frame[at, left:right], offsets, gains, row[pad : pad + width])
        if not _fill_gaps(row[pad : pad + width]) and y > 0:
            row[:] = electrons[y + pad - 1]
        row[:pad] = row[pad]
        row[pad + width : width + 2 * pad] = row[pad + width - 1]
        _smooth_row(row, weights, pad, smooth[y + pad, pad : pad + width])
        _box_row(row, reach, pad, double, boxed[y + pad, pad : pad + width])
    for y in range(pad):
        smooth[y], boxed[y] = smooth[pad], boxed[pad]
        smooth[pad + height + y], boxed[pad + height + y] = smooth[pad + height - 1], boxed[pad + height - 1]
    column = np.zeros(width, np.float32)
    for y in range(pad - reach, pad + reach):
        _add(boxed[y, pad : pad + width], np.float32(1), column)
    for y in range(height):
        _add(boxed[y + pad + reach, pad : pad + width], np.float32(1), column)
        q, background = out[FILTERED, y, :width], out[BACKGROUND, y, :width]
        _smooth_columns(smooth, weights, y + pad, pad, q)
        _background(column, np.float32(1 / (2 * reach + 1)), background, q)
        _add(boxed[y + pad - reach, pad : pad + width], np.float32(-1), column)


# Loops over rows are functions on slices that begin at 0: loops with possibly negative indices are not vectorised.


@kernel(error_model="numpy", fastmath={"contract"})
def _to_electrons(source, offset, gain, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = (np.float32(source[x]) - offset[x]) * gain[x]


@part(error_model="numpy")
def _fill_gaps(row):  # type: ignore[no-untyped-def]
    """Replace pixels that are not finite by the one before, the first ones by the first finite one; False: none is.

    Zeros instead would make steps, which the filter answers like spots.
    """
    missing = 0
    for x in range(len(row)):
        missing += not abs(row[x]) < math.inf
    if missing == 0:
        return True
    last = np.float32(0)
    for x in range(len(row) - 1, -1, -1):
        if abs(row[x]) < math.inf:
            last = row[x]
    for x in range(len(row)):
        if abs(row[x]) < math.inf:
            last = row[x]
        else:
            row[x] = last
    return missing < len(row)


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_row(row, weights, pad, out):  # type: ignore[no-untyped-def]
    width = len(out)
    _scale(row[pad : pad + width], weights[0], out)
    for k in range(1, len(weights)):
        _add_pair(row[pad - k : pad - k + width], row[pad + k : pad + k + width], weights[k], out)


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_columns(smooth, weights, y, pad, out):  # type: ignore[no-untyped-def]
    width = len(out)
    _scale(smooth[y, pad : pad + width], weights[0], out)
    for k in range(1, len(weights)):
        _add_pair(smooth[y - k, pad : pad + width], smooth[y + k, pad : pad + width], weights[k], out)


@kernel(error_model="numpy", fastmath={"contract"})
def _box_row(row, reach, pad, double, out):  # type: ignore[no-untyped-def]
    """Write means over 2 · reach + 1 pixels: sums of 2, 4, 8 … neighbours, plus the last pixel."""
    sums, other = double[0], double[1]
    _sum_pair(row, 1, sums)
    span = 2
    while span < 2 * reach:
        _sum_pair(sums, span, other)
        sums, other = other, sums
        span *= 2
    scale = np.float32(1 / (2 * reach + 1))
    first, last = sums[pad - reach :], row[pad + reach :]
    for x in range(len(out)):
        out[x] = (first[x] + last[x]) * scale


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_pair(row, span, out):  # type: ignore[no-untyped-def]
    later = row[span:]
    for x in range(len(later)):
        out[x] = row[x] + later[x]


@kernel(error_model="numpy", fastmath={"contract"})
def _scale(row, factor, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = factor * row[x]


@kernel(error_model="numpy", fastmath={"contract"})
def _add_pair(one, other, factor, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] += factor * (one[x] + other[x])


@kernel(error_model="numpy", fastmath={"contract"})
def _add(row, sign, column):  # type: ignore[no-untyped-def]
    for x in range(len(column)):
        column[x] += sign * row[x]


@kernel(error_model="numpy", fastmath={"contract"})
def _background(column, scale, background, q):  # type: ignore[no-untyped-def]
    for x in range(len(column)):
        level = column[x] * scale
        background[x] = level
        q[x] -= level
