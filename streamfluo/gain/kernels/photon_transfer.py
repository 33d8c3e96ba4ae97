"""Photon transfer: sums of each pixel over a cell of frames, their statistics, bins by brightness, gains."""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ...pixels.kernels.kernel import kernel
from ...pixels.kernels.power_sums import LANES, row_total

TILE_PX = 4096
PROBE_EVERY_PX, PROBE_PX = 1024, 64  # a sixteenth of a frame shows a change of the light level
LEVEL_STEP = 0.1  # a mean that changes by more from one frame to the next is another light level


class PixelSums(NamedTuple):
    """Running sums of each pixel (p,) [ADU, ADU²]: of d = x − pivot, of d², of squared steps; last, largest, least.

    Exact integers for pixels of 8 and 16 bits with an int32 pivot, float64 else; last and high have the pixels' type.
    """

    pivot: np.ndarray
    last: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    steps: np.ndarray
    high: np.ndarray
    low: np.ndarray


class VarianceModel(NamedTuple):
    """The expected variance [ADU²] at x [ADU]: dark + floor + slope · x + flicker2 · light², light = x − dark_level.

    The sampling variance of a variance v is noise_factor · v² + cross_factor · light² · v + shot_factor · slope³ ·
    light + dark_error [ADU⁴], v without the share of the illumination; the shot term is the fourth cumulant of light.
    """

    dark: float
    floor: float
    slope: float
    dark_level: float
    flicker2: float
    noise_factor: float
    cross_factor: float
    shot_factor: float
    dark_error: float


@kernel
def accumulate_steps(frames, linked, sums, totals):  # type: ignore[no-untyped-def]
    """Add a cell to the PixelSums and write the total of each frame into totals (n,).

    frames (n, p) with n ≤ 32; linked (n,): whether the step x(t) − x(t−1) of a frame counts. Four frames are taken at
    a time, as in `moments.accumulate`.
    """
    n, pixels = frames.shape
    pivot, last, total, squares, steps, high, low = sums
    tile_total = np.empty(TILE_PX, pivot.dtype)
    tile_squares, tile_steps = np.empty(TILE_PX, squares.dtype), np.empty(TILE_PX, squares.dtype)
    totals[:] = 0
    for a in range(0, pixels, TILE_PX):
        m = min(TILE_PX, pixels - a)
        p, h, least, before = pivot[a : a + m], high[a : a + m], low[a : a + m], last[a : a + m]
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
                for i in range(m):  # a loop of its own: with so many arrays the one above is not vectorised
                    least[i] = min(least[i], min(min(r0[i], r1[i]), min(r2[i], r3[i])))
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
                least[i] = min(least[i], r0[i])
            totals[f] += finite_total(r0)
            before = r0
            f += 1
        for i in range(m):
            total[a + i] += tile_total[i]
            squares[a + i] += tile_squares[i]
            steps[a + i] += tile_steps[i]
            last[a + i] = before[i]


