"""Snapshots and tables of the components: footprints, contours and quality measures."""

from __future__ import annotations

import numpy as np

from ...core.operator import Table
from ..extracted_components import MARKED, MEASURES
from ..kernels.footprints import dilate
from ..kernels.outlines import outline
from .background import Background
from .components import Components

CONTOUR_POINTS = 120
_RIM_PX = 2  # between a contour and the one around it that marks a cell
_EDGE = 0.2  # of the peak, at which contours run


def footprints(cells: Components, background: Background) -> np.ndarray:
    """Return footprints in boxes (id, h, w) [ADU per σ of activity]."""
    height, width = cells.box_shape
    boxes = cells["box"].copy()
    for box, (top, left) in zip(boxes, cells["origin"], strict=True):
        box *= background.noise[top : top + height, left : left + width]
    return boxes


def contours(cells: Components, background: Background) -> np.ndarray:
    """Return contours (id, point, yx) [px] of the accepted components at a fifth of their peak, sorted by id.

    NaN follows the last point.
    """
    return _outlines(cells, background, 0)


def structural_contours(cells: Components, background: Background) -> np.ndarray:
    """Return outlines (id, point, yx) [px] a pixel around the contours of those that are marked as structural.

    Rows are those of `contours`, NaN throughout of a component that is not marked.
    """
    points = _outlines(cells, background, _RIM_PX)
    accepted = np.flatnonzero(cells["accepted"])
    accepted = accepted[np.argsort(cells["id"][accepted])]
    points[~(cells["structural"][accepted] > MARKED)] = np.nan
    return points


def _outlines(cells: Components, background: Background, rim_px: int) -> np.ndarray:
    boxes = np.pad(footprints(cells, background), ((0, 0), (rim_px, rim_px), (rim_px, rim_px)))
    accepted = np.flatnonzero(cells["accepted"])
    accepted = accepted[np.argsort(cells["id"][accepted])]  # the order of by_id values
    points = np.full((len(accepted), CONTOUR_POINTS, 2), np.nan, np.float32)
    for line, k in zip(points, accepted, strict=True):
        if boxes[k].max() > 0:
            inside = boxes[k] > _EDGE * boxes[k].max()
            if rim_px:
                dilate(inside, rim_px, wider := np.zeros_like(inside))
                inside = wider
            n = outline(inside, line)
            line[:n] += cells["origin"][k] - rim_px
            line[n:] = np.nan
    return points


def quality(cells: Components) -> np.ndarray:
    """Return MEASURES of each component (id, measure)."""
    _, snr = cells.explained_and_snr()
    top, left = cells["origin"].T
    columns = [cells[name] for name in ("id", "birth", "accepted")]
    columns += [
        snr,
        *(cells[name] for name in ("fit", "pixels", "live_noise")),
        top,
        left,
        cells["compactness"],
        cells["verdict"],
        cells["structural"],
    ]
    return np.stack([np.asarray(column, float) for column in columns], 1)


def quality_table(cells: Components, frame: int) -> Table:
    """Return MEASURES as rows of a table, at `frame`."""
    columns = {n: column.astype(kind) for (n, kind), column in zip(MEASURES.items(), quality(cells).T, strict=True)}
    return Table({"frame": np.full(cells.count, frame), **columns})
