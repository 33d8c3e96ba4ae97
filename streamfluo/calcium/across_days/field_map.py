"""Where a place of the common field lies in a day's field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy import ndimage


@dataclass(frozen=True)
class FieldMap:
    """Places of a day's field for places y, x [px] of the common field: matrix · place + offset + displacement.

    `matrix` (2, 2), `offset` (2,) [px]; `displacement` (2, rows, columns) [px] at places `origin` + `spacing` · (row,
    column) of the common field, interpolated linearly, held at the ends; None where the map is affine.
    """

    matrix: np.ndarray
    offset: np.ndarray
    displacement: np.ndarray | None = None
    origin: tuple[float, float] = (0.0, 0.0)
    spacing: float = 1.0

    @classmethod
    def identity(cls) -> FieldMap:
        """Return the map of the common field onto itself."""
        return cls(np.eye(2), np.zeros(2))

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return the places (n, 2) of the day for places (n, 2) of the common field."""
        found: np.ndarray = places @ self.matrix.T + self.offset
        if self.displacement is None:
            return found
        at = ((places - self.origin) / self.spacing).T
        moved = [ndimage.map_coordinates(d, at, order=1, mode="nearest") for d in self.displacement]
        return found + np.stack(moved, 1)

    def to_common(self, places: np.ndarray) -> np.ndarray:
        """Return the places (n, 2) of the common field for places (n, 2) of the day, by fixed-point iteration."""
        inverse = np.linalg.inv(self.matrix)
        found = (places - self.offset) @ inverse.T
        for _ in range(20 if self.displacement is not None else 0):  # contracts: displacements vary slowly
            found += (places - self(found)) @ inverse.T
        return np.asarray(found)

    def of_binned(self, k: int) -> FieldMap:
        """Return the map between fields binned k × k, from that between their pixels."""
        edge = np.full(2, (k - 1) / 2)
        offset = (self.matrix @ edge + self.offset - edge) / k
        if self.displacement is None:
            return replace(self, offset=offset)
        row, column = ((o - e) / k for o, e in zip(self.origin, edge, strict=True))
        return FieldMap(self.matrix, offset, self.displacement / k, (row, column), self.spacing / k)

    def of_pixels(self, k: int) -> FieldMap:
        """Return the map between the pixels of fields, from that between these binned k × k."""
        edge = np.full(2, (k - 1) / 2)
        offset = k * self.offset + edge - self.matrix @ edge
        if self.displacement is None:
            return replace(self, offset=offset)
        row, column = (k * o + e for o, e in zip(self.origin, edge, strict=True))
        return FieldMap(self.matrix, offset, k * self.displacement, (row, column), k * self.spacing)

    @property
    def turn_deg(self) -> float:
        """The rotation of the day against the common field [°], clockwise on the screen as y points down."""
        (a, b), (c, d) = self.matrix
        return float(np.degrees(np.arctan2(b - c, a + d)))

    @property
    def scale(self) -> float:
        """How much larger things are in the day's field."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


def grid_places(shape: tuple[int, int], corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return the places (y·x, 2) of all pixels of an area, from its first corner on."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([y.ravel() + corner[0], x.ravel() + corner[1]], 1).astype(float)


def seen_from(places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether places (n, 2) lie in a field of that shape."""
    return np.asarray(((places >= 0) & (places <= np.array(shape) - 1)).all(1))


def warped(images: np.ndarray, field_map: FieldMap, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, y, x) of a day as they lie in the common field, bilinear, 0 outside, and what is seen."""
    places = field_map(grid_places(shape))
    out = [ndimage.map_coordinates(image, places.T, order=1, mode="constant") for image in images]
    return np.stack(out).reshape(-1, *shape), seen_from(places, images.shape[1:]).reshape(shape)


def interpolation_weights(places: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """Return the weights (places, y·x) that interpolate a day's images bilinearly at places (n, 2); none outside."""
    rows = np.flatnonzero(seen_from(places, shape))
    first = np.minimum(np.floor(places[rows]).astype(int), np.array(shape) - 2)
    (fy, fx), (iy, ix) = (places[rows] - first).T, first.T
    corners = [(dy, dx) for dy in (0, 1) for dx in (0, 1)]
    data = np.concatenate([(fy if dy else 1 - fy) * (fx if dx else 1 - fx) for dy, dx in corners])
    columns = np.concatenate([(iy + dy) * shape[1] + ix + dx for dy, dx in corners])
    size = (len(places), shape[0] * shape[1])
    return scipy.sparse.csr_matrix((data.astype(np.float32), (np.tile(rows, 4), columns)), shape=size)


def composed(first: FieldMap, second: FieldMap, shape: tuple[int, int]) -> FieldMap:
    """Return the map of `second` after `first`; displacements on a grid of nine nodes a side over the common field."""
    matrix, offset = second.matrix @ first.matrix, second.matrix @ first.offset + second.offset
    if first.displacement is None and second.displacement is None:
        return FieldMap(matrix, offset)
    spacing = (max(shape) - 1) / 8
    nodes = spacing * grid_places((9, 9))
    left = second(first(nodes)) - nodes @ matrix.T - offset
    return FieldMap(matrix, offset, left.T.reshape(2, 9, 9), (0.0, 0.0), spacing)
