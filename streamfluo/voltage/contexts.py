"""The context of a cell: its own pixels and those around it, in a few square features each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi

OWN_FEATURES = 16  # of a cell, at most about
AROUND_FEATURES = 24
POINTS = 24  # of an outline


class Context(NamedTuple):
    """Features of one cell: pixels (n,) of all, sizes (M,), of which the first `own` lie in the cell."""

    pixels: np.ndarray
    sizes: np.ndarray
    own: int


def context_of(mask: np.ndarray, gap_px: float, context_px: float) -> Context:
    """Return the features of a cell's mask (y, x): squares of its own pixels, and of those further than `gap_px` and up
    to `context_px` around it, which may belong to other cells: what these add is background here."""
    reach = int(np.ceil(context_px)) + 1
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(0, rows[0] - reach), max(0, columns[0] - reach)
    part = mask[top : rows[-1] + reach + 1, left : columns[-1] + reach + 1]
    distance = ndi.distance_transform_edt(~part)
    around = (distance > gap_px) & (distance <= context_px)
    features = _squares(part, OWN_FEATURES)
    own = len(features)
    features += _squares(around, AROUND_FEATURES)
    y, x = (np.concatenate([feature[axis] for feature in features]) for axis in (0, 1))
    sizes = np.array([len(feature[0]) for feature in features], np.int64)
    return Context(((y + top) * mask.shape[1] + x + left).astype(np.int64), sizes, own)


def _squares(area: np.ndarray, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut an area (y, x) into squares of a grid, about `most` of them at most; those that hold a quarter of one."""
    pixels = int(np.count_nonzero(area))
    if not pixels:
        return []
    side = max(1, int(np.ceil(np.sqrt(pixels / most))))
    y, x = np.nonzero(area)
    number = (y - y.min()) // side * (area.shape[1] // side + 2) + (x - x.min()) // side
    order = np.argsort(number, kind="stable")
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    found = [(y[part], x[part]) for part in np.split(order, cuts)]
    large = [part for part in found if 4 * len(part[0]) >= side * side]
    return large or found


def outline_of(mask: np.ndarray) -> np.ndarray:
    """Return the outline (POINTS, 2) as (y, x) px of a mask: its farthest pixel in each direction from its middle."""
    y, x = np.nonzero(mask)
    middle = np.array([y.mean(), x.mean()])
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    ray = np.stack([np.sin(angle), np.cos(angle)], 1)
    corners = np.stack([y, x], 1)[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])
    offset = corners.reshape(-1, 2) - middle
    along, across = offset @ ray.T, offset @ np.stack([-ray[:, 1], ray[:, 0]], 0)
    near = np.abs(across) <= np.maximum(0.3 * np.abs(along), 0.75)
    reach = np.where(near & (along > 0), along, 0).max(0)
    return np.asarray(middle + reach[:, None] * ray, np.float32)
