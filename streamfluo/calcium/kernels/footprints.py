"""A footprint from a noisy image of a cell: smoothed no more than needed, cut where noise begins, in one piece."""

import numpy as np
from numba import njit

from ...pixels.kernels.pixel_rows import add_scaled

PEAK_PART = 0.2  # of the peak: where a cell ends
NOISE_PART = 2.2  # of a pixel's noise: what a pixel needs more than
SMOOTHINGS_PX = np.array([0.0, 0.6, 0.9, 1.3, 1.7])
CLEAR = 10.0  # peak over noise that needs no more smoothing
ROUNDS = 4
LEAST_SIGNAL = 0.8  # 0.5 finds more at 4 photons a pixel, and takes what is left of clouds for cells
ACTIVE_Z, CALM_Z = 2.5, 1.5


@njit(nogil=True, cache=True)
def smooth_box(image, sigma, rows, out):  # type: ignore[no-untyped-def]
    """Write image (h, w) smoothed by a Gaussian, edges repeated; return which part of white noise is left."""
    height, width = image.shape
    radius = int(np.ceil(3 * sigma))
    taps = np.empty(2 * radius + 1, np.float32)
    for i in range(-radius, radius + 1):
        taps[i + radius] = np.exp(-(i**2) / (2 * sigma**2))
    taps /= taps.sum()
    squares = 0.0
    for i in range(2 * radius + 1):
        squares += taps[i] * taps[i]
    padded = np.empty(width + 2 * radius, np.float32)
    for y in range(height):
        padded[:radius], padded[radius + width :] = image[y, 0], image[y, width - 1]
        padded[radius : radius + width] = image[y]
        rows[y] = 0
        for i in range(2 * radius + 1):
            add_scaled(padded[i : i + width], taps[i], rows[y])
    for y in range(height):
        out[y] = 0
        for i in range(-radius, radius + 1):
            add_scaled(rows[min(max(y + i, 0), height - 1)], taps[i + radius], out[y])
    return squares


@njit(nogil=True, cache=True)
def spread(image):  # type: ignore[no-untyped-def]
    """Return the width of what is not cell in an image: its median absolute deviation as a standard deviation."""
    values = image.copy().reshape(-1)
    middle = np.median(values)
    return np.median(np.abs(values - middle)) / 0.6745


@njit(nogil=True, cache=True)
def clear_image(estimate, noise, cell_px, rows, image):  # type: ignore[no-untyped-def]
    """Write the estimate (h, w) smoothed until its peak stands clear of its noise; return (noise, edge, peak).

    `edge`: the part of the peak at which a Gaussian cell of width cell_px, smoothed so, has the pixels that it has at
    PEAK_PART of it unsmoothed. The noise is what it should be, or what the image shows if that is more.
    """
    for sigma in SMOOTHINGS_PX:
        if sigma == 0:
            image[:] = estimate
            left = noise
        else:
            left = noise * smooth_box(estimate, sigma, rows, image)
        peak = image.max()
        if peak > CLEAR * left or sigma == SMOOTHINGS_PX[-1]:  # else it is not clear, however wide the image's spread
            left = max(left, spread(image))
        if peak > CLEAR * left:
            break
    edge = PEAK_PART ** (cell_px**2 / (cell_px**2 + sigma**2))
    return left, edge, peak


@njit(nogil=True, cache=True)
def connected(image, bound, seed_y, seed_x, kept, stack):  # type: ignore[no-untyped-def]
    """Mark in `kept` (h, w) bool the pixels ≥ bound that are 4-connected to the seed; return how many.

    stack (h · w,): room to work in.
    """
    height, width = image.shape
    kept[:] = False
    if image[seed_y, seed_x] < bound:
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
            if 0 <= j < height and 0 <= i < width and not kept[j, i] and image[j, i] >= bound:
                kept[j, i] = True
                stack[top] = j * width + i
                top += 1
                count += 1
    return count


@njit(nogil=True, cache=True)
def fill_holes(kept):  # type: ignore[no-untyped-def]
    """Mark pixels that have marked ones on all four sides, however far, as long as that adds any; return how many."""
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


