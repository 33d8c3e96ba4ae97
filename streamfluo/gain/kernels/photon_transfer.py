"""Sums for photon transfer, per pixel, over a cell of frames; statistics of pixels and their bins by brightness."""

import numpy as np
from numba import njit, types
from numba.extending import overload

from ...pixels.kernels.power_sums import LANES, row_total

TILE_PX = 4096
PROBE_EVERY_PX, PROBE_PX = 1024, 64  # a sixteenth of a frame tells a change of the light level
LEVEL_STEP = 0.1  # a mean that changes by more from one frame to the next is another light level


@njit(nogil=True, cache=True)
def accumulate_steps(frames, linked, pivot, last, total, squares, steps, high, totals):  # type: ignore[no-untyped-def]
    """Add a cell to the sums of d = x − pivot, of d² and of squared steps (x(t) − x(t−1))², and to the maximum.

    frames (n, p) with n ≤ 32; linked (n,) whether a frame's step from the one before counts; pivot, last (the frame
    before, which becomes the cell's last), total, squares, steps, high (p,); totals (n,) of each frame. Exact integers
    for 16-bit pixels and int32 pivots. Frames are taken four at a time, as in `moments.accumulate`.
    """
    n, pixels = frames.shape
    tile_total = np.empty(TILE_PX, pivot.dtype)
    tile_squares, tile_steps = np.empty(TILE_PX, squares.dtype), np.empty(TILE_PX, squares.dtype)
    totals[:] = 0
    for a in range(0, pixels, TILE_PX):
        m = min(TILE_PX, pixels - a)
        p, h, before = pivot[a : a + m], high[a : a + m], last[a : a + m]
        tile_total[:m] = 0
        tile_squares[:m] = 0
        tile_steps[:m] = 0
        f = 0
        while f < n:
            r0 = frames[f, a : a + m]
            if f + 4 <= n and linked[f] and linked[f + 1] and linked[f + 2] and linked[f + 3]:
                r1, r2, r3 = frames[f + 1, a : a + m], frames[f + 2, a : a + m], frames[f + 3, a : a + m]
                for i in range(m):
                    d0, d1, d2, d3 = r0[i] - p[i], r1[i] - p[i], r2[i] - p[i], r3[i] - p[i]
                    e0, e1, e2, e3 = d0 - (before[i] - p[i]), d1 - d0, d2 - d1, d3 - d2
                    tile_total[i] += (d0 + d1) + (d2 + d3)
                    tile_squares[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
                    tile_steps[i] += (e0 * e0 + e1 * e1) + (e2 * e2 + e3 * e3)
                    h[i] = max(h[i], max(max(r0[i], r1[i]), max(r2[i], r3[i])))
                totals[f] += finite_total(r0)
                totals[f + 1] += finite_total(r1)
                totals[f + 2] += finite_total(r2)
                totals[f + 3] += finite_total(r3)
                before = r3
                f += 4
                continue
            counts = linked[f]
            for i in range(m):
                d0 = r0[i] - p[i]
                e0 = (d0 - (before[i] - p[i])) * counts
                tile_total[i] += d0
                tile_squares[i] += d0 * d0
                tile_steps[i] += e0 * e0
                h[i] = max(h[i], r0[i])
            totals[f] += finite_total(r0)
            before = r0
            f += 1
        for i in range(m):
            total[a + i] += tile_total[i]
            squares[a + i] += tile_squares[i]
            steps[a + i] += tile_steps[i]
            last[a + i] = before[i]


@njit(nogil=True, cache=True)
def find_links(frames, last, follows, linked):  # type: ignore[no-untyped-def]
    """Write into linked (n,) whether each frame has the light level of the one before; `follows`: whether `last` is it.

    frames (n, p), last (p,). A sixteenth of the pixels is looked at; they change by LEVEL_STEP of their mean at most.
    """
    before = 0.0
    for a in range(0, len(last), PROBE_EVERY_PX):
        before += finite_total(last[a : a + PROBE_PX])
    for f in range(len(frames)):
        now = 0.0
        for a in range(0, len(last), PROBE_EVERY_PX):
            now += finite_total(frames[f, a : a + PROBE_PX])
        linked[f] = (f > 0 or follows) and abs(now - before) <= LEVEL_STEP * max(abs(now), abs(before))
        before = now


@njit(nogil=True, cache=True)
def pixel_statistics(pivot, total, squares, steps, frames, pairs, mean, variance, steps_variance):  # type: ignore[no-untyped-def]
    """Write mean, unbiased variance and half the mean squared step of each pixel from sums about the pivot, all (p,).

    `frames` ≥ 2 and `pairs` ≥ 1 are how many frames and steps the sums hold.
    """
    for i in range(len(mean)):
        mean[i] = pivot[i] + total[i] / frames
        variance[i] = max((squares[i] - total[i] * (total[i] / frames)) / (frames - 1), 0.0)
        steps_variance[i] = steps[i] / (2.0 * pairs)


@njit(nogil=True, cache=True)
def bin_pixels(x, y, used, low, high, sums):  # type: ignore[no-untyped-def]
    """Add every used pixel to sums (bins, 6) of 1, x, y, x², x·y, y² by its x; the outer bins take what lies beyond."""
    bins = len(sums)
    scale = bins / (high - low)
    for i in range(len(x)):
        if used[i]:
            b = int(min(max((x[i] - low) * scale, 0.0), bins - 1.0))
            s = sums[b]
            s[0] += 1.0
            s[1] += x[i]
            s[2] += y[i]
            s[3] += x[i] * x[i]
            s[4] += x[i] * y[i]
            s[5] += y[i] * y[i]


@njit(nogil=True, cache=True)
def deviations(x, above, dark, floor, slope, dark_level, flicker2, own, common, extra, z):  # type: ignore[no-untyped-def]
    """Write into z (p,) how far each pixel's variance lies off floor + slope · x, in standard errors.

    `above` is the variance above that of dark frames, `dark`; the share of the illumination, flicker2 · light² with
    light = x − dark_level, is subtracted. The variance of a variance v is own · v² + common · light² · v + extra.
    """
    for i in range(len(x)):
        light = x[i] - dark_level
        level = floor + dark + slope * x[i]
        noise2 = max(own * level * level + common * light * light * level + extra, 1e-12)
        z[i] = abs(above[i] + dark - flicker2 * light * light - level) / np.sqrt(noise2)


@njit(nogil=True, cache=True)
def excess_scatter(x, above, used, least, dark, floor, slope, dark_level, flicker2, own, common, extra):  # type: ignore[no-untyped-def]
    """Return (n, excess, expected) of used pixels with x > least: variance of above / (floor + slope · x) over the
    pixels beyond what noise explains, and what it does; the arguments as in `deviations`."""
    n, total, squares, expected = 0, 0.0, 0.0, 0.0
    for i in range(len(x)):
        if used[i] and x[i] > least:
            light = x[i] - dark_level
            level = floor + slope * x[i]
            noisy = level + dark
            ratio = (above[i] - flicker2 * light * light) / level - 1.0
            n += 1
            total += ratio
            squares += ratio * ratio
            expected += (own * noisy * noisy + common * light * light * noisy + extra) / (level * level)
    if n == 0:
        return 0, 0.0, 0.0
    return n, squares / n - (total / n) ** 2 - expected / n, expected / n


@njit(nogil=True, cache=True)
def per_pixel_gains(x, above, shift, lift, clear, dark, floor, slope, dark_level, flicker2, own, common, extra, gains):  # type: ignore[no-untyped-def]
    """Write each pixel's gain, (x + shift) / (above − lift) without the share of the illumination, NaN below `clear` σ.

    The mean of 1 / y is larger than 1 / (mean of y) by the relative variance of y, which is taken out; the arguments
    as in `deviations`.
    """
    for i in range(len(x)):
        light = x[i] - dark_level
        y = above[i] - lift - flicker2 * light * light
        lit, noisy = slope * (x[i] + shift), max(floor + dark + slope * x[i], 0.0)
        noise2 = own * noisy * noisy + common * light * light * noisy + extra
        seen = y > 0 and lit > clear * np.sqrt(noise2)
        gains[i] = (x[i] + shift) / y * (1 - noise2 / (lit * lit)) if seen else np.nan


@njit(nogil=True, cache=True)
def median_and_mad(rows, median, mad):  # type: ignore[no-untyped-def]
    """Write median and median absolute deviation of each row of rows (p, n), n ≥ 1, sorted beforehand.

    Deviations come in order by walking from the median to both sides at once.
    """
    n = rows.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        centre = 0.5 * (np.float64(row[(n - 1) // 2]) + np.float64(row[n // 2]))
        low, high = (n - 1) // 2, (n - 1) // 2 + 1
        before = last = 0.0
        for _ in range(n // 2 + 1):
            before = last
            if high == n or (low >= 0 and centre - row[low] <= row[high] - centre):
                last = abs(centre - row[low])
                low -= 1
            else:
                last = abs(row[high] - centre)
                high += 1
        known = row[n - 1] == row[n - 1]  # NaN is sorted to the end
        median[i] = centre if known else np.nan
        mad[i] = (last if n % 2 else 0.5 * (before + last)) if known else np.nan


def finite_total(row):  # type: ignore[no-untyped-def]
    """Return the sum of a row inside kernels as `moments.row_total` does, of floats without those that are none."""
    raise TypeError("finite_total is for kernels only")


@overload(finite_total)
def _finite_total(row):  # type: ignore[no-untyped-def]
    if isinstance(row.dtype, types.Integer):
        return _integer_total
    return _total_of_finite


def _integer_total(row):  # type: ignore[no-untyped-def]
    return row_total(row)


def _total_of_finite(row):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES)
    whole = len(row) - len(row) % LANES
    for a in range(0, whole, LANES):
        for j in range(LANES):
            x = np.float64(row[a + j])
            lanes[j] += x if x - x == 0.0 else 0.0
    for i in range(whole, len(row)):
        x = np.float64(row[i])
        lanes[0] += x if x - x == 0.0 else 0.0
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total
