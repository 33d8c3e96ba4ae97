"""Online source extraction: every neuron's footprint, activity and spikes from frames as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ...core.afterwards import Afterwards
from ...core.block import Block
from ...core.card_block import on_device
from ...core.decision import Decided, Decision
from ...core.errors import ConfigError, StateError
from ...core.freezable import Freezable
from ...core.later import Later, later
from ...core.learning import Learning
from ...core.operator import NO_VALUES, Gives, Output, Presents, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...core.unseen import VALID, known_pixels, valid_frames
from ..across_days.matched import matched_components
from ..extracted_components import MEASURES, ExtractedComponents
from ..refine.refinement import refined_extract
from ..report import measures_of, report_of
from ..summary import IMAGES
from ..volume.volume_cells import VolumeCells
from . import results as snapshots
from .activity import Deconvolution
from .card_frame import Frame, frames_in, on_host
from .card_memory import CardMemory
from .cell_probability import WEIGHTS, load_weights
from .curation import TAKES, Curation
from .extraction import BIN, LiveValues
from .frozen_extraction import FrozenExtraction
from .initialisation import compile_following, compile_kernels, compile_on_card, compile_search, compile_traces
from .learned_acceptance import size_doubts
from .live import NO_COMPONENTS, Live, values_of
from .motion_correlation import SHIFT, shift_of
from .params import DECAY_S, RISE_S, ExtractParams, delay_frames_of, interval_s_of, offset_adu_of
from .seeds import Seeds, load_seeds, seeds_of_file, to_be_matched
from .structure import SEEDED_BY_IT, STRUCTURE, Structure, structure_of_file

Waiting = tuple[int, np.ndarray | None]  # index and frame (y, x), None for one that is not valid
CELL_WIDTH = 4  # in units of neuron_sigma_px
WARM_UP_FRAMES = 300  # over which a baseline is the running median; noise and deconvolution need fewer
DOUBT_FRAMES = 8  # a sentence is as of one of the last ones
LEAST_FRAMES = 20  # to estimate noise and background from, where a recording ends before `init_frames`


@register("extract")
class Extract(Freezable):
    """Footprints, demixed and deconvolved activity and spikes of every neuron, detected and refined online.

    Model of the whitened frame w_t, each pixel in units of its noise σ: w_t = Σ a_k c_kt + Σ b_m f_mt + noise, with
    footprints a_k and background modes b_m. Each frame is demixed by warm-started block coordinate descent and
    deconvolved (OASIS) as it comes. Components are detected in the residual of bins of 5 frames; footprints are
    updated from sufficient statistics. Frames stay in a window of `window_frames`; when they leave it, activity is
    re-estimated with the current footprints; half a second or 20 frames later, whichever is longer, the final values
    are in the table `settled`, with the rate of spikes that is expected given the samples around. The first
    `init_frames` (or all frames, where there are fewer) initialise mean, noise and background, and are then processed
    like all others, on a thread beside the frames: `init_delay_frames` later its results take over, and no frame waits.
    Nor does a frame's value wait for what it teaches: that is learned on a thread, before the next frame is taken.
    Flashes and closed shutters count as not valid, at most 100 frames on end. Blocks may be cut anywhere: results are
    the same bits. NaN pixels count as unknown; frames that are not valid count as missing and
    have NaN as values.

    Sources: Giovannucci et al. 2017 (OnACID), Friedrich et al. 2017 (OASIS), Pnevmatikakis et al. 2016 (CNMF).
    """

    Params = ExtractParams
    version = 16  # maps are smoothed in another order; three candidates of time constants after 60 traces
    may_need = (VALID, SHIFT, STRUCTURE)
    reads_every = 100  # frames, that a picture of the structural channel is taken
    from_file = {"seeds": seeds_of_file, "structure": structure_of_file}
    results = {"components": ExtractedComponents.of}
    joins = {"cells": VolumeCells.of}
    refine = staticmethod(refined_extract)
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    matched = staticmethod(matched_components)
    gives: tuple[Gives, ...] = (
        Gives("traces", "by_id", ("t", "id"), "σ", "denoised activity in noise σ of one frame, as of this frame"),
        Gives("raw", "by_id", ("t", "id"), "σ", "demixed activity"),
        Gives("spikes", "by_id", ("t", "id"), "σ/s", "rate of spikes up to a factor, as of this frame"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F, with F0 from a running 8th percentile; NaN where F0 is near 0"),
        Gives(
            "components", "per_frame", ("t", "accepted, candidates"), "", "how many are accepted, and how many may be"
        ),
        Gives("present", "by_id", ("t", "id"), "", "whether the component was accepted in the frame"),
        Gives(
            "merged", "table", ("frame", "id", "into"), "", "of which other one it is the cell from the next frame on"
        ),
        Gives("quality", "table", ("frame", *MEASURES), "", "measures of every component, each 100 frames"),
        Gives("settled", "table", ("frame", "id", "trace", "raw", "spike", "dff"), "", "final values"),
        Gives(
            "events",
            "table",
            ("frame", "id", "event", "reason"),
            "",
            "components born, accepted, rejected, undone, gone",
        ),
        Gives(
            "decisions",
            "table",
            ("frame", "id", "decision", "by", "note", "number"),
            "",
            "of people: accepted, rejected, merged into another one; '' where that is undone",
        ),
        Gives("footprints", "snapshot", ("id", "y", "x"), "ADU", "footprints in boxes, per σ of activity"),
        Gives("quality_now", "snapshot", ("id", ", ".join(MEASURES)), "", "measures of each footprint"),
        Gives(
            "contours", "snapshot", ("id", "point", "yx"), "px", "contours of accepted components at 1/5 of the peak"
        ),
        Gives(
            "structural_contours",
            "snapshot",
            ("id", "point", "yx"),
            "px",
            "a second contour around those that are marked as cells of the structural channel",
        ),
        Gives("next_id", "snapshot", (), "", "the id of the component that is found next"),
        Gives("background", "snapshot", ("y", "x"), "ADU", "mean and background of the last frame"),
        Gives("residual", "snapshot", ("y", "x"), "σ", "residual of the last bin of 5 frames"),
        Gives("detection", "snapshot", ("y", "x"), "σ", "pooled residual map that components are detected in"),
    )
    counted = {"present": "cells"}
    presents = Presents(
        ("frames", "mean", "detection", "background"),
        ("traces", "components", "quality", "shift_px"),
        choice=("summary", IMAGES),
        over_time=("components",),
        ticks={"traces": "spikes"},
    )
    examples = (
        {"init": "seeded", "seeds": [[4, 5], [8, 12.5], [7, 3]], "init_frames": 12, "window_frames": 20,
         "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1, "interval_s": 0.04},
        {"background": "ring", "ring_radius_px": 4, "ar_order": 2, "init": "greedy", "init_frames": 12,
         "window_frames": 20, "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1, "accept": "learned", "shape": "any",
         "merge_corr": 0.5},
    )  # fmt: skip
    of_sample = ("events", "merged", "decisions")
    tolerances = {"matched_cells": 0.8, "trace_correlation": 0.98, "trace_rms": 0.2, "rate_correlation": 0.97}
    takes = TAKES
    devices = ("cpu", "gpu")
    twin_tolerance = 0.0  # of a last bit there comes a footprint's pixel, and more, frame after frame
    compiles_later = (compile_search, compile_following, compile_traces)
    live = {"min_snr": 0.2, "min_spatial_corr": 0.05, "min_compactness": 0.1, "max_overlap": 0.9}

    def __init__(self, params: ExtractParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        load_weights(WEIGHTS)  # what is wrong with them is said before frames flow
        compiling = (compile_kernels,) if self.card is None else (compile_kernels, compile_on_card)
        self._kernels = later(*(partial(some, params, spec) for some in compiling))
        decay_s, rise_s = params.decay_s or DECAY_S, params.rise_s or RISE_S
        if params.ar_order == 2 and params.rise_s is not None and not rise_s < decay_s:
            raise ConfigError(f"extract: rise_s must be shorter than decay_s, found {params.rise_s}")
        if params.seeds is not None and params.init != "seeded":
            raise ConfigError('extract: seeds are for init = "seeded"')
        seeded = params.init == "seeded"
        self._by_structure = seeded and isinstance(params.seeds, str) and params.seeds == SEEDED_BY_IT
        stated = seeded and not self._by_structure
        self._seeds = load_seeds(params.seeds, spec.shape, params.neuron_sigma_px / 2) if stated else Seeds()
        self._structure = Structure(params, spec.shape)
        if params.match_seeds:
            self._seeds = to_be_matched(self._seeds, spec)
        if self._seeds.folder:
            self.gives = tuple(replace(g, ids_of=self._seeds.folder) if g.kind == "by_id" else g for g in self.gives)
        self._deconvolution = Deconvolution(interval_s_of(params, spec), decay_s, rise_s, params.ar_order)
        self._delay_frames = delay_frames_of(params, interval_s_of(params, spec))
        self._memory = None if self.card is None else CardMemory(self.card, params, spec, BIN)
        self._frames_live = self._new()
        self._frames_live.extraction.structure = self._structure
        self._curation = Curation(self._frames_live.extraction.cells.fields)
        self._afterwards = Afterwards()
        self._learned: Live | None = None  # what takes over, while it is learned
        self._learning: Learning[Waiting] | None = None
        self._waiting: list[Waiting] = []  # frames that it takes meanwhile
        self._ended = False
        self._doubt: str | None = None  # as of values that nobody waits for; None: to be asked anew

    @property
    def _live(self) -> Live:
        """What takes the frames, all that the last one left to do done."""
        self._afterwards.wait()
        return self._frames_live

    def change(self, params: ExtractParams) -> None:
        self.params = self._live.extraction.params = params
        if self._learning is not None:  # as one that is built with them would learn
            self._learning.give_up()
            self._learn(self._waiting)

    def decide(self, decision: Decision) -> Decided:
        extraction = self._live.extraction
        extraction.catch_up()
        self._doubt = None
        return self._curation.decide(extraction, decision)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        live: list[LiveValues] = []
        counts: list[tuple[int, int]] = []
        valid, shift_px = valid_frames(block, inputs), shift_of(block, inputs)
        picture = inputs.get(STRUCTURE)
        for t, frame in enumerate(frames_in(block, self._memory)):
            if t == len(block) - 1 and isinstance(picture, np.ndarray) and self._learning is None:
                self._live.extraction.catch_up()
                self._structure.take(picture, block.stop)
            live.append(self._frame(block.index + t, frame if valid[t] else None))
            if valid[t]:
                self._frames_live.see_motion(block.index + t, shift_px[t])
            counts.append(self._frames_live.counts())
        extraction = self._live.extraction
        values: Values = {**values_of(live, counts), **extraction.tables.give()}
        if self._doubt is None or block.index // DOUBT_FRAMES != block.stop // DOUBT_FRAMES:
            self._doubt = self._doubt_now()
        if extraction.behind:
            self._afterwards.start(extraction.catch_up)
        return Output(block.index, values)

    def _frame(self, index: int, frame: Frame | None) -> LiveValues:
        if self._learning is not None:
            if len(self._waiting) < self._delay_frames:
                kept = None if frame is None else _kept(on_host(frame))
                self._waiting.append((index, kept))
                self._learning.put((index, kept))
                return NO_COMPONENTS
            self._take_over()
        live = self._live
        values = live.take(index, frame)
        if not live.begun and len(live.first_frames) >= self.params.init_frames:
            self._learn([])
        return values

    def _new(self) -> Live:
        return Live(FrozenExtraction(self.params, self.spec.shape, self._deconvolution, offset_adu_of(self.spec)))

    def _learn(self, waiting: Sequence[Waiting]) -> None:
        """Initialise with the frames that were collected, and take those that wait already, beside what comes."""
        learned = self._new()
        learned.goes_on_from(self._live)
        self._learned, self._waiting = learned, list(waiting)
        begin = partial(_begin, self._kernels, learned, self._seeds_now())
        self._learning = Learning(begin, lambda frame: learned.learn(*frame))
        for frame in waiting:
            self._learning.put(frame)

    def _take_over(self) -> None:
        assert self._learning is not None
        assert self._learned is not None
        self._learning.join()
        self._frames_live, self._learned, self._learning, self._waiting = self._learned, None, None, []
        self._frames_live.extraction.structure = self._structure
        self._to_card()

    def _to_card(self) -> None:
        """Take frames on the card from now on; before, they are learned from on the processor."""
        if self._memory is not None and self._frames_live.begun:
            self._frames_live.extraction.to_card(self._memory)

    def _seeds_now(self) -> Seeds:
        """The seeds, those of the structural channel as it is known now."""
        if self._by_structure:
            masks = self._structure.masks().astype(np.float32)
            self._seeds = Seeds(tuple(masks), tuple(range(len(masks))), len(masks))
        return self._seeds

    def finish(self) -> Output | None:
        if self._learning is not None:
            self._take_over()
        if not self._live.begun and len(self._live.first_frames) >= LEAST_FRAMES:
            _begin(self._kernels, self._live, self._seeds_now())  # with what there is
        self._ended, self._doubt = True, None
        extraction = self._live.extraction
        if self._live.begun:
            extraction.finish()
        return Output(extraction.next_index, {**values_of([], []), **extraction.tables.give()})

    def doubt(self) -> str:
        return self._doubt_now() if self._doubt is None else self._doubt

    def _doubt_now(self) -> str:
        told = self._live.doubts(self._seeds) if self._live.begun else []
        if self._live.begun:
            told += size_doubts(self._live.extraction.cells, self.params)
        if self._by_structure and self._live.begun and not self._live.extraction.cells["seeded"].any():
            told.append("no cell of the structural channel was known when the first frames were over: none is seeded")
        if min(self.spec.shape) < CELL_WIDTH * self.params.neuron_sigma_px:
            height, width = self.spec.shape
            told.append(
                f"a field of {height} × {width} px is narrower than a cell (4 neuron_sigma_px = "
                f"{CELL_WIDTH * self.params.neuron_sigma_px:g} px): without its shape it may not be accepted"
            )
        if self._ended and not self._live.begun:
            of = f"{len(self._live.first_frames)} frames, of {self.params.init_frames} that initialise"
            told.append(f"no components: {of}; set init_frames lower")
        elif self._ended and not self._live.extraction.cells["accepted"].any():
            told.append("no component was accepted: too few frames, or too little activity")
        return "; ".join(told)

    @property
    def warm_up_frames(self) -> int:
        return self.params.window_frames + WARM_UP_FRAMES

    @property
    def run_out_frames(self) -> int:
        return self._live.extraction.settled_frames

    def freeze(self) -> None:
        if self._learning is not None:
            self._take_over()
        if not self._live.begun:
            found = len(self._live.first_frames)
            raise ConfigError(f"extract: of the sampled frames {found} can be used, init_frames asks for more")
        self._live.extraction.freeze()

    def begin_part(self) -> None:
        self._live.left_out = 0
        self._live.extraction.begin_part()

    def absorb(self, other: Extract) -> None:
        evidence, left_out = self._live.extraction.evidence(), self._live.left_out
        self.restore(other.state())
        self._live.extraction.add_evidence(evidence)
        self._live.left_out += left_out

    def conclude(self) -> Output:
        extraction = self._live.extraction
        extraction.tables.give()
        extraction.judge()
        self._ended, self._doubt = True, None
        return Output(extraction.next_index, {**values_of([], []), **extraction.tables.give()})

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: _READ[name](self._live.extraction) for name in self.snapshot_names(names)}

    def state(self) -> State:
        frames = [frame for _, frame in self._waiting if frame is not None]
        waiting: State = {
            "learning": int(self._learning is not None),
            "waiting_index": np.array([index for index, _ in self._waiting], np.int64),
            "waiting_valid": np.array([frame is not None for _, frame in self._waiting], bool),
            "waiting_frames": np.array(frames, self.spec.dtype).reshape(-1, *self.spec.shape),
        }
        return {**waiting, **self._curation.state(), **self._live.state(), **self._structure.state()}

    def restore(self, state: State) -> None:
        self._kernels.wait()
        if self._memory is not None:  # what is on the card is taken anew
            self._frames_live = self._new()
            self._frames_live.extraction.structure = self._structure
        self._live.restore(state, self.kind)
        self._to_card()
        self._curation.restore(state)
        self._structure.restore(state, self.kind)
        self._doubt = None
        if self._learning is not None:
            self._learning.give_up()
        self._learning, self._waiting = None, []
        if require_int(state, "learning", self.kind):
            self._learn(self._waiting_in(state))

    def _waiting_in(self, state: State) -> list[Waiting]:
        index, valid = (np.asarray(state.get(f"waiting_{name}")) for name in ("index", "valid"))
        fits = index.ndim == 1 and index.shape == valid.shape and len(index) <= self._delay_frames
        if not fits or index.dtype != np.int64 or valid.dtype != np.bool_:
            raise StateError("extract: state 'waiting_index' and 'waiting_valid' must be of the frames that wait")
        like = np.zeros((int(valid.sum()), *self.spec.shape), self.spec.dtype)
        frames = map(_kept, require_array(state, "waiting_frames", like, self.kind))
        return [(int(n), next(frames) if known else None) for n, known in zip(index, valid, strict=True)]


_READ = {
    "footprints": lambda e: snapshots.footprints(e.cells, e.background),
    "quality_now": lambda e: snapshots.quality(e.cells, e.seen.of_all(e.cells)),
    "contours": lambda e: snapshots.contours(e.cells, e.background),
    "structural_contours": lambda e: snapshots.structural_contours(e.cells, e.background),
    "next_id": lambda e: np.array(e.cells.next_id),
    "background": lambda e: e.background_image(),
    "residual": lambda e: snapshots.residual(e.recent[0], e.background),
    "detection": lambda e: snapshots.of_observed(e.detector.image(e.shape), e.background),
}


def _begin(kernels: Later, live: Live, seeds: Seeds) -> None:
    """Begin once kernels are there; it knows nothing of the operator, which a thread would keep alive."""
    kernels.wait()
    live.begin(seeds)


def _kept(frame: np.ndarray) -> np.ndarray:
    """A copy of a frame that nobody changes: kernels are compiled for those."""
    copy = frame.copy()
    copy.flags.writeable = False
    return copy
