"""Joining sections to cells: what the operator does frame by frame, and `session.cells()` with a recorded run."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from ...core.state import State, require_array, require_int
from .combination import Weights
from .membership import gone_into, joined, named
from .pair_moments import PairMoments
from .sameness import MIN_SCORE, Sameness, sameness, signal_variances
from .sections import Sections, Seen

# Columns of the snapshots `cells_now` and `sections_now`.
CELL_MEASURES = ("id", "sections", "z", "y_px", "x_px", "z_um", "y_um", "x_um", "delay_frames")
SECTION_MEASURES = (
    "cell", "z", "id", "share", "overlap", "shared", "y_px", "x_px", "z_um", "noise", "top_px", "left_px",
)  # fmt: skip
TALLEST = 1.5  # heights that a cell may have: the PSF shows it beyond its edges, and some are larger than others
LEAST_SHARED = 0.3  # of a section's signal, when its weight is computed
STAYS = 1.2  # how much surer than a pair that is joined another one of the same section must be


class Slices(NamedTuple):
    """The slices of a volume, one of the channel's planes each: its number z, depth [µm] (None: not known); side of a
    pixel [µm]; height of a cell [µm], None: as wide as it is."""

    z: tuple[int, ...]
    depth_um: tuple[float | None, ...]
    pixel_um: float | None
    cell_um: float | None

    @property
    def known(self) -> bool:
        """Whether distances of slices can be compared with a cell's height."""
        return None not in self.depth_um and (self.pixel_um is not None or self.cell_um is not None)

    def height_um(self, diameter_px: float | None) -> float | None:
        """Return how high a cell is whose sections are so wide, None where nothing says."""
        if self.cell_um is not None:
            return self.cell_um
        return None if diameter_px is None or self.pixel_um is None else diameter_px * self.pixel_um

    def within(self, diameter_px: float | None, heights: float = 1.0) -> np.ndarray:
        """Return which two slices (n, n) are so many heights of a cell apart at most; all where nothing says."""
        height_um = self.height_um(diameter_px)
        if not self.known or height_um is None:
            return np.ones((len(self.z), len(self.z)), bool)
        depth_um = np.array(self.depth_um, float)
        return np.asarray(np.abs(depth_um[:, None] - depth_um) <= heights * height_um)

    def compared(self, diameter_px: float | None) -> list[tuple[int, int]]:
        """Return the pairs of slices, by place, of which sections are compared: those closer than a cell.

        Neighbours alone where depths are not known.
        """
        if not self.known:
            order = np.argsort(self.z).tolist()
            return list(pairwise(order))
        allowed = self.within(diameter_px)
        return [(i, j) for i, j in combinations(range(len(self.z)), 2) if allowed[i, j]]


