"""Frames resampled at a rigid shift, and the template as the running mean of them."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import of_rank
from ...pixels.kernels.seen import Window
from .frame_rows import BLOCK_PX, convert_row, fill_levels, rise
from .gauss_newton import Light


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
    pad = (len(row) - width) // 2
    shift_y, shift_x = int(np.floor(y_px)), int(np.floor(x_px))
    weights_y, weights_x = np.empty(6, np.float32), np.empty(6, np.float32)
    kept_y = _weights(coefficients, y_px - shift_y, weights_y)
    kept_x = _weights(coefficients, x_px - shift_x, weights_x)
    ring = np.empty((8, width), np.float32)  # the last rows, converted once instead of six times
    taken = rows[0] + shift_y - 2
    for y in range(rows[0], rows[1]):
        middle = row[pad : pad + width]
        first = y + shift_y - 2
        while taken < first + 6:
            convert_row(frame[min(max(taken, 0), height - 1)], ring[taken & 7])
            taken += 1
        six = (ring[first & 7], ring[first + 1 & 7], ring[first + 2 & 7],
               ring[first + 3 & 7], ring[first + 4 & 7], ring[first + 5 & 7])  # fmt: skip
        _weighted_sum(six, weights_y, middle)
        row[:pad] = middle[0]
        row[pad + width :] = middle[width - 1]
        at = pad + shift_x - 2
        _convolve(row[at : at + width + 5], weights_x, shifted[y])
    return shift_y, shift_x, kept_y * kept_x


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


@part
def _convolve(row, weights, out):  # type: ignore[no-untyped-def]
    n = len(out)
    shifted = (row[:n], row[1 : n + 1], row[2 : n + 2], row[3 : n + 3], row[4 : n + 4], row[5 : n + 5])
    _weighted_sum(shifted, weights, out)


@kernel
def _weighted_sum(rows, weights, out):  # type: ignore[no-untyped-def]
    a, b, c, d, e, f = rows
    w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    for i in range(len(out)):
        out[i] = (a[i] * w0 + b[i] * w1) + (c[i] * w2 + d[i] * w3) + (e[i] * w4 + f[i] * w5)


@kernel
def update_template(frame, template, counts, mean, rates, band):  # type: ignore[no-untyped-def]
    """Move rows (first, stop) of template.image and mean (y, x) float32 towards a CorrectedFrame inside its window.

    TemplateImages; FrameCounts, this frame counted; rates: mean_rate, float32, whether the template is frozen, and the
    light's common level. A pixel of the template moves by 1/n of its residual, n its number of frames, at least by
    1/memory; the mean by mean_rate. The residual r is what the frame's light leaves, its gain and what is added to all
    of it: light that comes and goes would leave steps where frames end. What lies beyond the limit from its block's
    level counts with the weight (limit / |r|)³, which rejects hot pixels and cosmic rays; NaN counts as 0. A frozen
    template does not move, its mean does. Cost at 512 × 512: 3 copies.
    """
    registered, pixels, (top, bottom, left, right), light = frame
    image, _, limit, _ = template
    rows, columns, memory = counts
    mean_rate, frozen, common = rates
    first, stop = max(top, band[0]), min(bottom, band[1])
    rate_x = np.empty(right - left, np.float32)
    level, local = np.empty(image.shape[1], np.float32), np.empty(image.shape[1], np.float32)
    for x in range(left, right):
        rate_x[x - left] = 1 / (light[0] * min(max(columns[x], 1), memory))
    for y in range(first, stop):
        if not frozen:
            if y == first or y % BLOCK_PX == 0:
                fill_levels(light, y // BLOCK_PX, common, level)
                _fill_local(light, y // BLOCK_PX, common, local)
            rate = (np.float32(1 / (light[0] * min(rows[y], memory))), rate_x)
            lit = (level[left:right], local[left:right], light[0], rise(light[1], y))
            _update_row(registered[y, left:right], rate, limit[y // BLOCK_PX, left:right], lit, image[y, left:right])
        _update_mean(pixels[y, left:right], mean_rate, mean[y, left:right])


@kernel
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


@part
def _update_row(shifted, rates, limit, lit, template):  # type: ignore[no-untyped-def]
    (rate, rate_x), (level, local, gain, risen) = rates, lit
    for i in range(len(template)):
        e = shifted[i] - gain * template[i] - (level[i] + risen)
        q = min(limit[i] / max(abs(e), np.float32(1e-20)), np.float32(1))
        d = (e * (q * q * q) + local[i]) * max(rate, rate_x[i])
        template[i] += d if d == d else np.float32(0)


@part
def _update_mean(shifted, rate, mean):  # type: ignore[no-untyped-def]
    for i in range(len(mean)):
        d = (shifted[i] - mean[i]) * rate
        mean[i] += d if d == d else np.float32(0)


@kernel
def update_noise(frame, template, by, scale, rate, noise):  # type: ignore[no-untyped-def]
    """Update the BlockNoise of the blocks in row `by` from a CorrectedFrame and TemplateImages.

    The variance moves by `rate` towards scale × Var(registered − template − light); NaN and residuals beyond the limit
    are left out. The intensity is the template's mean.
    """
    registered, _, _, (gain, slope, _, _) = frame
    image, _, limit, _ = template
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
    """Add to columns (6, x) what `coefficient` needs of two images (y, x) in every `step`-th row of a window.

    Of the columns (first, stop) from the left of the window on; NaN is left out.
    """
    top, bottom, left, _ = window
    first, stop = band
    for y in range(top, bottom, step):
        p, q = corrected[y, left + first : left + stop], template[y, left + first : left + stop]
        _add_products(
            p, q,
            (columns[0, first:stop], columns[1, first:stop], columns[2, first:stop],
             columns[3, first:stop], columns[4, first:stop], columns[5, first:stop]),
        )  # fmt: skip


@kernel
def coefficient(columns):  # type: ignore[no-untyped-def]
    """Return the correlation coefficient of two images from their `correlation_sums` (6, x), NaN if undefined."""
    n = columns[5].sum()
    if n == 0:
        return np.nan
    a, b, aa, bb, ab = columns[0].sum(), columns[1].sum(), columns[2].sum(), columns[3].sum(), columns[4].sum()
    scale = (aa - a * a / n) * (bb - b * b / n)
    return (ab - a * b / n) / np.sqrt(scale) if scale > 0 else np.nan


@kernel
def _add_products(p, q, columns):  # type: ignore[no-untyped-def]
    a, b, aa, bb, ab, n = columns
    for i in range(len(p)):
        both = p[i] + q[i]
        seen = both == both  # one comparison without a branch, so that the loop runs on vectors: a fifth of the time
        u, v = np.float64(p[i] if seen else np.float32(0)), np.float64(q[i] if seen else np.float32(0))
        n[i] += np.float64(1) if seen else np.float64(0)
        a[i] += u
        b[i] += v
        aa[i] += u * u
        bb[i] += v * v
        ab[i] += u * v


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


@kernel
def subtract_noise_bias(counts, window, by, noise_share, matrix, noise_bias):  # type: ignore[no-untyped-def]
    """Subtract from the normal matrices of the blocks in row `by` the part that the template's own noise causes.

    FrameCounts; window (4,); noise_share (2,): that of slopes and of intensity for a pixel of one frame, scaled by
    Σ 1/n over the block, n the lesser count of a pixel's row and column; matrix (by, bx, 3, 3); noise_bias (by, bx):
    the second part, written.
    """
    rows, columns, memory = counts
    most = 2 * memory - 1  # frames that a mean with this memory is worth
    count = np.zeros(len(columns))
    inverse_x, total = np.zeros(len(columns)), np.zeros(noise_bias.shape[1])
    for x in range(window[2], window[3]):
        inverse_x[x] = 1 / max(min(columns[x], most), 1)
    for y in range(max(by * BLOCK_PX, window[0]), min((by + 1) * BLOCK_PX, window[1])):
        _add_larger(1 / max(min(rows[y], most), 1), inverse_x[window[2] : window[3]], count[window[2] : window[3]])
    for x in range(window[2], window[3]):
        total[x // BLOCK_PX] += count[x]
    for bx in range(len(total)):
        matrix[by, bx, 0, 0] -= noise_share[0] * total[bx]
        matrix[by, bx, 1, 1] -= noise_share[0] * total[bx]
        noise_bias[by, bx] = noise_share[1] * total[bx]
        matrix[by, bx, 2, 2] -= noise_bias[by, bx]


@kernel
def _add_larger(one, others, total):  # type: ignore[no-untyped-def]
    for x in range(len(total)):
        total[x] += max(one, others[x])
