"""Online source extraction: every neuron's footprint, activity and spikes from frames as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.block import Block
from ...core.errors import ConfigError
from ...core.operator import NO_VALUES, Gives, Operator, Output, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...core.unseen import VALID, known_pixels, valid_frames
from ..extracted_components import MEASURES, ExtractedComponents
from . import results as snapshots
from .activity import Deconvolution
from .extraction import NO_COMPONENTS, Extraction, LiveValues, by_id
from .initialisation import compile_kernels
from .params import ExtractParams
from .seeds import load_seeds, seeds_of_file


@register("extract")
class Extract(Operator):
    """Footprints, demixed and deconvolved activity and spikes of every neuron, detected and refined online.

    Model of the whitened frame w_t, each pixel in units of its noise σ: w_t = Σ a_k c_kt + Σ b_m f_mt + noise, with
    footprints a_k and background modes b_m. Each frame is demixed by warm-started block coordinate descent and
    deconvolved (OASIS) as it comes. Components are detected in the residual of bins of 5 frames; footprints are
    updated from sufficient statistics. Frames stay in a window of `window_frames`; when they leave it, activity is
    re-estimated with the current footprints, and 20 frames later the final values are in the table `settled`. The
    first `init_frames` initialise mean, noise and background, and are then processed like all others. Blocks may be
    cut anywhere: results are the same bits. NaN pixels count as unknown; frames that are not valid count as missing and
    have NaN as values.

    Sources: Giovannucci et al. 2017 (OnACID), Friedrich et al. 2017 (OASIS), Pnevmatikakis et al. 2016 (CNMF).
    """

    Params = ExtractParams
    version = 2  # a ring behind the background modes by default, parts of one cell joined, compactness for acceptance
    may_need = (VALID,)
    from_file = {"seeds": seeds_of_file}
    results = {"components": ExtractedComponents.of}
    gives = (
        Gives("traces", "by_id", ("t", "id"), "σ", "denoised activity in noise σ of one frame, as of this frame"),
        Gives("raw", "by_id", ("t", "id"), "σ", "demixed activity"),
        Gives("spikes", "by_id", ("t", "id"), "σ", "deconvolved spikes: increments of the activity"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F, with F0 from a running 8th percentile"),
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

    def __init__(self, params: ExtractParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        compile_kernels(np.dtype(spec.dtype), params.background_components)
        if params.ar_order == 2 and not params.rise_s < params.decay_s:
            raise ConfigError(f"extract: rise_s must be shorter than decay_s, found {params.rise_s}")
        if params.seeds is not None and params.init != "seeded":
            raise ConfigError('extract: seeds are for init = "seeded"')
        seeded = params.init == "seeded"
        self._seeds = load_seeds(params.seeds, spec.shape, params.neuron_sigma_px / 2) if seeded else []
        deconvolution = Deconvolution(_interval(params, spec), params.decay_s, params.rise_s, params.ar_order)
        self._extraction = Extraction(params, spec.shape, deconvolution, _offset(spec))
        self._initialised = False
        self._first = np.zeros(spec.shape, np.float32)
        self._init_index: list[int] = []
        self._init_frames: list[np.ndarray] = []

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        live: list[LiveValues] = []
        valid = valid_frames(block, inputs)
        for t, frame in enumerate(block.pixels):
            if not valid[t]:
                live.append(self._extraction.unknown())
            elif self._initialised:
                live.append(self._extraction.process(block.index + t, frame))
            else:
                live.append(NO_COMPONENTS)
                self._collect(block.index + t, frame)
        return Output(block.index, {**by_id(live), **self._extraction.tables()})

    def finish(self) -> Output | None:
        if not self._initialised:
            return None
        self._extraction.finish()
        return Output(self._extraction.next_index, {**by_id([]), **self._extraction.tables()})

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: _READ[name](self._extraction) for name in self.snapshot_names(names)}

    def state(self) -> State:
        frames = np.array(self._init_frames, np.float16).reshape(-1, *self.spec.shape)
        initial: State = {
            "first": self._first.copy(),
            "init_index": np.array(self._init_index, np.int64),
            "init_frames": frames,
        }
        return {"begun": int(self._initialised), **initial, **self._extraction.state()}

    def restore(self, state: State) -> None:
        self._extraction.restore(state)
        self._first = require_array(state, "first", self._first, self.kind)
        self._initialised = bool(require_int(state, "begun", self.kind))
        count = np.asarray(state.get("init_index")).size
        self._init_index = require_array(state, "init_index", np.zeros(count, np.int64), self.kind).tolist()
        kept = np.zeros((count, *self.spec.shape), np.float16)
        self._init_frames = list(require_array(state, "init_frames", kept, self.kind))

    def _collect(self, index: int, frame: np.ndarray) -> None:
        """Store an initial frame as its difference to the first; initialise once there are `init_frames`."""
        if not self._init_frames:
            self._first[...] = np.nan_to_num(frame.astype(np.float32))
        limit = np.float32(65000)  # of float16
        self._init_frames.append(np.clip(frame.astype(np.float32) - self._first, -limit, limit).astype(np.float16))
        self._init_index.append(index)
        if len(self._init_frames) == self.params.init_frames:
            self._initialised = True
            self._extraction.initialise(self._first, self._init_index, self._init_frames, self._seeds)
            self._init_index, self._init_frames = [], []


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
        return params.decay_s / 10  # ten frames per decay time if no interval is stated
    return interval


def _offset(spec: Spec) -> float:
    """The camera's mean offset [ADU], 0 if unknown."""
    if spec.camera is None or spec.camera.offset_adu is None:
        return 0.0
    return float(np.mean(spec.camera.offset_adu))
