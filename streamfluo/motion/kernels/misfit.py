"""How much of the template's structure a registered frame lacks: at another place, or in a shadow."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .frame_rows import BLOCK_PX, find_runs, take_row

SIGMA = 3.0  # standard errors that are taken off


@kernel
def add_misfit(frame, template, shifts, expected, stride, sums, rows):  # type: ignore[no-untyped-def]
    """Add to sums (by, bx, 4) what tells, of some rows of blocks, what structure a frame lacks of the template.

    Twice the covariance of negative residuals that are neighbours in a row, in every `stride`-th row: noise of any size
    has none on average, and active cells have positive ones. Light that varies smoothly is no structure: the blocks'
    levels are interpolated. Frame; TemplateImages; shifts (by, bx, 2) int64 [px]; expected: the Light, and what the
    shift has beyond the integer one (2, by, bx) float32 [px]; rows (first, stop) of blocks are taken.
    """
    image, _, _, window = template
    scratch, columns = np.empty((5, image.shape[1]), np.float32), np.empty((4, image.shape[1]), np.float32)
    row, runs = scratch[0], np.empty((shifts.shape[1], 4), np.int64)
    levels = expected[0][3].copy()
    _fill_unknown(levels)
    filled, found, before = -1, 0, max(0, rows[0] * BLOCK_PX - window[0])
    first = window[0] + (before + stride - 1) // stride * stride
    for y in range(first, min(window[1], rows[1] * BLOCK_PX), stride):
        by = y // BLOCK_PX
        if by != filled:
            _add_blocks(columns, filled, sums)
            _begin_blocks(expected[1], by, scratch, columns)
            filled, found = by, find_runs(frame[1], template, shifts[by], runs)
            row[:] = np.float32(np.nan)
        take_row(frame, runs[:found], y, row)
        _add_row(template, (y, runs[:found]), levels, expected[0][0], scratch, columns)
    _add_blocks(columns, filled, sums)


@kernel
def _begin_blocks(fraction, by, scratch, columns):  # type: ignore[no-untyped-def]
    columns[:] = np.float32(0)
    for bx in range(fraction.shape[2]):
        scratch[1, bx * BLOCK_PX : (bx + 1) * BLOCK_PX] = fraction[0, by, bx]
        scratch[2, bx * BLOCK_PX : (bx + 1) * BLOCK_PX] = fraction[1, by, bx]


@kernel
def _add_row(template, taken, levels, gain, scratch, columns):  # type: ignore[no-untyped-def]
    """Add a row of a frame to columns (4, x); taken: its y, and the runs of blocks of one shift.

    scratch (5, x): the row of the frame, what the shift has beyond the integer one along y and x, and two to write to.
    """
    image, _, _, window = template
    y, runs = taken
    row, level, residual, width = scratch[0], scratch[3], scratch[4], len(scratch[0])
    for n in range(len(runs)):  # at its ends the template's slope is not known, or another shift follows
        if runs[n, 2] < runs[n, 3]:
            row[runs[n, 2]] = row[runs[n, 3] - 1] = np.float32(np.nan)
    _interpolate_levels(levels, y, level)
    slopes = (image[max(y - 1, window[0])], image[min(y + 1, window[1] - 1)], scratch[1], scratch[2])
    _fill_residual(row, image[y], (level, gain), slopes, residual)
    last = width - 1
    _add_products(residual, (columns[0, :last], columns[1, :last], columns[2, :last], columns[3, :last]))


@kernel
def missing_structure(sums, noise, window):  # type: ignore[no-untyped-def]
    """Return the structure that a frame lacks of the template, in squares of noise σ over the template, at least.

    sums (by, bx, 4): those of `add_misfit`; noise (by, bx): variance of a pixel [ADU²]; window (4,) [px].
    """
    structure, chance, count = 0.0, 0.0, 0.0
    for by in range(noise.shape[0]):
        for bx in range(noise.shape[1]):
            product, square, total, n = sums[by, bx]
            if n > 1:
                scatter, unit = square - total * total / n, max(noise[by, bx], 1e-12)
                structure += (product - total * total / n + scatter / (n - 1)) / unit
                chance += (scatter / unit) ** 2 / n
                count += n
    if count == 0:
        return 0.0
    compared = (window[1] - window[0]) * (window[3] - window[2])
    return 2 * (structure - SIGMA * np.sqrt(chance)) * compared / count


@kernel
def _add_products(residual, columns):  # type: ignore[no-untyped-def]
    """Add to columns (n,) products of negative neighbours, squares, their sum and number; NaN is left out.

    residual (n + 1,). By columns the loop runs on vectors: a quarter of the time of sums over blocks.
    """
    products, squares, total, count = columns
    for x in range(len(count)):
        both = residual[x] + residual[x + 1]
        known = both == both
        e = min(residual[x], np.float32(0)) if known else np.float32(0)
        beside = min(residual[x + 1], np.float32(0)) if known else np.float32(0)
        products[x] += e * beside
        squares[x] += e * e
        total[x] += e
        count[x] += np.float32(1) if known else np.float32(0)


@kernel
def _add_blocks(columns, by, sums):  # type: ignore[no-untyped-def]
    """Add the columns (4, x) to sums (by, bx, 4) of their blocks; no row of blocks: by = -1."""
    if by < 0:
        return
    for bx in range(sums.shape[1]):
        p, s, t, n = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for x in range(bx * BLOCK_PX, min((bx + 1) * BLOCK_PX, columns.shape[1])):
            p += columns[0, x]
            s += columns[1, x]
            t += columns[2, x]
            n += columns[3, x]
        sums[by, bx, 0] += p
        sums[by, bx, 1] += s
        sums[by, bx, 2] += t
        sums[by, bx, 3] += n


@part
def _fill_unknown(levels):  # type: ignore[no-untyped-def]
    """Replace the levels (by, bx) of blocks that were not seen by the mean of the others."""
    total, count = np.float32(0), 0
    for level in levels.flat:
        if level == level:
            total += level
            count += 1
    for by in range(levels.shape[0]):
        for bx in range(levels.shape[1]):
            if levels[by, bx] != levels[by, bx]:
                levels[by, bx] = total / np.float32(max(count, 1))


@part
def _interpolate_levels(levels, y, level):  # type: ignore[no-untyped-def]
    """Write the levels (by, bx), linear between the middles of the blocks, at the pixels (x,) of row y."""
    above, below, part_y = _between(y, levels.shape[0])
    half, last = BLOCK_PX // 2, levels.shape[1] - 1
    after = levels[above, 0] + part_y * (levels[below, 0] - levels[above, 0])
    for bx in range(max(last, 1)):  # from one middle to the next; the first and the last to the rim
        right = min(bx + 1, last)
        before, after = after, levels[above, right] + part_y * (levels[below, right] - levels[above, right])
        first = bx * BLOCK_PX + half if bx > 0 else 0
        stop = right * BLOCK_PX + half if right < last else len(level)
        at = np.float32((first - bx * BLOCK_PX - half + 0.5) / BLOCK_PX)
        _interpolate(before, after - before, at, level[first:stop])


@kernel
def _interpolate(start, rise, at, level):  # type: ignore[no-untyped-def]
    for x in range(len(level)):
        level[x] = start + (at + np.float32(x) / np.float32(BLOCK_PX)) * rise


@kernel
def _between(at, count):  # type: ignore[no-untyped-def]
    """Return the two blocks whose middles are nearest to a row or column, and how far it is from the first to the
    second: below 0 or above 1 at the rims."""
    place = (np.float32(at) + np.float32(0.5)) / np.float32(BLOCK_PX) - np.float32(0.5)
    first = max(0, min(int(np.floor(place)), count - 2))
    return first, min(first + 1, count - 1), place - np.float32(first)


@kernel
def _fill_residual(row, image, light, slopes, residual):  # type: ignore[no-untyped-def]
    """Write what light and template, moved by the fraction of the shift, leave of a row; NaN at the first and last."""
    (level, gain), half = light, np.float32(0.5) * light[1]
    above, below, part_y, part_x = slopes
    over, under, fraction_y, fraction_x = above[1:-1], below[1:-1], part_y[1:-1], part_x[1:-1]
    residual[0] = residual[len(row) - 1] = np.float32(np.nan)
    seen, lit, added, left = row[1:-1], image[1:-1], level[1:-1], residual[1:-1]
    before, behind = image[:-2], image[2:]
    for i in range(len(left)):  # of slices, which no index leaves: else a row takes three times as long
        moved = fraction_y[i] * (under[i] - over[i]) + fraction_x[i] * (behind[i] - before[i])
        left[i] = seen[i] - gain * lit[i] - added[i] + half * moved
