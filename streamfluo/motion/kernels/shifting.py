"""Frames resampled at a rigid shift, and the template as the running mean of them."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import of_rank
from ...pixels.kernels.seen import Window
from .frame_rows import BLOCK_PX, fill_levels, rise
from .gauss_newton import Light

_RATE, _LEVEL, _LOCAL = (np.uint64(n) for n in range(3))  # of the rows of scratch
_A, _B, _AA, _BB, _AB, _N = (np.uint64(n) for n in range(6))  # of the sums for a correlation


class CorrectedFrame(NamedTuple):
    """A frame after correction (y, x) float32: what of it is registered (high-passed or not), and its pixels [ADU].

    window: what lay inside the seen part of the frame; light: how its light differs from the template's.
    """

    registered: np.ndarray
    pixels: np.ndarray
    window: Window
    light: Light


class FrameCounts(NamedTuple):
    """The number of frames in which each row (y,) and each column (x,) of the template was inside, int64.

    memory: the mean forgets frames older than this number.
    """

    rows: np.ndarray
    columns: np.ndarray
    memory: int


class BlockNoise(NamedTuple):
    """The noise variance [ADU²] and the mean intensity [ADU] of each block (by, bx)."""

    variance: np.ndarray
    intensity: np.ndarray


@kernel
def shift_frame(frame, y_px, x_px, coefficients, row, shifted, rows):  # type: ignore[no-untyped-def]
    """Write rows (first, stop) of shifted(y, x) = frame(y + y_px, x + x_px), by six-point interpolation on each axis.

    frame (y, x); coefficients: interpolation_weights.SIX; row (x + 2·(|x_px| + 5)) or longer, float32: scratch;
    shifted (y, x) float32. The nearest pixel is repeated outside the frame. Returns the integer shifts below (y, x) and
    the fraction of a pixel's noise variance that interpolation leaves. Cost at 512 × 512: 4 copies.
    """
    height, width = frame.shape
    shift_y, shift_x = int(np.floor(y_px)), int(np.floor(x_px))
    weights_y, weights_x = np.empty(6, np.float32), np.empty(6, np.float32)
    kept_y = _weights(coefficients, y_px - shift_y, weights_y)
    kept_x = _weights(coefficients, x_px - shift_x, weights_x)
    ring = np.empty((8, width), np.float32)  # the last rows, converted once instead of six times
    taken = rows[0] + shift_y - 2
    for y in range(rows[0], rows[1]):
        first = y + shift_y - 2
        while taken < first + 6:
            _convert_row(frame, np.uint64(min(max(taken, 0), height - 1)), ring, np.uint64(taken & 7))
            taken += 1
        pad = (len(row) - width) // 2
        _add_six_rows(ring, first, weights_y, row, pad)
        for x in range(pad):
            row[x], row[pad + width + x] = row[pad], row[pad + width - 1]
        _add_six_points(row, np.uint64(pad + shift_x - 2), weights_x, shifted, np.uint64(y))
    return shift_y, shift_x, kept_y * kept_x


# Rows are told by numbers, without a sign: a slice takes and gives back its array, and of an index with one numba asks
# whether it counts from the end.


@kernel
def _convert_row(frame, y, rows, to):  # type: ignore[no-untyped-def]
    for x in range(frame.shape[1]):
        rows[to, np.uint64(x)] = np.float32(frame[y, np.uint64(x)])


@kernel
def _add_six_rows(ring, first, weights, row, pad):  # type: ignore[no-untyped-def]
    """Write the weighted sum of six rows of the ring (8, x), from `first` on, to row from `pad` on."""
    w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    a, b, c = np.uint64(first & 7), np.uint64(first + 1 & 7), np.uint64(first + 2 & 7)
    d, e, f = np.uint64(first + 3 & 7), np.uint64(first + 4 & 7), np.uint64(first + 5 & 7)
    left = np.uint64(pad)
    for x in range(ring.shape[1]):
        i = np.uint64(x)
        row[i + left] = (ring[a, i] * w0 + ring[b, i] * w1) + (ring[c, i] * w2 + ring[d, i] * w3) + (
            ring[e, i] * w4 + ring[f, i] * w5)  # fmt: skip


@kernel
def _add_six_points(row, start, weights, out, y):  # type: ignore[no-untyped-def]
    """Write the weighted sums of six neighbours in a row, from `start` on, to row y of out."""
    w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    one, two, three, four, five = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
    for x in range(out.shape[1]):
        i = np.uint64(x) + start
        out[y, np.uint64(x)] = (row[i] * w0 + row[i + one] * w1) + (row[i + two] * w2 + row[i + three] * w3) + (
            row[i + four] * w4 + row[i + five] * w5)  # fmt: skip


@kernel
def _weights(coefficients, fraction, weights):  # type: ignore[no-untyped-def]
    kept = 0.0
    for k in range(len(weights)):
        value = 0.0
        for n in range(coefficients.shape[1] - 1, -1, -1):
            value = value * fraction + coefficients[k, n]
        weights[k] = value
        kept += value * value
    return kept


@kernel
def update_template(frame, template, counts, mean, rates, band):  # type: ignore[no-untyped-def]
    """Move rows (first, stop) of template.image and mean (y, x) float32 towards a CorrectedFrame inside its window.

    TemplateImages; FrameCounts, this frame counted; rates: mean_rate, float32, and whether the template is frozen. A
    pixel of the template moves by 1/n of its residual, n its number of frames, at least by 1/memory; the mean by
    mean_rate. The residual r is what the frame's light leaves, its gain and what is added to all of it: light that
    comes and goes would leave steps where frames end. What lies beyond the limit from its block's level counts with the
    weight (limit / |r|)³, which rejects hot pixels and cosmic rays; NaN counts as 0. A frozen
    template does not move, its mean does. Cost at 512 × 512: 3 copies.
    """
    registered, pixels, (top, bottom, left, right), light = frame
    image, _, _, limit, _ = template
    rows, columns, memory = counts
    mean_rate, frozen = rates
    first, stop, common = max(top, band[0]), min(bottom, band[1]), np.float32(0 if frozen else common_level(light))
    scratch = np.empty((3, image.shape[1]), np.float32)
    rate_x, level, local, by = scratch[0], scratch[1], scratch[2], -1
    for x in range(left, right):
        rate_x[x] = 1 / (light[0] * min(max(columns[x], 1), memory))
    for y in range(first, stop):
        if not frozen:
            if y // BLOCK_PX != by:
                by = y // BLOCK_PX
                fill_levels(light, by, common, level)
                _fill_local(light, by, common, local)
            told = light[0], rise(light[1], y), np.float32(1 / (light[0] * min(rows[y], memory)))
            _update_row(registered, (y, left, right), limit, told, scratch, image)
        _update_mean(pixels, (y, left, right), mean_rate, mean)


@part
def common_level(light):  # type: ignore[no-untyped-def]
    """Return the median level [ADU] of the blocks that were seen, less the slopes: what is added in the middle."""
    _, slope_y, slope_x, levels = light
    found, n = np.zeros(levels.size, np.float32), 0
    for by in range(0, levels.shape[0], 2):
        for bx in range(levels.shape[1]):
            level = levels[by, bx] - np.float32(BLOCK_PX) * (slope_y * np.float32(by) + slope_x * np.float32(bx))
            if level == level:
                found[n] = level
                n += 1
    return of_rank(found[:n], n // 2) if n else np.float32(0)


@part
def _fill_local(light, by, common, local):  # type: ignore[no-untyped-def]
    """Write what the level of each column's block (x,) has beyond what is added to the whole frame."""
    _, slope_y, slope_x, levels = light
    for bx in range(levels.shape[1]):
        beyond = levels[by, bx] - common - np.float32(BLOCK_PX) * (slope_y * np.float32(by) + slope_x * np.float32(bx))
        local[bx * BLOCK_PX : (bx + 1) * BLOCK_PX] = beyond if beyond == beyond else np.float32(0)


