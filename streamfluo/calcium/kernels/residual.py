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


def rows_of(shape: tuple[int, int], kernel: np.ndarray) -> np.ndarray:
    """Return working memory for `smooth`, which reads fours of rows above and below, of weight 0 beyond the kernel."""
    reach = max(1, -(-(len(kernel) // 2) // 4)) * 4
    return np.zeros((shape[0] + 2 * reach, shape[1]), np.float32)


@kernel
def smooth(image, kernel, rows, out):  # type: ignore[no-untyped-def]
    """Write `image` (y, x) convolved along both axes with a symmetric `kernel` (2 r + 1,), zero beyond the edge.

    rows (y + 2 · reach, x): `rows_of` such, working memory.
    """
    (height, width), radius = image.shape, len(kernel) // 2
    reach = (len(rows) - height) // 2
    padded, weights = np.zeros(width + 2 * reach, np.float32), np.zeros(reach + 1, np.float32)
    for k in range(radius + 1):
        weights[k] = kernel[radius + k]
    for y in range(reach):
        for x in range(width):
            rows[y, x] = rows[reach + height + y, x] = 0
    for y in range(height):
        for x in range(width):
            padded[reach + x] = image[y, x]
        _weigh(padded, reach, 1, weights, rows[reach + y])
    flat = rows.reshape(rows.size)
    for y in range(height):
        _weigh(flat, (reach + y) * width, width, weights, out[y])


@kernel
def _weigh(flat, at, step, weights, out):  # type: ignore[no-untyped-def]
    """Write Σ weights[|k|] · flat[at + k step : …] to out (x,), k from −reach to reach.

    Four pairs in one pass over one array, with unsigned places: of nine arrays, or of signed places, it would not be
    vectorised.
    """
    middle, one, n = np.uintp(at), np.uintp(step), np.uintp(len(out))
    w, four = weights[0], np.uintp(4 * step)
    a, b, c, d = weights[1], weights[2], weights[3], weights[4]
    p1, q1 = middle - one, middle + one
    p2, q2 = p1 - one, q1 + one
    p3, q3 = p2 - one, q2 + one
    p4, q4 = p3 - one, q3 + one
    for i in range(n):
        near = (w * flat[middle + i] + a * (flat[p1 + i] + flat[q1 + i])) + b * (flat[p2 + i] + flat[q2 + i])
        out[i] = near + (c * (flat[p3 + i] + flat[q3 + i]) + d * (flat[p4 + i] + flat[q4 + i]))
    for k in range(5, len(weights), 4):
        p1, p2, p3, p4 = p1 - four, p2 - four, p3 - four, p4 - four
        q1, q2, q3, q4 = q1 + four, q2 + four, q3 + four, q4 + four
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for i in range(n):
            near = a * (flat[p1 + i] + flat[q1 + i]) + b * (flat[p2 + i] + flat[q2 + i])
            out[i] += near + (c * (flat[p3 + i] + flat[q3 + i]) + d * (flat[p4 + i] + flat[q4 + i]))


@kernel
def _scale(a, weight, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = weight * a[i]


@kernel
def standardise_map(smoothed, mean, variance, rate, bounds):  # type: ignore[no-untyped-def]
    """Standardise a smoothed map in place by its running mean and variance, and update both.

    All (y, x) float32. bounds: ± so many σ at which updates clip deviations, so that transients hardly move mean and
    variance; the largest variance.
    """
    bound, largest = bounds
    for y in range(smoothed.shape[0]):
        row, m, s = smoothed[y], mean[y], variance[y]
        for x in range(len(row)):
            d, before = row[x] - m[x], min(s[x], largest)
            sigma = np.sqrt(before)
            limited = max(-bound * sigma, min(bound * sigma, d))
            m[x] += rate * limited
            s[x] = before + rate * (limited * limited - before)
            row[x] = d / max(sigma, np.float32(1e-6))


@kernel
def pool_maps(maps, newest, factor, weights, out):  # type: ignore[no-untyped-def]
    """Multiply the newest map by a factor, and write out = Σ_j weights[j] · (the map j bins before the newest).

    maps (n, y, x) is a ring buffer.
    """
    n = len(maps)
    for y in range(out.shape[0]):
        _scale(maps[newest, y], factor, maps[newest, y])
        _scale(maps[newest, y], weights[0], out[y])
        for j in range(1, len(weights)):
            add_scaled(maps[(newest - j) % n, y], weights[j], out[y])


@kernel
def peaks(now, before, threshold, radius, suppressed, found):  # type: ignore[no-untyped-def]
    """List the highest local maxima of `before` (y, x) that are ≥ threshold and lower in `now`; return how many.

    Maxima below `suppressed` (y, x) are left out. found (n, 3): (y, x, z), the highest first.
    """
    height, width = now.shape
    count, least = 0, np.float32(threshold)
    for y in range(height):
        if not _number_from(least, before[y]):  # vectorised: most rows have none
            continue
        for x in range(width):
            z = before[y, x]
            if z < least or z < suppressed[y, x] or not _is_peak(before, y, x, radius):
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


@kernel
def _number_from(least, row):  # type: ignore[no-untyped-def]
    """Return how many values of a row (x,) are at least so large."""
    count = 0
    for x in range(len(row)):
        count += row[x] >= least
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
