"""How much of the template's structure a registered frame lacks: at another place, or in a shadow."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .frame_rows import BLOCK_PX, find_runs, take_row

SIGMA = 3.0  # standard errors that are taken off
_ROW, _PART_Y, _PART_X, _LEVEL, _RESIDUAL = (np.uint64(n) for n in range(5))  # of the rows of scratch
_ONE, _TWO, _HALF = np.uint64(1), np.uint64(2), np.uint64(BLOCK_PX // 2)


@kernel(error_model="numpy")
def lacking(frame, template, shifts, expected, told, rows):  # type: ignore[no-untyped-def]
    """Add rows (first, stop) of blocks as `add_misfit` does; returns `missing_structure` of what was added till now,
    and the template's contrast where the frame fits.

    told: stride; sums (by, bx, 4); the noise's variance (by, bx) [ADU²]; projections (by, bx, 5) and matrix
    (by, bx, 3, 3) of the last step.
    """
    stride, sums, noise, projections, matrix = told
    add_misfit(frame, template, shifts, expected, stride, sums, rows)
    contrast = 0.0
    for by in range(noise.shape[0]):
        for bx in range(noise.shape[1]):
            contrast += projections[by, bx, 3] * matrix[by, bx, 2, 2]
    return missing_structure(sums, noise, template[4]), contrast


@part(error_model="numpy")
def add_misfit(frame, template, shifts, expected, stride, sums, rows):  # type: ignore[no-untyped-def]
    """Add to sums (by, bx, 4) what tells, of some rows of blocks, what structure a frame lacks of the template.

    Twice the covariance of negative residuals that are neighbours in a row, in every `stride`-th row: noise of any size
    has none on average, and active cells have positive ones. Light that varies smoothly is no structure: the blocks'
    levels are interpolated. Frame; TemplateImages; shifts (by, bx, 2) int64 [px]; expected: the Light, and what the
    shift has beyond the integer one (2, by, bx) float32 [px]; rows (first, stop) of blocks are taken.
    """
    window = template[4]
    count = shifts.shape[1]  # whole blocks: loops of one length run on vectors
    scratch, columns = np.empty((5, (count + 2) * BLOCK_PX), np.float32), np.empty((4, count * BLOCK_PX), np.float32)
    row, runs = scratch[0], np.empty((count, 4), np.int64)
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
    for x in range(columns.shape[1]):
        i = np.uint64(x)
        for n in range(4):
            columns[np.uint64(n), i] = np.float32(0)
    for bx in range(fraction.shape[2]):
        part_y, part_x, left = fraction[0, by, bx], fraction[1, by, bx], np.uint64(bx * BLOCK_PX)
        for x in range(min(BLOCK_PX, columns.shape[1])):
            scratch[_PART_Y, np.uint64(x) + left] = part_y
            scratch[_PART_X, np.uint64(x) + left] = part_x


@kernel
def _add_row(template, taken, levels, gain, scratch, columns):  # type: ignore[no-untyped-def]
    """Add a row of a frame to columns (4, x); taken: its y, and the runs of blocks of one shift.

    scratch (5, x): the row of the frame, what the shift has beyond the integer one along y and x, and two to write to;
    some pixels more than the row has.
    """
    image, _, _, _, window = template
    y, runs = taken
    row = scratch[0]
    for n in range(len(runs)):  # at its ends the template's slope is not known, or another shift follows
        if runs[n, 2] < runs[n, 3]:
            row[runs[n, 2]] = row[runs[n, 3] - 1] = np.float32(np.nan)
    _interpolate_levels(levels, y, scratch)
    above, below = np.uint64(max(y - 1, window[0])), np.uint64(min(y + 1, window[1] - 1))
    _fill_residual(image, (np.uint64(y), above, below), gain, scratch)
    _add_products(scratch, image.shape[1], columns)


@part(error_model="numpy")
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
def _add_products(scratch, width, columns):  # type: ignore[no-untyped-def]
    """Add to columns (4, x) products of negative neighbours, squares, their sum and number; NaN is left out.

    By columns the loop runs on vectors: a quarter of the time of sums over blocks.
    """
    for x in range(width - 1):
        i, after = np.uint64(x), np.uint64(x) + _ONE
        both = scratch[_RESIDUAL, i] + scratch[_RESIDUAL, after]
        known = both == both
        e = min(scratch[_RESIDUAL, i], np.float32(0)) if known else np.float32(0)
        beside = min(scratch[_RESIDUAL, after], np.float32(0)) if known else np.float32(0)
        columns[np.uint64(0), i] += e * beside
        columns[np.uint64(1), i] += e * e
        columns[np.uint64(2), i] += e
        columns[np.uint64(3), i] += np.float32(1) if known else np.float32(0)


@kernel
def _add_blocks(columns, by, sums):  # type: ignore[no-untyped-def]
    """Add the columns (4, x) to sums (by, bx, 4) of their blocks; no row of blocks: by = -1."""
    if by < 0:
        return
    for bx in range(sums.shape[1]):
        p, s, t, n = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        left = np.uint64(bx * BLOCK_PX)
        for x in range(BLOCK_PX):
            i = np.uint64(x) + left
            p += columns[np.uint64(0), i]
            s += columns[np.uint64(1), i]
            t += columns[np.uint64(2), i]
            n += columns[np.uint64(3), i]
        sums[by, bx, 0] += p
        sums[by, bx, 1] += s
        sums[by, bx, 2] += t
        sums[by, bx, 3] += n


@part(error_model="numpy")
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


@kernel
def _interpolate_levels(levels, y, scratch):  # type: ignore[no-untyped-def]
    """Write the levels (by, bx), linear between the middles of the blocks, at the pixels of row y to scratch.

    From each middle to the next, and as much beyond the first and the last, where the lines beside them go on: loops of
    as many pixels each time run on vectors. A pixel's level stands half a block further.
    """
    above, below, part_y = _between(y, levels.shape[0])
    last, half = levels.shape[1] - 1, np.float32(0.5 / BLOCK_PX)
    after = levels[above, 0] + part_y * (levels[below, 0] - levels[above, 0])
    for bx in range(max(last, 1)):
        right = min(bx + 1, last)
        before, after = after, levels[above, right] + part_y * (levels[below, right] - levels[above, right])
        if bx == 0:
            _fill_line(before, after - before, half - np.float32(1), 0, scratch)
        _fill_line(before, after - before, half, bx + 1, scratch)
        if right == last:
            _fill_line(before, after - before, half + np.float32(1), bx + 2, scratch)


@kernel
def _fill_line(before, rise, at, number, scratch):  # type: ignore[no-untyped-def]
    begin = np.uint64(number * BLOCK_PX)
    for x in range(min(BLOCK_PX, scratch.shape[1])):
        scratch[_LEVEL, np.uint64(x) + begin] = before + (at + np.float32(x) * np.float32(1 / BLOCK_PX)) * rise


@kernel
def _between(at, count):  # type: ignore[no-untyped-def]
    """Return the two blocks whose middles are nearest to a row or column, and how far it is from the first to the
    second: below 0 or above 1 at the rims."""
    place = (np.float32(at) + np.float32(0.5)) / np.float32(BLOCK_PX) - np.float32(0.5)
    first = max(0, min(int(np.floor(place)), count - 2))
    return first, min(first + 1, count - 1), place - np.float32(first)


@kernel
def _fill_residual(image, rows, gain, scratch):  # type: ignore[no-untyped-def]
    """Write what light and template, moved by the fraction of the shift, leave of a row; NaN at the first and last.

    rows: that of the template, the one above, the one below; scratch as in `_add_row`. Indices have no sign: else a row
    takes three times as long.
    """
    (y, above, below), half, last = rows, np.float32(0.5) * gain, image.shape[1] - 1
    scratch[4, 0] = scratch[4, last] = np.float32(np.nan)
    for x in range(last - 1):
        before, i, behind = np.uint64(x), np.uint64(x) + _ONE, np.uint64(x) + _TWO
        moved_y = scratch[_PART_Y, i] * (image[below, i] - image[above, i])
        moved = moved_y + scratch[_PART_X, i] * (image[y, behind] - image[y, before])
        scratch[_RESIDUAL, i] = scratch[_ROW, i] - gain * image[y, i] - scratch[_LEVEL, i + _HALF] + half * moved
