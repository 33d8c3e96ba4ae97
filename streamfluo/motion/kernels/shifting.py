"""Frames read at a shifted place, and the template that learns from them."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def shift_frame(frame, y_px, x_px, taps, row, shifted):  # type: ignore[no-untyped-def]
    """Write shifted(y, x) = frame(y + y_px, x + x_px), by six taps along each axis.

    frame (y, x); taps: taps.SIX; row (x + 2·(|x_px| + 5)) at least: room to work in; shifted (y, x) float32. Outside
    the frame the nearest pixel is repeated. Returns the whole shifts below, and what is left of a pixel's noise
    variance. Cost at 512 × 512: 4 copies.
    """
    height, width = frame.shape
    pad = (len(row) - width) // 2
    shift_y, shift_x = int(np.floor(y_px)), int(np.floor(x_px))
    weights_y, weights_x = np.empty(6, np.float32), np.empty(6, np.float32)
    kept_y, kept_x = _weights(taps, y_px - shift_y, weights_y), _weights(taps, x_px - shift_x, weights_x)
    for y in range(height):
        middle = row[pad : pad + width]
        first, last = y + shift_y - 2, height - 1
        _add_up(frame[min(max(first, 0), last)], frame[min(max(first + 1, 0), last)],
                frame[min(max(first + 2, 0), last)], frame[min(max(first + 3, 0), last)],
                frame[min(max(first + 4, 0), last)], frame[min(max(first + 5, 0), last)],
                weights_y, middle)  # fmt: skip
        row[:pad] = middle[0]
        row[pad + width :] = middle[width - 1]
        at = pad + shift_x - 2
        _combine(row[at : at + width + 5], weights_x, shifted[y])
    return shift_y, shift_x, kept_y * kept_x


@njit(nogil=True, cache=True)
def _weights(taps, fraction, weights):  # type: ignore[no-untyped-def]
    kept = 0.0
    for k in range(len(weights)):
        value = 0.0
        for n in range(taps.shape[1] - 1, -1, -1):
            value = value * fraction + taps[k, n]
        weights[k] = value
        kept += value * value
    return kept


@njit(nogil=True, cache=True)
def _combine(row, weights, out):  # type: ignore[no-untyped-def]
    n = len(out)
    _add_up(row[:n], row[1 : n + 1], row[2 : n + 2], row[3 : n + 3], row[4 : n + 4], row[5 : n + 5], weights, out)


@njit(nogil=True, cache=True)
def _add_up(a, b, c, d, e, f, weights, out):  # type: ignore[no-untyped-def]
    w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    for i in range(len(out)):
        out[i] = (
            (np.float32(a[i]) * w0 + np.float32(b[i]) * w1)
            + (np.float32(c[i]) * w2 + np.float32(d[i]) * w3)
            + (np.float32(e[i]) * w4 + np.float32(f[i]) * w5)
        )


@njit(nogil=True, cache=True)
def learn(  # type: ignore[no-untyped-def]
    seen, corrected, window, seen_y, seen_x, memory, limit, block_px, mean_rate, frozen, template, mean
):
    """Move the template towards a corrected frame where it is the tissue that was seen, and the mean by mean_rate.

    seen: what of the frame is registered, corrected, template, mean (y, x) float32; window (top, bottom, left, right);
    seen_y (y,), seen_x (x,): how often each row and column was seen, counted on here. A pixel of the template moves by
    1/n of what it was seen, 1/memory at least. Residuals beyond limit (y // block_px, x) teach the template
    the less the larger they are (q³ of them with q = limit / residual), so that hot pixels and cosmic rays leave no
    trace; NaN teaches nothing. Cost at 512 × 512: 3 copies.
    """
    top, bottom, left, right = window
    rate_x = np.empty(right - left, np.float32)
    if not frozen:
        seen_y[top:bottom] += 1
        seen_x[left:right] += 1
    for x in range(left, right):
        rate_x[x - left] = 1 / min(max(seen_x[x], 1), memory)
    for y in range(top, bottom):
        if not frozen:
            rate = np.float32(1 / min(seen_y[y], memory))
            _learn_row(seen[y, left:right], rate, rate_x, limit[y // block_px, left:right], template[y, left:right])
        _approach(corrected[y, left:right], mean_rate, mean[y, left:right])


@njit(nogil=True, cache=True)
def _learn_row(shifted, rate, rate_x, limit, template):  # type: ignore[no-untyped-def]
    for i in range(len(template)):
        e = shifted[i] - template[i]
        q = min(limit[i] / max(abs(e), np.float32(1e-20)), np.float32(1))
        d = e * (q * q * q) * max(rate, rate_x[i])
        template[i] += d if d == d else np.float32(0)


@njit(nogil=True, cache=True)
def _approach(shifted, rate, mean):  # type: ignore[no-untyped-def]
    for i in range(len(mean)):
        d = (shifted[i] - mean[i]) * rate
        mean[i] += d if d == d else np.float32(0)


@njit(nogil=True, cache=True)
def block_noise(shifted, template, limit, block_px, by, scale, rate, variance, intensity):  # type: ignore[no-untyped-def]
    """Move each block's variance in row `by` towards scale × that of shifted − template; note the template's mean.

    variance, intensity (by, bx). NaN, and what is beyond limit (by, x), counts for nothing.
    """
    height, width = template.shape
    for bx in range(variance.shape[1]):
        n, total, squares, level = 0, 0.0, 0.0, 0.0
        for y in range(by * block_px, min((by + 1) * block_px, height)):
            for x in range(bx * block_px, min((bx + 1) * block_px, width)):
                e = shifted[y, x] - template[y, x]
                if abs(e) <= limit[by, x]:
                    n += 1
                    total += e
                    squares += e * e
                    level += template[y, x]
        if n > 1:
            variance[by, bx] += rate * (scale * (squares - total * total / n) / (n - 1) - variance[by, bx])
            intensity[by, bx] = level / n


@njit(nogil=True, cache=True)
def similarity(shifted, template, window, step):  # type: ignore[no-untyped-def]
    """Return the correlation coefficient of a corrected frame with the template in every `step`-th row of a window."""
    top, bottom, left, right = window
    columns, n = np.zeros((5, max(right - left, 0))), 0
    for y in range(top, bottom, step):
        _add_products(shifted[y, left:right], template[y, left:right], columns)
        n += right - left
    if n == 0:
        return np.nan
    a, b, aa, bb, ab = columns[0].sum(), columns[1].sum(), columns[2].sum(), columns[3].sum(), columns[4].sum()
    scale = (aa - a * a / n) * (bb - b * b / n)
    return (ab - a * b / n) / np.sqrt(scale) if scale > 0 else np.nan


@njit(nogil=True, cache=True)
def _add_products(p, q, columns):  # type: ignore[no-untyped-def]
    a, b, aa, bb, ab = columns[0], columns[1], columns[2], columns[3], columns[4]
    for i in range(len(p)):
        u, v = np.float64(p[i]), np.float64(q[i])
        a[i] += u
        b[i] += v
        aa[i] += u * u
        bb[i] += v * v
        ab[i] += u * v


@njit(nogil=True, cache=True)
def bin_two(frame, limit, binned):  # type: ignore[no-untyped-def]
    """Write the sums of 2 × 2 pixels, each at most `limit`; NaN counts as 0. frame (y, x), binned (y // 2, x // 2)."""
    for y in range(binned.shape[0]):
        for x in range(binned.shape[1]):
            total = np.float32(0)
            for i in range(2):
                for j in range(2):
                    value = min(np.float32(frame[2 * y + i, 2 * x + j]), limit)
                    total += value if value == value else np.float32(0)
            binned[y, x] = total


@njit(nogil=True, cache=True)
def count_from(frame, level, step):  # type: ignore[no-untyped-def]
    """Return the part of the pixels in every `step`-th row that are `level` or more."""
    n, found = 0, 0
    for y in range(0, frame.shape[0], step):
        for x in range(frame.shape[1]):
            found += frame[y, x] >= level
        n += frame.shape[1]
    return found / n


@njit(nogil=True, cache=True)
def take_noise_out(seen_y, seen_x, window, most, block_px, by, shares, matrix, noise_bias):  # type: ignore[no-untyped-def]
    """Subtract from the matrices of a row of blocks what the noise of a mean put there, shares (2,) of Σ 1/n.

    seen_y (y,), seen_x (x,): how often rows and columns were seen; n, the frames that a pixel is the mean of, is the
    less of both, `most` at most. matrix (by, bx, 3, 3); noise_bias (by, bx): written, the second share.
    """
    left, part_x = np.zeros(noise_bias.shape[1]), np.empty(len(seen_x))
    for x in range(len(seen_x)):
        part_x[x] = 1 / max(min(seen_x[x], most), 1)
    for y in range(max(by * block_px, window[0]), min((by + 1) * block_px, window[1])):
        part_y = 1 / max(min(seen_y[y], most), 1)
        for x in range(window[2], window[3]):
            left[x // block_px] += max(part_y, part_x[x])
    for bx in range(len(left)):
        matrix[by, bx, 0, 0] -= shares[0] * left[bx]
        matrix[by, bx, 1, 1] -= shares[0] * left[bx]
        noise_bias[by, bx] = shares[1] * left[bx]
        matrix[by, bx, 2, 2] -= noise_bias[by, bx]
