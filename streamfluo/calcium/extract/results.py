"""Snapshots and tables of the components: footprints, contours and quality measures."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi

from ...core.operator import Table
from ..component_shapes import EDGE, SHOWN_POINTS
from ..extracted_components import MARKED, MEASURES
from ..kernels.outlines import outline
from ..kernels.residual import STEP
from .background import Background
from .buffer import Buffer
from .cell_features import overlap_and_activity
from .components import Components
from .motion_correlation import motion_correlation

_RIM_PX = 2  # between a contour and the one around it that marks a cell
PIXEL_VARIANCE = 1 / 12  # along an axis, of a pixel alone


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
    points = np.full((len(accepted), SHOWN_POINTS, 2), np.nan, np.float32)
    for line, k in zip(points, accepted, strict=True):
        found = _outline(boxes[k], cells["origin"][k] - rim_px, rim_px)
        pieces = np.flatnonzero(cells["whole"] == cells["id"][k]).tolist()
        if pieces:
            found = _joined([found, *(_outline(boxes[n], cells["origin"][n] - rim_px, rim_px) for n in pieces)])
        line[: len(found)] = found
    return points


def _outline(box: np.ndarray, origin: np.ndarray, rim_px: int) -> np.ndarray:
    """Corners (n, yx) [px] of the contour of a footprint (h, w) at a place, `rim_px` around it; none of an empty."""
    line = np.empty((SHOWN_POINTS, 2), np.float32)
    if not box.max() > 0:
        return line[:0]
    inside = box > EDGE * box.max()
    if rim_px:
        inside = ndi.binary_dilation(inside, iterations=rim_px)
    return np.asarray(line[: outline(inside, line)] + origin.astype(np.float32), np.float32)


def _joined(lines: list[np.ndarray]) -> np.ndarray:
    """One line round outlines (n, 2) of pieces, there and back between two that are near each other; at most
    SHOWN_POINTS, of each outline as many as it has room for."""
    lines = [line for line in lines if len(line)]
    room = max(4, SHOWN_POINTS // max(1, len(lines)) - 2)
    path, *left = (line[:: -(-len(line) // room)] for line in lines)
    while left:
        gaps = [((path[:, None] - line) ** 2).sum(2) for line in left]
        nearest = int(np.argmin([gap.min() for gap in gaps]))
        here, there = np.unravel_index(int(gaps[nearest].argmin()), gaps[nearest].shape)
        line = left.pop(nearest)
        path = np.concatenate((path[: here + 1], line[there:], line[: there + 1], path[here:]))
    return path[:SHOWN_POINTS]


def residual(buffer: Buffer, background: Background) -> np.ndarray:
    """Return the residual of the last bin (y, x) [σ of its noise]."""
    newest = buffer.newest_bin()
    if newest is None:
        return np.full(background.weight.shape, np.nan, np.float32)
    return of_observed(newest / np.float32(STEP), background)


def of_observed(image: np.ndarray, background: Background) -> np.ndarray:
    """Return an image (y, x), NaN at the pixels that are not observed, all of them before the background is known."""
    return np.where(background.weight > 0, image, np.float32(np.nan))


def elongation(boxes: np.ndarray) -> np.ndarray:
    """Return how many times as long as wide each footprint (K, h, w) is, by its second moments; 1 of a disc."""
    height, width = boxes.shape[1:]
    y, x = np.indices((height, width)).reshape(2, -1) - np.array([[height // 2], [width // 2]])
    moments = np.stack([np.ones_like(y), y, x, y * y, x * x, y * x], 1).astype(np.float32)
    sums = (boxes.reshape(-1, height * width) @ moments).astype(float)  # all in one product: as sums six times as long
    total = np.maximum(sums[:, 0], 1e-30)
    middle_y, middle_x, vertical, horizontal, mixed = sums[:, 1:].T / total
    vertical += PIXEL_VARIANCE - middle_y**2
    horizontal += PIXEL_VARIANCE - middle_x**2
    mixed -= middle_y * middle_x
    half, root = (vertical + horizontal) / 2, np.hypot((vertical - horizontal) / 2, mixed)
    return np.sqrt((half + root) / np.maximum(half - root, PIXEL_VARIANCE))


def quality(cells: Components, probability: np.ndarray) -> np.ndarray:
    """Return MEASURES of each component (id, measure); probability (K,) of being a cell."""
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
        overlap_and_activity(cells, np.arange(cells.count))[0],
        motion_correlation(cells["motion"]),
        probability,
        cells["structural"],
        elongation(cells["box"]),
        cells["whole"],
        cells["ratio"],
    ]
    return np.stack([np.asarray(column, float) for column in columns], 1)


def quality_table(cells: Components, probability: np.ndarray, frame: int) -> Table:
    """Return MEASURES as rows of a table, at `frame`; probability (K,) of being a cell."""
    found = zip(MEASURES.items(), quality(cells, probability).T, strict=True)
    columns = {name: column.astype(kind) for (name, kind), column in found}
    return Table({"frame": np.full(cells.count, frame), **columns})
