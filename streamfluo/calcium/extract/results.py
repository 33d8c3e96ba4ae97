"""Snapshots and tables of the components: footprints, contours and quality measures."""

from __future__ import annotations

import numpy as np

from ...core.operator import Table
from ..extracted_components import MEASURES
from ..kernels.outlines import outline
from .background import Background
from .cell_features import overlap_and_activity
from .components import Components
from .learned_acceptance import Seen
from .motion_correlation import motion_correlation

CONTOUR_POINTS = 120
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
    boxes = footprints(cells, background)
    accepted = np.flatnonzero(cells["accepted"])
    accepted = accepted[np.argsort(cells["id"][accepted])]  # the order of by_id values
    points = np.full((len(accepted), CONTOUR_POINTS, 2), np.nan, np.float32)
    for line, k in zip(points, accepted, strict=True):
        if boxes[k].max() > 0:
            n = outline(boxes[k] > _EDGE * boxes[k].max(), line)
            line[:n] += cells["origin"][k]
            line[n:] = np.nan
    return points


def quality(cells: Components, seen: Seen) -> np.ndarray:
    """Return MEASURES of each component (id, measure)."""
    explained, snr = cells.explained_and_snr()
    top, left = cells["origin"].T
    columns = [cells[name] for name in ("id", "birth", "accepted")]
    columns += [
        snr,
        *(cells[name] for name in ("fit", "pixels", "live_noise")),
        top,
        left,
        cells["compactness"],
        cells["verdict"],
        explained,
        overlap_and_activity(cells)[0],
        motion_correlation(cells["motion"]),
        seen.probability(cells, np.arange(cells.count)),
    ]
    return np.stack([np.asarray(column, float) for column in columns], 1)


def quality_table(cells: Components, seen: Seen, frame: int) -> Table:
    """Return MEASURES as rows of a table, at `frame`."""
    columns = {
        n: column.astype(kind) for (n, kind), column in zip(MEASURES.items(), quality(cells, seen).T, strict=True)
    }
    return Table({"frame": np.full(cells.count, frame), **columns})
