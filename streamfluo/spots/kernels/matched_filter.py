"""The matched filter of spot detection: q and the background of every pixel of a frame.

q = (G − B) ∗ e over electrons e, G a Gaussian of the PSF's σ and B a wide box; the background λ is the box's mean.
Frames are gone through once, in bands of rows: what columns need of the rows before lies in the nearest caches.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

FILTERED, BACKGROUND = 0, 1
WORD_PX = 8  # of marks, which are looked at together
BAND = 16  # rows that a kernel goes through in one call
STRIP = 64  # rows down which one sum of the box's columns moves
PAIRS = 4  # of weights that one loop adds up without writing in between


class Search(NamedTuple):
    """The matched filter, its thresholds and the memory of a detection in frames (y, x).

    weights (1 + n · PAIRS,) float32: the Gaussian from its centre on, then zeros; reach: of the box, a power of two;
    electrons (y, x + 2 · pad) float32, pad > reach and ≥ the number of weights: scratch; rows (5, r, x + 2 · pad)
    float32: scratch, r a power of two above 2 · (pad + BAND); filtered (2, y, x) float32: q and the background λ; marks
    (y, ≥ x) uint8: which pixels exceed the lowest threshold; words (y, n) uint64: the same memory. squares: Σ G² along
    y (y,) and along x (x,), larger at the borders, where pixels are repeated, and 1/|B|; table: of `thresholds`;
    candidates (n, 7).
    """

    weights: Any
    reach: int
    electrons: Any
    rows: Any
    filtered: Any
    marks: Any
    words: Any
    squares: Any
    table: Any
    candidates: Any


@part(error_model="numpy")
def filter_frame(frame, window, sensor, least, search):  # type: ignore[no-untyped-def]
    """Write q and the background λ of the Window of a frame (y, x) into search.filtered from (0, 0) on.

    Its borders are repeated. sensor: Sensor, whose maps are (y, x) or (1, x); NaN is replaced by the pixel beside it.
    Pixels whose q² exceeds `least` of the variance of shot and read noise are marked.
    """
    weights, reach, electrons = search.weights, search.reach, search.electrons
    rows, q = search.rows, search.filtered[FILTERED]
    smooth, boxed, column = rows[0], rows[1], rows[4, 0]
    top, bottom, left, right = window
    height, width = bottom - top, right - left
    pad, lag = (electrons.shape[1] - frame.shape[1]) // 2, max(reach, len(weights) - 1)
    for first in range(0, height + lag, BAND):
        last = min(first + BAND, height)
        if first < last:
            if not _to_electrons(frame, (top, left), sensor, (first, last, pad, width), electrons):
                _fill_gaps(electrons, (first, last, pad, width))
            _repeat_borders(electrons, (first, last, pad, width))
            for k in range(1, len(weights), PAIRS):
                _smooth_rows(electrons, (first, last, pad, width), weights, k, smooth)
            _box_rows(electrons, (first, last, pad - reach, width), reach, rows)
        begin, end = max(first - lag, 0), min(first + BAND - lag, height)
        if begin < end:
            for k in range(1, len(weights), PAIRS):
                _smooth_columns(smooth, (begin, end, height - 1, width), weights, k, q)
            _subtract_background(boxed, (begin, end, height - 1, width), reach, column, search.filtered)
            _mark(search.filtered, (begin, end, width), sensor.variance, (top, left), least, search.marks)


# Each kernel goes through some rows, told by numbers: a slice takes and gives back its array, and each call
# takes time of its own. Indices have no sign: numba looks at others whether they count from the end, and
# such loops are not vectorised. Arrays of rows that are gone soon hold a row at its number modulo their length.


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def _to_electrons(frame, corner, sensor, at, out):  # type: ignore[no-untyped-def]
    """Write the electrons of pixels, at (first row, last row, first pixel, number); return whether all are finite."""
    offset, gain = sensor.offset, sensor.gain
    first, last, pad, width = at
    left, begin, odd = np.uint64(corner[1]), np.uint64(pad), np.float32(0)
    for y in range(first, last):
        line, row = np.uint64(corner[0] + y), np.uint64(y)
        of_offset, of_gain = np.uint64((corner[0] + y) % len(offset)), np.uint64((corner[0] + y) % len(gain))
        for x in range(width):
            i = np.uint64(x) + left
            e = (frame[line, i] - offset[of_offset, i]) * gain[of_gain, i]
            out[row, np.uint64(x) + begin] = e
            odd += e * np.float32(0)
    return odd == 0


@part(error_model="numpy")
def _fill_gaps(electrons, at):  # type: ignore[no-untyped-def]
    """Replace pixels that are not finite by the one before, the first ones by the first finite one; where a row has
    none, by those above.

    Zeros instead would make steps, which the filter answers like spots.
    """
    first, last, pad, width = at
    for y in range(first, last):
        seen, value = 0, np.float32(0)
        for x in range(pad + width - 1, pad - 1, -1):
            if abs(electrons[y, x]) < math.inf:
                value = electrons[y, x]
                seen += 1
        for x in range(pad, pad + width):
            if seen == 0 and y > 0:
                electrons[y, x] = electrons[y - 1, x]
            elif abs(electrons[y, x]) < math.inf:
                value = electrons[y, x]
            else:
                electrons[y, x] = value


@part(error_model="numpy")
def _repeat_borders(electrons, at):  # type: ignore[no-untyped-def]
    first, last, pad, width = at
    for y in range(first, last):
        left, right = electrons[y, pad], electrons[y, pad + width - 1]
        for x in range(pad):
            electrons[y, x] = left
            electrons[y, pad + width + x] = right


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_rows(electrons, at, weights, k, out):  # type: ignore[no-untyped-def]
    """Write the sums of pixels, at (first row, last row, first pixel, number), with the weights k … k + 3 of their
    neighbours in the row; of k = 1 with that of the pixel, else with what is in `out`."""
    first, last, pad, width = at
    w0, w1, w2, w3, w4 = weights[0], weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
    before, middle, after = np.uint64(pad - k - 3), np.uint64(pad), np.uint64(pad + k)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for y in range(first, last):
        row, to = np.uint64(y), np.uint64(y & (len(out) - 1))
        for x in range(width):
            i, j = np.uint64(x) + before, np.uint64(x) + after
            total = w0 * electrons[row, np.uint64(x) + middle] if k == 1 else out[to, x]
            total += w1 * (electrons[row, i + three] + electrons[row, j])
            total += w2 * (electrons[row, i + two] + electrons[row, j + one])
            total += w3 * (electrons[row, i + one] + electrons[row, j + two])
            total += w4 * (electrons[row, i] + electrons[row, j + three])
            out[to, x] = total


@kernel(error_model="numpy", fastmath={"contract"})
def _smooth_columns(rows, at, weights, k, q):  # type: ignore[no-untyped-def]
    """Write the same along columns, at (first row, last row, last row of all, number of pixels)."""
    first, last, most, width = at
    turn = len(rows) - 1
    w0, w1, w2, w3, w4 = weights[0], weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
    for y in range(first, last):
        middle, to = np.uint64(y & turn), np.uint64(y)
        a, b = np.uint64(max(y - k, 0) & turn), np.uint64(min(y + k, most) & turn)
        c, d = np.uint64(max(y - k - 1, 0) & turn), np.uint64(min(y + k + 1, most) & turn)
        e, f = np.uint64(max(y - k - 2, 0) & turn), np.uint64(min(y + k + 2, most) & turn)
        g, h = np.uint64(max(y - k - 3, 0) & turn), np.uint64(min(y + k + 3, most) & turn)
        for x in range(width):
            total = w0 * rows[middle, x] if k == 1 else q[to, x]
            total += w1 * (rows[a, x] + rows[b, x])
            total += w2 * (rows[c, x] + rows[d, x])
            total += w3 * (rows[e, x] + rows[f, x])
            total += w4 * (rows[g, x] + rows[h, x])
            q[to, x] = total


@part(error_model="numpy")
def _box_rows(electrons, at, reach, rows):  # type: ignore[no-untyped-def]
    """Write means over 2 · reach + 1 pixels into rows[1], at (first row, last row, first pixel, number): sums of 2 or 4
    neighbours, of 4 of these and so on, and the last pixel."""
    first, last, left, width = at
    pixels, turn = 2 * reach, 2
    while pixels > 2:
        pixels //= 4
    span = 2 if pixels == 2 else 4
    if span == 2:
        _sum_two(electrons, (first, last), rows[turn])
    else:
        _sum_four(electrons, (first, last), 1, rows[turn])
    while 4 * span < 2 * reach:
        _sum_four(rows[turn], (first, last), span, rows[5 - turn])
        span, turn = 4 * span, 5 - turn
    _mean_four(rows[turn], electrons, (first, last, left, width), span, rows[1])


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_two(electrons, at, out):  # type: ignore[no-untyped-def]
    for y in range(at[0], at[1]):
        row, to = np.uint64(y), np.uint64(y & (len(out) - 1))
        for x in range(electrons.shape[1] - 1):
            out[to, x] = electrons[row, x] + electrons[row, np.uint64(x) + np.uint64(1)]


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_four(rows, at, step, out):  # type: ignore[no-untyped-def]
    """Write sums of four pixels, each `step` from the next, of all in the rows: the last ones are not read."""
    one, two, three = np.uint64(step), np.uint64(2 * step), np.uint64(3 * step)
    for y in range(at[0], at[1]):
        row, to = np.uint64(y % len(rows)), np.uint64(y & (len(out) - 1))  # the first rows may be those of a frame
        for x in range(rows.shape[1] - 3 * step):
            i = np.uint64(x)
            out[to, i] = (rows[row, i] + rows[row, i + one]) + (rows[row, i + two] + rows[row, i + three])


@kernel(error_model="numpy", fastmath={"contract"})
def _mean_four(sums, electrons, at, span, out):  # type: ignore[no-untyped-def]
    """Write the means of four sums of `span` pixels and of the pixel behind them."""
    first, last, left, width = at
    begin, scale = np.uint64(left), np.float32(1 / (4 * span + 1))
    one, two, three = np.uint64(left + span), np.uint64(left + 2 * span), np.uint64(left + 3 * span)
    behind = np.uint64(left + 4 * span)
    for y in range(first, last):
        row, of, to = np.uint64(y), np.uint64(y & (len(sums) - 1)), np.uint64(y & (len(out) - 1))
        for x in range(width):
            i = np.uint64(x)
            total = (sums[of, i + begin] + sums[of, i + one]) + (sums[of, i + two] + sums[of, i + three])
            out[to, i] = (total + electrons[row, i + behind]) * scale


@kernel(error_model="numpy", fastmath={"contract"})
def _subtract_background(rows, at, reach, column, filtered):  # type: ignore[no-untyped-def]
    """Move the sums of columns down, at (first row, last row, last row of all, number of pixels); write the background,
    and subtract it from q."""
    first, last, most, width = at
    turn, scale = len(rows) - 1, np.float32(1 / (2 * reach + 1))
    q, background = np.uint64(FILTERED), np.uint64(BACKGROUND)
    for y in range(first, last):
        if y % STRIP == 0:  # anew: a sum that moves down carries what it rounds off
            for x in range(len(column)):
                column[x] = 0
            for k in range(y - reach, y + reach):
                row = np.uint64(min(max(k, 0), most) & turn)
                for x in range(len(column)):
                    column[x] += rows[row, x]
        new, old, to = np.uint64(min(y + reach, most) & turn), np.uint64(max(y - reach, 0) & turn), np.uint64(y)
        for x in range(width):
            total = column[x] + rows[new, x]
            level = total * scale
            filtered[background, to, x] = level
            filtered[q, to, x] -= level
            column[x] = total - rows[old, x]


@kernel(error_model="numpy", fastmath={"contract"})
def _mark(filtered, at, variance, corner, least, marks):  # type: ignore[no-untyped-def]
    """Mark pixels, at (first row, last row, number), that exceed the lowest threshold of any background."""
    first, last, width = at
    q, background, left = np.uint64(FILTERED), np.uint64(BACKGROUND), np.uint64(corner[1])
    for y in range(first, last):
        row, line = np.uint64(y), np.uint64((corner[0] + y) % len(variance))
        for x in range(width):
            value = filtered[q, row, x]
            noise = max(filtered[background, row, x], np.float32(0)) + variance[line, np.uint64(x) + left]
            marks[row, x] = 1 if value * abs(value) > least * noise else 0
