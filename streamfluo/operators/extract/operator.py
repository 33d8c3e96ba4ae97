"""Online source extraction: every neuron's footprint, activity and spikes from frames as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.block import Block
from ...core.errors import ConfigError
from ...core.operator import NO_VALUES, Gives, Operator, Output, Table, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...kernels.demixing import demix_background, project, sum_frames, whiten
from ...kernels.residual import store_bin, subtract_footprints, subtract_modes
from . import readout
from .birth import give_birth, is_error_of, refusal, rival
from .buffer import SCALE, Buffer
from .calcium import Calcium
from .components import Components
from .detection import Detector
from .learning import learn_shape, leaving, shapes_due, take_bin
from .params import ExtractParams
from .proposal import Proposal, refine
from .ring import Ring
from .scene import Scene
from .seeds import load_seeds
from .settling import COLUMNS, SWEEPS, Settling, joined, relative
from .warmup import compile_kernels

BIN = 5  # frames a bin: detection, proposals and learning run once in it, spread over the next one's frames
FIRST_PROPOSAL_BINS = 20  # before, there is no calm to compare with
PROPOSALS_A_FRAME = 1
SHAPES_A_FRAME = 3
CANDIDATES = 6
WAITING = 30
ROUND_BINS = 4  # bins in which every shape that is due gets its turn
TABLE_FRAMES = 100
CLEAR_PER_SNR = 3.2  # what one of min_snr means in bins pooled over a transient (4-norm)


@register("extract")
class Extract(Operator):
    """Footprints, demixed and denoised activity and spikes of every neuron, found and refined while frames come.

    Model: white_t = Σ a_k c_kt + Σ b_m f_mt + noise of width 1, where white is the frame less the mean image over each
    pixel's noise. Each frame is demixed (least squares, warm-started) and deconvolved (OASIS) at once; cells are
    searched for in the residual of bins of 5 frames; shapes are renewed by recursive regression. Frames stay in a
    window of `window_frames`; when they leave it they are solved again with the shapes of then, and said for good in
    the table `settled`, 20 frames later still. The first `init_frames` give mean, noise and background and are then run
    through the same path, so that their traces come in that table too. Frames are used one by one: how blocks are cut
    changes nothing.

    Sources: Giovannucci et al. 2017 (OnACID), Friedrich et al. 2017 (OASIS), Pnevmatikakis et al. 2016.
    Cost: README. Pixels that are NaN (border = "nan" of motion) count as unknown.
    """

    Params = ExtractParams
    gives = (
        Gives(
            "traces", "by_id", ("t", "id"), "σ", "denoised activity, in widths of one frame's noise, as of this frame"
        ),
        Gives("raw", "by_id", ("t", "id"), "σ", "demixed activity"),
        Gives("spikes", "by_id", ("t", "id"), "σ", "how much the activity jumped"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F against a running low percentile"),
        Gives("quality", "table", ("frame", *readout.MEASURES), "", "every component, each 100 frames"),
        Gives("settled", "table", ("frame", "id", "trace", "raw", "spike", "dff"), "", "the same for good, later"),
        Gives("events", "table", ("frame", "id", "event", "reason"), "", "components born, accepted, gone"),
        Gives("footprints", "snapshot", ("id", "y", "x"), "ADU", "each component's box, for an activity of 1 σ"),
        Gives("quality_now", "snapshot", ("id", "measure"), "", f"of each footprint: {', '.join(readout.MEASURES)}"),
        Gives("contours", "snapshot", ("id", "point", "yx"), "px", "outlines of the accepted at a fifth of the peak"),
        Gives("background", "snapshot", ("y", "x"), "ADU", "mean and background of the last frame"),
        Gives("residual", "snapshot", ("y", "x"), "σ", "what nothing explained in the last bin of 5 frames"),
        Gives("detection", "snapshot", ("y", "x"), "σ", "pooled residual in which cells are searched"),
    )
    examples = (
        {"init": "seeded", "seeds": [[4, 5], [8, 12.5], [7, 3]], "init_frames": 12, "window_frames": 20,
         "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1, "interval_s": 0.04},
        {"background": "ring", "ring_radius_px": 4, "ar_order": 2, "init": "greedy", "init_frames": 12,
         "window_frames": 20, "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1},
    )  # fmt: skip

    def __init__(self, params: ExtractParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        compile_kernels(np.dtype(spec.dtype), params.background_components)
        side = 2 * round(3 * params.neuron_sigma_px) + 1
        self._box = (min(side, spec.shape[0]), min(side, spec.shape[1]))
        self._cell_px = params.neuron_sigma_px / 2
        if params.ar_order == 2 and not params.rise_s < params.decay_s:
            raise ConfigError(f"extract: rise_s must be shorter than decay_s, found {params.rise_s}")
        if params.seeds is not None and params.init != "seeded":
            raise ConfigError('extract: seeds are for init = "seeded"')
        self._calcium = Calcium(_interval(params, spec), params.decay_s, params.rise_s, params.ar_order)
        self._seeds = load_seeds(params.seeds, spec.shape, self._cell_px) if params.init == "seeded" else []
        self._first = np.zeros(spec.shape, np.float32)
        self._begin_anew()
        self._init_index: list[int] = []
        self._init_frames: list[np.ndarray] = []

    def _begin_anew(self) -> None:
        shape, modes = self.spec.shape, self.params.background_components
        window, offset = self.params.window_frames, _offset(self.spec)
        self._scene = Scene(shape, modes)
        self._cells = Components(shape, self._box, modes, window, offset)
        self._detector = Detector(shape, (self._cell_px, 1.6 * self._cell_px), self._calcium.g**BIN)
        self._buffer = Buffer(shape, modes, window, BIN)
        self._settling = Settling()
        radius = self.params.ring_radius_px or 3 * self.params.neuron_sigma_px
        self._ring = Ring(shape, radius) if self.params.background == "ring" else None
        self._total = np.zeros(shape, np.float32)
        self._binned = np.zeros(self._detector.shape, np.float32)
        self._mode, self._mode_sum, self._mode_products = np.zeros((3, modes))
        self._waiting: list[tuple[float, float, float, float]] = []
        self._turn = self._last_index = 0
        self._initialised = False
        self._said: dict[str, list[Table]] = {"settled": [], "quality": [], "events": []}

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        live: list[tuple[np.ndarray, ...]] = []
        for t, frame in enumerate(block.pixels):
            if self._initialised:
                if self._ring is not None:
                    frame = self._ring.subtract(frame, self._cells, self._scene.noise)
                live.append(self._track(block.index + t, frame))
                continue
            live.append(_NOTHING)
            self._collect(block.index + t, frame)
        return Output(block.index, {**_by_id(live), **self._tables()})

    def finish(self) -> Output | None:
        if not self._initialised:
            return None
        for slot in self._buffer.slots():
            self._settling.take(self._cells, self._buffer, self._calcium, int(slot))
            if self._settling.count % BIN == 0:
                self._said["settled"].append(self._settling.rows(self._cells, self._calcium))
        self._said["settled"].append(self._settling.rows(self._cells, self._calcium, keep=0))
        self._said["quality"].append(readout.quality_table(self._cells, self._last_index))
        return Output(self._last_index + 1, {**_by_id([]), **self._tables()})

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: _READ[name](self) for name in self.snapshot_names(names)}

    def state(self) -> State:
        waiting = np.array(self._waiting, float).reshape(-1, 4)
        return {
            "initialised": int(self._initialised), "turn": self._turn, "last_index": self._last_index,
            "next_id": self._cells.next_id, "first": self._first.copy(), "waiting": waiting,
            "init_index": np.array(self._init_index, np.int64),
            "init_frames": np.array(self._init_frames, np.float16).reshape(-1, *self.spec.shape),
            **{name: array.copy() for name, array in self._arrays().items()},
            **self._scene.state(), **self._cells.state("component_"), **self._detector.state(), **self._buffer.state(),
            **self._settling.state(), **(self._ring.state() if self._ring else {}),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        for part in (self._scene, self._detector, self._buffer, self._settling):
            part.restore(state)
        if self._ring is not None:
            self._ring.restore(state)
        self._cells.restore(state, "component_", self.kind)
        for name, array in self._arrays().items():
            array[...] = require_array(state, name, array, self.kind)
        self._first = require_array(state, "first", self._first, self.kind)
        self._initialised = bool(require_int(state, "initialised", self.kind))
        self._turn, self._last_index, self._cells.next_id = (
            require_int(state, name, self.kind) for name in ("turn", "last_index", "next_id")
        )
        self._init_index = [int(n) for n in np.asarray(state.get("init_index"))]
        kept = np.zeros((len(self._init_index), *self.spec.shape), np.float16)
        self._init_frames = list(require_array(state, "init_frames", kept, self.kind))
        self._waiting = [tuple(row) for row in np.asarray(state.get("waiting")).reshape(-1, 4).tolist()]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"binned": self._binned, "mode": self._mode, "mode_sum": self._mode_sum}

    # The first frames

    def _collect(self, index: int, frame: np.ndarray) -> None:
        """Keep a frame until there are enough to begin; then begin."""
        if not self._init_frames:
            self._first[...] = np.nan_to_num(frame.astype(np.float32))
        limit = np.float32(65000)
        self._init_frames.append(np.clip(frame.astype(np.float32) - self._first, -limit, limit).astype(np.float16))
        self._init_index.append(index)
        if len(self._init_frames) == self.params.init_frames:
            self._begin()

    def _begin(self) -> None:
        """Take the scene from the first frames and run them through; greedy: once more, with the cells found so."""
        frames, index = self._init_frames, self._init_index
        self._init_frames, self._init_index = [], []
        self._initialised = True
        if self._ring is not None:
            frames = self._ring.begin(self._first, frames)
        self._scene.begin(self._first, frames)
        self._take_seeds(index[0])
        self._run(index, frames)
        if self.params.init == "greedy":
            ring = self._ring
            found = [(self._cells.origin[k].copy(), self._cells.box[k].copy()) for k in range(self._cells.count)]
            self._begin_anew()
            self._initialised, self._ring = True, ring
            self._scene.begin(self._first, frames)
            for corner, box in found:
                self._add_known((int(corner[0]), int(corner[1])), box, index[0], accepted=False)
            self._run(index, frames)

    def _run(self, index: list[int], frames: list[np.ndarray]) -> None:
        for n, part in zip(index, frames, strict=True):
            self._track(n, part.astype(np.float32) + self._first)

    def _take_seeds(self, birth: int) -> None:
        height, width = self._box
        for image in self._seeds:
            y, x = np.nonzero(image)
            top, left = corner = self._cells.corner(float(y.mean()), float(x.mean()))
            area = np.s_[top : top + height, left : left + width]
            box = image[area] * self._scene.weight[area]
            if box.any():
                self._add_known(corner, box / np.float32(np.sqrt((box.astype(float) ** 2).sum())), birth, accepted=True)

    def _add_known(self, corner: tuple[int, int], box: np.ndarray, birth: int, accepted: bool) -> None:
        """A component that is known from the first frame on."""
        k = self._cells.add(corner, box, self._scene, birth)
        for name, value in {
            "g": self._calcium.g,
            "live_noise": 1.0,
            "late_noise": 1.0,
            "moment": 25.0,
            "learned": 25.0,
        }.items():
            getattr(self._cells, name)[k] = value
        self._cells.accepted[k] = self._cells.seeded[k] = accepted
        self._say(birth, k, "born", "seed" if accepted else "first frames")

    # Every frame

    def _track(self, index: int, frame: np.ndarray) -> tuple[np.ndarray, ...]:
        """Demix and deconvolve a frame; do the work that falls on it. Returns what it says of the accepted."""
        cells, scene, buffer = self._cells, self._scene, self._buffer
        slot = buffer.slot
        if buffer.full:
            self._settling.take(cells, buffer, self._calcium, slot)
            if self._settling.count % BIN == 0:
                self._said["settled"].append(self._settling.rows(cells, self._calcium))
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
        cells, scene = self._cells, self._scene
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
            self._detector.look(self._binned)
            self._waiting = (self._waiting + self._detector.candidates(CANDIDATES))[-WAITING:]
            for y, x, _, z in self._waiting:
                self._detector.rest(y, x, z)
        elif self._waiting and self._buffer.count >= FIRST_PROPOSAL_BINS * BIN:
            for _ in range(min(PROPOSALS_A_FRAME, len(self._waiting))):
                self._propose(*self._waiting.pop(0))
        if phase == BIN - 1:
            self._judge()
        elif phase and self._cells.count:
            self._keep_house()
        if self._buffer.count % TABLE_FRAMES == 0:
            self._said["quality"].append(readout.quality_table(self._cells, self._last_index))

    def _close_bin(self) -> None:
        """Turn the bin's sum into its residual and learn from it."""
        cells, buffer = self._cells, self._buffer
        number = buffer.count // BIN - 1
        sum_frames(buffer.frames, buffer.slots()[-BIN:], float(SCALE), self._total)
        subtract_modes(self._total, self._scene.modes, self._mode_sum)
        subtract_footprints(self._total.reshape(-1), cells.index, cells.value, cells.pixels, cells["bin_sum"])
        store_bin(self._total, np.float32(1 / np.sqrt(BIN)), buffer.bins[buffer.bin_order()[-1]], self._binned)
        take_bin(cells, self._total, number, BIN)
        self._mode_sum[:] = 0

    def _propose(self, y: float, x: float, width: float, z: float) -> None:
        """Look closely at a place; a component is born if it is a cell that is not known."""
        cells, order = self._cells, self._buffer.bin_order()
        found = refine(self._buffer.bins, order, cells.corner(y, x), self._box, (y, x), width, self._cell_px)
        if refusal(found, self.params):
            return
        assert isinstance(found, Proposal)
        known = rival(cells, found, self.params.max_overlap)
        if known is not None and is_error_of(cells, known, found):
            if found.snr < cells.standings()[1][known] or cells.seeded[known]:
                return
            self._leave(known, "a clearer one took its place")
        place = give_birth(cells, self._scene, self._buffer, found, order, self._calcium)
        self._say(self._last_index, place, "born", "residual")

    def _keep_house(self) -> None:
        """Renew the next few shapes that are due; once a bin see who is accepted and who leaves."""
        cells = self._cells
        due = shapes_due(cells)
        later = np.searchsorted(due, self._turn)
        for k in np.roll(due, -later)[: SHAPES_A_FRAME + len(due) // BIN // ROUND_BINS]:
            self._turn = int(k) + 1
            if not learn_shape(cells, self._scene, int(k), self._cell_px) and not cells.seeded[k]:
                self._leave(int(k), "its footprint dissolved")
                return  # places have changed

    def _judge(self) -> None:
        cells, bound = self._cells, CLEAR_PER_SNR * self.params.min_snr
        for place, reason in sorted(leaving(cells, bound).items(), reverse=True):
            self._leave(place, reason)
        _, snr = cells.standings()
        for k in np.flatnonzero((snr >= bound) & ~cells["accepted"]):
            cells.accepted[k] = True
            self._say(self._last_index, int(k), "accepted", "")

    def _leave(self, k: int, reason: str) -> None:
        self._say(self._last_index, k, "gone", reason)
        self._cells.drop(k)

    # What is said

    def _say(self, frame: int, k: int, event: str, reason: str) -> None:
        row = {"frame": [frame], "id": [int(self._cells.id[k])], "event": [event], "reason": [reason]}
        self._said["events"].append(Table(row))

    def _tables(self) -> dict[str, Table]:
        """The tables' rows since the last update."""
        said = {name: joined([_EMPTY[name], *tables]) for name, tables in self._said.items()}
        self._said = {name: [] for name in self._said}
        return said

    def _background(self) -> np.ndarray:
        image = self._scene.mean.copy()
        for mode, amount in zip(self._scene.modes, self._mode, strict=True):
            image += np.float32(amount) * mode * self._scene.noise
        return image

    def _residual(self) -> np.ndarray:
        order = self._buffer.bin_order()
        if not len(order):
            return np.zeros(self.spec.shape, np.float32)
        return self._buffer.bins[order[-1]] / np.float32(32)


_NOTHING = (np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
_EMPTY = {
    "settled": Table({name: np.empty(0, kind) for name, kind in COLUMNS.items()}),
    "quality": Table({"frame": np.empty(0, np.int64), **{n: np.empty(0, k) for n, k in readout.MEASURES.items()}}),
    "events": Table({n: np.empty(0, k) for n, k in {"frame": int, "id": int, "event": "U1", "reason": "U1"}.items()}),
}
_READ = {
    "footprints": lambda o: readout.footprints(o._cells, o._scene),
    "quality_now": lambda o: readout.quality(o._cells),
    "contours": lambda o: readout.contours(o._cells, o._scene),
    "background": lambda o: o._background(),
    "residual": lambda o: o._residual(),
    "detection": lambda o: o._detector.image(o.spec.shape),
}


def _by_id(live: Sequence[tuple[np.ndarray, ...]]) -> dict[str, np.ndarray]:
    """Values (t, K) of frames whose ids may differ; 0 where one is not there."""
    ids = live[0][0] if live else np.empty(0, np.int64)
    if not all(np.array_equal(said[0], ids) for said in live):
        ids = np.unique(np.concatenate([said[0] for said in live]))
    values = np.zeros((4, len(live), len(ids)), np.float32)
    order = np.argsort(ids)
    for t, (present, *rows) in enumerate(live):
        values[:, t, order[np.searchsorted(ids, present, sorter=order)]] = rows
    return {"ids": ids, **dict(zip(("traces", "raw", "spikes", "dff"), values, strict=True))}


def _interval(params: ExtractParams, spec: Spec) -> float:
    interval = params.interval_s or spec.interval_s
    if interval is None:
        return params.decay_s / 10  # ten frames a transient, until somebody says
    return interval


def _offset(spec: Spec) -> float:
    """The camera's offset, which is no fluorescence."""
    if spec.camera is None or spec.camera.offset_adu is None:
        return 0.0
    return float(np.mean(spec.camera.offset_adu))
