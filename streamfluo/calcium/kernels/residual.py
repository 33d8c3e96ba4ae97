"""Residuals of bins of frames, smoothed residual maps, and their local maxima."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.pixel_rows import add_scaled

STEP = 32.0  # residuals of a bin are stored as int16 in steps of 1/32 of their noise σ


@kernel
def subtract_footprints(flat, footprints, activity):  # type: ignore[no-untyped-def]
    """Subtract footprints times activity (K,) from a flat frame (pixels,), in place."""
    index, value, pixels = footprints
    for k in range(len(activity)):
        amount = np.float32(activity[k])
        for i in range(pixels[k]):
            flat[index[k, i]] -= amount * value[k, i]


@kernel
def subtract_from_bins(stored, order, k, footprints, activity):  # type: ignore[no-untyped-def]
    """Subtract footprint k times activity (n,) from the bins `order` (n,) of stored (bins, pixels) int16, in place."""
    index, value, pixels = footprints
    for j in range(len(order)):
        for i in range(pixels[k]):
            rest = stored[order[j], index[k, i]] - np.rint(STEP * activity[j] * value[k, i])
            stored[order[j], index[k, i]] = np.int16(max(-32767.0, min(32767.0, rest)))


@kernel
def store_bin(total, factor, stored, binned):  # type: ignore[no-untyped-def]
    """Write total · factor as int16 to `stored` (y, x) and, summed 2 × 2 and halved, to `binned` (y // 2, x // 2).

    A single row or column counts twice.
    """
    height, width = total.shape
    for y in range(height):
        _quantise_row(total[y], factor, stored[y])
    for y in range(binned.shape[0]):
        a, b = total[2 * y], total[min(2 * y + 1, height - 1)]
        if width == 1:
            binned[y, 0] = a[0] + b[0]
        for x in range(width // 2):
            binned[y, x] = np.float32(0.5) * (a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1])


@part
def _quantise_row(total, factor, stored):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        total[i] *= factor
        z = total[i] * np.float32(STEP)
        z = z if z < np.float32(32767) else np.float32(32767)
        z = z if z > np.float32(-32767) else np.float32(-32767)
        stored[i] = np.int16(np.int32(np.rint(z)))


@kernel
def smooth(image, kernel, rows, out):  # type: ignore[no-untyped-def]
    """Write `image` (y, x) convolved along both axes with a symmetric `kernel` (2 r + 1,), zero beyond the edge.

    rows (y, x): working memory.
    """
    height, width = image.shape
    radius = len(kernel) // 2
    padded, nothing = np.zeros(width + 2 * radius, np.float32), np.zeros(width, np.float32)
    for y in range(height):
        for x in range(width):
            padded[radius + x] = image[y, x]
        _scale(image[y], kernel[radius], rows[y])
        for k in range(1, radius + 1):
            below, above = padded[radius - k : radius - k + width], padded[radius + k : radius + k + width]
            _add_pair(below, above, kernel[radius + k], rows[y])
    for y in range(height):
        _scale(rows[y], kernel[radius], out[y])
        for k in range(1, radius + 1):
            before = rows[y - k] if y >= k else nothing
            after = rows[y + k] if y + k < height else nothing
            _add_pair(before, after, kernel[radius + k], out[y])


@kernel
def _scale(a, weight, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = weight * a[i]


@kernel
def _add_pair(a, b, weight, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] += weight * (a[i] + b[i])


@kernel
def standardise_map(smoothed, mean, variance, rate, bound):  # type: ignore[no-untyped-def]
    """Standardise a smoothed map in place by its running mean and variance, and update both.

    All (y, x) float32. Updates clip deviations at ± `bound` σ, so that transients hardly move mean and variance.
    """
    for y in range(smoothed.shape[0]):
        row, m, s = smoothed[y], mean[y], variance[y]
        for x in range(len(row)):
            d = row[x] - m[x]
            sigma = np.sqrt(s[x])
            limited = max(-bound * sigma, min(bound * sigma, d))
            m[x] += rate * limited
            s[x] += rate * (limited * limited - s[x])
            row[x] = d / max(sigma, np.float32(1e-6))


@kernel
def pool_maps(maps, newest, weights, out):  # type: ignore[no-untyped-def]
    """Write out = Σ_j weights[j] · (the map j bins before the newest). maps (n, y, x) is a ring buffer."""
    n = len(maps)
    for y in range(out.shape[0]):
        _scale(maps[newest, y], weights[0], out[y])
        for j in range(1, len(weights)):
            add_scaled(maps[(newest - j) % n, y], weights[j], out[y])


@kernel
def peaks(now, before, threshold, radius, suppressed, found):  # type: ignore[no-untyped-def]
    """List the highest local maxima of `before` (y, x) that are ≥ threshold and lower in `now`; return how many.

    Maxima below `suppressed` (y, x) are left out. found (n, 3): (y, x, z), the highest first.
    """
    height, width = now.shape
    count = 0
    for y in range(height):
        for x in range(width):
            z = before[y, x]
            if z < threshold or z < suppressed[y, x] or not _is_peak(before, y, x, radius):
                continue
            if _max_around(now, y, x) >= z:
                continue
            at = min(count, len(found) - 1)
            if count == len(found) and found[at, 2] >= z:
                continue
            while at > 0 and found[at - 1, 2] < z:
                found[at] = found[at - 1]
                at -= 1
            found[at, 0], found[at, 1], found[at, 2] = y, x, z
            count = min(count + 1, len(found))
    return count


@part
def _is_peak(image, y, x, radius):  # type: ignore[no-untyped-def]
    z = image[y, x]
    for j in range(max(0, y - radius), min(image.shape[0], y + radius + 1)):
        for i in range(max(0, x - radius), min(image.shape[1], x + radius + 1)):
            if image[j, i] > z:
                return False
    return True


@part
def _max_around(image, y, x):  # type: ignore[no-untyped-def]
    best = image[y, x]
    for j in range(max(0, y - 1), min(image.shape[0], y + 2)):
        for i in range(max(0, x - 1), min(image.shape[1], x + 2)):
            best = max(best, image[j, i])
    return best