@njit(nogil=True, cache=True)
def dilate(mask, times, out):  # type: ignore[no-untyped-def]
    """Write mask (h, w) bool grown by `times` pixels along rows and columns."""
    height, width = mask.shape
    out[:] = mask
    before = mask.copy()
    for _ in range(times):
        for y in range(height):
            for x in range(width):
                if not before[y, x]:
                    out[y, x] = (
                        (y > 0 and before[y - 1, x])
                        or (y < height - 1 and before[y + 1, x])
                        or (x > 0 and before[y, x - 1])
                        or (x < width - 1 and before[y, x + 1])
                    )
        before[:] = out


@njit(nogil=True, cache=True)
def cut_footprint(estimate, noise, cell_px, allowed, confined, fill, footprint):  # type: ignore[no-untyped-def]
    """Write the footprint that a regression's estimate (h, w) of this noise shows; return its number of pixels.

    It begins at the brightest pixel where `allowed` (h, w) bool; confined, it ends there too. 0 pixels: nothing
    stands out.
    """
    rows, image = np.empty_like(estimate), np.empty_like(estimate)
    kept, stack = np.zeros(estimate.shape, np.bool_), np.empty(estimate.size, np.int64)
    left, edge, _ = clear_image(estimate, noise, cell_px, rows, image)
    seed_y = seed_x = -1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if allowed[y, x] and (seed_y < 0 or image[y, x] > image[seed_y, seed_x]):
                seed_y, seed_x = y, x
    footprint[:] = 0
    if seed_y < 0:
        return 0
    if confined:
        image[:] = np.where(allowed, image, np.float32(0))
    bound = np.float32(max(edge * image[seed_y, seed_x], NOISE_PART * left))
    count = connected(image, bound, seed_y, seed_x, kept, stack)
    if fill and count:
        count = fill_holes(kept)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if kept[y, x]:
                footprint[y, x] = image[y, x]
    return count


@njit(nogil=True, cache=True)
def regrow(old, gathered, moment, cell_px, growth, new):  # type: ignore[no-untyped-def]
    """Write the footprint that the regression old + gathered / moment shows, on its old scale; return its pixels.

    All (h, w) float32. It may grow by `growth` pixels beyond the old one. The scale is that at which the new footprint
    fits the regression best, so that its trace keeps its own.
    """
    estimate = old + gathered / np.float32(moment)
    allowed = np.zeros(old.shape, np.bool_)
    dilate(old > 0, growth, allowed)
    count = cut_footprint(estimate, 1 / np.sqrt(moment), cell_px, allowed, True, False, new)
    both, own = 0.0, 0.0
    for y in range(new.shape[0]):
        for x in range(new.shape[1]):
            both += estimate[y, x] * new[y, x]
            own += new[y, x] * new[y, x]
    if own > 0:
        new *= np.float32(both / own)
    return count


@njit(nogil=True, cache=True)
def factorise(patch, near, cell_px, shape, slope, activity):  # type: ignore[no-untyped-def]
    """Refine a shape (h, w) on residual bins (n, h, w) by rounds of rank-one factorisation; return (moment, widths).

    Each round takes the bins in which the shape is active, regresses each pixel on them (slope (h, w), its level from
    the calm bins) and cuts the footprint out of that, from the brightest pixel where `near` on. The shape ends with
    unit norm, slope and activity (n,) on its scale. moment: Σ activity² of the active bins, widths: the same on the
    scale of the noise, 0 where nothing stands out.
    """
    weights, calm = np.empty(len(patch)), np.empty(len(patch), np.int64)
    snr = moment = 0.0
    for _ in range(ROUNDS):
        norm = _unit(shape)
        if norm == 0:
            return 0.0, 0.0
        activity_of(patch, shape, activity)
        middle = np.median(activity)
        activity -= middle
        width = max(1.0, np.median(np.abs(activity)) / 0.6745)
        for j in range(len(patch)):
            weights[j] = activity[j] if activity[j] > ACTIVE_Z * width else 0.0
            calm[j] = activity[j] < CALM_Z * width
        moment = regress(patch, weights, calm, slope)
        if moment <= 0:
            return 0.0, 0.0
        snr = np.sqrt(moment)
        if not cut_footprint(slope, 1 / snr, cell_px, near, False, True, shape):
            return 0.0, 0.0
    norm = _unit(shape)
    slope /= np.float32(norm)
    activity *= norm
    return moment * norm * norm, snr