@kernel(error_model="numpy")
def _update_row(registered, at, limit, told, scratch, image):  # type: ignore[no-untyped-def]
    """Update the pixels at (y, left, right); told: the gain, what the slope adds, the row's rate.

    scratch (3, x): the columns' rates, the light's level and what of it is local.
    """
    gain, risen, rate = told
    y, left, by = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[0] // BLOCK_PX)
    for x in range(at[2] - at[1]):
        i = np.uint64(x) + left
        e = registered[y, i] - gain * image[y, i] - (scratch[_LEVEL, i] + risen)
        q = min(limit[by, i] / max(abs(e), np.float32(1e-20)), np.float32(1))
        d = (e * (q * q * q) + scratch[_LOCAL, i]) * max(rate, scratch[_RATE, i])
        image[y, i] += d if d == d else np.float32(0)


@kernel
def _update_mean(pixels, at, rate, mean):  # type: ignore[no-untyped-def]
    y, left = np.uint64(at[0]), np.uint64(at[1])
    for x in range(at[2] - at[1]):
        i = np.uint64(x) + left
        d = (pixels[y, i] - mean[y, i]) * rate
        mean[y, i] += d if d == d else np.float32(0)


@kernel
def update_noise(frame, template, by, scale, rate, noise):  # type: ignore[no-untyped-def]
    """Update the BlockNoise of the blocks in row `by` from a CorrectedFrame and TemplateImages.

    The variance moves by `rate` towards scale × Var(registered − template − light); NaN and residuals beyond the limit
    are left out. The intensity is the template's mean.
    """
    registered, _, _, (gain, slope, _, _) = frame
    image, _, _, limit, _ = template
    variance, intensity = noise
    height, width = image.shape
    levels, columns = np.empty(width, np.float32), np.zeros((4, width))
    fill_levels(frame[3], by, np.float32(0), levels)
    for y in range(by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)):
        _add_squares(
            (registered[y], image[y], levels, limit[by]), (gain, rise(slope, y)),
            (columns[0], columns[1], columns[2], columns[3]),
        )  # fmt: skip
    for bx in range(variance.shape[1]):
        n, total, squares, level = 0.0, 0.0, 0.0, 0.0
        for x in range(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)):
            n += columns[0, x]
            total += columns[1, x]
            squares += columns[2, x]
            level += columns[3, x]
        if n > 1:
            variance[by, bx] += rate * (scale * (squares - total * total / n) / (n - 1) - variance[by, bx])
            intensity[by, bx] = level / n


