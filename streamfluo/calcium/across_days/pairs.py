"""Distance and footprint correlation of components of all days in the common field, within days and across them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from .day import Day
from .field_map import FieldMap, grid_places, interpolation_weights, seen_from

REACH_RADII = 4.0  # pairs farther apart than this are of different cells
LEAST_SEEN = 0.4  # of a footprint's weight must lie in a day's field for it to be looked for there


class Placed(NamedTuple):
    """All components in the common field: `day` and `row` (n,) of each, `place` (n, 2) [px], `shape` (pixels, n);
    `field` (days, pixels): what each day's field shows, `seen` (days, n): whether that shows enough of the footprint;
    the canvas's first corner and shape; `area_px`, that of a day's field; `radius_px` of a cell."""

    day: np.ndarray
    row: np.ndarray
    place: np.ndarray
    shape: scipy.sparse.csc_matrix
    field: np.ndarray
    seen: np.ndarray
    corner: tuple[int, int]
    size: tuple[int, int]
    area_px: float
    radius_px: float


class Pairs(NamedTuple):
    """Components `a`, `b` (n,), a's day before b's or the same, their distance [px] and footprint correlation (cosine).

    Both are of what both days' fields show: a cell that is cut by one field's rim is compared as cut.
    """

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray
    correlation: np.ndarray


def placed(days: Sequence[Day], maps: Sequence[FieldMap], radius_px: float) -> Placed:
    """Return all components of all days where they lie in the common field."""
    corners = [_corners(day, field_map) for day, field_map in zip(days, maps, strict=True)]
    low, high = np.floor(np.concatenate(corners).min(0)), np.ceil(np.concatenate(corners).max(0))
    corner, size = (int(low[0]), int(low[1])), (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)
    places = grid_places(size, corner)
    fields, shapes = [], []
    for day, field_map in zip(days, maps, strict=True):
        there = field_map(places)
        fields.append(seen_from(there, day.shape))
        shapes.append(scipy.sparse.csc_matrix(interpolation_weights(there, day.shape) @ day.footprints))
    shape, field = scipy.sparse.hstack(shapes).tocsc(), np.stack(fields)
    seen = (field.astype(np.float32) @ shape) > LEAST_SEEN * np.asarray(shape.sum(0))
    number = np.repeat(np.arange(len(days)), [len(day) for day in days])
    row = np.concatenate([np.arange(len(day)) for day in days])
    place = np.concatenate([m.to_common(day.centres_px) for day, m in zip(days, maps, strict=True)])
    return Placed(number, row, place, shape, field, seen, corner, size, float(days[0].image.size), radius_px)


def near_pairs(components: Placed) -> Pairs:
    """Return all pairs of components within reach of each other, of one day or of two."""
    found = []
    days = len(components.seen)
    rows = [np.flatnonzero(components.day == d) for d in range(days)]
    for d in range(days):
        for e in range(d, days):
            both = components.field[d] & components.field[e]
            one, other = (r[components.seen[d, r] & components.seen[e, r]] for r in (rows[d], rows[e]))
            if len(one) and len(other):
                found.append(_near(components, both, one, other, REACH_RADII * components.radius_px))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _near(components: Placed, both: np.ndarray, one: np.ndarray, other: np.ndarray, reach_px: float) -> Pairs:
    """Pairs of components of two days, or of one."""
    pixels = np.flatnonzero(both)
    shapes = [components.shape[:, rows].tocsr()[pixels] for rows in (one, other)]
    axes = np.stack(np.divmod(pixels, components.size[1])).astype(float)
    centres = [(axes @ s).T / np.asarray(s.sum(0)).reshape(-1, 1) for s in shapes]
    lengths = [np.sqrt(np.asarray(s.multiply(s).sum(0)).reshape(-1)) for s in shapes]
    near = cKDTree(centres[0]).sparse_distance_matrix(cKDTree(centres[1]), reach_px, output_type="ndarray")
    i, j = near["i"], near["j"]
    if one is other or np.array_equal(one, other):
        i, j = i[i < j], j[i < j]
    distance = np.hypot(*(centres[0][i] - centres[1][j]).T)
    overlap = (shapes[0].T @ shapes[1]).tocsr()
    products = np.asarray(overlap[i, j], float).reshape(-1) if len(i) else np.empty(0)  # of none scipy gives a matrix
    correlation = products / (lengths[0][i] * lengths[1][j])
    order = np.lexsort((j, i))
    return Pairs(one[i][order], other[j][order], distance[order], correlation[order])


def _corners(day: Day, field_map: FieldMap) -> np.ndarray:
    """Places of the common field that a day's rim lies at."""
    height, width = day.shape
    rim = [(y, x) for y in np.linspace(0, height - 1, 9) for x in np.linspace(0, width - 1, 9)]
    return field_map.to_common(np.array(rim))
