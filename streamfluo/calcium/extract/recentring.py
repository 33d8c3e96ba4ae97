"""Boxes that follow their footprints: of a cell found by a part of it the rest would be another component's."""

from __future__ import annotations

import numpy as np

from ..kernels.residual import STEP
from .background import Background
from .buffer import Buffer
from .components import Components

MIN_OFFSET_PX = 2  # of the middle of a footprint from that of its box, along y or x
MIN_SNR = 3.0  # that pixels entering a box have in the stored bins; others begin at 0


def recentre(cells: Components, background: Background, buffer: Buffer, k: int) -> None:
    """Move the box of component k onto its footprint; pixels that enter begin with what the stored bins show there."""
    top, left = cells.origin[k].tolist()
    corner = cells.corner(*cells.centre[k].tolist())
    y, x = moved = corner[0] - top, corner[1] - left
    if max(abs(y), abs(x)) < MIN_OFFSET_PX:
        return
    inside = np.ones(cells.box_shape, bool)
    leaving = np.where(displaced(inside, (-y, -x)), np.float32(0), cells.box[k])
    if leaving.any():
        cells.change(k, -leaving, background)
    gathered, entering = displaced(cells.gathered[k], moved), ~displaced(inside, moved)
    gathered[entering] = _slope(cells, buffer, k, corner)[entering] * np.float32(cells.moment[k])
    cells.gathered[k] = gathered
    cells.move(k, corner, displaced(cells.box[k], moved))
    cells.refresh(k, background)


def displaced(image: np.ndarray, by: tuple[int, int]) -> np.ndarray:
    """Return what of an image (h, w) lies in a box of its size that is `by` (y, x) px further, 0 elsewhere."""
    out = np.zeros_like(image)
    (y, x), (height, width) = by, image.shape
    there = np.s_[max(0, y) : max(0, height + min(0, y)), max(0, x) : max(0, width + min(0, x))]
    here = np.s_[max(0, -y) : max(0, height - max(0, y)), max(0, -x) : max(0, width - max(0, x))]
    out[here] = image[there]
    return out


def _slope(cells: Components, buffer: Buffer, k: int, corner: tuple[int, int]) -> np.ndarray:
    """Regression (h, w) of the stored residual in the box at `corner` on the activity of component k, 0 where weak."""
    (height, width), (bins, order, (y, x)) = cells.box_shape, buffer.bins_at(corner, cells.box_shape)
    deviation = cells.recent[k, buffer.bin_order()] * cells.live_noise[k]
    deviation -= deviation.mean()
    squares = float(deviation @ deviation)
    slope = np.zeros(cells.box_shape, np.float32)
    if squares > 0:
        slope[:] = np.tensordot(deviation, bins[order, y : y + height, x : x + width], 1) / (squares * STEP)
        slope[np.abs(slope) < MIN_SNR / np.sqrt(squares)] = 0
    return slope
