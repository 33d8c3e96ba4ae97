"""What the components do not explain: residuals of a bin of frames, their smoothed map, and where it peaks."""

import numpy as np
from numba import njit

STEP = 32.0  # residuals of a bin are kept as int16 in steps of 1/32 of their noise


@njit(nogil=True, cache=True)
def subtract_footprints(flat, index, value, count, amounts):  # type: ignore[no-untyped-def]
    """Take footprints times amounts (K,) out of a flat frame (pixels,), in place."""
    for k in range(len(amounts)):
        amount = np.float32(amounts[k])
        for i in range(count[k]):
            flat[index[k, i]] -= amount * value[k, i]


@njit(nogil=True, cache=True)
def take_out(stored, order, index, value, step, activity):  # type: ignore[no-untyped-def]
    """Take a footprint (index, value) times its activity (n,) out of the bins `order` (n,) of stored (bins, pixels).

    stored: int16 in steps of 1/step.
    """
    for j in range(len(order)):
        for i in range(len(index)):
            rest = stored[order[j], index[i]] - np.rint(step * activity[j] * value[i])
            stored[order[j], index[i]] = np.int16(max(-32767.0, min(32767.0, rest)))


@njit(nogil=True, cache=True)
def store_bin(total, factor, stored, binned):  # type: ignore[no-untyped-def]
    """Write total · factor as int16 to `stored` (y, x) and, summed 2 × 2 and halved, to `binned` (y // 2, x // 2)."""
    for y in range(total.shape[0]):
        _keep_row(total[y], factor, stored[y])
    for y in range(binned.shape[0]):
        a, b = total[2 * y], total[2 * y + 1]
        for x in range(binned.shape[1]):
            binned[y, x] = np.float32(0.5) * (a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1])


@njit(nogil=True, cache=True)
def _keep_row(total, factor, stored):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        total[i] *= factor
        z = total[i] * np.float32(STEP)
        z = z if z < np.float32(32767) else np.float32(32767)
        z = z if z > np.float32(-32767) else np.float32(-32767)
        stored[i] = np.int16(np.int32(np.rint(z)))


@njit(nogil=True, cache=True)
def smooth(image, taps, rows, out):  # type: ignore[no-untyped-def]
    """Write `image` (y, x) convolved along both axes with symmetric `taps` (2 r + 1,); beyond the edge there is 0."""
    height, width = image.shape
    radius = len(taps) // 2
    for y in range(height):
        out[y] = 0
        for k in range(-radius, radius + 1):
            a, b, weight = max(0, -k), min(width, width - k), taps[k + radius]
            _add(image[y, a + k : b + k], weight, out[y, a:b])
        rows[y] = out[y]
    for y in range(height):
        out[y] = 0
        for k in range(-radius, radius + 1):
            if 0 <= y + k < height:
                _add(rows[y + k], taps[k + radius], out[y])


@njit(nogil=True, cache=True)
def _add(a, weight, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] += weight * a[i]


@njit(nogil=True, cache=True)
def centre_map(smoothed, mean, square, rate, bound):  # type: ignore[no-untyped-def]
    """Turn a smoothed map into deviations from its running mean in units of its running width, both renewed here.

    All (y, x) float32; what is beyond ± `bound` widths counts as that much, so that transients teach little.
    """
    for y in range(smoothed.shape[0]):
        row, m, s = smoothed[y], mean[y], square[y]
        for x in range(len(row)):
            d = row[x] - m[x]
            width = np.sqrt(s[x])
            limited = max(-bound * width, min(bound * width, d))
            m[x] += rate * limited
            s[x] += rate * (limited * limited - s[x])
            row[x] = d / max(width, np.float32(1e-6))


@njit(nogil=True, cache=True)
def combine(maps, newest, weights, out):  # type: ignore[no-untyped-def]
    """Write out = Σ_j weights[j] · (the map j bins before the newest). maps (n, y, x) is a ring."""
    n = len(maps)
    for y in range(out.shape[0]):
        out[y] = 0
        for j in range(len(weights)):
            _add(maps[(newest - j) % n, y], weights[j], out[y])


@njit(nogil=True, cache=True)
def peaks(now, before, bound, radius, resting, found):  # type: ignore[no-untyped-def]
    """List the strongest local maxima of `before` that are ≥ bound and have fallen since; return how many.

    now, before, resting (y, x): places rest below that height. found (n, 3): (y, x, height), the strongest first.
    """
    height, width = now.shape
    count = 0
    for y in range(height):
        for x in range(width):
            z = before[y, x]
            if z < bound or z < resting[y, x] or not _is_peak(before, y, x, radius) or _max_around(now, y, x) >= z:
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


@njit(nogil=True, cache=True)
def _is_peak(image, y, x, radius):  # type: ignore[no-untyped-def]
    z = image[y, x]
    for j in range(max(0, y - radius), min(image.shape[0], y + radius + 1)):
        for i in range(max(0, x - radius), min(image.shape[1], x + radius + 1)):
            if image[j, i] > z:
                return False
    return True


@njit(nogil=True, cache=True)
def _max_around(image, y, x):  # type: ignore[no-untyped-def]
    best = image[y, x]
    for j in range(max(0, y - 1), min(image.shape[0], y + 2)):
        for i in range(max(0, x - 1), min(image.shape[1], x + 2)):
            best = max(best, image[j, i])
    return best
