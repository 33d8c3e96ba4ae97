"""Online motion correction, rigid and piecewise-rigid, near the Cramér–Rao bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.afterwards import Afterwards
from ..core.block import Block
from ..core.card_block import on_device
from ..core.errors import ConfigError, FrameError
from ..core.freezable import Freezable
from ..core.later import later
from ..core.loaded import plain_array
from ..core.operator import NO_VALUES, Gives, Output, Presents, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array
from ..core.unseen import VALID, known_pixels, valid_frames
from .card_frames import CardFrames
from .card_template import card_template
from .compile_parts import compile_correcting, compile_drift, compile_measuring
from .frozen_template import FrozenTemplate
from .kernels.gauss_newton import Frame
from .kernels.shifting import CorrectedFrame
from .params import (
    MotionParams,
    both_axes,
    known_shifts,
    known_template,
    patch_grid,
    recorded_shifts,
    shifts_again,
)
from .raw_frames import RawFrames
from .registered_share import RegisteredShare
from .registration import Registration
from .report import measures_of, report_of
from .volume_shift import VolumeShift

MIN_SIDE_PX = 2  # the coarse search bins 2 × 2 pixels
WARM_UP_FRAMES = 300  # three times the memory of the usual gain, the longest but for the noise's of large frames


@register("motion")
class Motion(Freezable):
    """Registers each frame against a template and gives it back corrected, float32, with its shift.

    One weighted Gauss–Newton step (kernels/gauss_newton.py) from the last integer shift; a coarse cross-correlation
    searches for frames that fit badly. The template is the running mean of the last 800 corrected frames, from frame 0
    on; after `init_frames` a copy of it becomes the anchor, against which its drift is measured and subtracted. Frames
    are interpolated at the reported shift (interpolation_weights.py); pixels that the shift brought in from outside are
    NaN. Isolated outliers in each of the first five frames are hot pixels; the median of their neighbours replaces
    them. A frame that cannot be trusted (blank, a fifth saturated, NaN, too far, of another scene) keeps the
    last shift, does not update the template and is not `valid`; nor is one whose shift is not determined to a pixel
    (too dim, or of a lattice: repeats.py), which is followed all the same. In piecewise mode a displacement field runs
    through the shifts of patches (patches.py). A frame is handed on before the template learns from it: that is done on
    a thread, before the next frame is taken. Cost at 512 × 512: 1.5 rfft2 of the frame;
    piecewise 4.
    """

    Params = MotionParams
    devices = ("cpu", "gpu")
    twin_tolerance = 1e-9  # of what is told of a step, and information, sums have another order: 1e-15 px
    version = 9  # 8: Gauss–Newton images of eight bits; 9: the high-pass adds up without rounding
    may_need = (VALID,)
    of_planes = ("shift_px",)
    from_file = {"template": plain_array, "shifts_px": recorded_shifts}
    as_recorded = staticmethod(shifts_again)
    gives: tuple[Gives, ...] = (
        Gives("frames", "frames", ("t", "y", "x"), "ADU", "the corrected frames"),
        Gives("shift_px", "per_frame", ("t", "yx"), "px", "shift of the tissue against the template"),
        Gives(
            "patch_shift_px",
            "per_frame",
            ("t", "py", "px", "yx"),
            "px",
            "piecewise: shift of each patch; shift_px is their mean",
        ),
        Gives("correlation", "per_frame", ("t",), "", "correlation of the corrected frame with the template"),
        Gives("valid", "per_frame", ("t",), "", "whether the shift was measured and is trusted"),
        Gives("restarted", "per_frame", ("t",), "", "whether a new template of a new scene begins here"),
        Gives("template", "snapshot", ("y", "x"), "ADU", "what frames are registered against"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of the corrected frames"),
        Gives("hot_pixels", "snapshot", ("y", "x"), "", "1 at hot pixels of the camera, which are replaced"),
        Gives("valid_rectangle", "snapshot", ("edge",), "px", "top, bottom, left, right of what all valid frames have"),
    )
    counted = {VALID: "valid frames"}
    presents = Presents(("frames", "template", "mean"), ("shift_px", "correlation"))
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    compiles = (compile_measuring, compile_correcting)
    compiles_later = (compile_drift,)
    examples = (
        {"init_frames": 20, "max_shift_px": (3, 4), "border": "copy"},
        {"border": "crop", "max_shift_px": 2},
        {"mode": "apply", "shifts_px": [[0.3, -0.6], [1.0, 0.25]] * 100},
        {"mode": "piecewise", "patch_stride_px": 16, "patch_overlap_px": 8, "init_frames": 20, "highpass_sigma_px": 4},
    )
    live = {"max_shift_px": (3, 5), "restart_frames": 7}
    tolerances = {"shift_rms_px": 0.1, "shift_worst_px": 0.75}

    def __init__(self, params: MotionParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        if min(spec.shape) < MIN_SIDE_PX:
            height, width = spec.shape
            raise ConfigError(f"motion: frames need {MIN_SIDE_PX} pixels a side or more, found {height} × {width}")
        self._max_px = both_axes(params.max_shift_px)
        margins = [math.ceil(most) + 3 for most in self._max_px]
        self._crop = tuple(margins) if params.border == "crop" else (0, 0)
        if min(side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True)) < 1:
            raise ConfigError(f"motion: cropped by max_shift_px = {params.max_shift_px} nothing is left")
        height, width = (side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True))
        camera = spec.camera if not any(self._crop) else None  # maps would no longer fit
        origin = tuple(o + margin for o, margin in zip(spec.origin_px, self._crop, strict=True))
        self._out_spec = spec.with_(shape=(height, width), dtype="float32", camera=camera, origin_px=origin)
        self._known_shifts = known_shifts(params)
        filtered = params.highpass_sigma_px is not None
        template = known_template(params, spec)
        self._frozen = params.template_update == "frozen" or (params.template_update == "auto" and template is not None)
        anchored_at = 0 if template is not None else params.init_frames
        self._grid = patch_grid(params, spec.shape, self._known_shifts)
        self.needs = ("shift_px",) if params.mode == "apply" and self._known_shifts is None else ()
        if params.mode != "piecewise" and self._grid.single:
            self.gives = tuple(g for g in self.gives if g.name != "patch_shift_px")
        self._gives_patches = any(g.name == "patch_shift_px" for g in self.gives)
        self._frames = (
            RawFrames(params, spec, self._grid)
            if self.card is None
            else CardFrames(self.card, params, spec, self._grid)
        )
        self._uncropped = self._frames.empty(*(spec.shape if any(self._crop) else (0, 0)))
        if template is not None and filtered:
            template = RawFrames(params, spec.with_(dtype="float32"), self._grid).filtered(template).copy()
        told = params.init_frames, template, filtered
        self._template: FrozenTemplate = (
            FrozenTemplate(spec.shape, self._grid, *told)
            if self.card is None
            else card_template(self.card, (spec.dtype,), spec.shape, self._grid, told)
        )
        self._registration = Registration(self._template, self._grid, self._max_px, anchored_at, self._frozen)
        self._share, self._volume = RegisteredShare(), VolumeShift()
        self._afterwards = Afterwards()
        self._doubt = ""  # as of the last frame's values, for which nobody waits
        self._rectangle = np.array([0, spec.shape[0], 0, spec.shape[1]])
        for compile_part in self.compiles:
            compile_part(params, spec)
        self._template.kernels_of_drift = later(partial(compile_drift, params, spec))

    @property
    def out_spec(self) -> Spec:
        return self._out_spec

    def change(self, params: MotionParams) -> None:
        self._afterwards.wait()
        most = both_axes(params.max_shift_px)
        if most != self._max_px:
            if params.border == "crop":
                raise ConfigError('motion: with border = "crop" the size of the frames follows from max_shift_px')
            self._max_px = most
            self._registration.look_within(most)
        self.params = params

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        self._afterwards.wait()
        block, registration = known_pixels(on_device(block, self.card)), self._registration
        n, frames = len(block), self._frames
        corrected = frames.empty(n, *self._out_spec.shape)
        patches, correlations = np.empty((n, *self._grid.shape, 2)), np.full(n, np.nan)
        valid, restarted = np.zeros((2, n), bool)
        applies = self.params.mode == "apply"
        known, declared = self._shifts_to_apply(block, inputs) if applies else None, valid_frames(block, inputs)
        learn = _nothing
        for t, raw in enumerate(frames.of(block)):
            learn()  # what the frame before teaches
            usable, registers = bool(declared[t]) and frames.usable(t, raw), False
            pixels = frames.repaired(raw, usable)
            seen, registration.light = frames.seen(t, pixels), self._template.own_light
            frame, registered = Frame(pixels, seen), Frame(frames.filtered(pixels), seen)
            if known is not None:
                valid[t] = registers = self._apply(known[t]) and bool(declared[t])
            elif usable:
                registers, restarted[t] = registration.register(registered, self.params.restart_frames)
                valid[t] = registers and registration.determined
                self._share.add(block.index + t, bool(valid[t]))
            compare = partial(frames.correlated, t, into=correlations)
            learn = self._correct(frame, registered, (usable, registers, bool(valid[t])), compare, corrected[t])
            patches[t] = registration.patches_px
        mean_px = patches[:, 0, 0] if self._grid.single else patches.mean((1, 2))
        values = {"shift_px": mean_px, "correlation": correlations, "valid": valid, "restarted": restarted}
        if self._gives_patches:
            values["patch_shift_px"] = patches
        self._doubt = self._share.doubt(registration.period_px)
        if learn is not _nothing:
            self._afterwards.start(learn)
        handed_on = frames.done(block, corrected, correlations)
        if block.dtype.kind != "f":  # interpolated integers are far below 1e15: nobody needs to look
            handed_on = handed_on.as_known()
        return Output(block.index, values, handed_on)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        self._afterwards.wait()
        template = self._template
        held: dict[str, Callable[[], np.ndarray]] = {
            "template": lambda: template.of_seen_pixels(template.image),
            "mean": lambda: template.of_seen_pixels(template.mean),
            "valid_rectangle": self._rectangle.copy,
            "hot_pixels": self._frames.hot.mask.copy,
        }
        return {name: held[name]() for name in wanted}  # an image of seen pixels takes .4 ms: of those wanted alone

    def state(self) -> State:
        self._afterwards.wait()
        return {
            "valid_rectangle": self._rectangle.copy(),
            **self._registration.state(),
            **self._template.state(),
            **self._frames.hot.state(),
            **self._share.state(),
            **self._volume.state(),
        }

    def restore(self, state: State) -> None:
        self._afterwards.wait()
        self._rectangle = require_array(state, "valid_rectangle", self._rectangle, self.kind)
        self._registration.restore(state)
        self._template.restore(state)
        self._frames.restore(state)
        self._share.restore(state)
        self._volume.restore(state, self.kind)
        self._doubt = self._share.doubt(self._registration.period_px)

    def doubt(self) -> str:
        return self._doubt

    @property
    def warm_up_frames(self) -> int:
        return WARM_UP_FRAMES

    def freeze(self) -> None:
        self._afterwards.wait()
        if self.params.mode != "apply":
            if not self._template.established():
                raise ConfigError("motion: the sampled frames are too dim, or too few, for a template")
            if not self._frozen:
                self._template.settle(self._frames.filtered)
            self._registration.freeze()
        self._frozen = True

    def begin_part(self) -> None:
        self._afterwards.wait()
        self._template.begin_mean()
        self._rectangle[:] = 0, self.spec.shape[0], 0, self.spec.shape[1]

    def absorb(self, other: Motion) -> None:
        for one in (self, other):
            one._afterwards.wait()
        self._template.add_mean(other._template)
        most, least = np.maximum(self._rectangle, other._rectangle), np.minimum(self._rectangle, other._rectangle)
        self._rectangle[:] = most[0], least[1], most[2], least[3]

    def _shifts_to_apply(self, block: Block, inputs: Values) -> np.ndarray:
        """The shifts (t, …) [px] to apply to a block, NaN where there are none."""
        if self._known_shifts is None:
            if self.needs and "shift_px" not in inputs:
                raise FrameError('motion: mode = "apply" needs shifts_px, or a step before it that gives shift_px')
            given = np.asarray(inputs.get("shift_px", np.empty(0)))
            return self._volume.pool(given) if given.ndim == 3 else given
        known = self._known_shifts[block.index : block.stop]
        return np.concatenate([known, np.full((len(block) - len(known), *known.shape[1:]), np.nan)])

    def _apply(self, shift_px: np.ndarray) -> bool:
        """Adopt a known shift; returns whether there is one within max_shift_px."""
        if not (np.abs(shift_px) <= self._max_px).all():
            return False
        registration = self._registration
        registration.patches_px = np.array(shift_px, float).reshape(registration.patches_px.shape)
        return True

    # Correction

    def _correct(
        self, frame: Frame, registered: Frame, said: tuple[bool, bool, bool], compare: Callable[..., None], out: Any
    ) -> Callable[[], None]:
        """Write the frame interpolated at the last shift; returns what updates the template with it.

        `said`: whether the frame can be used, was registered, and is valid; compare: with the template.
        """
        usable, registers, valid = said
        template, patches_px, learn = self._template, self._registration.patches_px, _nothing
        pixels = self._uncropped if any(self._crop) else out
        window, noise_left = self._frames.resampled(frame, patches_px, pixels)
        compared = pixels
        if registered.pixels is not frame.pixels:
            compared = self._frames.filtered_and_resampled(registered, patches_px)
        compare(compared, template.image_there, window)
        unestablished = self.params.mode != "apply" and usable and not template.established()
        if usable and (not template.frames or (unestablished and template.exceeds_contrast(registered.pixels))):
            template.begin(registered.pixels, frame.pixels)
        elif registers or unestablished:
            frozen = self._frozen and template.frames >= self._registration.anchored_at
            corrected = CorrectedFrame(compared, pixels, window, self._registration.light)
            learn = partial(self._learn, template.update(corrected, noise_left, frozen))
        if valid:
            top, bottom, left, right = self._rectangle.tolist()
            self._rectangle[:] = (
                max(top, window[0]),
                min(bottom, window[1]),
                max(left, window[2]),
                min(right, window[3]),
            )
        y, x = self._crop
        if pixels is not out:
            out[...] = pixels[y : pixels.shape[0] - y, x : pixels.shape[1] - x]
        if self.params.border == "nan":
            self._frames.hide_rim(out, window)
        return learn

    def _learn(self, update: Callable[[], None]) -> None:
        """Finish the template's update with a frame, and examine it for repeats before the next one needs to know."""
        update()
        if self.params.mode != "apply":
            self._registration.examine()


def _nothing() -> None:
    """A frame that teaches the template nothing."""
