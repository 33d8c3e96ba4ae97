"""The components of all slices: footprints, noise, and which of them lie above each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse

from ...core.errors import StateError
from ...core.state import State, require_array
from ..component_shapes import centres, footprints_of_boxes

MIN_OVERLAP = 0.3  # cosine of two footprints; of sections of a sphere it is the ratio of their radii
REFERENCES = 4  # of each section in another slice: the nearest ones that are not the same cell
CLEAR_OVERLAP = 0.02
NEAREST, FURTHEST = 1.0, 8.0  # diameters of a cell that those are away
TYPICAL = 75  # percentile of the footprints' areas: most sections are smaller than a cell's middle


class Seen(NamedTuple):
    """What the slices show as of a frame: of each component its plane's number, id, whether it is accepted, noise,
    corner (n, yx) [px] and footprint in a box (n, y, x)."""

    plane: np.ndarray
    id: np.ndarray
    accepted: np.ndarray
    noise: np.ndarray
    corner: np.ndarray
    box: np.ndarray


class Pairs(NamedTuple):
    """Pairs of sections (m, 2), the cosine of their footprints (m,), and which are no candidates but references."""

    pairs: np.ndarray
    overlap: np.ndarray
    reference: np.ndarray


class Sections:
    """Components by slice and id, each in a row that it keeps; `active` are those that are accepted now.

    A slice in which a section was not seen when the others were looked at keeps what is known of it.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self.plane, self.id = np.empty((2, 0), np.int64)
        self.active, self.noise = np.empty(0, bool), np.empty(0)
        self.corner, self.box = np.empty((0, 2), np.int64), np.empty((0, 0, 0), np.float32)
        self._row: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.id)

    def rows(self, plane: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the row of each component (n,), -1 of those that are no section."""
        return np.array([self._row.get(key, -1) for key in zip(plane.tolist(), ids.tolist(), strict=True)], np.int64)

    def take(self, seen: Seen) -> None:
        """Take what the slices show now; those that are accepted for the first time get a row."""
        if not len(seen.id):
            return
        shown = np.isin(self.plane, np.unique(seen.plane))
        self.active = self.active & ~shown
        rows = self.rows(seen.plane, seen.id)
        new = np.flatnonzero(seen.accepted & (rows < 0))
        new = new[np.lexsort((seen.id[new], seen.plane[new]))]
        if len(new):
            self._add(seen.plane[new], seen.id[new], seen.box.shape[1:])
            rows = self.rows(seen.plane, seen.id)
        known = rows >= 0
        at = rows[known]
        if not len(at):
            return
        self.active[at], self.noise[at] = seen.accepted[known], seen.noise[known]
        self.corner[at], self.box[at] = seen.corner[known], seen.box[known]

    def _add(self, plane: np.ndarray, ids: np.ndarray, box: tuple[int, ...]) -> None:
        count = len(ids)
        for n, key in enumerate(zip(plane.tolist(), ids.tolist(), strict=True), len(self)):
            self._row[key] = n
        self.plane, self.id = np.append(self.plane, plane), np.append(self.id, ids)
        self.active, self.noise = np.append(self.active, np.zeros(count, bool)), np.append(self.noise, np.ones(count))
        self.corner = np.concatenate((self.corner, np.zeros((count, 2), np.int64)))
        boxes = self.box if len(self.box) else np.empty((0, *box), np.float32)
        self.box = np.concatenate((boxes, np.zeros((count, *box), np.float32)))

    def footprints(self, rows: np.ndarray) -> scipy.sparse.csc_matrix:
        """Return the footprints (y·x, n) of these sections [ADU per σ]."""
        return footprints_of_boxes(self.box[rows], self.corner[rows], self._shape)

    def centres_px(self) -> np.ndarray:
        """Return the centre of mass (n, yx) [px] of each section."""
        return centres(self.footprints(np.arange(len(self))), self._shape)

    def diameter_px(self) -> float | None:
        """Return the diameter of a typical cell, of the circle as large as a large footprint; None without any."""
        area = (self.box[self.active] > 0).sum((1, 2))
        return float(2 * np.sqrt(np.percentile(area, TYPICAL) / np.pi)) if len(area) else None

    def pairs(self, above: list[tuple[int, int]]) -> Pairs:
        """Return candidates and references between slices that may show one cell, `above` by numbers."""
        found, overlaps, reference = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        diameter_px, centres_px = self.diameter_px() or 1.0, self.centres_px()
        rows = {plane: np.flatnonzero(self.active & (self.plane == plane)) for pair in above for plane in pair}
        unit = {plane: _unit(self.footprints(of)) for plane, of in rows.items()}
        for one, other in above:
            cosine = np.asarray((unit[one].T @ unit[other]).todense())
            if not cosine.size:
                continue
            distance = np.linalg.norm(centres_px[rows[one], None] - centres_px[None, rows[other]], axis=2)
            apart = (cosine < CLEAR_OVERLAP) & (distance > NEAREST * diameter_px) & (distance < FURTHEST * diameter_px)
            i, j = np.nonzero(cosine >= MIN_OVERLAP)
            order = np.argsort(np.where(apart, distance, np.inf), axis=1, kind="stable")[:, :REFERENCES]
            far_i, far_j = np.repeat(np.arange(len(order)), order.shape[1]), order.ravel()
            kept = apart[far_i, far_j]
            far_i, far_j = far_i[kept], far_j[kept]
            first, second = np.append(i, far_i), np.append(j, far_j)
            found.append(np.stack([rows[one][first], rows[other][second]], 1))
            overlaps.append(cosine[first, second])
            reference.append(np.arange(len(first)) >= len(i))
        if not found:
            return Pairs(np.empty((0, 2), np.int64), np.empty(0), np.empty(0, bool))
        return Pairs(np.concatenate(found), np.concatenate(overlaps), np.concatenate(reference))

    def state(self) -> State:
        """Return all that is known of the sections."""
        names = ("plane", "id", "active", "noise", "corner", "box")
        return {f"section_{name}": getattr(self, name).copy() for name in names}

    def restore(self, state: State, planes: int, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        count, box = np.size(state.get("section_id", ())), np.shape(state.get("section_box", ()))
        box = box if len(box) == 3 and max(box[1:]) <= max(*self._shape, 1) * 2 else (0, 0, 0)
        like = {
            "plane": np.empty(count, np.int64), "id": np.empty(count, np.int64), "active": np.empty(count, bool),
            "noise": np.empty(count), "corner": np.empty((count, 2), np.int64),
            "box": np.empty((count, *box[1:]), np.float32),
        }  # fmt: skip
        for name, array in like.items():
            setattr(self, name, require_array(state, f"section_{name}", array, where))
        self._row = {key: n for n, key in enumerate(zip(self.plane.tolist(), self.id.tolist(), strict=True))}
        if len(self._row) != count or not ((self.plane >= 0) & (self.plane < planes)).all():
            raise StateError(f"{where}: state 'section_id' must name each section of {planes} slices once")


def _unit(footprints: scipy.sparse.csc_matrix) -> scipy.sparse.csc_matrix:
    norms = np.sqrt(np.asarray(footprints.multiply(footprints).sum(0)).ravel())
    return (footprints @ scipy.sparse.diags(1 / np.maximum(norms, 1e-12))).tocsc()
