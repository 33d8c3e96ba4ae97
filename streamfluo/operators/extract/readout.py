"""What can be looked at: footprints, contours, images, and how good each component is."""

from __future__ import annotations

import numpy as np

from ...core.operator import Table
from ...kernels.outlines import outline
from .components import Components
from .scene import Scene

MEASURES = ("id", "birth_frame", "accepted", "snr", "spatial_corr", "area_px", "noise", "top_px", "left_px")
CONTOUR_POINTS = 120
_EDGE = 0.2  # of the peak, where contours run


def footprints(cells: Components, scene: Scene) -> np.ndarray:
    """Return boxes (id, h, w) in ADU for an activity of one noise width."""
    height, width = cells.box_shape
    boxes = cells["box"].copy()
    for box, (top, left) in zip(boxes, cells["origin"], strict=True):
        box *= scene.noise[top : top + height, left : left + width]
    return boxes


def contours(cells: Components, scene: Scene) -> np.ndarray:
    """Return outlines (id, point, yx) of the accepted at a fifth of their peak; NaN behind the last point."""
    boxes = footprints(cells, scene)
    shown = np.flatnonzero(cells["accepted"])
    points = np.full((len(shown), CONTOUR_POINTS, 2), np.nan, np.float32)
    for line, k in zip(points, shown, strict=True):
        if boxes[k].max() > 0:
            n = outline(boxes[k] > _EDGE * boxes[k].max(), line)
            line[:n] += cells["origin"][k]
            line[n:] = np.nan
    return points


def quality(cells: Components) -> np.ndarray:
    """Return MEASURES of each component (id, measure)."""
    snr = np.array([cells.snr(k) for k in range(cells.count)])
    top, left = cells["origin"].T
    columns = (cells["id"], cells["birth"], cells["accepted"], snr, cells["fit"], cells["pixels"], cells["noise"], top, left)
    return np.stack([np.asarray(column, float) for column in columns], 1)


def quality_table(cells: Components, frame: int) -> Table:
    """Return the same as rows of a table."""
    columns = dict(zip(MEASURES, quality(cells).T, strict=True))
    whole = {name: np.ascontiguousarray(columns[name]).astype(np.int64) for name in ("id", "birth_frame", "area_px")}
    return Table({"frame": np.full(cells.count, frame), **{n: whole.get(n, np.array(a)) for n, a in columns.items()}})
