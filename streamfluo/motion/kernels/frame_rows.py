"""Rows of a frame as they lie on the template: moved by the integer shifts of their blocks, and their light.

What follows takes rows (x,) float32, NaN where nothing was seen, and is compiled once for frames of any type; loops
over rows of one length take two thirds of the time of loops over what each shift leaves of them.
"""

import numpy as np

from ...pixels.kernels.kernel import kernel

BLOCK_PX = 16  # 24 and 32 keep more of the image and more of the cells' activity: 5 % worse on calcium

_MIDDLE = np.float32((BLOCK_PX - 1) / 2)


@kernel
def rise(slope, at):  # type: ignore[no-untyped-def]
    """Return what a slope [ADU/px] adds to row or column `at`, against the middle of its block."""
    return slope * np.float32(at % BLOCK_PX - (BLOCK_PX - 1) / 2)


@kernel
def fill_levels(light, by, common, level):  # type: ignore[no-untyped-def]
    """Write the level (x,) of the residuals in the middle of a row of blocks; where none was seen, that of `common`."""
    _, slope_y, slope, levels = light
    for bx in range(levels.shape[1]):
        here = levels[by, bx]
        if here != here:
            here = common + np.float32(BLOCK_PX) * (slope_y * np.float32(by) + slope * np.float32(bx))
        first = np.uint64(bx * BLOCK_PX)  # without a sign: a third of the time
        for x in range(min(BLOCK_PX, len(level) - bx * BLOCK_PX)):
            level[np.uint64(x) + first] = here + slope * (np.float32(x) - _MIDDLE)


@kernel
def find_runs(seen, template, shifts, runs):  # type: ignore[no-untyped-def]
    """Write the runs of blocks of one shift (bx, 2) [px] in a row to runs (bx, 4); returns how many there are.

    A run: its shift (y, x), and the first column and the one behind the last that lie in the Window `seen` of the frame
    and in that of the TemplateImages.
    """
    _, _, seen_left, seen_right = seen
    image, _, _, _, window = template
    start = n = 0
    while start < len(shifts):
        dy, dx = shifts[start, 0], shifts[start, 1]
        bx = start + 1
        while bx < len(shifts) and shifts[bx, 0] == dy and shifts[bx, 1] == dx:
            bx += 1
        p = max(start * BLOCK_PX, window[2], seen_left - dx)
        q = min(bx * BLOCK_PX, image.shape[1], window[3], seen_right - dx)
        runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = dy, dx, p, q
        start, n = bx, n + 1
    return n


@kernel
def take_row(frame, runs, y, row):  # type: ignore[no-untyped-def]
    """Write frame(y + s_y, x + s_x) to the columns of runs (n, 4) in row (x,) float32, NaN where it was not seen."""
    pixels, (seen_top, seen_bottom, _, _) = frame
    for n in range(len(runs)):
        dy, p, q = runs[n, 0], runs[n, 2], runs[n, 3]
        if p < q and seen_top <= y + dy < seen_bottom:
            line, left, first = np.uint64(y + dy), np.uint64(p + runs[n, 1]), np.uint64(p)
            for k in range(q - p):
                row[np.uint64(k) + first] = np.float32(pixels[line, np.uint64(k) + left])
        else:
            for x in range(p, q):
                row[x] = np.float32(np.nan)
