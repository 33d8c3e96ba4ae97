"""The level of a frame's residuals in each block, and their slope: light added evenly, or more on one side."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import of_rank
from .gauss_newton import BLOCK_PX, column_run

LEVEL_STRIDE = 4  # rows of a block that its level is taken from
LEAST_DIFFERENCES = 4  # of neighbouring blocks, for a slope


@kernel
def measure_levels(frame, template, shifts, gain, column_sums, levels, rows):  # type: ignore[no-untyped-def]
    """Write the level of the residuals frame(y + s_y, x + s_x) − gain · template in each block of some rows of blocks.

    Frame; TemplateImages; shifts (by, bx, 2) int64 [px]; gain float32; column_sums (2, x) or more float32: scratch;
    levels (by, bx) float32 [ADU], NaN where nothing was seen; rows (first, stop). Cost at 512 × 512: a third of a copy.
    """
    image, window = template[0], template[3]
    columns = np.empty(BLOCK_PX, np.float32)
    width = image.shape[1]
    for by in range(rows[0], rows[1]):
        first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, image.shape[0])
        column_sums[:2] = 0
        for y in range(max(first, window[0]), min(last, window[1]), LEVEL_STRIDE):
            bx = 0
            while bx < shifts.shape[1]:
                bx, dy, dx, p, q = column_run(frame, template, shifts[by], bx, y)
                if p < q:
                    total = (column_sums[0, p:q], column_sums[1, p:q])
                    _add_differences(frame[0][y + dy, p + dx : q + dx], image[y, p:q], gain, total)
        for bx in range(shifts.shape[1]):
            at = slice(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, width))
            levels[by, bx] = _level(column_sums[:2, at], template[2][by, at], columns)


@kernel
def level_slopes(levels):  # type: ignore[no-untyped-def]
    """Return the slopes (y, x) [ADU/px], float32, of levels (by, bx): medians over neighbouring blocks."""
    return _slope(levels[1:], levels[:-1]), _slope(levels[:, 1:], levels[:, :-1])


@part
def _add_differences(frame, template, gain, total):  # type: ignore[no-untyped-def]
    count, added = total
    for i in range(len(count)):
        count[i] += np.float32(1)
        added[i] += np.float32(frame[i]) - gain * template[i]


@part
def _level(sums, limit, columns):  # type: ignore[no-untyped-def]
    """Return the level of a block: the mean of its columns, without those that hold a NaN.

    Where they differ by more than the limit, as at a cosmic ray or a bright cell, it is their median.
    """
    n, mean, least, most = 0, np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for x in range(len(limit)):
        if sums[0, x] > 0 and sums[1, x] == sums[1, x]:
            columns[n] = sums[1, x] / sums[0, x]
            mean += columns[n]
            least, most = min(least, columns[n]), max(most, columns[n])
            n += 1
    if n == 0:
        return np.float32(np.nan)
    if most - least > limit[0]:
        return of_rank(columns[:n], n // 2)
    return mean / np.float32(n)


@kernel
def _slope(after, before):  # type: ignore[no-untyped-def]
    """Return the median difference of neighbouring blocks per pixel; 0 of few."""
    differences, n = np.empty(after.size, np.float32), 0
    for i in range(0, after.shape[0], 2):
        for j in range(after.shape[1]):
            d = after[i, j] - before[i, j]
            if d == d:
                differences[n] = d
                n += 1
    if n < LEAST_DIFFERENCES:
        return np.float32(0)
    return np.float32(of_rank(differences[:n], n // 2) / np.float32(BLOCK_PX))