class Joining:
    """The sections of all slices, the evidence of each pair, and the cells that they make."""

    def __init__(self, shape: tuple[int, int], slices: Slices, min_frames: int, decay: float) -> None:
        self.slices, self.sections = slices, Sections(shape)
        self.moments = PairMoments(decay)
        self.cell = np.empty(0, np.int64)  # of each section
        self.delay = np.zeros(len(slices.z))  # when in a frame each slice is taken [frames]
        self._min_frames, self._next_id = min_frames, 1
        self._overlap, self._reference = np.empty(0), np.empty(0, bool)
        self._shared = np.empty(0)  # of each section with the one of its cell that it is surest with
        self._signal, self._own = np.empty((2, 0))  # variances of what a section shares with its cell, and of the rest
        self._apart = False
        self._weigh()

    @property
    def several_slices(self) -> int:
        """How many cells are on several slices."""
        return self._several

    def see(self, seen: Seen) -> None:
        """Take the components of the slices as they are now; new ones are cells of their own until they are joined."""
        before = len(self.sections)
        was = self.sections.active.copy()
        self.sections.take(seen)
        count = len(self.sections)
        self.moments.grow(count)
        self.cell = np.append(self.cell, self._next_id + np.arange(count - before))
        self._next_id += count - before
        self._shared = np.append(self._shared, np.full(count - before, np.nan))
        self._signal = np.append(self._signal, np.full(count - before, np.nan))
        self._own = np.append(self._own, np.ones(count - before))
        self._return_alone(np.flatnonzero(self.sections.active[:before] & ~was))
        diameter_px = self.sections.diameter_px()
        compared = self.slices.compared(diameter_px)
        self._apart = diameter_px is not None and self.slices.known and not compared
        found = self.sections.pairs(compared)
        self._follow(found.pairs, found.overlap, found.reference)
        self._weigh()

    def _return_alone(self, rows: np.ndarray) -> None:
        """Give sections that are accepted again a new cell, where others have theirs meanwhile."""
        for n in rows.tolist():
            others = self.sections.active & (self.cell == self.cell[n])
            others[n] = False
            if others.any() and (self.sections.plane[others] == self.sections.plane[n]).any():
                self.cell[n], self._next_id = self._next_id, self._next_id + 1

    def _follow(self, pairs: np.ndarray, overlap: np.ndarray, reference: np.ndarray) -> None:
        """Follow these pairs, and go on with those of sections that are not accepted at the moment."""
        away = ~self.sections.active[self.moments.pairs].all(1)
        self._overlap = np.append(overlap, self._overlap[away])
        self._reference = np.append(reference, self._reference[away])
        self.moments.follow(np.concatenate((pairs, self.moments.pairs[away])))

    def take(self, row: np.ndarray) -> None:
        """Take a frame: demixed activity of each section (n,), NaN where it is not known."""
        self.moments.take(row)

    def evidence(self) -> Sameness:
        """Return what the traces say of all pairs."""
        delay = self.delay[self.sections.plane] if len(self.sections) else np.empty(0)
        return sameness(self.moments, self._reference, self.sections.noise, delay)

    def look(self, min_score: float = MIN_SCORE) -> list[tuple[int, int]]:
        """Look anew which sections are one cell; return (id, into) of cells that are no more."""
        pairs, found = self.moments.pairs, self.evidence()
        together = self.cell[pairs[:, 0]] == self.cell[pairs[:, 1]] if len(pairs) else np.empty(0, bool)
        active = self.sections.active[pairs].all(1) if len(pairs) else np.empty(0, bool)
        same = np.where(together, found.stays(), found.joins(self._min_frames, min_score)) & active & ~self._reference
        weight = self._overlap * found.shared * np.where(together, STAYS, 1.0)
        rows = np.flatnonzero(self.sections.active)
        place = np.full(len(self.sections), -1)
        place[rows] = np.arange(len(rows))
        allowed = self.slices.within(self.sections.diameter_px(), TALLEST)
        groups = joined(len(rows), self.sections.plane[rows], place[pairs[same]], weight[same], allowed)
        before = self.cell[rows]
        now, self._next_id = named(groups, before, self._next_id)
        self.cell[rows] = now
        self._learn(np.flatnonzero(same), found)
        return gone_into(before, now)

    def _learn(self, pairs: np.ndarray, found: Sameness) -> None:
        """Learn of the pairs that are one cell how sure that is, and of all sections how much signal each carries."""
        self._shared = np.full(len(self.sections), np.nan)
        for (i, j), shared in zip(self.moments.pairs[pairs].tolist(), found.shared[pairs].tolist(), strict=True):
            if self.cell[i] == self.cell[j]:
                self._shared[i], self._shared[j] = np.fmax(self._shared[i], shared), np.fmax(self._shared[j], shared)
        part = np.clip(np.where(np.isfinite(self._shared), self._shared, 1.0), LEAST_SHARED, 1.0)
        self._signal = part * signal_variances(self.moments, self.sections.noise)
        self._own = np.fmax(self.moments.variances() - self._signal, self.sections.noise**2)
        self._weigh()

    def _weigh(self) -> None:
        self.weights = Weights.of(self.cell, self.sections.active, self._signal, self._own)
        counts = np.bincount(self.weights.cell[self.weights.cell >= 0], minlength=len(self.weights.cells))
        self._several = int((counts > 1).sum())

    def know(self, cells: dict[tuple[int, int], int]) -> None:
        """Take the cells as they are known, by place of the slice and id of the component; others are cells alone."""
        keys = zip(self.sections.plane.tolist(), self.sections.id.tolist(), strict=True)
        known = [cells.get(key, 0) for key in keys]
        first = max(known, default=0) + 1
        self.cell = np.array([cell or first + n for n, cell in enumerate(known)], np.int64)
        self._learn(np.flatnonzero(self.sections.active[self.moments.pairs].all(1) & ~self._reference), self.evidence())

    def _depths_um(self) -> np.ndarray:
        """The depth of each section (n,) [µm], NaN where it is not known."""
        return np.array([np.nan if d is None else d for d in self.slices.depth_um], float)[self.sections.plane]

    def order(self) -> np.ndarray:
        """Return the rows of the sections that belong to cells, by cell, then by slice."""
        rows = np.flatnonzero(self.weights.cell >= 0)
        z = np.array(self.slices.z)[self.sections.plane[rows]]
        return np.asarray(rows[np.lexsort((z, self.cell[rows]))])

    def section_measures(self) -> dict[str, np.ndarray]:
        """Return SECTION_MEASURES of all sections (n,) by name."""
        sections, count = self.sections, len(self.sections)
        overlap = np.zeros(count)
        for (i, j), cosine in zip(self.moments.pairs.tolist(), self._overlap.tolist(), strict=True):
            if self.cell[i] == self.cell[j]:
                overlap[i], overlap[j] = max(overlap[i], cosine), max(overlap[j], cosine)
        y_px, x_px = sections.centres_px().T
        columns = (
            self.cell, np.array(self.slices.z)[sections.plane], sections.id, self.weights.share(),
            np.where(overlap > 0, overlap, np.nan), self._shared, y_px, x_px, self._depths_um(), sections.noise,
            sections.corner[:, 0], sections.corner[:, 1],
        )  # fmt: skip
        return dict(zip(SECTION_MEASURES, columns, strict=True))

    def cell_measures(self) -> np.ndarray:
        """Return CELL_MEASURES of each cell (id, measure): its sections, centre by what each section tells, delay."""
        weights, sections = self.weights, self.sections
        inside = np.flatnonzero(weights.cell >= 0)
        at, count = weights.cell[inside], len(weights.cells)
        light = sections.box[inside].sum((1, 2)).astype(float) if len(inside) else np.empty(0)
        y_px, x_px = sections.centres_px()[inside].T
        pixel_um = np.nan if self.slices.pixel_um is None else self.slices.pixel_um
        whole = np.maximum(np.bincount(at, light, count), 1e-30)
        share = weights.share()[inside]
        columns = [np.bincount(at, light * value, count) / whole for value in (
            np.array(self.slices.z, float)[sections.plane[inside]], y_px, x_px, self._depths_um()[inside],
        )]  # fmt: skip
        z, y, x, z_um = columns
        delay = np.bincount(at, share * self.delay[sections.plane[inside]], count)
        parts = np.bincount(at, minlength=count)
        measures = (weights.cells, parts, z, y, x, z_um, y * pixel_um, x * pixel_um, delay)
        assert len(measures) == len(CELL_MEASURES)
        return np.stack([np.asarray(m, float) for m in measures], 1)

    def doubt(self) -> str:
        """Return what limits the cells, in a sentence; "" where nothing does."""
        told, slices = [], self.slices
        if len(slices.z) == 1:
            told.append("there is one slice alone: no cell is on several, each component is one")
        elif None in slices.depth_um:
            told.append(
                "the depth of the slices is not known: neighbouring ones are compared, however far apart they are; "
                "set z_step_um"
            )
        elif not slices.known:
            told.append("the size of a pixel is not known: nor is whether slices are closer than a cell; set cell_um")
        elif self._apart:
            depth_um = np.sort(np.array(slices.depth_um, float))
            height_um = slices.height_um(self.sections.diameter_px())
            told.append(
                f"slices are {np.diff(depth_um).min():g} µm apart, a cell is {height_um:.3g} µm high: "
                "no cell is on two of them, none are joined"
            )
        return "; ".join(told)

    def state(self) -> State:
        """Return all that is known, as state entries."""
        own: State = {
            "cell": self.cell.copy(), "delay": self.delay.copy(), "next_id": self._next_id, "apart": int(self._apart),
            "overlap": self._overlap.copy(), "reference": self._reference.copy(), "shared": self._shared.copy(),
            "signal": self._signal.copy(), "own": self._own.copy(),
        }  # fmt: skip
        return {**own, **self.sections.state(), **self.moments.state()}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        self.sections.restore(state, len(self.slices.z), where)
        count = len(self.sections)
        self.moments.restore(state, count, where)
        pairs = len(self.moments.pairs)
        self.cell = require_array(state, "cell", np.empty(count, np.int64), where)
        self.delay = require_array(state, "delay", np.empty(len(self.slices.z)), where)
        self._overlap = require_array(state, "overlap", np.empty(pairs), where)
        self._reference = require_array(state, "reference", np.empty(pairs, bool), where)
        self._shared = require_array(state, "shared", np.empty(count), where)
        self._signal = require_array(state, "signal", np.empty(count), where)
        self._own = require_array(state, "own", np.empty(count), where)
        self._next_id, self._apart = require_int(state, "next_id", where), bool(require_int(state, "apart", where))
        self._weigh()
