"""An extraction that knows the whole recording: background of all frames, components with their activity ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ...core.refinement import SeenFrame
from ..banded import whiten
from ..extract.acceptance import FALSE_SCALE, evidence_times, is_cell
from ..extract.background import FrameSums
from ..extract.buffer import SCALE
from ..extract.components import REJECTED
from ..extract.duplicates import find_duplicate, join
from ..extract.extraction import BIN, Extraction
from ..extract.footprint_update import refine_footprint
from ..extract.learned_acceptance import judged_by_network
from ..kernels.demixing import demix_stored, inner
from ..kernels.footprints import spatial_correlation
from .first_run import FirstComponent
from .looking_ahead import Course, LookingAhead

DEMIX_SWEEPS = 10  # of the components, whose solution 3 sweeps reach where footprints overlap little
STRIP = 0.8  # of min_compactness: below, a footprint that all frames have shaped is a process
# Of the evidence needed: background makes e^(-m / FALSE_SCALE) components of m times it, and each place is searched
# twice. Of 22 that five movies gained without it 8 were false, seven of them below.
SECOND_LOOK = 1 + FALSE_SCALE * np.log(2)
ROUNDS = 3  # of footprint updates at the end of a pass
LEAST_MOMENT = 400.0  # Σ activity² [σ²]: less, and a footprint is not known better than the run knew it


class WholeExtraction(Extraction):
    """Passes over a recording whose background and components are known from its beginning."""

    def begin(self, sums: FrameSums, frames: Sequence[np.ndarray]) -> int:
        """Take mean and noise from all frames, background modes from some, as differences (y, x) to the first one.

        Returns how many bytes these take.
        """
        self.background.fit(sums, frames)
        if self._ring is not None:
            self._ring.memory = 1.0
            self._ring.initialise(sums.first, frames, self.background)
        self.detector.see(self.background.weight > 0)
        return (2 + 4) * len(frames) * sums.first.size  # at half precision, and whitened for the modes

    def nbytes(self) -> int:
        """Return how many bytes are held for frames, bins and components."""
        arrays = [*self._buffer.state().values(), *self.background.state().values(), *self.cells.state("").values()]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def begin_with(self, before: WholeExtraction) -> None:
        """Take background and components over from the pass before, with nothing learned of them."""
        self.background.restore(before.background.state())
        if self._ring is not None and before._ring is not None:
            self._ring.memory = 1.0
            self._ring.restore(before._ring.state())
            self._ring.see(self.background)
        self.detector.see(self.background.weight > 0)
        cells = before.cells
        for k in range(cells.count):
            corner = (int(cells.origin[k, 0]), int(cells.origin[k, 1]))
            known = bool(cells.accepted[k]), int(cells.verdict[k]), bool(cells.seeded[k]), float(cells.fit[k])
            self._add(int(cells.id[k]), corner, cells.box[k].copy(), known)
            self._keep_piece(int(cells.whole[k]), bool(cells.apart[k]))
        self.cells.next_id = cells.next_id

    def add_first(self, components: Sequence[FirstComponent], next_id: int) -> None:
        """Add the components that the run found."""
        height, width = self._box
        for component in components:
            (y, x), (h, w) = component.corner, component.image.shape
            corner = top, left = self.cells.corner(y + (h - 1) / 2, x + (w - 1) / 2)
            box = np.zeros(self._box, np.float32)
            there, here = _shared((y, h), (top, height)), _shared((x, w), (left, width))
            box[there[1], here[1]] = component.image[there[0], here[0]]
            box *= self.background.weight[top : top + height, left : left + width]
            norm = float(np.sqrt((box.astype(float) ** 2).sum()))
            if norm > 0:
                known = component.accepted, component.verdict, component.kept, component.spatial_corr
                self._add(component.id, corner, box / np.float32(norm), known)
                self._keep_piece(component.whole, component.decided)
        self.cells.next_id = next_id

    def _add(self, number: int, corner: tuple[int, int], box: np.ndarray, known: tuple[bool, int, bool, float]) -> None:
        self.cells.next_id = number
        self._add_known(corner, box, 0, "first frames")
        k = self.cells.count - 1
        self.cells.accepted[k], self.cells.verdict[k], self.cells.seeded[k], self.cells.fit[k] = known
        self.cells.moment[k] = self.cells.learned[k] = 1e-9  # nothing but what this pass sees

    def _keep_piece(self, whole: int, apart: bool) -> None:
        """Let the newest component be a piece of the whole with this id, or none that may be joined."""
        k = self.cells.count - 1
        self.cells.whole[k], self.cells.apart[k] = whole, apart

    def demixed(self, frames: Iterator[SeenFrame], course: Course | None, learn: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return activity (K, T) and that of the background modes (T, M) in all frames, NaN where they are not valid.

        The least squares solution begins with that of the pass before. With `learn` the ring background's slopes
        are updated.
        """
        cells, found, modes = self.cells, list[np.ndarray](), list[np.ndarray]()
        alone = self._modes_alone()
        here, there = (np.empty(0, np.int64),) * 2 if course is None else course.rows(cells)
        for n, (_, frame) in enumerate(frames):
            if frame is None:
                found.append(np.full(cells.count, np.nan, np.float32))
                modes.append(np.full(len(self._mode), np.nan))
                continue
            if course is not None and len(here):
                cells["activity"][here] = np.nan_to_num(course.raw[there, n])
            self._demix(frame, alone)
            found.append(cells["activity"].astype(np.float32))
            modes.append(self._mode.copy())
            if learn and self._ring is not None and n % BIN == 0:
                self._ring.update_slopes()
        return np.array(found, np.float32).reshape(len(found), cells.count).T, np.array(modes)

    def _demix(self, frame: np.ndarray, modes_alone: tuple[np.ndarray, np.ndarray]) -> None:
        """Solve a frame's least squares over all of its pixels; as frames come, modes have every fourth row.

        The modes come first, exactly, by what of them no component can explain: by turns with the components, as in
        `demix_background`, .7 σ of the activity were missing after 10 sweeps where a mode looked like cells.
        """
        cells, stored = self.cells, self._buffer.frames[0]
        binned = np.zeros((1, 1), np.float32)
        if self._ring is not None:
            binned = self._ring.of(frame, self.background, cells)
        whiten(frame, self.background.whitening, (self._mode, binned), SCALE, stored, self._buffer.white)
        white, (left, inverse) = stored.astype(np.float32), modes_alone
        self._mode[:] = inverse @ np.array([inner(image, white, 0, 1) for image in left]) / float(SCALE)
        pixels, design = stored.reshape(1, -1), cells.design(self.background)
        activity = cells["activity"][None]
        known = self._mode[None], np.full(activity.shape, np.nan)
        demix_stored(pixels, np.zeros(1, int), 1 / float(SCALE), design, known, DEMIX_SWEEPS, activity)

    def _modes_alone(self) -> tuple[np.ndarray, np.ndarray]:
        """What no footprint explains of the background modes (M, y, x), and the inverse of its products (M, M)."""
        cells, modes, overlap = self.cells, self.background.modes, self.cells["mode_overlap"]
        gram = np.array([[inner(a, b, 0, 1) for a in modes] for b in modes])
        if not cells.count:
            return modes, np.linalg.pinv(gram)
        listed = np.arange(cells.index.shape[1]) < cells["pixels"][:, None]
        component = np.nonzero(listed)[0]
        entries = cells["value"][listed].astype(float), (cells["index"][listed], component)
        footprints = sparse.csc_matrix(entries, shape=(modes[0].size, cells.count))
        normal = (footprints.T @ footprints + sparse.diags(1e-9 * cells["energy"] + 1e-30)).tocsc()
        explained = splu(normal).solve(np.ascontiguousarray(overlap))
        left = modes - (footprints @ explained).T.reshape(modes.shape)
        return left.astype(np.float32), np.linalg.pinv(gram - overlap.T @ explained)

    def learn(self, frames: Iterator[SeenFrame], ahead: LookingAhead) -> None:
        """See all frames once: footprints are updated with activity known ahead, new components are found."""
        cells = self.cells
        kept = dict(zip(cells["id"].tolist(), cells["seeded"].tolist(), strict=True))
        before = set(cells["id"][cells["accepted"]].tolist())
        cells["seeded"][:] = True  # until all frames have been seen nobody judges what the run found
        cells["learned"][:] = np.inf  # their footprints are updated at the end, with what all frames say
        ahead.begin(cells)
        for n, (index, frame) in enumerate(frames):
            if frame is not None:
                ahead.see(n, cells)
                self.process(index, frame)
        self.catch_up()
        for k in range(cells.count):
            cells.seeded[k] = kept.get(int(cells.id[k]), cells.seeded[k])
        self._judge(before)

    def _judge(self, before: set[int]) -> None:
        """With all that was seen: update footprints, join what is one cell, remove what is none, accept the others.

        before: ids that the run had accepted; others need the evidence of places that are looked at a second time.
        """
        cells = self.cells
        for _ in range(ROUNDS):
            for k in range(cells.count - 1, -1, -1):
                learned = cells.moment[k] > LEAST_MOMENT
                if learned and not refine_footprint(cells, self.background, k, self._cell_px) and not cells.seeded[k]:
                    self._remove(k, "footprint too small")
        for k in np.flatnonzero(cells["moment"] > LEAST_MOMENT).tolist():
            slope = cells.box[k] + cells.gathered[k] / np.float32(cells.moment[k])
            cells.fit[k] = spatial_correlation(cells.box[k], slope, 1 / np.sqrt(cells.moment[k]))
        while (duplicate := find_duplicate(cells)) is not None:
            join(cells, self.background, duplicate)
            whole = int(cells.id[duplicate.whole])
            if int(cells.id[duplicate.part]) in before:
                cells.accepted[duplicate.whole] = True
                before.add(whole)
            self._remove(duplicate.part, f"the same cell as {whole}", into=whole)
        self._remove_explained()
        cell = is_cell(cells, self.params, BIN, self.background.observed_px)
        cell &= evidence_times(cells, self.params, BIN)[0] >= SECOND_LOOK
        if self.params.accept == "learned":
            rows = np.flatnonzero(~cells["accepted"] & (cells["verdict"] != REJECTED))
            known, good = judged_by_network(cells, rows, self.params, self.seen)
            cell[rows] = np.where(known, good, cell[rows])
        strips = (cells["compactness"] < STRIP * self.params.least_compactness) & ~cells["seeded"]
        stays = (np.isin(cells["id"], list(before)) & ~strips) | cells["seeded"]
        accepted = ((cells["accepted"] & stays) | cell) & (cells["verdict"] != REJECTED)
        for k in np.flatnonzero(accepted != cells["accepted"]).tolist():
            reason = "" if accepted[k] else "not compact: a process?"
            self._record_event(self._last_index, k, "accepted" if accepted[k] else "rejected", reason)
        cells["accepted"][:] = accepted

    def _settle_due(self) -> None:
        """Final values come from a pass of their own."""


def _shared(inner_span: tuple[int, int], outer_span: tuple[int, int]) -> tuple[slice, slice]:
    """Where two spans, each its start and length, overlap: as slices of the first and of the second one."""
    (a, m), (b, n) = inner_span, outer_span
    start, stop = max(a, b), max(max(a, b), min(a + m, b + n))
    return slice(start - a, stop - a), slice(start - b, stop - b)
