"""Online source extraction: every neuron's footprint, activity and spikes from frames as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.block import Block
from ...core.errors import ConfigError
from ...core.operator import NO_VALUES, Gives, Operator, Output, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_int
from ...core.unseen import VALID, known_pixels, valid_frames
from ..extracted_components import MEASURES, ExtractedComponents
from ..joined_components import JoinedComponents
from . import results as snapshots
from .activity import Deconvolution
from .extraction import NO_COMPONENTS, Extraction, LiveValues, by_id
from .first_frames import FirstFrames, SceneWatch
from .initialisation import compile_kernels
from .params import ExtractParams
from .seeds import load_seeds, seeds_of_file

DECAY_S, RISE_S = 0.4, 0.05  # until the transients of components have decided
CELL_WIDTH = 4  # in units of neuron_sigma_px
LEAST_FRAMES = 20  # to estimate noise and background from, where a recording ends before `init_frames`


@register("extract")
class Extract(Operator):
    """Footprints, demixed and deconvolved activity and spikes of every neuron, detected and refined online.

    Model of the whitened frame w_t, each pixel in units of its noise σ: w_t = Σ a_k c_kt + Σ b_m f_mt + noise, with
    footprints a_k and background modes b_m. Each frame is demixed by warm-started block coordinate descent and
    deconvolved (OASIS) as it comes. Components are detected in the residual of bins of 5 frames; footprints are
    updated from sufficient statistics. Frames stay in a window of `window_frames`; when they leave it, activity is
    re-estimated with the current footprints, and 20 frames later the final values are in the table `settled`. The
    first `init_frames` (or all frames, where there are fewer) initialise mean, noise and background, and are then
    processed like all others; flashes and closed shutters count as not valid, at most 100 frames on end. Blocks may be
    cut anywhere: results are the same bits. NaN pixels count as unknown; frames that are not valid count as missing and
    have NaN as values.

    Sources: Giovannucci et al. 2017 (OnACID), Friedrich et al. 2017 (OASIS), Pnevmatikakis et al. 2016 (CNMF).
    """

    Params = ExtractParams
    version = 8  # a bin that shows another cell teaches a footprint nothing
    may_need = (VALID,)
    from_file = {"seeds": seeds_of_file}
    results = {"components": ExtractedComponents.of}
    joins = {"cells": JoinedComponents.of}
    gives = (
        Gives("traces", "by_id", ("t", "id"), "σ", "denoised activity in noise σ of one frame, as of this frame"),
        Gives("raw", "by_id", ("t", "id"), "σ", "demixed activity"),
        Gives("spikes", "by_id", ("t", "id"), "σ/s", "rate of spikes up to a factor, as of this frame"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F, with F0 from a running 8th percentile; NaN where F0 is near 0"),
        Gives("quality", "table", ("frame", *MEASURES), "", "measures of every component, each 100 frames"),
        Gives("settled", "table", ("frame", "id", "trace", "raw", "spike", "dff"), "", "final values"),
        Gives("events", "table", ("frame", "id", "event", "reason"), "", "components born, accepted, rejected, gone"),
        Gives("footprints", "snapshot", ("id", "y", "x"), "ADU", "footprints in boxes, per σ of activity"),
        Gives("quality_now", "snapshot", ("id", "measure"), "", f"of each footprint: {', '.join(MEASURES)}"),
        Gives(
            "contours", "snapshot", ("id", "point", "yx"), "px", "contours of accepted components at 1/5 of the peak"
        ),
        Gives("background", "snapshot", ("y", "x"), "ADU", "mean and background of the last frame"),
        Gives("residual", "snapshot", ("y", "x"), "σ", "residual of the last bin of 5 frames"),
        Gives("detection", "snapshot", ("y", "x"), "σ", "pooled residual map that components are detected in"),
    )
    examples = (
        {"init": "seeded", "seeds": [[4, 5], [8, 12.5], [7, 3]], "init_frames": 12, "window_frames": 20,
         "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1, "interval_s": 0.04},
        {"background": "ring", "ring_radius_px": 4, "ar_order": 2, "init": "greedy", "init_frames": 12,
         "window_frames": 20, "neuron_sigma_px": 1.5, "min_spatial_corr": 0.1},
    )  # fmt: skip
    live = {"min_snr": 0.2, "min_spatial_corr": 0.05, "min_compactness": 0.1, "max_overlap": 0.9}

    def __init__(self, params: ExtractParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        compile_kernels(np.dtype(spec.dtype), params.background_components)
        decay_s, rise_s = params.decay_s or DECAY_S, params.rise_s or RISE_S
        if params.ar_order == 2 and params.rise_s is not None and not rise_s < decay_s:
            raise ConfigError(f"extract: rise_s must be shorter than decay_s, found {params.rise_s}")
        if params.seeds is not None and params.init != "seeded":
            raise ConfigError('extract: seeds are for init = "seeded"')
        seeded = params.init == "seeded"
        self._seeds = load_seeds(params.seeds, spec.shape, params.neuron_sigma_px / 2) if seeded else []
        deconvolution = Deconvolution(_interval(params, spec), decay_s, rise_s, params.ar_order)
        self._extraction = Extraction(params, spec.shape, deconvolution, _offset(spec))
        self._initialised = self._ended = False
        self._left_out, self._watch = 0, SceneWatch()
        self._first_frames = FirstFrames(spec.shape)

    def change(self, params: ExtractParams) -> None:
        self.params = self._extraction.params = params

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        live: list[LiveValues] = []
        valid = valid_frames(block, inputs)
        for t, frame in enumerate(block.pixels):
            if not valid[t] or (self._initialised and self._is_odd(frame)):
                live.append(self._extraction.unknown())
            elif self._initialised:
                live.append(self._extraction.process(block.index + t, frame))
            else:
                live.append(NO_COMPONENTS)
                self._collect(block.index + t, frame)
        return Output(block.index, {**by_id(live), **self._extraction.tables()})

    def finish(self) -> Output | None:
        if not self._initialised and len(self._first_frames) >= LEAST_FRAMES:
            self._initialise()  # with what there is
        self._ended = True
        if self._initialised:
            self._extraction.finish()
        return Output(self._extraction.next_index, {**by_id([]), **self._extraction.tables()})

    def doubt(self) -> str:
        told = self._extraction.doubts(self._left_out) if self._initialised else []
        if min(self.spec.shape) < CELL_WIDTH * self.params.neuron_sigma_px:
            height, width = self.spec.shape
            told.append(
                f"a field of {height} × {width} px is narrower than a cell (4 neuron_sigma_px = "
                f"{CELL_WIDTH * self.params.neuron_sigma_px:g} px): without its shape it may not be accepted"
            )
        if self._ended and not self._initialised:
            of = f"{len(self._first_frames)} frames, of {self.params.init_frames} that initialise"
            told.append(f"no components: {of}; set init_frames lower")
        elif self._ended and not self._extraction.cells["accepted"].any():
            told.append("no component was accepted: too few frames, or too little activity")
        return "; ".join(told)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: _READ[name](self._extraction) for name in self.snapshot_names(names)}

    def state(self) -> State:
        begun: State = {"begun": int(self._initialised), "left_out": self._left_out}
        return {**begun, **self._first_frames.state(), **self._watch.state(), **self._extraction.state()}

    def restore(self, state: State) -> None:
        self._extraction.restore(state)
        self._initialised = bool(require_int(state, "begun", self.kind))
        self._left_out = require_int(state, "left_out", self.kind)
        self._first_frames.restore(state, self.kind)
        self._watch.restore(state, self.kind)

    def _is_odd(self, frame: np.ndarray) -> bool:
        """Whether a frame is a flash or a closed shutter; the scene is learned anew where it lasts and no cell is."""
        background = self._extraction.background
        odd = self._watch.is_odd(frame, background.mean, background.weight)
        if self._watch.lasting and not self._extraction.cells["accepted"].any():
            self._extraction.begin_again()
            self._initialised, self._watch, self._first_frames = False, SceneWatch(), FirstFrames(self.spec.shape)
        self._left_out += odd
        return odd

    def _collect(self, index: int, frame: np.ndarray) -> None:
        """Store an initial frame; initialise once there are `init_frames`."""
        self._first_frames.append(index, frame)
        if len(self._first_frames) == self.params.init_frames:
            self._initialise()

    def _initialise(self) -> None:
        left_out, frames = self._first_frames.of_scene()
        self._left_out += len(left_out)
        self._initialised, self._first_frames = True, FirstFrames(self.spec.shape)
        self._extraction.initialise(frames.first, frames.frames, frames, self._seeds)


_READ = {
    "footprints": lambda e: snapshots.footprints(e.cells, e.background),
    "quality_now": lambda e: snapshots.quality(e.cells),
    "contours": lambda e: snapshots.contours(e.cells, e.background),
    "background": lambda e: e.background_image(),
    "residual": lambda e: e.residual(),
    "detection": lambda e: e.detection(),
}


def _interval(params: ExtractParams, spec: Spec) -> float:
    interval = params.interval_s or spec.interval_s
    if interval is None:
        return (params.decay_s or DECAY_S) / 10  # ten frames per decay time if no interval is stated
    return interval


def _offset(spec: Spec) -> float:
    """The camera's mean offset [ADU], 0 if unknown."""
    if spec.camera is None or spec.camera.offset_adu is None:
        return 0.0
    return float(np.mean(spec.camera.offset_adu))
