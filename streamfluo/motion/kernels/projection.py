"""The residuals of a frame, projected onto the Gauss–Newton images of the template."""

import numpy as np

from ...pixels.kernels.kernel import kernel
from .frame_rows import BLOCK_PX, fill_levels, find_runs, rise, take_row

REJECT_LIMITS = np.float32(3)


@kernel
def project_residuals(frame, template, shifts, expected, sums, rows):  # type: ignore[no-untyped-def]
    """Write each block's Σ V·r of r = frame(y + s_y, x + s_x) − gain · template, inside what was seen of the frame.

    Frame; TemplateImages; shifts (by, bx, 2) int64 [px] of the blocks; expected: the Light, and how many times the
    limit residuals may reach, float32; sums (by, bx, 5): the three projections and the fractions of the block that fit
    and that were seen. Residuals three times beyond the limit (hot pixels, cosmic rays) and NaN do not fit and count
    for nothing; rows (first, stop) of blocks are taken.
    """
    image, images, limits, window = template
    (gain, slope, _, _), reach = expected
    height, width = image.shape
    count = sums.shape[1]
    columns, blocks = np.empty((5, count * BLOCK_PX), np.float32), np.empty((5, count))
    scratch = np.empty((4, width), np.float32)
    level, most, upper, lower = scratch[0], scratch[1], scratch[2], scratch[3]
    runs, halves = np.empty((count, 4), np.int64), np.empty((2, 5 * count * BLOCK_PX // 2))
    for by in range(rows[0], rows[1]):
        first, last = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
        top, bottom = max(first, window[0]), min(last, window[1])
        columns[:], upper[:], lower[:] = np.float32(0), np.float32(np.nan), np.float32(np.nan)
        fill_levels(expected[0], by, np.float32(0), level)
        _scale(limits[by], reach, most)
        shared = find_runs(frame[1], template, shifts[by], runs)
        for y in range(top, bottom, 2):
            z = min(y + 1, bottom - 1)
            take_row(frame, runs[:shared], y, upper)
            take_row(frame, runs[:shared], z if z > y else 2 * height, lower)
            _add_residuals(
                (upper, image[y], images[0, y], images[1, y], images[2, y], rise(slope, y)),
                (lower, image[z], images[0, z], images[1, z], images[2, z], rise(slope, z)),
                (level, most, gain),
                (columns[0, :width], columns[1, :width], columns[2, :width], columns[3, :width], columns[4, :width]),
            )
        _sum_blocks(columns, halves, blocks)
        _write_sums(blocks, (frame[1], images, window), shifts, by, sums)


@kernel
def _write_sums(blocks, where, shifts, by, sums):  # type: ignore[no-untyped-def]
    """Write what `_sum_blocks` gave (5, bx) to sums (by, bx, 5).

    where: the Window that was seen of the frame, the Gauss–Newton images, the window of the template.
    """
    (seen_top, seen_bottom, seen_left, seen_right), images, window = where
    top, bottom = max(by * BLOCK_PX, window[0]), min((by + 1) * BLOCK_PX, images.shape[1], window[1])
    for bx in range(sums.shape[1]):
        left, right = max(bx * BLOCK_PX, window[2]), min((bx + 1) * BLOCK_PX, window[3])
        dy, dx = shifts[by, bx, 0], shifts[by, bx, 1]
        a, b = max(top, seen_top - dy), min(bottom, seen_bottom - dy)
        p, q = max(left, seen_left - dx), min(right, seen_right - dx)
        pixels, inside = max(0, bottom - top) * max(0, right - left), max(0, b - a) * max(0, q - p)
        for j in range(3):
            sums[by, bx, j] = blocks[j, bx]
        sums[by, bx, 3], sums[by, bx, 4] = blocks[4, bx] / max(pixels, 1), inside / max(pixels, 1)
        if 0 < inside < pixels:  # part of a block: subtract the mean of that part
            for j in range(3):
                weight = 0.0
                for y in range(a, b):
                    for x in range(p, q):
                        weight += images[j, y, x]
                sums[by, bx, j] -= weight * blocks[3, bx] / inside


@kernel
def _scale(row, factor, out):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        out[x] = factor * row[x]


@kernel
def _sum_blocks(columns, halves, blocks):  # type: ignore[no-untyped-def]
    """Write the sums of each BLOCK_PX columns (5, x) to blocks (5, bx): two by two, all at once; halves: scratch."""
    n = columns.size // 2
    _add_pairs(columns.reshape(2 * n), halves[0, :n])
    _add_pairs(halves[0, :n], halves[1, : n // 2])
    _add_pairs(halves[1, : n // 2], halves[0, : n // 4])
    _add_pairs(halves[0, : n // 4], blocks.reshape(n // 8))


@kernel
def _add_pairs(values, sums):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] = np.float64(values[2 * i]) + np.float64(values[2 * i + 1])


@kernel
def _add_residuals(upper, lower, expected, total):  # type: ignore[no-untyped-def]
    """Two rows at a time: the sums of columns are read and written half as often, a third of the time."""
    pixels_y, image_y, u0, u1, u2, rise_y = upper
    pixels_z, image_z, v0, v1, v2, rise_z = lower
    level, most, gain = expected
    sum0, sum1, sum2, offset, fitting = total
    for i in range(len(offset)):
        beyond = REJECT_LIMITS * most[i]
        e = pixels_y[i] - gain * image_y[i] - (level[i] + rise_y)
        g = pixels_z[i] - gain * image_z[i] - (level[i] + rise_z)
        fits_y, fits_z = abs(e) < beyond, abs(g) < beyond
        e = min(max(e, -most[i]), most[i]) if fits_y else np.float32(0)
        g = min(max(g, -most[i]), most[i]) if fits_z else np.float32(0)
        sum0[i] += u0[i] * e + v0[i] * g
        sum1[i] += u1[i] * e + v1[i] * g
        sum2[i] += u2[i] * e + v2[i] * g
        offset[i] += e + g
        fitting[i] += (np.float32(1) if fits_y else np.float32(0)) + (np.float32(1) if fits_z else np.float32(0))
