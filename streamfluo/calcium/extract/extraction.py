"""Source extraction of each frame: demix, deconvolve, and a share of the work that follows each bin of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array, require_int
from ..kernels.residual import STEP
from . import results
from .acceptance import EVIDENCE_PER_SNR, add_component, is_acceptable, is_error_of, matching_component
from .activity import Deconvolution
from .background import Background
from .buffer import Buffer
from .card_buffer import CardBuffer
from .card_detection import CardDetector
from .card_frame import Frame
from .card_memory import CardMemory
from .card_ring import CardRing
from .components import REJECTED, Components
from .detection import WIDTHS, Candidate, Detector, binned_2x2
from .duplicates import find_duplicate, join
from .footprint_update import due_for_update, refine_footprint, to_remove, update_statistics
from .learned_acceptance import Seen, are_cells
from .params import ExtractParams, box_of, ring_radius_px_of
from .pieces import Signals, merge_pieces
from .proposal import propose
from .recentring import recentre
from .ring_background import RingBackground
from .seeds import SEED, Seeds
from .settled_traces import SWEEPS, SettledTraces, dark_doubts
from .structure import MARKED_PER_FRAME, Structure
from .tables import Tables
from .transients import Transients

BIN = 5  # frames per bin: detection, proposals and updates run once per bin, spread over the frames of the next bin
FIRST_PROPOSAL_BINS = 20  # before, too few inactive bins exist for comparison
PROPOSALS_PER_FRAME, UPDATES_PER_FRAME = 1, 3
CANDIDATES, MAX_WAITING = 6, 30
ROUND_BINS = 4  # bins in which every footprint that is due is updated
TABLE_FRAMES = 100
KNOWN_MOMENT = 25.0  # weight of a known footprint: soon outweighed by data
STILL_COMPACT = 0.9  # of min_compactness: an accepted footprint that becomes less compact is rejected

_NO_RING = np.zeros((1, 1), np.float32)
LiveValues = tuple[np.ndarray, np.ndarray]  # of one frame: ids (K,); traces, raw, spikes, dff (4, K)


class Extraction:
    """Background, components, and the statistics that detect and refine components."""

    def __init__(
        self, params: ExtractParams, shape: tuple[int, int], deconvolution: Deconvolution, offset_adu: float
    ) -> None:
        self.params, self.shape, self._deconvolution, self._offset_adu = params, shape, deconvolution, offset_adu
        self._box = box_of(params, shape)
        self._cell_px = params.neuron_sigma_px / 2
        self.structure: Structure | None = None  # that components are compared with as frames come
        self.frozen = False  # cells and footprints stay as they are
        self._reset()

    def _reset(self) -> None:
        shape, modes, window = self.shape, self.params.background_components, self.params.window_frames
        self.background = Background(shape, modes)
        radius = ring_radius_px_of(self.params)
        self._ring = RingBackground(shape, radius, modes) if self.params.background == "ring" else None
        self._settled = SettledTraces(self._deconvolution.interval_s)
        self.cells = Components(shape, self._box, modes, window, self._offset_adu, self._settled.samples)
        self.detector = Detector(shape, tuple(w * self._cell_px for w in WIDTHS), self._deconvolution.g**BIN)
        self._buffer = Buffer(shape, modes, window, BIN)
        self.seen = Seen(self.params.neuron_sigma_px, self.background, self._buffer, self._deconvolution)
        self._transients = Transients(self._deconvolution, self.params.decay_s, self.params.rise_s, window)
        self._binned = np.zeros(self.detector.shape, np.float32)
        (self._mode, self._mode_sum), self._waiting = np.zeros((2, modes)), list[Candidate]()
        self._turn = self._last_index = 0
        self.tables = Tables()
        self.behind = False  # work of the last frame is to be done
        self._refused: list[str] = []
        self._signals = Signals()

    def initialise(self, first: np.ndarray, index: list[int], frames: Sequence[np.ndarray], seeds: Seeds) -> None:
        """Estimate the background from the initial frames, process them, and search them a second time.

        The frames are stored as differences to `first` (y, x). With init = "greedy" the frames
        are processed twice; the second run starts from the components of the first.
        """
        self._begin(first, frames)
        self._add_seeds(seeds, index[0])
        self._process_all(first, index, frames)
        if self.params.init == "greedy":
            found = [(self.cells.origin[k].copy(), self.cells.box[k].copy()) for k in range(self.cells.count)]
            self._reset()
            self._begin(first, frames)
            for corner, box in found:
                self._add_known((int(corner[0]), int(corner[1])), box, index[0], "first frames")
            self._process_all(first, index, frames)
        self._search_again()

    def _begin(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> None:
        """Estimate the background from the initial frames."""
        self.background.initialise(first, frames)
        if self._ring is not None:
            self._ring.initialise(first, frames, self.background)
        self.detector.see(self.background.weight > 0)

    def _search_again(self) -> None:
        """Search the stored residual bins a second time, for cells that were active throughout the first bins."""
        self.detector.begin_second_pass()
        self._waiting = []
        for slot in self._buffer.bin_order():
            self.detector.add_bin(binned_2x2(self._buffer.bins[slot] / np.float32(STEP)))
            for candidate in self.detector.candidates(MAX_WAITING):
                self.detector.suppress_all([candidate])
                self._try(candidate)

    def _process_all(self, first: np.ndarray, index: list[int], frames: Sequence[np.ndarray]) -> None:
        for n, part in zip(index, frames, strict=True):
            self.process(n, part.astype(np.float32) + first)
        self._finish_work()

    def _add_seeds(self, seeds: Seeds, birth: int) -> None:
        """Add the seeds; each has its id, also behind one that cannot be taken."""
        height, width = self._box
        for number, image in zip(seeds.ids, seeds.images, strict=True):
            self.cells.next_id = number
            y, x = np.nonzero(image)
            if not len(y):
                self._record_refusal(birth, number, "the seed is empty")
                continue
            top, left = corner = self.cells.corner(float(y.mean()), float(x.mean()))
            area = np.s_[top : top + height, left : left + width]
            box = image[area] * self.background.weight[area]
            if box.any():
                self._add_known(corner, box / np.float32(np.sqrt((box.astype(float) ** 2).sum())), birth, seeds.origin)
            else:
                self._record_refusal(birth, number, "the seed lies where no frame reaches")
        self.cells.next_id = max(self.cells.next_id, seeds.next_id)

    def _record_refusal(self, frame: int, number: int, reason: str) -> None:
        self._refused.append(f"seed {number} is not taken: {reason}")
        self.tables.add_event(frame, number, "refused", reason)

    def _add_known(self, corner: tuple[int, int], box: np.ndarray, birth: int, reason: str) -> None:
        """Add a component that is known from the first frame on."""
        k = self.cells.add(corner, box, self.background, birth)
        self.cells.g[k] = self._deconvolution.g
        self.cells.live_noise[k] = self.cells.late_noise[k] = 1.0
        self.cells.moment[k] = self.cells.learned[k] = KNOWN_MOMENT
        self.cells.accepted[k], self.cells.seeded[k] = reason == SEED, reason != "first frames"
        self._record_event(birth, k, "born", reason)

    def to_card(self, memory: CardMemory) -> None:
        """Have frames, bins and maps on a card from now on; what is learned of them stays here."""
        buffer = self._buffer = CardBuffer(self._buffer, memory, self.background, self.cells)
        self.seen = self.seen._replace(buffer=buffer)
        self.detector = CardDetector(self.detector, memory, self._binned)
        self._ring = self._ring and CardRing(self._ring, memory, buffer, self.background)

    def process(self, index: int, frame: Frame) -> LiveValues:
        """Process the next frame (y, x); return the values of the accepted components.

        What these do not need is left for `catch_up`, which any thread may call before the next frame.
        """
        self.catch_up()
        binned = _NO_RING if self._ring is None else self._ring.of(frame, self.background, self.cells)
        return self._process(index, frame, binned)

    def unknown(self) -> LiveValues:
        """Return the values of the accepted components in a frame that is not valid: NaN."""
        ids = self.cells.listed().ids
        return ids, np.full((4, len(ids)), np.nan)

    def finish(self) -> None:
        """Give final values to the frames still in the window."""
        self._finish_work()
        if self.structure is not None:
            self.structure.mark(self.cells, self.background, self.cells.count)
        for rows in self._settled.rest(self.cells, self.background, self._buffer, self._deconvolution):
            self.tables.add("settled", rows)
        probability = self.seen.of_all(self.cells)
        self.tables.add("quality", results.quality_table(self.cells, probability, self._last_index))

    def catch_up(self) -> None:
        """Do what the last frame left to do."""
        self._finish_work()
        if self._ring is not None and self._buffer.count:
            self._ring.prepare(self.cells)

    def _finish_work(self) -> None:
        if self.behind:
            self.behind = False
            self._work()
            self._settle_due()
            if not self.frozen:
                self._transients.see(self.cells, self._buffer, self._deconvolution)

    def _settle_due(self) -> None:
        rows = self._settled.due(self.cells, self.background, self._buffer, self._deconvolution)
        if rows is not None:
            self.tables.add("settled", rows)

    def _process(self, index: int, frame: Frame, binned: np.ndarray) -> LiveValues:
        """Demix and deconvolve a frame; return the values of the accepted components.

        binned (rows, columns): its ring background [ADU].
        """
        cells, buffer = self.cells, self._buffer
        slot = buffer.slot
        self._last_index = buffer.index[slot] = index
        pixels = *buffer.whitened(frame, self.background, (self._mode, binned), cells), SWEEPS
        values = self._deconvolution.follow(cells, pixels, cells.design(self.background), self._mode, slot)
        buffer.modes[slot] = self._mode
        self._mode_sum += self._mode
        shown = cells.listed()
        buffer.count += 1
        cells.frames, self.behind = buffer.count, True
        return shown.ids, values.take(shown.rows, 1)

    def _work(self) -> None:
        """Close the bin that ends with this frame, or do a share of the work of the last bin."""
        phase = self._buffer.count % BIN
        if phase == 0:
            self._close_bin()
        elif not self.frozen:
            self._learn(phase)
        if self.structure is not None and not self.frozen:
            self.structure.mark(self.cells, self.background, MARKED_PER_FRAME)
        if self._buffer.count > TABLE_FRAMES:
            self.seen.judge_some(self.cells)
        if self._buffer.count % TABLE_FRAMES == 0:
            probability = self.seen.judged(self.cells)
            self.tables.add("quality", results.quality_table(self.cells, probability, self._last_index))

    def _learn(self, phase: int) -> None:
        """Do a share of what a bin teaches: search it, try candidates, judge components, update footprints."""
        if phase == 1 and self._buffer.count > BIN:
            self.detector.add_bin(self._binned)
            self._waiting = (self._waiting + self.detector.candidates(CANDIDATES))[-MAX_WAITING:]
            self.detector.suppress_all(self._waiting)
        elif self._waiting and self._buffer.count >= FIRST_PROPOSAL_BINS * BIN:
            for _ in range(min(PROPOSALS_PER_FRAME, len(self._waiting))):
                self._try(self._waiting.pop(0))
        if phase == BIN - 1:
            self._accept_and_remove()
            if self.params.merges and (self._buffer.count + 1) % TABLE_FRAMES == 0:
                for piece, whole in merge_pieces(self.cells, self._signals, self._buffer.count // BIN, self.params):
                    self.tables.add_piece(self._last_index, piece, whole)
        elif phase and self.cells.count:
            self._update_footprints()

    def _close_bin(self) -> None:
        """Store the residual of the bin and update the sufficient statistics."""
        if self._ring is not None:
            self._ring.update_slopes()
        cells, number = self.cells, self._buffer.count // BIN - 1
        residual, origin = self._buffer.residual_of_bin(cells, self.background, self._mode_sum, self._binned)
        if self.params.merges:
            self._signals.add(cells, number)
        update_statistics(cells, residual, number, BIN, self._deconvolution.ahead_of_bin(cells), origin)
        self._mode_sum[:] = 0

    def _try(self, candidate: Candidate) -> None:
        """Segment a candidate's footprint; add it as a component if it is acceptable and new."""
        cells, buffer = self.cells, self._buffer
        corner = cells.corner(candidate.y, candidate.x)
        proposal = propose(buffer, corner, self._box, candidate, self._cell_px)
        if not is_acceptable(proposal, self.params):
            return
        known = matching_component(cells, proposal, self.params.max_overlap)
        if known is not None and is_error_of(cells, known, proposal):
            if proposal.snr < cells.explained_and_snr()[1][known] or cells.seeded[known]:
                return
            self._remove(known, "replaced by a component of higher SNR", into=cells.next_id)
        k = add_component(cells, self.background, buffer, proposal, self._deconvolution)
        self._record_event(self._last_index, k, "born", "residual")

    def _update_footprints(self) -> None:
        """Update the next few footprints that are due, in turn."""
        cells = self.cells
        due = due_for_update(cells)
        later = np.searchsorted(due, self._turn)
        for k in np.concatenate((due[later:], due[:later]))[: UPDATES_PER_FRAME + len(due) // BIN // ROUND_BINS]:
            self._turn = int(k) + 1
            if not refine_footprint(cells, self.background, int(k), self._cell_px) and not cells.seeded[k]:
                self._remove(int(k), "footprint too small")
                return  # rows have moved
            recentre(cells, self.background, self._buffer, int(k))

    def _accept_and_remove(self) -> None:
        """Remove duplicate and weak components; accept those with enough evidence."""
        self._remove_explained()
        cells = self.cells
        if (duplicate := find_duplicate(cells)) is not None:
            join(cells, self.background, duplicate)
            whole = int(cells.id[duplicate.whole])
            self._remove(duplicate.part, f"the same cell as {whole}", into=whole)
        cell = are_cells(cells, self.params, self.seen)
        cell &= ~cells["accepted"] & (cells["verdict"] != REJECTED) & (cells["whole"] < 0)
        for k in np.flatnonzero(cell).tolist():
            cells.accepted[k] = True
            self._record_event(self._last_index, k, "accepted", "")
        strips = (cells["compactness"] < STILL_COMPACT * self.params.least_compactness) & ~cells["seeded"]
        for k in np.flatnonzero(strips & cells["accepted"]).tolist():
            cells.accepted[k] = False
            self._record_event(self._last_index, k, "rejected", "not compact: a process?")

    def _remove_explained(self) -> None:
        """Remove components, one at a time: each of two may be explained by the other."""
        while found := to_remove(self.cells, EVIDENCE_PER_SNR * self.params.min_snr):
            least = min(found, key=lambda k: float(self.cells.energy[k]))
            self._remove(least, found[least])

    def goes_on_from(self, other: Extraction) -> None:
        """Number components and frames behind those of another extraction, whose tables are given already."""
        self._last_index, self.cells.next_id = other._last_index, other.cells.next_id

    def begin_again(self) -> None:
        """Forget background and components: the scene was another one. Tables and ids go on."""
        tables, last, next_id = self.tables, self._last_index, self.cells.next_id
        self._reset()
        self.tables, self._last_index, self.cells.next_id = tables, last, next_id

    def doubts(self, left_out: int) -> list[str]:
        """Return what speaks against the results or limits them, a sentence each."""
        told = list(self._refused)
        if left_out:
            told.append(f"{left_out} frames are left out: flashes, or a closed shutter")
        accepted = self.cells["accepted"]
        if self.structure is not None and (doubt := self.structure.doubt(self.cells)):
            told.append(doubt)
        return told + dark_doubts(self.cells.at_rest(self._mode)[accepted] + self.cells["live_low"][accepted])

    def _remove(self, k: int, reason: str, into: int | None = None) -> None:
        """Drop a component, whose cell is that of another one from the next frame on, if it is `into` one."""
        self._record_event(self._last_index, k, "gone", reason)
        if into is not None:
            self.tables.add_merged(self._last_index, int(self.cells.id[k]), into)
        self.cells.drop(k)

    def _record_event(self, frame: int, k: int, event: str, reason: str) -> None:
        self.tables.add_event(frame, int(self.cells.id[k]), event, reason)

    @property
    def next_index(self) -> int:
        """Index of the frame after the last one."""
        return self._last_index + 1

    @property
    def recent(self) -> tuple[Buffer, Deconvolution]:
        """The frames in the window, and what deconvolves activity in them."""
        return self._buffer, self._deconvolution

    def background_image(self) -> np.ndarray:
        """Return mean and background of the last frame (y, x) [ADU]."""
        image = self.background.mean.copy()
        for mode, amount in zip(self.background.modes, self._mode, strict=True):
            image += np.float32(amount) * mode * self.background.noise
        return results.of_observed(image, self.background)

    def state(self) -> State:
        """Return all carried values as state entries, all that the last frame left to do done."""
        self.catch_up()
        return {
            "turn": self._turn, "last_index": self._last_index, "next_id": self.cells.next_id,
            "waiting": np.array(self._waiting, float).reshape(-1, 4),
            **{name: array.copy() for name, array in self._arrays().items()},
            **self.background.state(), **self.cells.state("component_"), **self.detector.state(),
            **self._buffer.state(), **self._settled.state(),
            **self.tables.state(), **self._transients.state(), **(self._ring.state() if self._ring else {}),
            **self._signals.state(),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for part in (self.background, self.detector, self._buffer, self._settled, self.tables):
            part.restore(state)
        self.behind = False
        self._transients.restore(state, self._deconvolution)
        self._signals.restore(state)
        self.detector.see(self.background.weight > 0)
        if self._ring is not None:
            self._ring.restore(state)
            self._ring.see(self.background)
        self.cells.restore(state, "component_", "extract")
        self.cells.frames = self._buffer.count
        for name, array in self._arrays().items():
            array[...] = require_array(state, name, array, "extract")
        self._turn, self._last_index, self.cells.next_id = (
            require_int(state, name, "extract") for name in ("turn", "last_index", "next_id")
        )
        waiting = np.asarray(state.get("waiting"), float).reshape(-1, 4)
        if not np.isfinite(waiting).all():
            raise StateError("extract: state 'waiting' must be finite numbers; the state was damaged")
        self._waiting = [Candidate(*row) for row in waiting.tolist()]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"binned": self._binned, "mode": self._mode, "mode_sum": self._mode_sum}
