"""Segmentation of a footprint from a noisy regression image: denoise, threshold, keep one connected region."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import median
from ...pixels.kernels.pixel_rows import add_scaled

EDGE_FRACTION = 0.2  # of the peak: the boundary of a cell
MIN_PIXEL_SNR = 2.2
# Of the peak: what scatters in an image beside a cell, as neuropil, raises the threshold up to it, but the cell itself
# scatters where it fills half of the image, and has more.
BODY_FRACTION = 0.4
SMOOTHINGS_PX = np.array([0.0, 0.6, 0.9, 1.3, 1.7])
MIN_PEAK_SNR = 10.0  # enough to stop smoothing
ITERATIONS = 4
MIN_SIGNAL_VARIANCE = 0.8  # of the total; 0.5 finds more cells at 4 photons a pixel, and accepts background residue
ACTIVE_Z, INACTIVE_Z = 2.5, 1.5
MAX_SCATTER = 2.0  # noise σ that inactive bins scatter by, where no bin is active beyond more: activity all the time


@kernel
def smooth_gaussian(image, sigma, rows, out):  # type: ignore[no-untyped-def]
    """Write image (h, w) smoothed by a Gaussian of `sigma` [px], edges repeated; return the factor on white noise σ.

    rows (h, w): working memory.
    """
    height, width = image.shape
    radius = int(np.ceil(3 * sigma))
    taps = np.empty(2 * radius + 1, np.float32)
    for i in range(-radius, radius + 1):
        taps[i + radius] = np.exp(-(i**2) / (2 * sigma**2))
    total, squares = np.float32(0), 0.0
    for i in range(2 * radius + 1):
        total += taps[i]
    for i in range(2 * radius + 1):
        taps[i] /= total
        squares += taps[i] * taps[i]
    padded = np.empty(width + 2 * radius, np.float32)
    for y in range(height):
        for x in range(width + 2 * radius):
            padded[x] = image[y, min(max(x - radius, 0), width - 1)]
        for x in range(width):
            rows[y, x] = out[y, x] = 0
        for i in range(2 * radius + 1):
            add_scaled(padded[i : i + width], taps[i], rows[y])
    for y in range(height):
        for i in range(-radius, radius + 1):
            add_scaled(rows[min(max(y + i, 0), height - 1)], taps[i + radius], out[y])
    return squares


@part
def robust_sigma(image):  # type: ignore[no-untyped-def]
    """Return the noise σ of an image from its median absolute deviation."""
    values, n = np.empty(image.size, np.float32), 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            values[n] = image[y, x]
            n += 1
    middle = median(values)
    for i in range(n):
        values[i] = abs(values[i] - middle)
    return median(values) / 0.6745


@part
def sigma_below(image):  # type: ignore[no-untyped-def]
    """Return the noise σ of an image from its negative pixels, around 0, whatever part of it a cell fills."""
    values, count = np.empty(image.size, np.float32), 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if image[y, x] < 0:
                values[count] = image[y, x]
                count += 1
    return -median(values[:count]) / 0.6745 if count else 0.0


@part
def denoise_image(estimate, noise, cell_px, rows, image):  # type: ignore[no-untyped-def]
    """Write the estimate (h, w) with the least smoothing that reaches MIN_PEAK_SNR; return (noise σ, σ, edge fraction).

    `edge`: fraction of the peak at which a smoothed Gaussian cell of σ cell_px has the same area as the original one
    at EDGE_FRACTION. The noise σ is the larger of the propagated and the measured one; `σ` includes what lies beside
    the cell, and the cell itself where it fills half of the image.
    """
    for n in range(len(SMOOTHINGS_PX)):
        sigma, left = SMOOTHINGS_PX[n], noise
        if sigma == 0:
            for y in range(image.shape[0]):
                for x in range(image.shape[1]):
                    image[y, x] = estimate[y, x]
        else:
            left *= smooth_gaussian(estimate, sigma, rows, image)
        peak = image[0, 0]
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                peak = max(peak, image[y, x])
        scatter = left
        if peak > MIN_PEAK_SNR * left or n == len(SMOOTHINGS_PX) - 1:  # else measuring σ could not help
            scatter = max(left, robust_sigma(image))
            left = max(left, sigma_below(image))
        if peak > MIN_PEAK_SNR * left:
            break
    edge = EDGE_FRACTION ** (cell_px**2 / (cell_px**2 + sigma**2))
    return left, scatter, edge


@part
def connected_region(image, threshold, seed_y, seed_x, kept, stack):  # type: ignore[no-untyped-def]
    """Mark in `kept` (h, w) bool the pixels ≥ threshold that are 4-connected to the seed; return how many.

    stack (h · w,): working memory.
    """
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            kept[y, x] = False
    if image[seed_y, seed_x] < threshold:
        return 0
    kept[seed_y, seed_x] = True
    stack[0] = seed_y * width + seed_x
    top, count = 1, 1
    while top:
        top -= 1
        y, x = stack[top] // width, stack[top] % width
        for side in range(4):
            j = y + (side == 0) - (side == 1)
            i = x + (side == 2) - (side == 3)
            if 0 <= j < height and 0 <= i < width and not kept[j, i] and image[j, i] >= threshold:
                kept[j, i] = True
                stack[top] = j * width + i
                top += 1
                count += 1
    return count


@part
def fill_holes(kept):  # type: ignore[no-untyped-def]
    """Mark pixels whose four neighbours are marked, in one raster pass; return the number of marked pixels."""
    height, width = kept.shape
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if not kept[y, x] and kept[y - 1, x] and kept[y + 1, x] and kept[y, x - 1] and kept[y, x + 1]:
                kept[y, x] = True
    for y in range(height):
        for x in range(width):
            count += kept[y, x]
    return count


@kernel
def dilate(image, times, out):  # type: ignore[no-untyped-def]
    """Write the pixels of an image (h, w) above 0, dilated `times` times by the 4-neighbourhood, to out (h, w) bool."""
    height, width = image.shape
    before = np.empty((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            out[y, x] = image[y, x] > 0
    for _ in range(times):
        for y in range(height):
            for x in range(width):
                before[y, x] = out[y, x]
        for y in range(height):
            for x in range(width):
                if not before[y, x]:
                    out[y, x] = (
                        (y > 0 and before[y - 1, x])
                        or (y < height - 1 and before[y + 1, x])
                        or (x > 0 and before[y, x - 1])
                        or (x < width - 1 and before[y, x + 1])
                    )


@kernel
def segment_footprint(estimate, noise, cell_px, allowed, confined, footprint):  # type: ignore[no-untyped-def]
    """Write the footprint segmented from a regression estimate (h, w) of known noise σ; return its number of pixels.

    The region contains the brightest pixel of `allowed` (h, w) bool; confined, it stays inside, otherwise its holes are
    filled. 0 pixels: nothing exceeds the threshold.
    """
    rows, image = np.empty(estimate.shape, np.float32), np.empty(estimate.shape, np.float32)
    kept, stack = np.zeros(estimate.shape, np.bool_), np.empty(estimate.size, np.int64)
    left, scatter, edge = denoise_image(estimate, noise, cell_px, rows, image)
    seed_y = seed_x = -1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if allowed[y, x] and (seed_y < 0 or image[y, x] > image[seed_y, seed_x]):
                seed_y, seed_x = y, x
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            footprint[y, x] = 0
    if seed_y < 0:
        return 0
    if confined:
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                if not allowed[y, x]:
                    image[y, x] = 0
    peak = image[seed_y, seed_x]
    beside = min(MIN_PIXEL_SNR * scatter, BODY_FRACTION * peak)
    threshold = np.float32(max(edge * peak, MIN_PIXEL_SNR * left, beside))
    count = connected_region(image, threshold, seed_y, seed_x, kept, stack)
    if count and not confined:
        count = fill_holes(kept)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if kept[y, x]:
                footprint[y, x] = image[y, x]
    return count


@kernel
def update_footprint(old, gathered, moment, cell_px, growth, new):  # type: ignore[no-untyped-def]
    """Write the footprint segmented from the regression old + gathered / moment; return its number of pixels.

    All (h, w) float32. It lies within `growth` pixels of the old one. Its scale is the least squares fit to the
    regression, so that the scale of its activity stays.
    """
    estimate, allowed = np.empty(old.shape, np.float32), np.empty(old.shape, np.bool_)
    for y in range(new.shape[0]):
        for x in range(new.shape[1]):
            estimate[y, x] = old[y, x] + gathered[y, x] / np.float32(moment)
    dilate(old, growth, allowed)
    count = segment_footprint(estimate, 1 / np.sqrt(moment), cell_px, allowed, True, new)
    both, own = 0.0, 0.0
    for y in range(new.shape[0]):
        for x in range(new.shape[1]):
            both += estimate[y, x] * new[y, x]
            own += new[y, x] * new[y, x]
    if own > 0:
        _scale(new, np.float32(both / own))
    return count


@kernel
def _scale(image, factor):  # type: ignore[no-untyped-def]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            image[y, x] *= factor


@kernel
def factorise(patch, near, cell_px, footprint, slope, activity):  # type: ignore[no-untyped-def]
    """Refine a footprint (h, w) by rank-one factorisation of residual bins (n, h, w); return (moment, SNR).

    Each iteration regresses every pixel on the bins with activity (slope (h, w), offset from the inactive bins) and
    segments the footprint from the slope, around its brightest pixel in `near` (h, w) bool. The footprint ends with
    unit norm; slope and activity (n,) are on its scale. moment: Σ activity² of the active bins; SNR: its root on the
    scale of the noise. Both are 0 if nothing is found.
    """
    weights, inactive = np.empty(len(patch)), np.empty(len(patch), np.int64)
    snr = moment = 0.0
    for _ in range(ITERATIONS):
        norm = _normalise(footprint)
        if norm == 0:
            return 0.0, 0.0
        project_patch(patch, footprint, activity)
        for j in range(len(patch)):
            weights[j] = activity[j]
        middle, highest = median(weights), -np.inf
        for j in range(len(patch)):
            activity[j] -= middle
            weights[j], highest = abs(activity[j]), max(highest, activity[j])
        sigma = max(1.0, median(weights) / 0.6745)
        if highest <= ACTIVE_Z * sigma:
            sigma = min(sigma, MAX_SCATTER)
        for j in range(len(patch)):
            weights[j] = activity[j] if activity[j] > ACTIVE_Z * sigma else 0.0
            inactive[j] = activity[j] < INACTIVE_Z * sigma
        moment = regress(patch, weights, inactive, slope)
        if moment <= 0:
            return 0.0, 0.0
        snr = np.sqrt(moment)
        if not segment_footprint(slope, 1 / snr, cell_px, near, False, footprint):
            return 0.0, 0.0
    norm = _normalise(footprint)
    _scale(slope, np.float32(1) / np.float32(norm))
    for j in range(len(patch)):
        activity[j] *= norm
    return moment * norm * norm, snr


@kernel
def _normalise(footprint):  # type: ignore[no-untyped-def]
    """Divide a footprint (h, w) by its norm, in place, and return the norm."""
    squares = 0.0
    for y in range(footprint.shape[0]):
        for x in range(footprint.shape[1]):
            squares += footprint[y, x] * footprint[y, x]
    norm = np.sqrt(squares)
    if norm > 0:
        _scale(footprint, np.float32(1) / np.float32(norm))
    return norm


@kernel
def spatial_correlation(footprint, slope, noise):  # type: ignore[no-untyped-def]
    """Return the correlation of a footprint (h, w) with its regression image `slope`, within 2 pixels of its support.

    The variance of the slope is corrected for its noise σ, at most down to MIN_SIGNAL_VARIANCE: without the correction
    faint cells are rejected (at 4 photons a pixel half of the rejected ones, at .7 to .8, are cells).
    """
    rows, blurred = np.empty(slope.shape, np.float32), np.empty(slope.shape, np.float32)
    around = np.empty(slope.shape, np.bool_)
    left = noise * smooth_gaussian(slope, 0.7, rows, blurred)
    dilate(footprint, 2, around)
    n, a, b, aa, bb, ab = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(slope.shape[0]):
        for x in range(slope.shape[1]):
            if around[y, x]:
                p, q = np.float64(footprint[y, x]), np.float64(blurred[y, x])
                n += 1
                a += p
                b += q
                aa += p * p
                bb += q * q
                ab += p * q
    variance = bb - b * b / max(n, 1)
    scale = (aa - a * a / max(n, 1)) * max(variance - (n - 1) * left * left, MIN_SIGNAL_VARIANCE * variance)
    return min(1.0, (ab - a * b / n) / np.sqrt(scale)) if scale > 0 else 0.0  # corrected, 1.008 was seen


@kernel
def read_patch(stored, order, top, left, step, patch):  # type: ignore[no-untyped-def]
    """Write the box at (top, left) of stored (n, y, x) int16 bins, in `order`, to patch (bins, h, w) float32."""
    unit, width = np.float32(1) / step, np.uintp(patch.shape[2])  # a power of two: the same bits as divided
    for j in range(len(order)):
        for y in range(patch.shape[1]):
            row, out = stored[order[j], top + y, left : left + width], patch[j, y]
            for x in range(width):
                out[x] = np.float32(row[x]) * unit


@part
def project_patch(patch, footprint, activity):  # type: ignore[no-untyped-def]
    """Write the least squares activity (bins,) of one footprint (h, w) in patch (bins, h, w)."""
    energy = 0.0
    for y in range(footprint.shape[0]):
        for x in range(footprint.shape[1]):
            energy += footprint[y, x] * footprint[y, x]
    for j in range(len(patch)):
        activity[j] = 0
    for first in range(0, len(patch), 4):  # four independent sums hide the latency of additions
        last = min(first + 4, len(patch)) - 1
        j, k = min(first + 1, last), min(first + 2, last)
        a = b = c = d = 0.0
        for y in range(footprint.shape[0]):
            for x in range(footprint.shape[1]):
                value = footprint[y, x]
                a += value * patch[first, y, x]
                b += value * patch[j, y, x]
                c += value * patch[k, y, x]
                d += value * patch[last, y, x]
        if energy > 0:
            activity[first], activity[j], activity[k], activity[last] = a / energy, b / energy, c / energy, d / energy


@part
def regress(patch, weights, inactive, slope):  # type: ignore[no-untyped-def]
    """Write the slope (h, w) of patch (bins, h, w) on weights (bins,); return Σ weights².

    slope = Σ weights · (patch − mean of the inactive bins) / Σ weights².
    """
    squares, sums, n = 0.0, 0.0, 0
    for j in range(len(patch)):
        squares += weights[j] * weights[j]
        sums += weights[j]
        n += inactive[j]
    for y in range(slope.shape[0]):
        for x in range(slope.shape[1]):
            slope[y, x] = 0
    if squares <= 0:
        return 0.0
    for j in range(len(patch)):
        weight = np.float32(weights[j] - (sums / n if inactive[j] and n else 0.0))
        for y in range(slope.shape[0]):
            for x in range(slope.shape[1]):
                slope[y, x] += weight * patch[j, y, x]
    for y in range(slope.shape[0]):
        for x in range(slope.shape[1]):
            slope[y, x] /= squares
    return squares