@njit(nogil=True, cache=True)
def _unit(shape):  # type: ignore[no-untyped-def]
    """Divide a shape by its norm, and return that."""
    squares = 0.0
    for y in range(shape.shape[0]):
        for x in range(shape.shape[1]):
            squares += shape[y, x] * shape[y, x]
    norm = np.sqrt(squares)
    if norm > 0:
        shape /= np.float32(norm)
    return norm


@njit(nogil=True, cache=True)
def likeness(footprint, slope, noise):  # type: ignore[no-untyped-def]
    """Return the correlation of a footprint (h, w) with the regression it was cut from, in and 2 pixels round it.

    What the regression's noise takes of it is given back, down to LEAST_SIGNAL of the variance: else faint cells, which
    cannot look better, are refused (at 4 photons a pixel half of those that were, .7 to .8, are cells).
    """
    rows, blurred, around = np.empty_like(slope), np.empty_like(slope), np.zeros(slope.shape, np.bool_)
    left = noise * smooth_box(slope, 0.7, rows, blurred)
    dilate(footprint > 0, 2, around)
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
    seen = bb - b * b / max(n, 1)
    scale = (aa - a * a / max(n, 1)) * max(seen - (n - 1) * left * left, LEAST_SIGNAL * seen)
    return (ab - a * b / n) / np.sqrt(scale) if scale > 0 else 0.0


@njit(nogil=True, cache=True)
def cut_out(stored, order, top, left, step, patch):  # type: ignore[no-untyped-def]
    """Write the box at (top, left) of stored (n, y, x) int16 residuals, in `order`, to patch (bins, h, w) float32."""
    for j in range(len(order)):
        for y in range(patch.shape[1]):
            for x in range(patch.shape[2]):
                patch[j, y, x] = np.float32(stored[order[j], top + y, left + x]) / step


@njit(nogil=True, cache=True)
def activity_of(patch, shape, activity):  # type: ignore[no-untyped-def]
    """Write the least squares activity (bins,) of one shape (h, w) in patch (bins, h, w)."""
    energy = 0.0
    for y in range(shape.shape[0]):
        for x in range(shape.shape[1]):
            energy += shape[y, x] * shape[y, x]
    activity[:] = 0
    for first in range(0, len(patch), 4):  # four sums at a time: each waits for its own last addition only
        last = min(first + 4, len(patch)) - 1
        j, k = min(first + 1, last), min(first + 2, last)
        a = b = c = d = 0.0
        for y in range(shape.shape[0]):
            for x in range(shape.shape[1]):
                value = shape[y, x]
                a += value * patch[first, y, x]
                b += value * patch[j, y, x]
                c += value * patch[k, y, x]
                d += value * patch[last, y, x]
        if energy > 0:
            activity[first], activity[j], activity[k], activity[last] = a / energy, b / energy, c / energy, d / energy


@njit(nogil=True, cache=True)
def regress(patch, weights, quiet, slope):  # type: ignore[no-untyped-def]
    """Write slope(y, x) of patch on weights (bins,), level taken from the bins that are quiet; return Σ weights².

    slope = Σ weights (patch − mean of the quiet bins) / Σ weights².
    """
    squares, sums, n = 0.0, 0.0, 0
    for j in range(len(patch)):
        squares += weights[j] * weights[j]
        sums += weights[j]
        n += quiet[j]
    slope[:] = 0
    if squares <= 0:
        return 0.0
    for j in range(len(patch)):
        weight = np.float32(weights[j] - (sums / n if quiet[j] and n else 0.0))
        for y in range(slope.shape[0]):
            for x in range(slope.shape[1]):
                slope[y, x] += weight * patch[j, y, x]
    for y in range(slope.shape[0]):
        for x in range(slope.shape[1]):
            slope[y, x] /= squares
    return squares
