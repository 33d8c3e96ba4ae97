"""How far the activity of components follows the motion of the tissue."""

from __future__ import annotations

import numpy as np

from ...core.block import Block
from ...core.errors import FrameError
from ...core.operator import Values
from .components import MOTION_SUMS, Components

SHIFT = "shift_px"  # the value by which a step says how far the tissue has moved
LEAST_FRAMES = 50  # fewer say nothing: of 50 frames without a relation half have a correlation above .17
_LEAST_SD_PX = 0.01  # of the motion along an axis, below which it is none


def shift_of(block: Block, inputs: Values) -> np.ndarray:
    """Return the shift (t, yx) [px] of a block's frames, NaN where no step before measures it. Raises FrameError."""
    if (stated := inputs.get(SHIFT)) is None:
        return np.full((len(block), 2), np.nan)
    shift_px = np.asarray(stated, float)
    if shift_px.shape != (len(block), 2):
        raise FrameError(f"{SHIFT!r} of {len(block)} frames must be {(len(block), 2)}, found {shift_px.shape}")
    return shift_px


def add_motion(cells: Components, shift_px: np.ndarray) -> None:
    """Add a frame's activity and shift (2,) [px] to the sums of each component; NaN: not known, none is added."""
    y, x = float(shift_px[0]), float(shift_px[1])
    if not (np.isfinite(y) and np.isfinite(x)) or not cells.count:
        return
    a, sums = cells["activity"], cells["motion"]
    for n, value in enumerate((1.0, y, x, y * y, y * x, x * x, a, a * a, a * y, a * x)):
        sums[:, n] += value


def motion_correlation(sums: np.ndarray) -> np.ndarray:
    """Return the multiple correlation (K,) of activity with motion along y and x, from sums (K, 10), 0 to 1.

    The root of the part of the activity's variance that a linear regression on both explains; NaN of fewer than 50
    frames, or without motion. Sums: of 1, y, x, y², yx, x², a, a², ay, ax.
    """
    assert sums.shape[1] == MOTION_SUMS
    count, y, x, yy, yx, xx, a, aa, ay, ax = sums.T
    n = np.maximum(count, 1)
    yy, yx, xx = yy / n - (y / n) ** 2, yx / n - y * x / n**2, xx / n - (x / n) ** 2
    aa, ay, ax = aa / n - (a / n) ** 2, ay / n - a * y / n**2, ax / n - a * x / n**2
    least = _LEAST_SD_PX**2
    moves_y, moves_x = yy > least, xx > least
    both = moves_y & moves_x & (yy * xx - yx**2 > 1e-6 * yy * xx)
    determinant = np.where(both, yy * xx - yx**2, 1)
    explained = (ay**2 * xx - 2 * ay * ax * yx + ax**2 * yy) / determinant
    along = np.where(yy >= xx, ay**2 / np.maximum(yy, least), ax**2 / np.maximum(xx, least))
    part = np.where(both, explained, along) / np.maximum(aa, 1e-30)
    known = (count >= LEAST_FRAMES) & (moves_y | moves_x) & (aa > 0)
    return np.where(known, np.sqrt(np.clip(part, 0, 1)), np.nan)
