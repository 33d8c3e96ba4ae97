"""The level of a frame's residuals in each block, and their slope: light added evenly, or more on one side."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import of_rank
from .frame_rows import BLOCK_PX, find_runs, take_row

LEVEL_STRIDE = 4  # rows of a block that its level is taken from
_NUMBER, _TOTAL = np.uint64(0), np.uint64(1)
LEAST_DIFFERENCES = 4  # of neighbouring blocks, for a slope


@part
def measure_levels(frame, template, shifts, gain, levels, rows):  # type: ignore[no-untyped-def]
    """Write the level of the residuals frame(y + s_y, x + s_x) − gain · template in each block of some rows of blocks.

    Frame; TemplateImages; shifts (by, bx, 2) int64 [px]; gain float32; levels (by, bx) float32 [ADU], NaN where nothing
    was seen; rows (first, stop). A level is the mean of the block's columns, without NaN; where they differ by more
    than the limit, as at a cosmic ray or a bright cell, it is their median. Cost at 512 × 512: a third of a copy.
    """
    image, window = template[0], template[4]
    width, count = image.shape[1], shifts.shape[1]
    sums, row, runs = np.empty((2, width), np.float32), np.empty(width, np.float32), np.empty((count, 4), np.int64)
    scratch, few = np.empty((5, count * BLOCK_PX), np.float32), np.empty(BLOCK_PX, np.float32)
    halves, quarters = np.empty((4, 8 * count), np.float32), np.empty((4, 4 * count), np.float32)
    eighths, joined = np.empty((4, 2 * count), np.float32), np.empty((4, count), np.float32)
    means, columns = scratch[0], scratch[1:]
    begun = (columns[0, :width], columns[1, :width], columns[2, :width], columns[3, :width])
    means[width:] = np.float32(np.nan)
    columns[:, width:], columns[2, width:], columns[3, width:] = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for by in range(rows[0], rows[1]):
        first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, image.shape[0])
        for x in range(width):
            sums[0, x] = sums[1, x] = np.float32(0)
            row[x] = np.float32(np.nan)
        shared = find_runs(frame[1], template, shifts[by], runs)
        for y in range(max(first, window[0]), min(last, window[1]), LEVEL_STRIDE):
            take_row(frame, runs[:shared], y, row)
            _add_differences(row, image, np.uint64(y), gain, sums)
        _begin(sums[0], sums[1], means[:width], begun)
        _join(columns, halves)
        _join(halves, quarters)
        _join(quarters, eighths)
        _join(eighths, joined)
        _write_levels(joined, (means, few), template[3][by], levels[by])


@part
def _write_levels(joined, columns, limit, levels):  # type: ignore[no-untyped-def]
    """Write the levels of a row of blocks (bx,) from number, sum, least and most of their columns' means (4, bx).

    columns: the means (x,) themselves, and room for those of a block.
    """
    means, few = columns
    for bx in range(len(levels)):
        n = joined[0, bx]
        level = joined[1, bx] / n if n > 0 else np.float32(np.nan)
        if joined[3, bx] - joined[2, bx] > limit[bx * BLOCK_PX]:
            level = _median(means[bx * BLOCK_PX : (bx + 1) * BLOCK_PX], few)
        levels[bx] = level


@part
def level_slopes(levels):  # type: ignore[no-untyped-def]
    """Return the slopes (y, x) [ADU/px], float32, of levels (by, bx): medians over neighbouring blocks."""
    return np.float32(_slope(levels[1:], levels[:-1])), np.float32(_slope(levels[:, 1:], levels[:, :-1]))


@kernel
def _add_differences(row, image, y, gain, sums):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        i = np.uint64(x)
        difference = row[i] - gain * image[y, i]
        known = difference == difference
        sums[_NUMBER, i] += np.float32(1) if known else np.float32(0)
        sums[_TOTAL, i] += difference if known else np.float32(0)


# Means, least and most of the columns of a block are joined two by two, those of all blocks at once, on vectors.


@kernel
def _begin(number, total, means, columns):  # type: ignore[no-untyped-def]
    """Write the mean of each column (x,), and of columns that have one how many, their sum, the least and the most."""
    count, added, least, most = columns
    for x in range(len(means)):
        known = number[x] > 0
        mean = total[x] / (number[x] if known else np.float32(1))
        means[x] = mean if known else np.float32(np.nan)
        count[x] = np.float32(1) if known else np.float32(0)
        added[x] = mean if known else np.float32(0)
        least[x] = mean if known else np.float32(np.inf)
        most[x] = mean if known else np.float32(-np.inf)


@kernel
def _join(columns, joined):  # type: ignore[no-untyped-def]
    """Columns (4, 2x); joined (4, x)."""
    count, total, low, high = columns[0], columns[1], columns[2], columns[3]
    number, added, least, most = joined[0], joined[1], joined[2], joined[3]
    for x in range(len(number)):
        number[x] = count[2 * x] + count[2 * x + 1]
        added[x] = total[2 * x] + total[2 * x + 1]
        least[x] = min(low[2 * x], low[2 * x + 1])
        most[x] = max(high[2 * x], high[2 * x + 1])


@part
def _median(means, few):  # type: ignore[no-untyped-def]
    n = 0
    for mean in means:
        if mean == mean:
            few[n] = mean
            n += 1
    return of_rank(few[:n], n // 2)


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
