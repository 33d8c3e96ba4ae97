"""Measuring a small shift: a frame against a template through precomputed steering images.

A frame shifted by δ against the template T is T − δ·∂T + γ·(T − its mean) + offset, for small δ. The three steering
images V = w·(smoothed ∂_y T, ∂_x T, T, each less its weighted mean in 16 × 16 blocks) turn the residual frame − T into
three numbers, and the matrix H = Σ V·(∂_y T, ∂_x T, T), of the template as it is, turns these into δ and γ: one
Gauss–Newton step, weighted by the noise of each pixel. Without the blocks' means illumination, an offset, neuropil
and most of what cells do have no say.
"""

import numpy as np
from numba import njit

from ...pixels.kernels.pixel_rows import add, add_product, add_scaled

BLOCK_PX = 16  # 24 and 32 keep more of the image and let more of the cells' activity through: 5 % worse on calcium
CLIP_SIGMA = 6.0
OWN_SIGMA, ROUNDS = 2.5, 3  # a block's own answer, from which on it counts less; 3 % better where cells are bright
REJECT_LIMITS = np.float32(3)
# (shift by 0.4 px one way less the other way) / 0.8 px by Lanczos interpolation of order 3: the slope of the response
# over ± half a pixel, where the derivative at zero would be 2 % steeper.
SECANT = (0.777406986, -0.178185210, 0.021856049)


@njit(nogil=True, cache=True)
def steer(frame, template, steering, limit, window, shifts, gain, rows, sums):  # type: ignore[no-untyped-def]
    """Write each block's Σ V·e of e = frame(y + s_y, x + s_x) − gain·template, where the frame reaches.

    frame, template (y, x); limit (by, x): e is clipped at ± limit; what is three times beyond it (hot pixels, cosmic
    rays), and NaN, counts for nothing; steering (3, y, x); window: of the template that is compared; shifts
    (by, bx, 2) int64: of each block; gain float32; rows (4, x): room to work in; sums (by, bx, 4): the three sums and
    the part of the block that was seen. Neighbouring blocks of one shift are taken together.
    """
    height, width = template.shape
    for by in range(sums.shape[0]):
        first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
        rows[:] = 0
        top, bottom = max(first, window[0]), min(last, window[1])
        for y in range(top, bottom):
            _add_row(frame, template, limit[by], window, shifts[by], y, gain, steering, rows)
        for bx in range(sums.shape[1]):
            left, right = max(bx * BLOCK_PX, window[2]), min((bx + 1) * BLOCK_PX, window[3])
            dy, dx = shifts[by, bx]
            a, b = max(top, -dy), min(bottom, height - dy)
            p, q = max(left, -dx), min(right, width - dx)
            whole, seen = max(0, bottom - top) * max(0, right - left), max(0, b - a) * max(0, q - p)
            sums[by, bx, 3] = seen / max(whole, 1)
            offset = 0.0
            for x in range(p, q):
                offset += rows[3, x]
            for j in range(3):
                total = 0.0
                for x in range(p, q):
                    total += rows[j, x]
                if 0 < seen < whole:  # part of a block: its own mean has to go
                    weight = 0.0
                    for y in range(a, b):
                        for x in range(p, q):
                            weight += steering[j, y, x]
                    total -= weight * offset / seen
                sums[by, bx, j] = total


@njit(nogil=True, cache=True)
def _add_row(frame, template, limit, window, shifts, y, gain, steering, rows):  # type: ignore[no-untyped-def]
    height, width = template.shape
    bx = 0
    while bx < len(shifts):
        start = bx * BLOCK_PX
        dy, dx = shifts[bx]
        bx += 1
        while bx < len(shifts) and shifts[bx, 0] == dy and shifts[bx, 1] == dx:
            bx += 1
        stop = min(bx * BLOCK_PX, width)
        p, q = max(start, window[2], -dx), min(stop, window[3], width - dx)
        if 0 <= y + dy < height and p < q:
            _add_residuals(frame[y + dy, p + dx : q + dx], template[y, p:q], limit[p:q], gain, steering[0, y, p:q],
                           steering[1, y, p:q], steering[2, y, p:q], rows[0, p:q], rows[1, p:q], rows[2, p:q],
                           rows[3, p:q])  # fmt: skip