@kernel
def _add_squares(row, light, columns):  # type: ignore[no-untyped-def]
    (registered, image, level, limit), (gain, risen) = row, light
    number, total, squares, intensity = columns
    for x in range(len(number)):
        e = registered[x] - gain * image[x] - (level[x] + risen)
        fits = abs(e) <= limit[x]
        d = np.float64(e if fits else np.float32(0))
        number[x] += np.float64(1) if fits else np.float64(0)
        total[x] += d
        squares[x] += d * d
        intensity[x] += np.float64(image[x] if fits else np.float32(0))


@kernel
def correlation_sums(corrected, template, window, step, columns, band):  # type: ignore[no-untyped-def]
    """Add to columns (6, x) float32 what `coefficient` needs of two images (y, x) in every `step`-th row of a window,
    and return it of what was added till now.

    Of the columns (first, stop) from the left of the window on; NaN is left out. Values count from the template's
    first, beside which sums of float32 lose 10⁻⁶.
    """
    top, bottom, left, _ = window
    for y in range(top, bottom, step):
        _add_products(corrected, template, (y, left, *band), template[top, left], columns)
    return coefficient(columns)


@part
def coefficient(columns):  # type: ignore[no-untyped-def]
    """Return the correlation coefficient of two images from their `correlation_sums` (6, x), NaN if undefined."""
    total = np.zeros(6)
    for k in range(6):
        for x in range(columns.shape[1]):
            total[k] += columns[k, x]
    a, b, aa, bb, ab, n = total
    if n == 0:
        return np.nan
    scale = (aa - a * a / n) * (bb - b * b / n)
    return (ab - a * b / n) / np.sqrt(scale) if scale > 0 else np.nan


@kernel
def _add_products(corrected, template, at, level, columns):  # type: ignore[no-untyped-def]
    """Add the pixels of a row at (y, left, first, stop)."""
    y, left, begin = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    for x in range(at[3] - at[2]):
        i = np.uint64(x) + begin
        p, q = corrected[y, i + left] - level, template[y, i + left] - level
        both = p + q
        seen = both == both  # one comparison without a branch, so that the loop runs on vectors: a fifth of the time
        u, v = p if seen else np.float32(0), q if seen else np.float32(0)
        columns[_A, i] += u
        columns[_B, i] += v
        columns[_AA, i] += u * u
        columns[_BB, i] += v * v
        columns[_AB, i] += u * v
        columns[_N, i] += np.float32(1) if seen else np.float32(0)


@kernel
def bin_2x2(frame, limit, binned):  # type: ignore[no-untyped-def]
    """Write the sums of 2 × 2 pixels of frame (y, x), clipped at `limit`, NaN as 0, to binned (y // 2, x // 2)."""
    for y in range(binned.shape[0]):
        for x in range(binned.shape[1]):
            total = np.float32(0)
            for i in range(2):
                for j in range(2):
                    value = min(np.float32(frame[2 * y + i, 2 * x + j]), limit)
                    total += value if value == value else np.float32(0)
            binned[y, x] = total


@kernel
def fraction_from(frame, level, step):  # type: ignore[no-untyped-def]
    """Return the fraction of the pixels in every `step`-th row of a frame (y, x) that are ≥ `level`."""
    n, found = 0, 0
    for y in range(0, frame.shape[0], step):
        for x in range(frame.shape[1]):
            found += frame[y, x] >= level
        n += frame.shape[1]
    return found / n
