"""What is computed of the template in advance, one row of blocks after the other: see gauss_newton.py."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.pixel_rows import add, add_product, add_scaled
from .frame_rows import BLOCK_PX

CLIP_SIGMA = 6.0
CLIP_PX = 0.75  # what a shift by that much leaves at the template's slopes is not clipped
MOST_STEPS = 127  # the Gauss–Newton images are whole numbers of eight bits
# (shift by 0.4 px one way less the other way) / 0.8 px by Lanczos interpolation of order 3: the slope of the response
# over ± half a pixel, where the derivative at zero would be 2 % steeper.
SECANT = (0.777406986, -0.178185210, 0.021856049)


@kernel(error_model="numpy")
def build_images(template, kernel, noise, by, blocks, bias):  # type: ignore[no-untyped-def]
    """Compute the Gauss–Newton images, the limit and the normal matrix of the blocks in row `by` from template.image.

    TemplateImages; kernel (k,) float32: symmetric smoothing along each axis; noise (bx, 3): the variance of a pixel is
    noise[0] + noise[1] · image, at least noise[2] [ADU²]; blocks: matrix (by, bx, 3, 3), H of each block, and
    noise_bias (by, bx), as `_subtract_noise_bias` takes them; bias: FrameCounts and noise_share, the same.
    """
    image, steps, scale, limit, window = template
    height, width = image.shape
    first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
    top, bottom, left, right = window[0], window[1], window[2], window[3]
    count, matrix = last - first, blocks[0]
    smooth = np.empty((count + 2, width + 2), np.float32)  # one more pixel all round
    _smooth(image, window, kernel, first - 1, smooth)
    slopes, variance = np.empty((3, count, width), np.float32), np.empty((count, width), np.float32)
    images = np.empty((3, count, width), np.float32)
    _fill_slopes(image, window, first, slopes)
    for i in range(count):
        for bx in range(matrix.shape[1]):
            p, q = bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)
            _variance(smooth[i + 1, p + 1 : q + 1], noise[bx], variance[i, p:q])
        for x in range(width):
            images[0, i, x] = (smooth[i + 2, x + 1] - smooth[i, x + 1]) * np.float32(0.5)
            images[1, i, x] = (smooth[i + 1, x + 2] - smooth[i + 1, x]) * np.float32(0.5)
            images[2, i, x] = smooth[i + 1, x + 1]
    for x in range(width):
        limit[by, x] = 0
    for i in range(count):
        add_scaled(variance[i], np.float32(CLIP_SIGMA**2 / count), limit[by])
    _widen_limit(slopes, limit[by])
    for i in range(count):  # weights in place of variances
        inside = top <= first + i < bottom
        for x in range(width):
            variance[i, x] = np.float32(1) / variance[i, x] if inside and left <= x < right else np.float32(0)
    products, unit = np.empty(width, np.float32), np.empty((3, width), np.float32)
    for j in range(3):
        _centre(images[j], variance, products)
    for i in range(count):  # of numbers that do not sum to 0, rounded, what all pixels have in common would pass for H
        for x in range(width):
            slopes[2, i, x] -= products[x]
    for j in range(3):
        _round(images, j, steps, first, unit)
        for bx in range(matrix.shape[1]):
            scale[by, bx, j] = unit[0, bx * BLOCK_PX]
        for k in range(3):
            for x in range(width):
                products[x] = 0
            for i in range(count):
                add_product(images[j, i], slopes[k, i], products)
            for bx in range(matrix.shape[1]):
                total = 0.0
                for x in range(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)):
                    total += products[x]
                matrix[by, bx, j, k] = total
    _subtract_noise_bias(bias[0], window, by, bias[1], blocks)


@part(error_model="numpy")
def _round(images, j, steps, first, scratch):  # type: ignore[no-untyped-def]
    """Write image j of a row of blocks (3, y, x) to rows of steps (3, y, x) from `first` on, in steps of a 127th of the
    largest of each block, and take it as it is then.

    What rounding a pixel leaves is added to the one below, so that the sum of a block stays 0. scratch (3, x): the
    size of the steps, and two to write to.
    """
    count, width = images.shape[1], images.shape[2]
    for x in range(width):
        scratch[1, x] = scratch[2, x] = np.float32(0)
    for i in range(count):
        _raise(images, (j, i), scratch)
    for start in range(0, width, BLOCK_PX):
        largest = np.float32(1e-28)
        for x in range(start, min(start + BLOCK_PX, width)):
            largest = max(largest, scratch[1, x])
        for x in range(start, min(start + BLOCK_PX, width)):
            scratch[0, x] = largest / np.float32(MOST_STEPS)
    for i in range(count):
        _round_row(images, (j, i, first + i), steps, scratch)


@kernel
def _raise(images, at, scratch):  # type: ignore[no-untyped-def]
    j, i, most = np.uint64(at[0]), np.uint64(at[1]), np.uint64(1)
    for x in range(images.shape[2]):
        scratch[most, x] = max(scratch[most, x], abs(images[j, i, x]))


@kernel(error_model="numpy")
def _round_row(images, at, steps, scratch):  # type: ignore[no-untyped-def]
    j, i, y = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    unit, rest = np.uint64(0), np.uint64(2)
    for x in range(images.shape[2]):
        known = images[j, i, x] != 0  # outside the window it is 0
        wanted = images[j, i, x] / scratch[unit, x] + scratch[rest, x]  # beyond 127 by what the one above left, at most
        taken = max(min(np.rint(wanted), np.float32(MOST_STEPS)), np.float32(-MOST_STEPS)) if known else np.float32(0)
        scratch[rest, x] = wanted - taken if known else np.float32(0)
        steps[j, y, x] = np.int8(taken)
        images[j, i, x] = scratch[unit, x] * taken


@part(error_model="numpy")
def _smooth(image, window, kernel, first, smooth):  # type: ignore[no-untyped-def]
    """Write rows of an image (y, x) from `first` on, smoothed along both axes, to smooth (n, x + 2): one pixel more at
    each end. What lies outside the window (4,) repeats its border."""
    width, radius = image.shape[1], len(kernel) // 2
    top, bottom, left, right = window[0], window[1], window[2], window[3]
    wide = np.empty(width + 2 * radius + 2, np.float32)
    for i in range(len(smooth)):
        for x in range(len(wide)):
            wide[x] = 0
        middle, here = wide[radius + 1 : radius + 1 + width], first + i
        add_scaled(image[min(max(here, top), bottom - 1)], kernel[radius], middle)
        for k in range(radius):
            y, z = min(max(here - radius + k, top), bottom - 1), min(max(here + radius - k, top), bottom - 1)
            _add_two(image[y], image[z], (kernel[k], kernel[k]), middle)
        for x in range(left):
            middle[x] = middle[left]
        for x in range(right, width):
            middle[x] = middle[right - 1]
        for x in range(radius + 1):
            wide[x], wide[radius + 1 + width + x] = middle[0], middle[width - 1]
        for x in range(width + 2):
            smooth[i, x] = 0
        add_scaled(wide[radius : radius + width + 2], kernel[radius], smooth[i])
        for k in range(radius):
            end = 2 * radius - k
            _add_two(wide[k : k + width + 2], wide[end : end + width + 2], (kernel[k], kernel[k]), smooth[i])


@part(error_model="numpy")
def _fill_slopes(image, window, first, slopes):  # type: ignore[no-untyped-def]
    """Write ∂_y, ∂_x (SECANT) and the image itself, of its rows (y, x) from `first` on, to slopes (3, n, x)."""
    width = image.shape[1]
    top, bottom, left, right = window[0], window[1], window[2], window[3]
    padded = np.empty(width + 6, np.float32)
    for i in range(slopes.shape[1]):
        y = first + i
        for x in range(width + 6):
            padded[x] = image[y, min(max(x - 3, left), right - 1)]
        for x in range(width):
            slopes[0, i, x], slopes[1, i, x], slopes[2, i, x] = 0, 0, image[y, x]
        for k in range(3):
            both = np.float32(SECANT[k]), -np.float32(SECANT[k])
            _add_two(image[min(y + k + 1, bottom - 1)], image[max(y - k - 1, top)], both, slopes[0, i])
            _add_two(padded[4 + k : 4 + k + width], padded[2 - k : 2 - k + width], both, slopes[1, i])


@kernel
def _add_two(a, b, factors, total):  # type: ignore[no-untyped-def]
    """Two rows at a time: the sum is read and written half as often."""
    f, g = factors
    for i in range(len(total)):
        total[i] += a[i] * f + b[i] * g


@part(error_model="numpy")
def _widen_limit(slopes, limit):  # type: ignore[no-untyped-def]
    steepest = np.zeros(len(limit), np.float32)
    for i in range(slopes.shape[1]):
        for x in range(len(limit)):
            steepest[x] = max(steepest[x], abs(slopes[0, i, x]) + abs(slopes[1, i, x]))
    for x in range(len(limit)):
        limit[x] = np.sqrt(limit[x]) + np.float32(CLIP_PX) * steepest[x]


@part(error_model="numpy")
def _variance(intensity, noise, variance):  # type: ignore[no-untyped-def]
    for x in range(len(variance)):
        variance[x] = max(np.float32(noise[0]) + np.float32(noise[1]) * intensity[x], np.float32(noise[2]))


@part(error_model="numpy")
def _centre(image, weights, scratch):  # type: ignore[no-untyped-def]
    """Subtract each block's weighted mean from a row of blocks (y, x), then multiply by the weights; scratch (x,)."""
    count, width = image.shape
    weight = np.zeros(width, np.float32)
    for x in range(width):
        scratch[x] = 0
    for i in range(count):
        add_product(image[i], weights[i], scratch)
        add(weights[i], weight)
    for start in range(0, width, BLOCK_PX):
        total, weights_of = np.float32(0), np.float32(0)
        for x in range(start, min(start + BLOCK_PX, width)):
            total += scratch[x]
            weights_of += weight[x]
        for x in range(start, min(start + BLOCK_PX, width)):
            scratch[x] = total / max(weights_of, np.float32(1e-30))
    for i in range(count):
        _subtract_and_scale(scratch, weights[i], image[i])


@part(error_model="numpy")
def _subtract_and_scale(mean, weight, row):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        row[x] = (row[x] - mean[x]) * weight[x]


@part(error_model="numpy")
def _subtract_noise_bias(counts, window, by, noise_share, blocks):  # type: ignore[no-untyped-def]
    """Subtract from the normal matrices of the blocks in row `by` the part that the template's own noise causes.

    FrameCounts; window (4,); noise_share (2,): that of slopes and of intensity for a pixel of one frame, scaled by
    Σ 1/n over the block, n the lesser count of a pixel's row and column; matrix (by, bx, 3, 3); noise_bias (by, bx):
    the second part, written.
    """
    (rows, columns, memory), (matrix, noise_bias) = counts, blocks
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
