"""Central moments, cumulants and their standard errors from power sums about a pivot.

All work is on tiles of 1024 pixels (`power_sums.add_powers`), so that intermediate results stay in the cache. Frames
that wait for their cell are added to a copy of the tile: reading changes no sums. Pixels past the last one of the image
are zero throughout.

    m_n = ⟨δ^n⟩,   k_n = m_n − Σ_{i=1}^{n−1} C(n−1, i) k_{n−i} m_i,   m_1 = k_1 = 0        (δ = x − mean)
"""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.power_sums import seen_or_zero

SPLIT = 134217729.0  # 2^27 + 1: Veltkamp's splitting of a float64 into halves of 26 bits
BINOMIAL = np.array(
    [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 2, 1, 0, 0, 0, 0, 0],
        [1, 3, 3, 1, 0, 0, 0, 0],
        [1, 4, 6, 4, 1, 0, 0, 0],
        [1, 5, 10, 10, 5, 1, 0, 0],
        [1, 6, 15, 20, 15, 6, 1, 0],
        [1, 7, 21, 35, 35, 21, 7, 1],
    ],
    float,
)


class Powers(NamedTuple):
    """Power sums (tiles, powers, 2, 1024), those of waiting frames (tiles, powers, 1024) or (0, …), and all frames."""

    sums: Any
    waiting: Any
    frames: int


@kernel
def _two_sum(a, b):  # type: ignore[no-untyped-def]
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@kernel
def move_pivot(sums, n, shift):  # type: ignore[no-untyped-def]
    """Re-base power sums from a pivot to pivot + shift, without loss of accuracy.

    sums (tiles, powers, 2, p), n frames, shift (tiles, p), each a float32 value. Σ(d − c)^(k+1)·d^j is
    Σ(d − c)^k·d^(j+1) less c times Σ(d − c)^k·d^j, in two-float arithmetic of some 80 bits.
    """
    for tile in range(sums.shape[0]):
        for i in range(sums.shape[3]):
            if shift[tile, i] != 0:
                _shift_pixel(sums[tile, :, 0, i], sums[tile, :, 1, i], n, shift[tile, i])


@kernel
def _shift_pixel(high, low, n, c):  # type: ignore[no-untyped-def]
    order = len(high)
    a, b = np.empty(order + 1), np.empty(order + 1)
    a[0], b[0] = n, 0.0
    a[1:], b[1:] = high, low
    for k in range(order):
        for j in range(order - k):
            split = SPLIT * a[j]
            upper = split - (split - a[j])
            s, e = _two_sum(a[j + 1], -c * upper)
            e += b[j + 1] - (c * (a[j] - upper) + c * b[j])
            a[j], b[j] = _two_sum(s, e)
        high[k], low[k] = a[0], b[0]


@kernel
def _centre(high, low, n, order, m):  # type: ignore[no-untyped-def]
    """Write the central moments m[2 … order] (order + 1, p) of a tile's sums; m[1] is the mean less the pivot.

    Where m[1] exceeds the standard deviation the sums are re-based first: float64 would lose digits.
    """
    for i in range(m.shape[1]):
        d = (high[0, i] + low[0, i]) / n
        m[1, i] = d
        if d * d > 0.5 * (high[1, i] + low[1, i]) / n:
            _shift_pixel(high[:order, i], low[:order, i], n, np.float64(np.float32(d)))
    offset = m[1].copy()
    a = np.empty((order + 1, m.shape[1]))
    a[0] = 1.0
    for k in range(1, order + 1):
        for i in range(m.shape[1]):
            a[k, i] = (high[k - 1, i] + low[k - 1, i]) / n
    d = a[1].copy()
    for k in range(order):
        for j in range(order - k):
            _shift_row(a[j + 1], d, a[j])
        m[k + 1] = a[0]
    m[1] = offset


@part
def _shift_row(after, d, a):  # type: ignore[no-untyped-def]
    for i in range(len(a)):
        a[i] = after[i] - d[i] * a[i]


@kernel
def _subtract_product(factor, a, b, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] -= factor * a[i] * b[i]


@kernel
def _cumulants(m, order, k):  # type: ignore[no-untyped-def]
    """Write cumulants k[2 … order] from central moments m[2 … order], both (order + 1, p)."""
    for n in range(2, order + 1):
        k[n] = m[n]
        for j in range(2, n - 1):
            _subtract_product(BINOMIAL[n - 1, j], k[n - j], m[j], k[n])


@kernel
def _tile_sums(powers, tile, order, high, low):  # type: ignore[no-untyped-def]
    """Write a tile's sums to this order, with those of the waiting frames added."""
    sums, waiting = powers.sums, powers.waiting
    for j in range(order):
        high[j] = sums[tile, j, 0]
        low[j] = sums[tile, j, 1]
        if len(waiting):
            for i in range(high.shape[1]):
                s, e = _two_sum(high[j, i], waiting[tile, j, i])
                high[j, i] = s
                low[j, i] += e


@kernel
def read_moments(pivot, powers, order, as_cumulants, out):  # type: ignore[no-untyped-def]
    """Write the mean (order 1), the central moment or the cumulant of this order of every pixel.

    pivot (tiles, 1024); powers: Powers; out (p,).
    """
    sums, n = powers.sums, powers.frames
    side, least = sums.shape[3], max(order, 2)
    high, low = np.empty((least, side)), np.empty((least, side))
    m, k = np.empty((least + 1, side)), np.empty((least + 1, side))
    for tile in range(sums.shape[0]):
        _tile_sums(powers, tile, least, high, low)
        _centre(high, low, n, least, m)
        a = tile * side
        count = min(side, len(out) - a)
        if order == 1:
            out[a : a + count] = (pivot[tile] + m[1])[:count]
        elif as_cumulants:
            _cumulants(m, least, k)
            out[a : a + count] = k[order, :count]
        else:
            out[a : a + count] = m[order, :count]


