"""The noise of the matched filter where a camera's is not known, from the frames themselves.

Two limits, of which the larger counts. The median of |q| in tiles stands above structure and dense spots, but
collapses where most pixels are equal: sparse counts, or noise of less than the step of the ADU. The cumulants of a
pixel less the mean of its four neighbours do not, and tell how skewed the tail is; a spot leaves a quarter of its
height in them, so spots above the threshold are left out, and the threshold comes down until no more are.
"""

import math

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import median
from .matched_filter import FILTERED
from .thresholds import SHARE_FIRST, SHARE_STEP, SHARES, TABLE_FIRST, TABLE_LENGTH, TABLE_STEP

TILE_PX, EVERY_PX = 64, 3
TO_SIGMA = 1.4826  # median absolute value of Gaussian noise
ROUNDS = 6  # of leaving out spots
SURE = 2.0  # standard errors by which skewness and kurtosis exceed those of Gaussian noise
LEAST_PIXELS = 64  # in a tile, for cumulants
SECOND, THIRD, FOURTH = 1 + 4 / 4**2, 1 - 4 / 4**3, 1 + 4 / 4**4  # cumulants of such a difference over a pixel's
TINY = 1e-12
BELOW = 4.0  # standard errors below zero that no light makes
VARIANCE, SKEWNESS2, KURTOSIS = range(3)


