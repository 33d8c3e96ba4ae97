"""The matched filter of spot detection: q and the background of every pixel of a frame.

q = (G − B) ∗ e over electrons e, G a Gaussian of the PSF's σ and B a wide box; the background λ is the box's mean.
Frames are gone through once, row by row: what columns need of the rows before lies in the nearest cache.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

FILTERED, BACKGROUND = 0, 1
WORD_PX = 8  # of marks, which are looked at together
PAIRS = 4  # of weights that one loop adds up without writing: a third of the time of a loop for each


class Search(NamedTuple):
    """The matched filter, its thresholds and the memory of a detection in frames (y, x).

    weights (1 + n · PAIRS,) float32: the Gaussian from its centre on, then zeros; reach: of the box, a power of two;
    electrons (y, x + 2 · pad) float32, pad > reach and ≥ the number of weights: scratch; rows (4, r, x + 2 · pad)
    float32: scratch, r a power of two above 2 · pad; filtered (2, y, x) float32: q and the background λ; marks (y, ≥ x)
    uint8: which pixels exceed the lowest threshold, its rows whole words of 8. squares: Σ G² along y (y,) and along x
    (x,), larger at the borders, where pixels are repeated, and 1/|B|; table: of `thresholds`; candidates (n, 7).
    """

    weights: Any
    reach: int
    electrons: Any
    rows: Any
    filtered: Any
    marks: Any
    squares: Any
    table: Any
    candidates: Any


@part(error_model="numpy")
def filter_frame(frame, window, sensor, least, search):  # type: ignore[no-untyped-def]
    """Write q and the background λ of the Window of a frame (y, x) into search.filtered from (0, 0) on.

    Its borders are repeated. sensor: Sensor, whose maps are (y, x) or (1, x); NaN is replaced by the pixel beside it.
    Pixels whose q² exceeds `least` of the variance of shot and read noise are marked.
    """
    offset, gain, variance = sensor.offset, sensor.gain, sensor.variance
    weights, reach, electrons = search.weights, search.reach, search.electrons
    smooth, boxed, sums, column = search.rows[0], search.rows[1], search.rows[2], search.rows[3, 0]
    top, bottom, left, right = window
    height, width = bottom - top, right - left
    pad, lag = (electrons.shape[1] - frame.shape[1]) // 2, max(reach, len(weights) - 1)
    column[:] = 0
    for y in range(height + lag):
        if y < height:
            row, at = electrons[y], top + y
            inner = row[pad : pad + width]
            seen = _to_electrons(frame[at], offset[at % len(offset)], gain[at % len(gain)], left, inner)
            if not seen and not _fill_gaps(inner) and y > 0:
                inner[:] = electrons[y - 1, pad : pad + width]
            row[:pad] = inner[0]
            row[pad + width : width + 2 * pad] = inner[width - 1]
            for k in range(1, len(weights), PAIRS):
                _smooth_row(row, pad, weights, k, smooth[y & (len(smooth) - 1), :width])
            _box_row(row, pad - reach, reach, sums, boxed[y & (len(boxed) - 1), :width])
        if y < lag:
            continue
        at = y - lag
        if at == 0:
            for k in range(-reach, reach):
                _add(boxed, min(max(k, 0), height - 1), column)
        q, background = search.filtered[FILTERED, at, :width], search.filtered[BACKGROUND, at, :width]
        for k in range(1, len(weights), PAIRS):
            _smooth_columns(smooth, at, height - 1, weights, k, q)
        moved = min(at + reach, height - 1), max(at - reach, 0)
        _background(boxed, moved, np.float32(1 / (2 * reach + 1)), column, background, q)
        _mark(q, background, variance[(top + at) % len(variance)], left, least, search.marks[at])


# Indices without a sign: numba looks at others whether they count from the end, and such loops are not vectorised.


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def _to_electrons(source, offset, gain, left, out):  # type: ignore[no-untyped-def]
    """Write the electrons of the pixels from `left` on; return whether all are finite."""
    first, odd = np.uint64(left), np.float32(0)
    for x in range(len(out)):
        i = np.uint64(x) + first
        e = (source[i] - offset[i]) * gain[i]
        out[x] = e
        odd += e * np.float32(0)
    return odd == 0


@part(error_model="numpy")
def _fill_gaps(row):  # type: ignore[no-untyped-def]
    """Replace pixels that are not finite by the one before, the first ones by the first finite one; False: none is.

    Zeros instead would make steps, which the filter answers like spots.
    """
    missing, last = 0, np.float32(0)
    for x in range(len(row) - 1, -1, -1):
        if abs(row[x]) < math.inf:
            last = row[x]
    for x in range(len(row)):
        if abs(row[x]) < math.inf:
            last = row[x]
        else:
            row[x] = last
            missing += 1
    return missing < len(row)


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_row(row, pad, weights, k, out):  # type: ignore[no-untyped-def]
    """Write the sums of the pixels in a row, whose first lies at `pad`, with the weights k … k + 3 of their neighbours;
    of k = 1 with that of the pixel, else with what is in `out`."""
    w0, w1, w2, w3, w4 = weights[0], weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
    before, at, after = np.uint64(pad - k - 3), np.uint64(pad), np.uint64(pad + k)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for x in range(len(out)):
        i, j = np.uint64(x) + before, np.uint64(x) + after
        total = w0 * row[np.uint64(x) + at] if k == 1 else out[x]
        total += w1 * (row[i + three] + row[j])
        total += w2 * (row[i + two] + row[j + one])
        total += w3 * (row[i + one] + row[j + two])
        total += w4 * (row[i] + row[j + three])
        out[x] = total


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_columns(rows, y, last, weights, k, out):  # type: ignore[no-untyped-def]
    """Write the same along columns, at row y of rows 0 … `last`, each kept at its number modulo all."""
    turn = len(rows) - 1
    w0, w1, w2, w3, w4 = weights[0], weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
    at = np.uint64(y & turn)
    a, b = np.uint64(max(y - k, 0) & turn), np.uint64(min(y + k, last) & turn)
    c, d = np.uint64(max(y - k - 1, 0) & turn), np.uint64(min(y + k + 1, last) & turn)
    e, f = np.uint64(max(y - k - 2, 0) & turn), np.uint64(min(y + k + 2, last) & turn)
    g, h = np.uint64(max(y - k - 3, 0) & turn), np.uint64(min(y + k + 3, last) & turn)
    for x in range(len(out)):
        total = w0 * rows[at, x] if k == 1 else out[x]
        total += w1 * (rows[a, x] + rows[b, x])
        total += w2 * (rows[c, x] + rows[d, x])
        total += w3 * (rows[e, x] + rows[f, x])
        total += w4 * (rows[g, x] + rows[h, x])
        out[x] = total


@part(error_model="numpy")
def _box_row(row, first, reach, scratch, out):  # type: ignore[no-untyped-def]
    """Write means over 2 · reach + 1 pixels from `first` on: sums of 2 or 4, of 4 of these …, plus the last pixel."""
    length, pixels, at = len(row), 2 * reach, 0
    while pixels > 2:
        pixels //= 4
    if pixels == 2:
        span = 2
        _sum_two(row, scratch[0, : length - 1])
    else:
        span = 4
        _sum_four(row, 1, scratch[0, : length - 3])
    while 4 * span < 2 * reach:
        _sum_four(scratch[at], span, scratch[1 - at, : length + 1 - 4 * span])
        span, at = 4 * span, 1 - at
    _mean_four(scratch[at, first:], span, row[first + 2 * reach :], out)


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_two(row, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = row[x] + row[np.uint64(x) + np.uint64(1)]


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_four(row, span, out):  # type: ignore[no-untyped-def]
    one, two, three = np.uint64(span), np.uint64(2 * span), np.uint64(3 * span)
    for x in range(len(out)):
        i = np.uint64(x)
        out[x] = (row[i] + row[i + one]) + (row[i + two] + row[i + three])


@kernel(error_model="numpy", fastmath={"contract"})
def _mean_four(sums, span, rest, out):  # type: ignore[no-untyped-def]
    """Write the sum of four and of the rest, over their number of pixels."""
    one, two, three = np.uint64(span), np.uint64(2 * span), np.uint64(3 * span)
    scale = np.float32(1 / (4 * span + 1))
    for x in range(len(out)):
        i = np.uint64(x)
        total = (sums[i] + sums[i + one]) + (sums[i + two] + sums[i + three])
        out[x] = (total + rest[x]) * scale


@kernel(error_model="numpy", fastmath={"contract"})
def _add(rows, y, column):  # type: ignore[no-untyped-def]
    at = np.uint64(y & (len(rows) - 1))
    for x in range(len(column)):
        column[x] += rows[at, x]


@kernel(error_model="numpy", fastmath={"contract"})
def _background(rows, moved, scale, column, background, q):  # type: ignore[no-untyped-def]
    """Move the sum of a column's box by one row; write the background, and subtract it from q."""
    turn = len(rows) - 1
    new, old = np.uint64(moved[0] & turn), np.uint64(moved[1] & turn)
    for x in range(len(q)):
        total = column[x] + rows[new, x]
        level = total * scale
        background[x] = level
        q[x] -= level
        column[x] = total - rows[old, x]


@kernel(error_model="numpy", fastmath={"contract"})
def _mark(q, background, variance, left, least, marks):  # type: ignore[no-untyped-def]
    """Mark pixels that exceed the lowest threshold of any background."""
    first = np.uint64(left)
    for x in range(len(q)):
        noise = max(background[x], np.float32(0)) + variance[np.uint64(x) + first]
        marks[x] = 1 if q[x] * abs(q[x]) > least * noise else 0
