"""What can be looked at: footprints, contours, images, and how good each component is."""

from __future__ import annotations

import numpy as np

from ...core.operator import Table
from ..kernels.outlines import outline
from .background import Scene
from .components import Components

MEASURES: dict[str, type] = {
    "id": np.int64, "birth_frame": np.int64, "accepted": np.bool_, "snr": np.float64, "spatial_corr": np.float64,
    "area_px": np.int64, "noise": np.float64, "top_px": np.int64, "left_px": np.int64,
}  # fmt: skip
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
    """Return outlines (id, point, yx) of the accepted at a fifth of their peak; by id; NaN behind the last point."""
    boxes = footprints(cells, scene)
    shown = np.flatnonzero(cells["accepted"])
    shown = shown[np.argsort(cells["id"][shown])]  # as by_id values are
    points = np.full((len(shown), CONTOUR_POINTS, 2), np.nan, np.float32)
    for line, k in zip(points, shown, strict=True):
        if boxes[k].max() > 0:
            n = outline(boxes[k] > _EDGE * boxes[k].max(), line)
            line[:n] += cells["origin"][k]
            line[n:] = np.nan
    return points


def quality(cells: Components) -> np.ndarray:
    """Return MEASURES of each component (id, measure)."""
    _, snr = cells.standings()
    top, left = cells["origin"].T
    facts = [cells[name] for name in ("id", "birth", "accepted")]
    facts += [snr, *(cells[name] for name in ("fit", "pixels", "live_noise")), top, left]
    return np.stack([np.asarray(fact, float) for fact in facts], 1)


def quality_table(cells: Components, frame: int) -> Table:
    """Return the same as rows of a table."""
    columns = {n: column.astype(kind) for (n, kind), column in zip(MEASURES.items(), quality(cells).T, strict=True)}
    return Table({"frame": np.full(cells.count, frame), **columns})