@kernel(error_model="numpy")
def tile_noise(q):  # type: ignore[no-untyped-def]
    """Return the noise σ of tiles of 64 × 64 pixels, from the median of |q| of every third pixel.

    Each is the median over its own and the adjacent tiles: one alone errs by 6 %, which makes 70 % more false alarms.
    """
    height, width = q.shape
    single = np.empty((-(-height // TILE_PX), -(-width // TILE_PX)))
    values = np.empty((TILE_PX // EVERY_PX + 1) ** 2)
    for i in range(single.shape[0]):
        for j in range(single.shape[1]):
            bottom, right, count = min((i + 1) * TILE_PX, height), min((j + 1) * TILE_PX, width), 0
            for y in range(max(0, bottom - TILE_PX), bottom, EVERY_PX):
                for x in range(max(0, right - TILE_PX), right, EVERY_PX):
                    values[count] = abs(q[y, x])
                    count += 1
            single[i, j] = TO_SIGMA * median(values[:count])
    noise = np.empty_like(single)
    medians_nearby(single, noise)
    return noise


@kernel(error_model="numpy")
def medians_nearby(single, smooth):  # type: ignore[no-untyped-def]
    """Write for each tile (i, j) the median over its own and the adjacent tiles; NaN is left out."""
    near = np.empty(9)
    for i in range(single.shape[0]):
        for j in range(single.shape[1]):
            count = 0
            for k in range(max(0, i - 1), min(i + 2, single.shape[0])):
                for n in range(max(0, j - 1), min(j + 2, single.shape[1])):
                    if single[k, n] == single[k, n]:
                        near[count] = single[k, n]
                        count += 1
            smooth[i, j] = median(near[:count])


@part(error_model="numpy")
def pixel_cumulants(electrons, taken):  # type: ignore[no-untyped-def]
    """Return variance, skewness² and excess kurtosis (3, tiles, tiles) of pixels (y, x) that do not depend on others.

    taken: pixels that are left out. Skewness and kurtosis as far as they exceed chance, each the median over
    neighbouring tiles.
    """
    height, width = electrons.shape
    single = np.empty((3, -(-height // TILE_PX), -(-width // TILE_PX)))
    for i in range(single.shape[1]):
        for j in range(single.shape[2]):
            bottom, right = min((i + 1) * TILE_PX, height), min((j + 1) * TILE_PX, width)
            top, left = max(0, bottom - TILE_PX), max(0, right - TILE_PX)
            count, s1, s2, s3, s4 = tile_sums(electrons[top:bottom, left:right], taken[top:bottom, left:right])
            for k in range(3):
                single[k, i, j] = 0.0 if count >= LEAST_PIXELS else math.nan
            if count >= LEAST_PIXELS:
                mean, second, third, fourth = s1 / count, s2 / count, s3 / count, s4 / count
                variance = second - mean**2
                if variance > 0:
                    skew = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
                    peak = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / variance**2 - 3
                    single[VARIANCE, i, j] = variance / SECOND
                    skew = max(skew - SURE * math.sqrt(6 / count), 0.0)
                    single[SKEWNESS2, i, j] = skew**2 * SECOND**3 / THIRD**2
                    single[KURTOSIS, i, j] = max(peak - SURE * math.sqrt(24 / count), 0.0) * SECOND**2 / FOURTH
    smooth = np.empty_like(single)
    for k in range(3):
        medians_nearby(single[k], smooth[k])
    return smooth


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def tile_sums(electrons, taken):  # type: ignore[no-untyped-def]
    """Return the number of inner pixels (y, x) that are not taken, and the sums of the powers 1 to 4 of how far each
    lies above the mean of its four neighbours."""
    count = s1 = s2 = s3 = s4 = 0.0
    for y in range(1, electrons.shape[0] - 1):
        above, row, below = electrons[y - 1], electrons[y], electrons[y + 1]
        for x in range(1, electrons.shape[1] - 1):
            free = 0.0 if taken[y, x] else 1.0
            around = np.float64(above[x]) + below[x] + row[x - 1] + row[x + 1]
            d = free * (row[x] - 0.25 * around)
            count += free
            s1 += d
            s2 += d * d
            s3 += d * d * d
            s4 += d * d * d * d
    return count, s1, s2, s3, s4


@part(error_model="numpy")
def measured_limits(electrons, search, share):  # type: ignore[no-untyped-def]
    """Return for each tile the q² (tiles, tiles) beyond which a pixel is detected, from q and the pixels themselves.

    electrons (y, x); search: Search, its q in the same corner; share: the variance of q over a pixel's.
    """
    height, width = electrons.shape
    q = search.filtered[FILTERED, :height, :width]
    middle, table = tile_noise(q), search.table
    taken = np.zeros((height, width), np.bool_)
    limits, found, reach = np.empty_like(middle), -1, len(search.weights) - 1
    while search.weights[reach] == 0:
        reach -= 1
    for _ in range(ROUNDS):
        variance, skewness2, kurtosis = pixel_cumulants(electrons, taken)
        for i in range(limits.shape[0]):
            for j in range(limits.shape[1]):
                limits[i, j] = (table[0, TABLE_LENGTH] * middle[i, j]) ** 2
                if variance[i, j] > 0:
                    # Poisson light of skewness² or excess kurtosis c has 1 / c photons; both are as sparse
                    sparse = max(skewness2[i, j], kurtosis[i, j], TINY)
                    wanted = threshold(table, -math.log(sparse), 1.0)
                    limits[i, j] = max(limits[i, j], wanted**2 * share * variance[i, j])
        before, found = found, leave_out(q, limits, reach, search.marks, taken)
        if found == before or found == 0:
            break
    return limits


@part(error_model="numpy")
def leave_out(q, limits, reach, marks, taken):  # type: ignore[no-untyped-def]
    """Take pixels within `reach` of the local maxima of q (y, x) beyond the tiles' limits; return their number."""
    height, width = q.shape
    count = 0
    for y in range(1, height - 1):
        mark_above(q[y], limits[y // TILE_PX], marks[y])
        for x in range(1, width - 1):
            if marks[y, x] and highest(q, y, x):
                count += 1
                for i in range(max(0, y - reach), min(y + reach + 1, height)):
                    for j in range(max(0, x - reach), min(x + reach + 1, width)):
                        taken[i, j] = True
    return count


@part(error_model="numpy")
def light_below_zero(background, variance, share):  # type: ignore[no-untyped-def]
    """Whether the background (y, x) lies below zero beyond the dark noise of the box in most of every eighth pixel.

    variance: maps (y, x) or (1, x) [e²]; share: 1/|B|.
    """
    below = count = 0
    for y in range(0, background.shape[0], 8):
        noise = variance[y % len(variance)]
        for x in range(0, background.shape[1], 8):
            below += background[y, x] < -BELOW * math.sqrt(noise[x] * share)
            count += 1
    return 2 * below > count


@kernel(error_model="numpy", fastmath={"contract"})
def mark_above(q, limits, marks):  # type: ignore[no-untyped-def]
    """Mark the pixels of a row whose q is at least the root of their tile's limit."""
    for tile in range(len(limits)):
        limit = np.float32(limits[tile])
        for x in range(tile * TILE_PX, min((tile + 1) * TILE_PX, len(q))):
            marks[x] = 1 if q[x] > 0 and q[x] * q[x] >= limit else 0


@kernel(error_model="numpy")
def highest(q, y, x):  # type: ignore[no-untyped-def]
    """Whether a pixel is a local maximum; of equal ones the first is."""
    value = q[y, x]
    top = q[y, x - 1] < value >= q[y, x + 1]
    for k in range(-1, 2):
        top = top and q[y - 1, x + k] < value >= q[y + 1, x + k]
    return top


@kernel(error_model="numpy")
def threshold(table, at, share):  # type: ignore[no-untyped-def]
    """Return the table's value at ln λ and the shot noise's share of the variance, bilinearly interpolated."""
    along = min(max((at - TABLE_FIRST) / TABLE_STEP, 0.0), TABLE_LENGTH - 1.000001)
    down = min(max((share - SHARE_FIRST) / SHARE_STEP, 0.0), SHARES - 1.000001)
    k, j = int(along), int(down)
    along -= k
    down -= j
    upper = table[j, k] + along * (table[j, k + 1] - table[j, k])
    lower = table[j + 1, k] + along * (table[j + 1, k + 1] - table[j + 1, k])
    return upper + down * (lower - upper)
