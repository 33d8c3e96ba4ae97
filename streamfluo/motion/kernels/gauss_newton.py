"""A small shift of a frame against a template: one weighted Gauss–Newton step, by blocks of 16 × 16 pixels.

For a small shift δ a frame is T − δ·∂T + γ·(T − its mean) + offset, T the template. The three Gauss–Newton images
V = w·(smoothed ∂_y T, ∂_x T, T, each minus its weighted mean in a block), w the inverse variance of a pixel, project
the residual r = frame − T onto b = Σ V·r. The normal matrix H = Σ V·(∂_y T, ∂_x T, T), of the template without
smoothing, gives (−δ, γ) = H⁻¹ b. Subtracting the blocks' means removes illumination, offset, neuropil and most of the
activity of cells. Their means are taken out of the residuals before these are clipped too: light added evenly would
otherwise clip them all on one side, and the clipped residuals say that nothing moved.
"""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import median
from ...pixels.kernels.pixel_rows import add, add_product, add_scaled
from ...pixels.kernels.seen import Window
from .agreement import agreement, deficit, unexplained
from .frame_rows import BLOCK_PX

CLIP_SIGMA = 6.0
CLIP_PX = 0.75  # what a shift by that much leaves at the template's slopes is not clipped
BLOCK_SIGMA, ROUNDS = 2.5, 3  # blocks whose residual exceeds it are down-weighted; 3 % better where cells are bright
WIDE = 64.0  # times the limit, for steps from afar: nothing but hot pixels and cosmic rays is rejected
# (shift by 0.4 px one way less the other way) / 0.8 px by Lanczos interpolation of order 3: the slope of the response
# over ± half a pixel, where the derivative at zero would be 2 % steeper.
SECANT = (0.777406986, -0.178185210, 0.021856049)


class TemplateImages(NamedTuple):
    """The template and what is computed of it in advance to register a frame against it.

    image (y, x) float32 [ADU]; gauss_newton (3, y, x) float32: the Gauss–Newton images V; limit (by, x) float32 [ADU]:
    residuals from their block's level are clipped at ± limit; window (4,) int64: the top, bottom, left, right of what
    is compared.
    """

    image: np.ndarray
    gauss_newton: np.ndarray
    limit: np.ndarray
    window: np.ndarray


class Frame(NamedTuple):
    """The pixels (y, x) of a frame to compare with the template, and the Window of them that was seen."""

    pixels: np.ndarray
    seen: Window


def read_only(pixels: np.ndarray) -> np.ndarray:
    """The same pixels, not to be written to, as a block's are: kernels are compiled for such alone."""
    view = pixels.view()
    view.flags.writeable = False
    return view


class Light(NamedTuple):
    """How a frame's light differs from the template's: its gain, what slopes over the frame along y and x [ADU/px], and
    what is added to each block (by, bx) [ADU], NaN where none was seen; float32."""

    gain: np.float32
    slope_y: np.float32
    slope_x: np.float32
    levels: np.ndarray


@kernel(error_model="numpy")
def build_images(template, kernel, noise, by, matrix):  # type: ignore[no-untyped-def]
    """Compute the Gauss–Newton images, the limit and the normal matrix of the blocks in row `by` from template.image.

    TemplateImages; kernel (k,) float32: symmetric smoothing along each axis; noise (bx, 3): the variance of a pixel is
    noise[0] + noise[1] · image, at least noise[2] [ADU²]; matrix (by, bx, 3, 3): H of each block.
    """
    image, images, limit, window = template
    height, width = image.shape
    first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
    top, bottom, left, right = window[0], window[1], window[2], window[3]
    count = last - first
    smooth = np.empty((count + 2, width + 2), np.float32)  # one more pixel all round
    _smooth(image, window, kernel, first - 1, smooth)
    slopes, variance = np.empty((3, count, width), np.float32), np.empty((count, width), np.float32)
    _fill_slopes(image, window, first, slopes)
    for i in range(count):
        y = first + i
        for bx in range(matrix.shape[1]):
            p, q = bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)
            _variance(smooth[i + 1, p + 1 : q + 1], noise[bx], variance[i, p:q])
        for x in range(width):
            images[0, y, x] = (smooth[i + 2, x + 1] - smooth[i, x + 1]) * np.float32(0.5)
            images[1, y, x] = (smooth[i + 1, x + 2] - smooth[i + 1, x]) * np.float32(0.5)
            images[2, y, x] = smooth[i + 1, x + 1]
    for x in range(width):
        limit[by, x] = 0
    for i in range(count):
        add_scaled(variance[i], np.float32(CLIP_SIGMA**2 / count), limit[by])
    _widen_limit(slopes, limit[by])
    for i in range(count):  # weights in place of variances
        inside = top <= first + i < bottom
        for x in range(width):
            variance[i, x] = np.float32(1) / variance[i, x] if inside and left <= x < right else np.float32(0)
    products = np.empty(width, np.float32)
    for j in range(3):
        _centre(images[j, first:last], variance, products)
        for k in range(3):
            for x in range(width):
                products[x] = 0
            for i in range(count):
                add_product(images[j, first + i], slopes[k, i], products)
            for bx in range(matrix.shape[1]):
                total = 0.0
                for x in range(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width)):
                    total += products[x]
                matrix[by, bx, j, k] = total


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
        stop = min(start + BLOCK_PX, width)
        scratch[start:stop] = scratch[start:stop].sum() / max(weight[start:stop].sum(), np.float32(1e-30))
    for i in range(count):
        _subtract_and_scale(scratch, weights[i], image[i])


