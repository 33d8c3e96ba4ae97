"""The residuals of a frame, projected onto the Gauss–Newton images of the template."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .frame_rows import BLOCK_PX, fill_levels, find_runs, rise, take_row

REJECT_LIMITS = np.float32(3)
_A, _B, _C, _D, _E = (np.uint64(n) for n in range(5))  # of the rows of small arrays, without a sign


@part
def project_residuals(frame, template, shifts, expected, sums, rows):  # type: ignore[no-untyped-def]
    """Write each block's Σ V·r of r = frame(y + s_y, x + s_x) − gain · template, inside what was seen of the frame.

    Frame; TemplateImages; shifts (by, bx, 2) int64 [px] of the blocks; expected: the Light, and how many times the
    limit residuals may reach, float32; sums (by, bx, 5): the three projections and the fractions of the block that fit
    and that were seen. Residuals three times beyond the limit (hot pixels, cosmic rays) and NaN do not fit and count
    for nothing; rows (first, stop) of blocks are taken.
    """
    image, _, _, _, window = template
    count, width = sums.shape[1], image.shape[1]
    each = np.empty(5 * count * BLOCK_PX, np.float32)
    halves, quarters = np.empty(each.size // 2, np.float32), np.empty(each.size // 4, np.float32)
    eighths, joined = np.empty(each.size // 8, np.float32), np.empty(5 * count, np.float32)
    columns, blocks = each.reshape(5, count * BLOCK_PX), joined.reshape(5, count)
    scratch, runs = np.empty((4, width), np.float32), np.empty((count, 4), np.int64)
    upper, lower = scratch[0], scratch[1]
    for by in range(rows[0], rows[1]):
        _begin_blocks(template, expected, by, scratch, columns)
        shared = find_runs(frame[1], template, shifts[by], runs)
        bottom = min((by + 1) * BLOCK_PX, image.shape[0], window[1])
        for y in range(max(by * BLOCK_PX, window[0]), bottom, 2):
            take_row(frame, runs[:shared], y, upper)
            take_row(frame, runs[:shared], y + 1 if y + 1 < bottom else 2 * len(image), lower)
            _add_rows(template, expected, (y, min(y + 1, bottom - 1)), scratch, columns)
        _add_pairs(each, halves)  # of the columns of all blocks, two by two, on vectors
        _add_pairs(halves, quarters)
        _add_pairs(quarters, eighths)
        _add_pairs(eighths, joined)
        _write_sums(blocks, (frame[1], template), shifts, by, sums)


@kernel
def _begin_blocks(template, expected, by, scratch, columns):  # type: ignore[no-untyped-def]
    """Clear the sums of the columns (5, x) of a row of blocks; write its levels and limits to scratch (4, x)."""
    limit, reach, row = template[3], expected[1], np.uint64(by)
    fill_levels(expected[0], by, np.float32(0), scratch[2])
    for x in range(scratch.shape[1]):  # not as slices, which are filled one number after the other
        i = np.uint64(x)
        scratch[_A, i] = scratch[_B, i] = np.float32(np.nan)
        scratch[_D, i] = reach * limit[row, i]
    for x in range(columns.shape[1]):
        i = np.uint64(x)
        columns[_A, i] = columns[_B, i] = columns[_C, i] = columns[_D, i] = columns[_E, i] = np.float32(0)


@kernel
def _add_rows(template, expected, at, scratch, columns):  # type: ignore[no-untyped-def]
    """Add two rows of the frame (x,), the first ones of scratch (4, x), at rows y and z of the template.

    Two rows at a time: the sums of columns are read and written half as often, a third of the time. Rows are told by
    numbers without a sign: slices of them take and give back their arrays, a fifth of the time.
    """
    image, images, _, _, _ = template
    (gain, slope, _, _), _ = expected
    y, z, rise_y, rise_z = np.uint64(at[0]), np.uint64(at[1]), rise(slope, at[0]), rise(slope, at[1])
    for x in range(image.shape[1]):
        i = np.uint64(x)
        level, most = scratch[_C, i], scratch[_D, i]
        e = scratch[_A, i] - gain * image[y, i] - (level + rise_y)
        g = scratch[_B, i] - gain * image[z, i] - (level + rise_z)
        fits_y, fits_z = abs(e) < REJECT_LIMITS * most, abs(g) < REJECT_LIMITS * most
        e = min(max(e, -most), most) if fits_y else np.float32(0)
        g = min(max(g, -most), most) if fits_z else np.float32(0)
        columns[_A, i] += np.float32(images[_A, y, i]) * e + np.float32(images[_A, z, i]) * g
        columns[_B, i] += np.float32(images[_B, y, i]) * e + np.float32(images[_B, z, i]) * g
        columns[_C, i] += np.float32(images[_C, y, i]) * e + np.float32(images[_C, z, i]) * g
        columns[_D, i] += e + g
        columns[_E, i] += (np.float32(1) if fits_y else np.float32(0)) + (np.float32(1) if fits_z else np.float32(0))


@kernel
def _write_sums(blocks, where, shifts, by, sums):  # type: ignore[no-untyped-def]
    """Write the sums of blocks (5, bx) to sums (by, bx, 5).

    where: the Window that was seen of the frame, and the TemplateImages.
    """
    (seen_top, seen_bottom, seen_left, seen_right), (_, images, scale, _, window) = where
    top, bottom = max(by * BLOCK_PX, window[0]), min((by + 1) * BLOCK_PX, images.shape[1], window[1])
    for bx in range(sums.shape[1]):
        left, right = max(bx * BLOCK_PX, window[2]), min((bx + 1) * BLOCK_PX, window[3])
        dy, dx = shifts[by, bx, 0], shifts[by, bx, 1]
        a, b = max(top, seen_top - dy), min(bottom, seen_bottom - dy)
        p, q = max(left, seen_left - dx), min(right, seen_right - dx)
        pixels, inside = max(0, bottom - top) * max(0, right - left), max(0, b - a) * max(0, q - p)
        for j in range(3):
            sums[by, bx, j] = blocks[j, bx] * scale[by, bx, j]
        sums[by, bx, 3], sums[by, bx, 4] = blocks[4, bx] / max(pixels, 1), inside / max(pixels, 1)
        if 0 < inside < pixels:  # part of a block: subtract the mean of that part
            for j in range(3):
                steps = 0
                for y in range(a, b):
                    for x in range(p, q):
                        steps += images[j, y, x]
                sums[by, bx, j] -= scale[by, bx, j] * steps * blocks[3, bx] / inside


@kernel
def _add_pairs(values, sums):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] = values[2 * i] + values[2 * i + 1]
