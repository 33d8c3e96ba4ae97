"""What `extract` does with each frame: demix, deconvolve, and a part of the work that the last bin asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.operator import Table
from ...core.state import State, require_array, require_int
from ..kernels.demixing import demix_background, project, sum_frames, whiten
from ..kernels.residual import STEP, store_bin, subtract_footprints
from . import results as readout
from .acceptance import give_birth, is_error_of, refusal, rival
from .activity import Calcium
from .background import Scene
from .buffer import SCALE, Buffer
from .components import Components
from .detection import Detector
from .footprint_update import learn_shape, leaving, shapes_due, take_bin
from .params import ExtractParams
from .proposal import Proposal, refine
from .ring_background import Ring
from .settled_traces import COLUMNS, SWEEPS, Settling, joined, relative

BIN = 5  # frames a bin: detection, proposals and learning run once in it, spread over the next one's frames
FIRST_PROPOSAL_BINS = 20  # before, there is no calm to compare with
PROPOSALS_A_FRAME = 1
SHAPES_A_FRAME = 3
CANDIDATES = 6
WAITING = 30
ROUND_BINS = 4  # bins in which every shape that is due gets its turn
TABLE_FRAMES = 100
KNOWN_MOMENT = 25.0  # what a footprint that was given counts as: soon outweighed by what frames say
CLEAR_PER_SNR = 2.8  # what one of min_snr means in bins pooled over a transient (4-norm)

Live = tuple[np.ndarray, ...]  # of one frame: ids, traces, raw, spikes, dff (K,) each


class Extraction:
    """A scene, its components, and all that is kept to find and refine them."""

    def __init__(self, params: ExtractParams, shape: tuple[int, int], calcium: Calcium, offset_adu: float) -> None:
        self.params, self.shape, self._calcium, self._offset_adu = params, shape, calcium, offset_adu
        side = 2 * round(3 * params.neuron_sigma_px) + 1
        self._box = (min(side, shape[0]), min(side, shape[1]))
        self._cell_px = params.neuron_sigma_px / 2
        radius = params.ring_radius_px or 3 * params.neuron_sigma_px
        self._ring = Ring(shape, radius) if params.background == "ring" else None
        self._begin_anew()

    def _begin_anew(self) -> None:
        shape, modes, window = self.shape, self.params.background_components, self.params.window_frames
        self.scene = Scene(shape, modes)
        self.cells = Components(shape, self._box, modes, window, self._offset_adu)
        self.detector = Detector(shape, (self._cell_px, 1.6 * self._cell_px), self._calcium.g**BIN)
        self._buffer = Buffer(shape, modes, window, BIN)
        self._settling = Settling()
        self._total = np.zeros(shape, np.float32)
        self._binned = np.zeros(self.detector.shape, np.float32)
        self._mode, self._mode_sum, self._mode_products = np.zeros((3, modes))
        self._waiting: list[tuple[float, float, float, float]] = []
        self._turn = self._last_index = 0
        self._said: dict[str, list[Table]] = {"settled": [], "quality": [], "events": []}

    def begin(self, first: np.ndarray, index: list[int], frames: list[np.ndarray], seeds: list[np.ndarray]) -> None:
        """Take the scene from the first frames, given as differences to `first` (y, x), and run them through.

        Greedy: once more, with the cells found so. Seeds are images (y, x).
        """
        if self._ring is not None:
            frames = self._ring.begin(first, frames)
        self.scene.begin(first, frames)
        self._take_seeds(seeds, index[0])
        self._run(first, index, frames)
        if self.params.init == "greedy":
            found = [(self.cells.origin[k].copy(), self.cells.box[k].copy()) for k in range(self.cells.count)]
            self._begin_anew()
            self.scene.begin(first, frames)
            for corner, box in found:
                self._add_known((int(corner[0]), int(corner[1])), box, index[0], accepted=False)
            self._run(first, index, frames)
        self._look_back()

    def _look_back(self) -> None:
        """Search the first frames' residual bins once more: what was active before there was a calm to compare with."""
        self.detector.look_back()
        self._waiting = []
        for place in self._buffer.bin_order():
            self.detector.look(_halved(self._buffer.bins[place] / np.float32(STEP)))
            for found in self.detector.candidates(WAITING):
                self.detector.rest(found[0], found[1], found[3])
                self._propose(*found)

    def _run(self, first: np.ndarray, index: list[int], frames: list[np.ndarray]) -> None:
        for n, part in zip(index, frames, strict=True):
            self._track(n, part.astype(np.float32) + first)

    def _take_seeds(self, seeds: list[np.ndarray], birth: int) -> None:
        height, width = self._box
        for image in seeds:
            y, x = np.nonzero(image)
            top, left = corner = self.cells.corner(float(y.mean()), float(x.mean()))
            area = np.s_[top : top + height, left : left + width]
            box = image[area] * self.scene.weight[area]
            if box.any():
                self._add_known(corner, box / np.float32(np.sqrt((box.astype(float) ** 2).sum())), birth, accepted=True)

    def _add_known(self, corner: tuple[int, int], box: np.ndarray, birth: int, accepted: bool) -> None:
        """A component that is known from the first frame on."""
        k = self.cells.add(corner, box, self.scene, birth)
        self.cells.g[k] = self._calcium.g
        self.cells.live_noise[k] = self.cells.late_noise[k] = 1.0
        self.cells.moment[k] = self.cells.learned[k] = KNOWN_MOMENT
        self.cells.accepted[k] = self.cells.seeded[k] = accepted
        self._say(birth, k, "born", "seed" if accepted else "first frames")

    def take(self, index: int, frame: np.ndarray) -> Live:
        """Take the next frame (y, x); return what it says of the accepted."""
        if self._ring is not None:
            frame = self._ring.subtract(frame, self.cells, self.scene.noise)
        return self._track(index, frame)

    def finish(self) -> None:
        """Settle what is still in the window."""
        for slot in self._buffer.slots():
            self._settle(int(slot))
        self._said["settled"].append(self._settling.rows(self.cells, self._calcium, keep=0))
        self._said["quality"].append(readout.quality_table(self.cells, self._last_index))

    def _settle(self, slot: int) -> None:
        self._settling.take(self.cells, self._buffer, self._calcium, slot)
        if self._settling.count % BIN == 0:
            self._said["settled"].append(self._settling.rows(self.cells, self._calcium))

    def _track(self, index: int, frame: np.ndarray) -> Live:
        """Demix and deconvolve a frame; do the work that falls on it. Returns what it says of the accepted."""
        cells, scene, buffer = self.cells, self.scene, self._buffer
        slot = buffer.slot
        if buffer.full:
            self._settle(slot)
        self._last_index = buffer.index[slot] = index
        stored = buffer.frames[slot]
        whiten(frame, scene.mean, scene.weight, scene.modes, self._mode, SCALE, stored, self._mode_products)
        self._demix(slot)
        buffer.modes[slot] = self._mode
        raw = cells["activity"]
        cells["history"][:, slot] = raw
        trace, spikes = self._calcium.follow(cells, "live", raw, np.ones(cells.count, bool))
        self._mode_sum += self._mode
        cells["bin_sum"][:] += raw
        cells["bin_trace"][:] += trace
        shown = cells["accepted"]
        dff = relative(raw, cells["live_low"], cells["resting"])
        said = (cells["id"][shown], trace[shown], raw[shown] - cells["live_baseline"][shown], spikes[shown], dff[shown])
        buffer.count += 1
        self._work()
        return said

    def _demix(self, slot: int) -> None:
        cells, scene = self.cells, self.scene
        products, free = np.empty(cells.count), np.full(cells.count, -np.inf)
        frame = self._buffer.frames[slot].reshape(-1)
        project(frame, 1 / float(SCALE), cells.index, cells.value, cells.pixels, products)
        demix_background(
            products, self._mode_products, cells.energy, cells.neighbour, cells.overlap, cells.neighbours,
            cells.mode_overlap, cells.row_overlap, scene.gram, free, SWEEPS, cells["activity"], self._mode,
        )  # fmt: skip

    def _work(self) -> None:
        """What falls on this frame: the bin that it ends, or a part of what the last bin asked for."""
        phase = self._buffer.count % BIN
        if phase == 0:
            self._close_bin()
        elif phase == 1 and self._buffer.count > BIN:
            self.detector.look(self._binned)
            self._waiting = (self._waiting + self.detector.candidates(CANDIDATES))[-WAITING:]
            for y, x, _, z in self._waiting:
                self.detector.rest(y, x, z)
        elif self._waiting and self._buffer.count >= FIRST_PROPOSAL_BINS * BIN:
            for _ in range(min(PROPOSALS_A_FRAME, len(self._waiting))):
                self._propose(*self._waiting.pop(0))
        if phase == BIN - 1:
            self._judge()
        elif phase and self.cells.count:
            self._keep_house()
        if self._buffer.count % TABLE_FRAMES == 0:
            self._said["quality"].append(readout.quality_table(self.cells, self._last_index))

    def _close_bin(self) -> None:
        """Turn the bin's sum into its residual and learn from it."""
        cells, buffer = self.cells, self._buffer
        number = buffer.count // BIN - 1
        last = buffer.slots()[-BIN:]
        sum_frames(buffer.frames, last, float(SCALE), self.scene.modes, self._mode_sum, self._total)
        subtract_footprints(self._total.reshape(-1), cells.index, cells.value, cells.pixels, cells["bin_sum"])
        store_bin(self._total, np.float32(1 / np.sqrt(BIN)), buffer.bins[buffer.bin_order()[-1]], self._binned)
        take_bin(cells, self._total, number, BIN)
        self._mode_sum[:] = 0

    def _propose(self, y: float, x: float, width: float, z: float) -> None:
        """Look closely at a place; a component is born if it is a cell that is not known."""
        cells, order = self.cells, self._buffer.bin_order()
        found = refine(self._buffer.bins, order, cells.corner(y, x), self._box, (y, x), width, self._cell_px)
        if refusal(found, self.params):
            return
        assert isinstance(found, Proposal)
        known = rival(cells, found, self.params.max_overlap)
        if known is not None and is_error_of(cells, known, found):
            if found.snr < cells.standings()[1][known] or cells.seeded[known]:
                return
            self._leave(known, "a clearer one took its place")
        place = give_birth(cells, self.scene, self._buffer, found, order, self._calcium)
        self._say(self._last_index, place, "born", "residual")

    def _keep_house(self) -> None:
        """Renew the next few shapes that are due; once a bin see who is accepted and who leaves."""
        cells = self.cells
        due = shapes_due(cells)
        later = np.searchsorted(due, self._turn)
        for k in np.concatenate((due[later:], due[:later]))[: SHAPES_A_FRAME + len(due) // BIN // ROUND_BINS]:
            self._turn = int(k) + 1
            if not learn_shape(cells, self.scene, int(k), self._cell_px) and not cells.seeded[k]:
                self._leave(int(k), "its footprint dissolved")
                return  # places have changed

    def _judge(self) -> None:
        cells, bound = self.cells, CLEAR_PER_SNR * self.params.min_snr
        for place, reason in sorted(leaving(cells, bound).items(), reverse=True):
            self._leave(place, reason)
        explained, snr = cells.standings()
        for k in np.flatnonzero((snr * (1 - explained) >= bound) & ~cells["accepted"]):
            cells.accepted[k] = True
            self._say(self._last_index, int(k), "accepted", "")

    def _leave(self, k: int, reason: str) -> None:
        self._say(self._last_index, k, "gone", reason)
        self.cells.drop(k)

    def _say(self, frame: int, k: int, event: str, reason: str) -> None:
        row = {"frame": [frame], "id": [int(self.cells.id[k])], "event": [event], "reason": [reason]}
        self._said["events"].append(Table(row))

    @property
    def next_index(self) -> int:
        """Index one past the last frame's."""
        return self._last_index + 1

    def tables(self) -> dict[str, Table]:
        """The tables' rows since the last update."""
        said = {name: joined([_EMPTY[name], *rows]) if rows else _EMPTY[name] for name, rows in self._said.items()}
        self._said = {name: [] for name in self._said}
        return said

    def background(self) -> np.ndarray:
        """Return mean and background of the last frame (y, x) [ADU]."""
        image = self.scene.mean.copy()
        for mode, amount in zip(self.scene.modes, self._mode, strict=True):
            image += np.float32(amount) * mode * self.scene.noise
        return image

    def residual(self) -> np.ndarray:
        """Return what nothing explained in the last bin (y, x) [widths of its noise]."""
        order = self._buffer.bin_order()
        if not len(order):
            return np.zeros(self.shape, np.float32)
        return self._buffer.bins[order[-1]] / np.float32(STEP)

    def state(self) -> State:
        """Everything it carries, as state entries."""
        return {
            "turn": self._turn, "last_index": self._last_index, "next_id": self.cells.next_id,
            "waiting": np.array(self._waiting, float).reshape(-1, 4),
            **{name: array.copy() for name, array in self._arrays().items()},
            **self.scene.state(), **self.cells.state("component_"), **self.detector.state(), **self._buffer.state(),
            **self._settling.state(), **(self._ring.state() if self._ring else {}),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for part in (self.scene, self.detector, self._buffer, self._settling):
            part.restore(state)
        if self._ring is not None:
            self._ring.restore(state)
        self.cells.restore(state, "component_", "extract")
        for name, array in self._arrays().items():
            array[...] = require_array(state, name, array, "extract")
        self._turn, self._last_index, self.cells.next_id = (
            require_int(state, name, "extract") for name in ("turn", "last_index", "next_id")
        )
        waiting = np.asarray(state.get("waiting"), float).reshape(-1, 4)
        self._waiting = [(y, x, width, z) for y, x, width, z in waiting.tolist()]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"binned": self._binned, "mode": self._mode, "mode_sum": self._mode_sum}


def _halved(image: np.ndarray) -> np.ndarray:
    """An image summed 2 × 2 and halved."""
    height, width = (n // 2 for n in image.shape)
    part = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    halved: np.ndarray = part.sum((1, 3), dtype=np.float32) * np.float32(0.5)
    return halved


NOTHING = (np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
_EMPTY = {
    "settled": Table({name: np.empty(0, kind) for name, kind in COLUMNS.items()}),
    "quality": Table({"frame": np.empty(0, np.int64), **{n: np.empty(0, k) for n, k in readout.MEASURES.items()}}),
    "events": Table({n: np.empty(0, k) for n, k in {"frame": int, "id": int, "event": "U1", "reason": "U1"}.items()}),
}


def by_id(live: Sequence[Live]) -> dict[str, np.ndarray]:
    """Values (t, K) by id of frames whose ids may differ; 0 where one is not there."""
    ids = np.sort(live[0][0]) if live else np.empty(0, np.int64)
    if not all(np.array_equal(said[0], live[0][0]) for said in live[1:]):
        ids = np.unique(np.concatenate([said[0] for said in live]))
    values = np.zeros((4, len(live), len(ids)), np.float32)
    for t, (present, *rows) in enumerate(live):
        values[:, t, np.searchsorted(ids, present)] = rows
    return {"ids": ids, **dict(zip(("traces", "raw", "spikes", "dff"), values, strict=True))}