@njit(nogil=True, cache=True)
def _add_residuals(frame, template, limit, gain, v0, v1, v2, sum0, sum1, sum2, total):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        e = np.float32(frame[i]) - gain * template[i]
        clipped = min(max(e, -limit[i]), limit[i])
        e = clipped if abs(e) < REJECT_LIMITS * limit[i] else np.float32(0)
        sum0[i] += v0[i] * e
        sum1[i] += v1[i] * e
        sum2[i] += v2[i] * e
        total[i] += e


@njit(nogil=True, cache=True)
def build_steering(template, kernel, noise, window, by, steering, limit, matrix):  # type: ignore[no-untyped-def]
    """Make one row of blocks anew from the template as it stands.

    kernel (k,): symmetric smoothing along each axis; noise (bx, 3): a pixel's variance is noise[0] + noise[1]·template,
    noise[2] at least; window (top, bottom, left, right): of the template that is compared; steering (3, y, x),
    limit (by, x) and matrix (by, bx, 3, 3) are written in rows of blocks `by`.
    """
    height, width = template.shape
    first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
    radius = len(kernel) // 2
    top, bottom, left, right = window
    count = last - first
    smooth = np.empty((count + 2, width + 2), np.float32)  # one more pixel all round
    wide = np.empty(width + 2 * radius + 2, np.float32)
    for i in range(count + 2):
        wide[:] = 0
        middle = wide[radius + 1 : radius + 1 + width]
        for k in range(len(kernel)):
            y = min(max(first - 1 + i + k - radius, top), bottom - 1)
            add_scaled(template[y], kernel[k], middle)
        wide[: radius + 1 + left] = middle[left]
        wide[radius + 1 + right :] = middle[right - 1]
        smooth[i] = 0
        for k in range(len(kernel)):
            add_scaled(wide[k : k + width + 2], kernel[k], smooth[i])
    slopes, variance = np.empty((3, count, width), np.float32), np.empty((count, width), np.float32)
    padded = np.empty(width + 6, np.float32)
    for i in range(count):
        y = first + i
        for bx in range(matrix.shape[1]):
            p, q = bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)
            _vary(smooth[i + 1, p + 1 : q + 1], noise[bx], variance[i, p:q])
        for x in range(width):
            steering[0, y, x] = (smooth[i + 2, x + 1] - smooth[i, x + 1]) * np.float32(0.5)
            steering[1, y, x] = (smooth[i + 1, x + 2] - smooth[i + 1, x]) * np.float32(0.5)
            steering[2, y, x] = smooth[i + 1, x + 1]
        padded[3 : width + 3] = template[y]
        padded[: left + 3] = template[y, left]
        padded[right + 3 :] = template[y, right - 1]
        slopes[0, i] = 0
        slopes[1, i] = 0
        slopes[2, i] = template[y]
        for k in range(3):
            factor = np.float32(SECANT[k])
            add_scaled(template[min(y + k + 1, bottom - 1)], factor, slopes[0, i])
            add_scaled(template[max(y - k - 1, top)], -factor, slopes[0, i])
            add_scaled(padded[4 + k : 4 + k + width], factor, slopes[1, i])
            add_scaled(padded[2 - k : 2 - k + width], -factor, slopes[1, i])
    limit[by] = 0
    for i in range(count):
        add_scaled(variance[i], np.float32(CLIP_SIGMA**2 / count), limit[by])
    limit[by] = np.sqrt(limit[by])
    weights = np.float32(1) / variance
    weights[: max(0, top - first)] = 0
    weights[max(0, bottom - first) :] = 0
    weights[:, :left] = 0
    weights[:, right:] = 0
    products = np.empty(width, np.float32)
    for j in range(3):
        _centre(steering[j, first:last], weights, products)
        for k in range(3):
            products[:] = 0
            for i in range(count):
                add_product(steering[j, first + i], slopes[k, i], products)
            for bx in range(matrix.shape[1]):
                total = 0.0
                for x in range(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)):
                    total += products[x]
                matrix[by, bx, j, k] = total


@njit(nogil=True, cache=True)
def _vary(intensity, noise, variance):  # type: ignore[no-untyped-def]
    for x in range(len(variance)):
        variance[x] = max(np.float32(noise[0]) + np.float32(noise[1]) * intensity[x], np.float32(noise[2]))