@kernel
def find_links(frames, last, follows, linked):  # type: ignore[no-untyped-def]
    """Write into linked (n,) whether each frame has the light level of the one before.

    frames (n, p); last (p,): the frame before them if `follows`. A sixteenth of the pixels is compared; a level
    changes by at most LEVEL_STEP of the mean from frame to frame.
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


@kernel
def pixel_statistics(sums, frames, pairs):  # type: ignore[no-untyped-def]
    """Return (mean, unbiased variance, half the mean squared step) of each pixel (p,) [ADU, ADU²] from PixelSums.

    `frames` ≥ 2 and `pairs` ≥ 1: the number of frames and of steps in the sums.
    """
    pivot, total, squares, steps = sums.pivot, sums.total, sums.squares, sums.steps
    mean, variance, steps_variance = np.empty(len(total)), np.empty(len(total)), np.empty(len(total))
    for i in range(len(mean)):
        mean[i] = pivot[i] + total[i] / frames
        variance[i] = max((squares[i] - total[i] * (total[i] / frames)) / (frames - 1), 0.0)
        steps_variance[i] = steps[i] / (2.0 * pairs)
    return mean, variance, steps_variance


@kernel
def bin_pixels(x, y, used, low, high, sums):  # type: ignore[no-untyped-def]
    """Add each used pixel to sums (bins, 6) of 1, x, y, x², x·y, y², binned by x; the outer bins are open."""
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


@kernel
def deviations(x, above, model):  # type: ignore[no-untyped-def]
    """Return the distance (p,) of each pixel's variance from a VarianceModel, in standard errors.

    x (p,) [ADU]; above (p,): the variance above the dark one [ADU²].
    """
    dark, floor, slope, dark_level, flicker2, noise_factor, cross_factor, shot_factor, dark_error = model
    shot = shot_factor * slope**3
    z = np.empty(len(x))
    for i in range(len(x)):
        light = x[i] - dark_level
        level = floor + dark + slope * x[i]
        noise2 = max(
            noise_factor * level * level + cross_factor * light * light * level + shot * max(light, 0.0) + dark_error,
            1e-12,
        )
        z[i] = abs(above[i] + dark - flicker2 * light * light - level) / np.sqrt(noise2)
    return z


@kernel
def excess_scatter(x, above, used, least, model):  # type: ignore[no-untyped-def]
    """Return (n, excess, expected) over the n used pixels with x > least.

    excess: the variance of above / (floor + slope · x) beyond `expected`, the sampling variance of a VarianceModel;
    x, above as in `deviations`.
    """
    dark, floor, slope, dark_level, flicker2, noise_factor, cross_factor, shot_factor, dark_error = model
    shot = shot_factor * slope**3
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
            noise2 = (
                noise_factor * noisy * noisy
                + cross_factor * light * light * noisy
                + shot * max(light, 0.0)
                + dark_error
            )
            expected += noise2 / (level * level)
    if n == 0:
        return 0, 0.0, 0.0
    return n, squares / n - (total / n) ** 2 - expected / n, expected / n


@kernel
def per_pixel_gains(x, above, shift, lift, clear, model):  # type: ignore[no-untyped-def]
    """Return the gain (p,) [e/ADU] of each pixel, (x + shift) / (above − lift) without the share of the illumination.

    NaN where the noise of the light is below `clear` standard errors. The mean of 1 / y exceeds 1 / (mean of y) by the
    relative variance of y, a bias that is subtracted; x, above and the VarianceModel as in `deviations`.
    """
    dark, floor, slope, dark_level, flicker2, noise_factor, cross_factor, shot_factor, dark_error = model
    shot = shot_factor * slope**3
    gains = np.empty(len(x))
    for i in range(len(x)):
        light = x[i] - dark_level
        y = above[i] - lift - flicker2 * light * light
        lit, noisy = slope * (x[i] + shift), max(floor + dark + slope * x[i], 0.0)
        noise2 = (
            noise_factor * noisy * noisy + cross_factor * light * light * noisy + shot * max(light, 0.0) + dark_error
        )
        seen = y > 0 and lit > clear * np.sqrt(noise2)
        gains[i] = (x[i] + shift) / y * (1 - noise2 / (lit * lit)) if seen else np.nan
    return gains


@kernel
def median_and_mad(values, median, mad):  # type: ignore[no-untyped-def]
    """Write the median and the median absolute deviation (p,) of each pixel of sorted values (p, n), n ≥ 1; NaN last.

    Walking from the median to both sides at once yields the deviations in order.
    """
    n = values.shape[1]
    for i in range(len(values)):
        row = values[i]
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
    """Return the sum of a row inside kernels as `power_sums.row_total` does, NaN and infinity counted as 0."""
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
    stop = len(row) - len(row) % LANES
    for a in range(0, stop, LANES):
        for j in range(LANES):
            x = np.float64(row[a + j])
            lanes[j] += x if x - x == 0.0 else 0.0
    for i in range(stop, len(row)):
        x = np.float64(row[i])
        lanes[0] += x if x - x == 0.0 else 0.0
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total