@kernel
def read_error(powers, marks, marks_n, order, out):  # type: ignore[no-untyped-def]
    """Write the standard error of k_order of every pixel from the means of batches of consecutive frames.

    powers: Powers; marks: a tuple of the sums (tiles, powers, 1024) at the ends of batches, padded; marks_n (b,): the
    frames in them; the last batch ends now. To first order k_n changes by a batch's sum of its influence function, a
    polynomial in δ whose coefficients follow the differentiated recursion of the cumulants; the error is the spread of
    these sums.
    """
    sums, n = powers.sums, powers.frames
    side, least = sums.shape[3], max(order, 2)
    high, low, plain = np.empty((least, side)), np.empty((least, side)), np.empty((least, side))
    moved, squares, nothing = np.empty(side), np.empty(side), np.zeros(side)
    m, c = np.empty((least + 1, side)), np.empty((order + 1, side))
    batches, used = len(marks_n) + 1, 0.0
    for b in range(batches):
        frames = (n if b == batches - 1 else marks_n[b]) - (marks_n[b - 1] if b else 0)
        used += (frames / n) ** 2
    for tile in range(sums.shape[0]):
        _tile_sums(powers, tile, least, high, low)
        for j in range(least):
            for i in range(side):
                plain[j, i] = high[j, i] + low[j, i]
        _centre(high, low, n, least, m)
        _influence(m, order, c)
        squares[:] = 0
        for b in range(batches):
            last = b == batches - 1
            frames = (n if last else marks_n[b]) - (marks_n[b - 1] if b else 0)
            for i in range(side):
                moved[i] = c[0, i] * frames
            for j in range(order):
                now = plain[j] if last else marks[b][tile, j]
                before = marks[b - 1][tile, j] if b else nothing
                _add_weighted(c[j + 1], now, before, moved)
            _subtract_product(-1.0, moved, moved, squares)
        a = tile * side
        for i in range(min(side, len(out) - a)):
            out[a + i] = np.sqrt(squares[i] / (1 - used)) / n if used < 1 else np.nan


@part
def _add_weighted(weight, now, before, total):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        total[i] += weight[i] * (now[i] - before[i])


@part
def _influence(m, order, c):  # type: ignore[no-untyped-def]
    """Write the coefficients c[0 … order] of k_order's influence function in powers of x − pivot; it has zero mean."""
    side = m.shape[1]
    k = np.empty((order + 1, side))
    _cumulants(m, order, k)
    p = np.zeros((order + 1, order + 1, side))  # p[n, r]: coefficient of δ^r for k_n
    p[1, 1] = 1.0
    for n in range(2, order + 1):
        p[n, n] = 1.0
        for j in range(1, n):
            factor = BINOMIAL[n - 1, j]
            if j >= 2:
                for r in range(1, n - j + 1):
                    _subtract_product(factor, m[j], p[n - j, r], p[n, r])
            if n - j >= 2:
                for i in range(side):
                    p[n, j, i] -= factor * k[n - j, i]
    c[:] = 0
    for r in range(1, order + 1):
        for i in range(side):
            c[r, i] = p[order, r, i]
        if r >= 2:
            _subtract_product(1.0, p[order, r], m[r], c[0])
    for step in range(order):  # powers of δ = (x − pivot) − offset as powers of x − pivot: Horner's scheme
        for r in range(order - 1, step - 1, -1):
            _subtract_product(1.0, m[1], c[r + 1], c[r])


@part
def _add_squares(now, then, out):  # type: ignore[no-untyped-def]
    lanes = np.zeros((2, 16))  # sixteen sums at a time fill the vector registers; a tile is a multiple of sixteen
    for a in range(0, len(now), 16):
        for j in range(16):
            d = now[a + j] - then[a + j]
            lanes[0, j] += seen_or_zero(d * d)
            lanes[1, j] += seen_or_zero(now[a + j] * now[a + j])
    out[0] += lanes[0].sum()
    out[1] += lanes[1].sum()


@kernel
def doubling_change(powers, mark, mark_n, order, out):  # type: ignore[no-untyped-def]
    """Write Σ (k_j now − k_j at the mark)² and Σ k_j² over the pixels into out[j − 2] (order − 1, 2).

    powers: Powers; mark (tiles, powers, 1024): the sums after mark_n frames.
    """
    sums, n = powers.sums, powers.frames
    side = sums.shape[3]
    high, low = np.empty((order, side)), np.empty((order, side))
    m, now, then = np.empty((order + 1, side)), np.empty((order + 1, side)), np.empty((order + 1, side))
    out[:] = 0
    for tile in range(sums.shape[0]):
        _tile_sums(powers, tile, order, high, low)
        _centre(high, low, n, order, m)
        _cumulants(m, order, now)
        high[:] = mark[tile, :order]
        low[:] = 0
        _centre(high, low, mark_n, order, m)
        _cumulants(m, order, then)
        for j in range(2, order + 1):
            _add_squares(now[j], then[j], out[j - 2])