@njit(nogil=True, cache=True)
def _centre(image, weights, room):  # type: ignore[no-untyped-def]
    """Take the weighted mean of each block out of a row of them and put the weights on. room (x,): to work in."""
    count, width = image.shape
    weight = np.zeros(width, np.float32)
    room[:] = 0
    for i in range(count):
        add_product(image[i], weights[i], room)
        add(weights[i], weight)
    for start in range(0, width, BLOCK_PX):
        stop = min(start + BLOCK_PX, width)
        room[start:stop] = room[start:stop].sum() / max(weight[start:stop].sum(), np.float32(1e-30))
    for i in range(count):
        _subtract_and_scale(room, weights[i], image[i])


@njit(nogil=True, cache=True)
def _subtract_and_scale(mean, weight, row):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        row[x] = (row[x] - mean[x]) * weight[x]


@njit(nogil=True, cache=True)
def solve_step(sums, matrix, noise_bias, gain):  # type: ignore[no-untyped-def]
    """Return (δ_y, δ_x, gain, part of the image seen) from what `steer` wrote at a gain; NaN where nothing is known.

    sums (by, bx, 4), matrix (by, bx, 3, 3); noise_bias (by, bx): for a block, how much of the template's own noise the
    third steering image takes for structure that the frame has not. Blocks that answer otherwise than the rest, as with
    a cell that is active, count the less the further they are off.
    """
    weights = np.ones(sums.shape[:2])
    for again in range(ROUNDS):
        b, h, seen = np.zeros(3), np.zeros((3, 3)), 0.0
        for by in range(sums.shape[0]):
            for bx in range(sums.shape[1]):
                part = sums[by, bx, 3]
                seen += part
                w = weights[by, bx]
                b[2] += w * part * noise_bias[by, bx]
                for j in range(3):
                    b[j] += w * sums[by, bx, j]
                    for k in range(3):
                        h[j, k] += w * part * matrix[by, bx, j, k]
        determinant = _determinant(h)
        if not abs(determinant) > 0:
            return np.nan, np.nan, np.nan, 0.0
        step = np.zeros(3)
        for k in range(3):
            replaced = h.copy()
            replaced[:, k] = b
            step[k] = _determinant(replaced) / determinant
        if again == ROUNDS - 1:
            break
        for by in range(sums.shape[0]):
            for bx in range(sums.shape[1]):
                part, worst = sums[by, bx, 3], 0.0
                for j in range(2):
                    own = part * matrix[by, bx, j, j]
                    rest = sums[by, bx, j]
                    for k in range(3):
                        rest -= part * matrix[by, bx, j, k] * step[k]
                    if own > 0:
                        worst = max(worst, rest * rest / own)
                weights[by, bx] = min(1.0, OWN_SIGMA**2 / max(worst, 1e-9))
    seen /= sums.shape[0] * sums.shape[1]
    better = gain + step[2]
    scale = -max(better, 0.1)  # a frame twice as bright answers twice as much to the same shift
    return step[0] / scale, step[1] / scale, better, seen


@njit(nogil=True, cache=True)
def _determinant(m):  # type: ignore[no-untyped-def]
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


@njit(nogil=True, cache=True)
def noise_line(intensity, variance):  # type: ignore[no-untyped-def]
    """Return (a, b, least) of variance = a + b·intensity through the medians of up to 12 groups of blocks of like
    intensity, and half the least median, below which the line is not to be believed.

    intensity, variance (n,). Blocks with activity are few in a group, so that medians pass them by. Without a rise, or
    with NaN, b is 0 and a the median.
    """
    order = np.argsort(intensity)
    groups = max(1, min(12, len(order) // 4))
    a11, a12, a22, b1, b2, least = 0.0, 0.0, 0.0, 0.0, 0.0, np.inf
    for g in range(groups):
        members = order[g * len(order) // groups : (g + 1) * len(order) // groups]
        m, v = np.median(intensity[members]), max(np.median(variance[members]), 1e-12)
        least = min(least, v / 2)
        weight = 1 / (v * v)  # a variance is known to a part of itself
        a11 += weight
        a12 += weight * m
        a22 += weight * m * m
        b1 += weight * v
        b2 += weight * m * v
    determinant = a11 * a22 - a12 * a12
    if determinant > 1e-9 * a11 * a22:
        a, b = (b1 * a22 - b2 * a12) / determinant, (a11 * b2 - a12 * b1) / determinant
        if b > 0:
            return a, b, max(least, 1e-6)
    level = max(np.median(variance), 1e-6)
    return level, 0.0, level
