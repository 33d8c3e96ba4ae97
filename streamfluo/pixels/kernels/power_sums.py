"""Power sums about a pivot, per pixel, over a cell of frames; and the total of each frame."""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from .kernel import kernel, part

TILE_PX = 4096  # a tile's sums stay in the second-level cache; 2048 to 8192 measured alike within 10 %
LANES = 16


class PixelSums(NamedTuple):
    """Pivot, Σ d and Σ d² of d = x − pivot, smallest and largest value of every pixel, each (p,).

    `unseen` (p,): in how many frames a pixel of float frames was NaN; (0,) for integers, which never are.
    """

    pivot: Any
    total: Any
    squares: Any
    low: Any
    high: Any
    unseen: Any


@kernel
def accumulate(frames, sums, tiles, totals):  # type: ignore[no-untyped-def]
    """Add tiles (first, stop) of 4096 pixels of a cell of frames (n, p), n ≤ 32, to PixelSums. NaN is left out.

    totals (tiles, n): the total of each frame in each tile, written.
    With 16-bit pixels and int32 pivots every sum is an exact integer (a tile's totals fit 32 bits); else float64. The
    order of additions depends on the cell alone. Four frames are taken at a time so that each sum is loaded and stored
    once for four (1.9 × faster than one at a time).
    """
    pivot, total, squares, low, high, unseen = sums
    n, pixels = frames.shape
    tile_total = np.empty(TILE_PX, pivot.dtype)
    tile_squares = np.empty(TILE_PX, squares.dtype)
    for tile in range(tiles[0], tiles[1]):
        a, totals_here = tile * TILE_PX, totals[tile]
        m = min(TILE_PX, pixels - a)
        p, lo, hi = pivot[a : a + m], low[a : a + m], high[a : a + m]
        tile_total[:m] = 0
        tile_squares[:m] = 0
        f = 0
        while f + 4 <= n:
            r0, r1 = frames[f, a : a + m], frames[f + 1, a : a + m]
            r2, r3 = frames[f + 2, a : a + m], frames[f + 3, a : a + m]
            for i in range(m):
                d0, d1, d2, d3 = r0[i] - p[i], r1[i] - p[i], r2[i] - p[i], r3[i] - p[i]
                d0, d1, d2, d3 = seen_or_zero(d0), seen_or_zero(d1), seen_or_zero(d2), seen_or_zero(d3)
                tile_total[i] += (d0 + d1) + (d2 + d3)
                tile_squares[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
                lo[i] = lesser(lesser(lesser(lesser(lo[i], r0[i]), r1[i]), r2[i]), r3[i])
                hi[i] = greater(greater(greater(greater(hi[i], r0[i]), r1[i]), r2[i]), r3[i])
            totals_here[f] = row_total(r0)
            totals_here[f + 1] = row_total(r1)
            totals_here[f + 2] = row_total(r2)
            totals_here[f + 3] = row_total(r3)
            f += 4
        while f < n:
            r0 = frames[f, a : a + m]
            for i in range(m):
                d0 = seen_or_zero(r0[i] - p[i])
                tile_total[i] += d0
                tile_squares[i] += d0 * d0
                lo[i] = lesser(lo[i], r0[i])
                hi[i] = greater(hi[i], r0[i])
            totals_here[f] = row_total(r0)
            f += 1
        if len(unseen):
            for f in range(n):
                count_unseen(frames[f, a : a + m], unseen[a : a + m])
        for i in range(m):
            total[a + i] += tile_total[i]
            squares[a + i] += tile_squares[i]


def seen_or_zero(x):  # type: ignore[no-untyped-def]
    """Return x inside kernels, 0 for NaN; integers are returned as they are."""
    raise TypeError("seen_or_zero is for kernels only")


@overload(seen_or_zero)
def _seen_or_zero(x):  # type: ignore[no-untyped-def]
    if isinstance(x, types.Integer):
        return lambda x: x
    zero = np.float32(0) if x == types.float32 else np.float64(0)
    return lambda x: x if x == x else zero


@kernel
def lesser(low, x):  # type: ignore[no-untyped-def]
    """Return the lesser of two values, `low` for a NaN."""
    return x if x < low else low


@kernel
def greater(high, x):  # type: ignore[no-untyped-def]
    """Return the greater of two values, `high` for a NaN."""
    return x if x > high else high


@part
def count_unseen(row, unseen):  # type: ignore[no-untyped-def]
    """Count the NaN of a row in `unseen`, both (p,)."""
    for i in range(len(row)):
        unseen[i] += row[i] != row[i]


@kernel
def frame_totals(frames, totals):  # type: ignore[no-untyped-def]
    """Write the sum over the seen pixels of each frame, as `accumulate` does: frames (n, p), totals (n,)."""
    n, pixels = frames.shape
    totals[:] = 0
    for f in range(n):
        for a in range(0, pixels, TILE_PX):
            totals[f] += row_total(frames[f, a : a + TILE_PX])


def row_total(row):  # type: ignore[no-untyped-def]
    """Return the sum of a row inside kernels: of integers exactly; of floats without NaN, by 16 partial sums."""
    raise TypeError("row_total is for kernels only")


@overload(row_total)
def _row_total(row):  # type: ignore[no-untyped-def]
    if isinstance(row.dtype, types.Integer):
        return _integer_total
    return _float_total


def _integer_total(row):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for i in range(len(row)):
        total += np.int64(row[i])
    return total


def _float_total(row):  # type: ignore[no-untyped-def]
    # A single running sum waits for each addition in turn; sixteen of them fill the vector registers.
    lanes = np.zeros(LANES)
    stop = len(row) - len(row) % LANES
    for a in range(0, stop, LANES):
        for j in range(LANES):
            lanes[j] += seen_or_zero(row[a + j])
    for i in range(stop, len(row)):
        lanes[0] += seen_or_zero(row[i])
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total


POWER_TILE_PX = 1024  # eight frames, the pivot and four sums of a tile fit the first-level cache


@kernel
def add_powers(frames, pivot, sums, before, tiles):  # type: ignore[no-untyped-def]
    """Add a cell to the sums of d, d², … of d = x − pivot, each kept as two floats that together hold 106 bits.

    frames (n, p) with n ≤ 32; pivot (tiles, 1024); sums (tiles, powers, 2, 1024) with powers 2, 4, 6 or 8; before: the
    initial sums where another reader still holds them, (0, …) to continue `sums`; tiles (first, stop): which.
    Within the cell sums are float64; each is then added without error (TwoSum, Knuth, The Art of Computer Programming
    4.2.2): over 10⁶ frames float64 alone loses nine digits of the sixth cumulant. The sums of a tile are contiguous: at
    strides of megabytes they take twice as long.
    """
    total = np.empty((sums.shape[1], POWER_TILE_PX))
    for tile in range(tiles[0], tiles[1]):
        if len(before):
            sums[tile] = before[tile]
        total[:] = 0
        sum_powers(frames, tile * POWER_TILE_PX, pivot[tile], total)
        for power in range(sums.shape[1]):
            add_exactly(total[power], sums[tile, power, 0], sums[tile, power, 1])


@kernel
def median(frames, chosen, out):  # type: ignore[no-untyped-def]
    """Write the median of the chosen frames of each pixel: frames (n, p), chosen (k,), out (p,).

    Rows are sorted against each other by odd-even transposition: whole vectors at once, a few milliseconds for 17
    frames of 512 × 512 where a partition of each pixel takes seconds.
    """
    rows = np.empty((len(chosen), POWER_TILE_PX), frames.dtype)
    for a in range(0, frames.shape[1] if len(chosen) else 0, POWER_TILE_PX):
        m = min(POWER_TILE_PX, frames.shape[1] - a)
        for k in range(len(chosen)):
            rows[k, :m] = frames[chosen[k], a : a + m]
        for turn in range(len(chosen)):
            for k in range(turn % 2, len(chosen) - 1, 2):
                _sort_pair(rows[k], rows[k + 1])
        out[a : a + m] = rows[len(chosen) // 2, :m]


@part
def _sort_pair(a, b):  # type: ignore[no-untyped-def]
    for i in range(len(a)):
        low, high = min(a[i], b[i]), max(a[i], b[i])
        a[i], b[i] = low, high


@kernel
def cell_powers(frames, pivot, totals):  # type: ignore[no-untyped-def]
    """Write the sums of a cell alone: frames (n, p), pivot (tiles, 1024), totals (tiles, powers, 1024)."""
    totals[:] = 0
    for tile in range(totals.shape[0]):
        sum_powers(frames, tile * POWER_TILE_PX, pivot[tile], totals[tile])


@kernel
def add_sums(part, sums):  # type: ignore[no-untyped-def]
    """Add sums about the same pivot to sums, both (tiles, powers, 2, 1024)."""
    for tile in range(sums.shape[0]):
        for power in range(sums.shape[1]):
            add_exactly(part[tile, power, 0], sums[tile, power, 0], sums[tile, power, 1])
            for i in range(sums.shape[3]):
                sums[tile, power, 1, i] += part[tile, power, 1, i]


@kernel
def add_exactly(a, high, low):  # type: ignore[no-untyped-def]
    """Add a to the two-float numbers high + low, all (p,)."""
    for i in range(len(a)):
        s = high[i] + a[i]
        b = s - high[i]
        low[i] += (high[i] - (s - b)) + (a[i] - b)
        high[i] = s


@kernel
def sum_powers(frames, a, pivot, total):  # type: ignore[no-untyped-def]
    """Add Σ (x − pivot)^j of the tile from pixel a on to total[j − 1] (powers, 1024): frames (n, p), pivot (1024,).

    Eight frames at a time: one at a time is twice as slow.
    """
    n, m = frames.shape[0], min(len(pivot), frames.shape[1] - a)
    powers, b, f = total.shape[0], a + m, 0
    while f + 8 <= n:
        r = (
            *(frames[f, a:b], frames[f + 1, a:b], frames[f + 2, a:b], frames[f + 3, a:b]),
            *(frames[f + 4, a:b], frames[f + 5, a:b], frames[f + 6, a:b], frames[f + 7, a:b]),
        )
        if powers == 2:
            _add_eight_to_2(r, pivot[:m], total[0, :m], total[1, :m])
        else:
            _add_eight_to_4(r, pivot[:m], total[0, :m], total[1, :m], total[2, :m], total[3, :m])
        if powers >= 6:
            _add_eight_from_5(r, pivot[:m], 2, total[4, :m], total[5, :m])
        if powers >= 8:
            _add_eight_from_5(r, pivot[:m], 3, total[6, :m], total[7, :m])
        f += 8
    while f < n:
        _add_one(frames[f, a:b], pivot, total)
        f += 1


@part
def _add_one(row, pivot, total):  # type: ignore[no-untyped-def]
    for power in range(0, total.shape[0], 2):
        for i in range(len(row)):
            d = row[i] - pivot[i]
            e = d * d
            q = e if power >= 2 else 1.0
            q = q * e if power >= 4 else q
            q = q * e if power >= 6 else q
            total[power, i] += q * d
            total[power + 1, i] += q * e


@part
def _add_eight_to_2(r, pivot, s1, s2):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3, r4, r5, r6, r7 = r
    for i in range(len(pivot)):
        p = pivot[i]
        d0, d1, d2, d3 = r0[i] - p, r1[i] - p, r2[i] - p, r3[i] - p
        d4, d5, d6, d7 = r4[i] - p, r5[i] - p, r6[i] - p, r7[i] - p
        s1[i] += ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))
        s2[i] += ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))


