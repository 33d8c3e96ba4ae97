"""What one Gauss–Newton step needs of a frame, its light and its projections, as one call.

Python calls a kernel with some twenty arrays in tuples in 3 to 10 µs, and makes something of the results in as many.
"""

import numpy as np

from ...pixels.kernels.kernel import kernel
from .block_levels import level_slopes, measure_levels
from .projection import project_residuals

LEVELS, RESIDUALS = 1, 2


@kernel
def compare(frame, template, shifts, tried, written, part):  # type: ignore[no-untyped-def]
    """Write the levels of a frame's residuals, and their projections; return the slopes of its light (y, x) [ADU/px].

    Frame; TemplateImages; shifts (by, bx, 2) int64 [px] of the blocks; tried: the gain, and how many times their limit
    residuals may reach; written: levels (by, bx) float32 as of `measure_levels`, sums (by, bx, 5) as of
    `project_residuals`; part: LEVELS, RESIDUALS or both added up, and of which rows (first, stop) of blocks. Residuals
    need the levels of all rows.
    """
    gain, (levels, sums), (what, first, stop) = np.float32(tried[0]), written, part
    if what & LEVELS:
        measure_levels(frame, template, shifts, gain, levels, (first, stop))
    slope_y, slope_x = np.float32(0), np.float32(0)
    if what & RESIDUALS:
        slope_y, slope_x = level_slopes(levels)
        light = gain, slope_y, slope_x, levels
        project_residuals(frame, template, shifts, (light, np.float32(tried[1])), sums, (first, stop))
    return slope_y, slope_x