@part(error_model="numpy")
def _subtract_and_scale(mean, weight, row):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        row[x] = (row[x] - mean[x]) * weight[x]


@kernel
def solve_step(sums, matrix, noise_bias, gain, usual):  # type: ignore[no-untyped-def]
    """Return (δ_y, δ_x, gain, Evidence) of one Gauss–Newton step; NaN where H is singular.

    sums (by, bx, 5): what `project_residuals` wrote at this gain, whose bias is taken out; matrix (by, bx, 3, 3);
    noise_bias (by, bx): the part of the third projection that the template's own noise causes. Blocks whose residual
    exceeds BLOCK_SIGMA, as those with an active cell, are down-weighted iteratively. `usual`: the gain that frames
    usually have.
    """
    weights, step, replaced = np.ones(sums.shape[:2]), np.zeros(3), np.empty((3, 3))
    b, h = np.empty(3), np.empty((3, 3))
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            sums[by, bx, 2] += sums[by, bx, 3] * gain * noise_bias[by, bx]
    for again in range(ROUNDS):
        fitting, seen = _add_blocks(sums, matrix, weights, b, h)
        determinant = _determinant(h)
        if not abs(determinant) > 0:
            return np.nan, np.nan, np.nan, (0.0, 0.0, 0.0, 0.0, 0.0)
        for k in range(3):
            for i in range(3):
                for j in range(3):
                    replaced[i, j] = b[i] if j == k else h[i, j]
            step[k] = _determinant(replaced) / determinant
        if again == ROUNDS - 1:
            break
        for by in range(sums.shape[0]):
            for bx in range(sums.shape[1]):
                weight = 1.0
                for j in range(2):
                    own, rest = unexplained(sums, matrix, (by, bx), step, j)
                    if own > 0 and rest * rest > BLOCK_SIGMA**2 * own:
                        weight = min(weight, BLOCK_SIGMA**2 * own / (rest * rest))
                weights[by, bx] = weight
    better = gain + step[2]
    scale = -max(better, 0.1)  # the projections are proportional to the frame's gain
    gains = (better, usual)
    evidence = (
        seen / (sums.shape[0] * sums.shape[1]), fitting / max(seen, 1e-9), better * np.sqrt(max(h[2, 2], 0.0)),
        agreement(sums, matrix, step, gains), deficit(sums, matrix, noise_bias, step, gains),
    )  # fmt: skip
    return step[0] / scale, step[1] / scale, better, evidence


@part
def _add_blocks(sums, matrix, weights, b, h):  # type: ignore[no-untyped-def]
    """Write the weighted sums of the blocks' projections to b (3,) and of their normal matrices to h (3, 3).

    Returns the blocks that fit and those that were seen. Sums are numbers of their own: in arrays, which might be the
    ones that are read, each would wait for the one before.
    """
    b0, b1, b2, fitting, seen = 0.0, 0.0, 0.0, 0.0, 0.0
    h00, h01, h02, h10, h11, h12, h20, h21, h22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            part, w = sums[by, bx, 3], weights[by, bx]
            fitting += part
            seen += sums[by, bx, 4]
            b0 += w * sums[by, bx, 0]
            b1 += w * sums[by, bx, 1]
            b2 += w * sums[by, bx, 2]
            w *= part
            h00 += w * matrix[by, bx, 0, 0]
            h01 += w * matrix[by, bx, 0, 1]
            h02 += w * matrix[by, bx, 0, 2]
            h10 += w * matrix[by, bx, 1, 0]
            h11 += w * matrix[by, bx, 1, 1]
            h12 += w * matrix[by, bx, 1, 2]
            h20 += w * matrix[by, bx, 2, 0]
            h21 += w * matrix[by, bx, 2, 1]
            h22 += w * matrix[by, bx, 2, 2]
    b[0], b[1], b[2] = b0, b1, b2
    h[0, 0], h[0, 1], h[0, 2] = h00, h01, h02
    h[1, 0], h[1, 1], h[1, 2] = h10, h11, h12
    h[2, 0], h[2, 1], h[2, 2] = h20, h21, h22
    return fitting, seen


@kernel
def _determinant(m):  # type: ignore[no-untyped-def]
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


@kernel
def noise_line(intensity, variance, order):  # type: ignore[no-untyped-def]
    """Return (a, b, least) of the line variance = a + b · intensity [ADU², ADU]; least: its lower bound.

    intensity, variance (n,) of the blocks, order (n,) of the intensities: the line goes through the medians of up to 12
    groups of similar intensity, which the few blocks with activity do not move; least is half the smallest median. If
    the variance does not rise, b is 0 and a the median.
    """
    groups = max(1, min(12, len(order) // 4))
    a11, a12, a22, b1, b2, least = 0.0, 0.0, 0.0, 0.0, 0.0, np.inf
    for g in range(groups):
        members = order[g * len(order) // groups : (g + 1) * len(order) // groups]
        m, v = median(intensity[members]), max(median(variance[members]), 1e-12)
        least = min(least, v / 2)
        weight = 1 / (v * v)  # the error of a variance is proportional to it
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
    level = max(median(variance.copy()), 1e-6)
    return level, 0.0, level