@part
def _add_eight_to_4(r, pivot, s1, s2, s3, s4):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3, r4, r5, r6, r7 = r
    for i in range(len(pivot)):
        p = pivot[i]
        d0, d1, d2, d3 = r0[i] - p, r1[i] - p, r2[i] - p, r3[i] - p
        d4, d5, d6, d7 = r4[i] - p, r5[i] - p, r6[i] - p, r7[i] - p
        e0, e1, e2, e3 = d0 * d0, d1 * d1, d2 * d2, d3 * d3
        e4, e5, e6, e7 = d4 * d4, d5 * d5, d6 * d6, d7 * d7
        s1[i] += ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))
        s2[i] += ((e0 + e1) + (e2 + e3)) + ((e4 + e5) + (e6 + e7))
        s3[i] += ((d0 * e0 + d1 * e1) + (d2 * e2 + d3 * e3)) + ((d4 * e4 + d5 * e5) + (d6 * e6 + d7 * e7))
        s4[i] += ((e0 * e0 + e1 * e1) + (e2 * e2 + e3 * e3)) + ((e4 * e4 + e5 * e5) + (e6 * e6 + e7 * e7))


@kernel
def _add_eight_from_5(r, pivot, squarings, s_odd, s_even):  # type: ignore[no-untyped-def]
    """Add powers 5 and 6 (two factors d² times d and d²), or 7 and 8 (three)."""
    r0, r1, r2, r3, r4, r5, r6, r7 = r
    third = 1.0 if squarings == 3 else 0.0
    for i in range(len(pivot)):
        p = pivot[i]
        d0, d1, d2, d3 = r0[i] - p, r1[i] - p, r2[i] - p, r3[i] - p
        d4, d5, d6, d7 = r4[i] - p, r5[i] - p, r6[i] - p, r7[i] - p
        e0, e1, e2, e3 = d0 * d0, d1 * d1, d2 * d2, d3 * d3
        e4, e5, e6, e7 = d4 * d4, d5 * d5, d6 * d6, d7 * d7
        q0, q1, q2, q3 = e0 * e0, e1 * e1, e2 * e2, e3 * e3
        q4, q5, q6, q7 = e4 * e4, e5 * e5, e6 * e6, e7 * e7
        if third:
            q0, q1, q2, q3 = q0 * e0, q1 * e1, q2 * e2, q3 * e3
            q4, q5, q6, q7 = q4 * e4, q5 * e5, q6 * e6, q7 * e7
        s_odd[i] += ((q0 * d0 + q1 * d1) + (q2 * d2 + q3 * d3)) + ((q4 * d4 + q5 * d5) + (q6 * d6 + q7 * d7))
        s_even[i] += ((q0 * e0 + q1 * e1) + (q2 * e2 + q3 * e3)) + ((q4 * e4 + q5 * e5) + (q6 * e6 + q7 * e7))
