"""Online rigid motion correction at the limit of what the photons allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, StateError
from ..core.loaded import plain_array
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .hot_pixels import HotPixels
from .kernels.highpass import box_radius_px, high_pass
from .kernels.shifting import count_from, similarity
from .params import MotionParams, both_axes, given_shifts, given_template, patch_grid, recorded_shifts, saturation_adu
from .search import CoarseSearch, LostScene
from .shift_prior import SteadiedShift
from .template import EVERY_ROW, NEAR_PX, SteeredTemplate

REGAIN = 0.15  # a gain further off is compared again at the new one: until then residuals are clipped on one side
STEPS = 8
TRUSTED_GAIN = (0.5, 2.5)  # structure in a frame against that of the template; a frame misread has less
CLEAR_GAIN = 0.75  # below it the coarse search is asked as well
SATURATED_PART = 0.2
SEEN_PART = 0.25


@register("motion")
class Motion(Operator):
    """Frames brought back to where the template has them, float32, each with the shift that was found.

    One weighted Gauss–Newton step through precomputed steering images of the template (kernels/steering.py) from the
    last whole shift; frames that fit badly are searched for by a coarse cross-correlation. The template grows from
    frame 0 on as the mean of the corrected frames, over the last 800; after `init_frames` a copy of it is the anchor,
    against which its walk is measured and taken out. Frames are read at the shift reported (kernels/taps.py).
    Pixels that stand out alone in each of the first five frames are hot: their neighbours' median stands in for them.
    A frame that cannot be trusted (blank, a fifth saturated, NaN, beyond max_shift_px) keeps the last shift, teaches
    nothing and is not `valid`. In piecewise mode patches have shifts of their own, with a smooth field through them
    (patches.py). Cost at 512 × 512: 1.3 rfft2 of the frame, piecewise 8.
    """

    Params = MotionParams
    from_file = {"template": plain_array, "shifts_px": recorded_shifts}
    gives: tuple[Gives, ...] = (
        Gives("frames", "frames", ("t", "y", "x"), "ADU", "the corrected frames"),
        Gives("shift_px", "per_frame", ("t", "yx"), "px", "shift of the tissue against the template"),
        Gives(
            "patch_shift_px",
            "per_frame",
            ("t", "py", "px", "yx"),
            "px",
            "piecewise: of each patch; shift_px is their mean",
        ),
        Gives("correlation", "per_frame", ("t",), "", "of the corrected frame with the template"),
        Gives("valid", "per_frame", ("t",), "", "whether the shift was measured and can be trusted"),
        Gives("restarted", "per_frame", ("t",), "", "whether a new scene began a new template here"),
        Gives("template", "snapshot", ("y", "x"), "ADU", "what frames are registered against"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of the corrected frames"),
        Gives("hot_pixels", "snapshot", ("y", "x"), "", "1 where the camera has pixels that are repaired"),
        Gives("valid_rectangle", "snapshot", ("edge",), "px", "top, bottom, left, right of what every frame reached"),
    )
    examples = (
        {"init_frames": 20, "max_shift_px": (3, 4), "border": "nan"},
        {"border": "crop", "max_shift_px": 2},
        {"mode": "apply", "shifts_px": [[0.3, -0.6], [1.0, 0.25]] * 100},
        {"mode": "piecewise", "patch_stride_px": 16, "patch_overlap_px": 8, "init_frames": 20, "highpass_sigma_px": 4},
    )

    def __init__(self, params: MotionParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._max_px = both_axes(params.max_shift_px)
        margins = [math.ceil(most) + 3 for most in self._max_px]
        self._crop = tuple(margins) if params.border == "crop" else (0, 0)
        if min(side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True)) < 1:
            raise ConfigError(f"motion: cropped by max_shift_px = {params.max_shift_px} nothing is left")
        height, width = (side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True))
        camera = spec.camera if not any(self._crop) else None  # maps would no longer fit
        self._out_spec = spec.with_(shape=(height, width), dtype="float32", camera=camera)
        self._given_shifts = given_shifts(params)
        self._shifted = np.zeros(spec.shape, np.float32)
        filtered = params.highpass_sigma_px is not None
        self._high = np.zeros((4 if filtered else 0, *spec.shape), np.float32)
        template = given_template(params, spec)
        self._frozen = params.template_update == "frozen" or (params.template_update == "auto" and template is not None)
        self._anchored_at = 0 if template is not None else params.init_frames
        self._grid = patch_grid(params, spec.shape, self._given_shifts)
        self.needs = ("shift_px",) if params.mode == "apply" and self._given_shifts is None else ()
        if params.mode != "piecewise" and self._grid.single:
            self.gives = tuple(g for g in self.gives if g.name != "patch_shift_px")
        if template is not None and params.highpass_sigma_px is not None:
            template = self._filtered(template).copy()
        self._template = SteeredTemplate(spec.shape, self._grid, params.init_frames, template, filtered)
        self._search = CoarseSearch(spec.shape, (math.ceil(self._max_px[0]), math.ceil(self._max_px[1])))
        self._lost = LostScene(spec.shape)
        self._hot = HotPixels(spec.shape, spec.dtype)
        self._steadied = SteadiedShift()
        self._patches_px, self._gain = np.zeros((*self._grid.shape, 2)), 1.0
        self._rectangle = np.array([0, spec.shape[0], 0, spec.shape[1]])
        self._saturation_adu = saturation_adu(spec)
        self._compile(spec)

    @property
    def out_spec(self) -> Spec:
        return self._out_spec

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        n = len(block)
        corrected = np.empty((n, *self._out_spec.shape), np.float32)
        patches, correlation = np.empty((n, *self._grid.shape, 2)), np.full(n, np.nan)
        valid, restarted = np.zeros((2, n), bool)
        given = self._given(block, inputs)
        for t, raw in enumerate(block.pixels):
            readable = self._readable(raw)
            if readable:
                self._hot.look(raw)
            frame = self._hot.repair(raw)
            seen = self._filtered(frame)
            if self.params.mode == "apply":
                valid[t] = self._take_over(given[t])
            elif readable:
                valid[t], restarted[t] = self._register(seen, frame)
            correlation[t] = self._hand_on(frame, seen, readable, bool(valid[t]), corrected[t])
            patches[t] = self._patches_px
        values = {"shift_px": patches.mean((1, 2)), "correlation": correlation, "valid": valid, "restarted": restarted}
        if any(g.name == "patch_shift_px" for g in self.gives):
            values["patch_shift_px"] = patches
        return Output(block.index, values, Block(block.index, block.times_ns, corrected, block.channel))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        held = {
            "template": self._template.image,
            "mean": self._template.mean,
            "valid_rectangle": self._rectangle,
            "hot_pixels": self._hot.mask,
        }
        return {name: held[name].copy() for name in self.snapshot_names(names)}

    def state(self) -> State:
        mine = {"patches_px": self._patches_px.copy(), "valid_rectangle": self._rectangle.copy()}
        return {
            **mine,
            "gain": self._gain,
            "anchored_at": self._anchored_at,
            **self._template.state(),
            **self._lost.state(),
            **self._hot.state(),
            **self._steadied.state(),
        }

    def restore(self, state: State) -> None:
        self._patches_px = require_array(state, "patches_px", self._patches_px, self.kind)
        self._rectangle = require_array(state, "valid_rectangle", self._rectangle, self.kind)
        self._gain = _require_gain(state)
        self._anchored_at = require_int(state, "anchored_at", self.kind)
        self._template.restore(state)
        self._lost.restore(state)
        self._hot.restore(state)
        self._steadied.restore(state)

    # Where a frame lies

    def _register(self, seen: np.ndarray, frame: np.ndarray) -> tuple[bool, bool]:
        """Find a frame's shift; whether it can be trusted, and whether the template began anew with it."""
        template = self._template
        if not template.established():
            return not template.frames, False
        last = self._patches_px - template.walked_px
        found = self._climb(seen, last)
        if found is None or found[1] < CLEAR_GAIN:
            self._search.look(seen, 1.5 * float(template.image.max()))
            other = self._climb(seen, last - self._grid.mean(last) + self._search.find(template.structure))
            found = max((f for f in (found, other) if f is not None), key=lambda f: f[1], default=None)
        if found is not None:
            self._lost.forget()
            self._patches_px, self._gain = found[0] + template.walked_px, found[1]
            mean_px = self._grid.mean(self._patches_px).copy()
            self._patches_px += self._steadied.steadied(mean_px, template.information) - mean_px
            return True, False
        self._steadied.missed()
        self._lost.add(self._search.binned)
        if self._lost.frames < self.params.restart_frames or self._frozen:
            return False, False
        self._lost.forget()
        template.begin(seen, frame)
        self._steadied.begin()
        self._patches_px, self._gain = np.zeros_like(self._patches_px), 1.0
        return True, True

    def _climb(self, frame: np.ndarray, patches_px: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Step from the shifts of patches until the step is short; (shifts, gain), or None if that leads nowhere."""
        gain = self._gain
        for _ in range(STEPS):
            step = self._template.measure(frame, patches_px, gain, self._patches_px)
            if not (math.isfinite(step.far_px) and step.seen >= SEEN_PART):
                return None
            patches_px, near = step.patches_px, abs(step.gain - gain) <= REGAIN
            if near and step.far_px <= NEAR_PX:
                return (patches_px, step.gain) if self._trusted(self._grid.mean(patches_px), step.gain) else None
            if not near:
                gain = max(TRUSTED_GAIN[0] / 2, min(TRUSTED_GAIN[1], step.gain))
        return None

    def _trusted(self, shift_px: np.ndarray, gain: float) -> bool:
        within = bool((np.abs(shift_px) <= self._max_px).all())
        # A young template may still have blank frames in it, and any frame more structure.
        young = self._template.frames < self._anchored_at
        return within and gain >= TRUSTED_GAIN[0] and (young or gain <= TRUSTED_GAIN[1])

    def _readable(self, frame: np.ndarray) -> bool:
        if frame.dtype.kind == "f" and not np.isfinite(frame[::EVERY_ROW]).any():
            return False
        return self._saturation_adu is None or count_from(frame, self._saturation_adu, EVERY_ROW) <= SATURATED_PART

    def _filtered(self, frame: np.ndarray) -> np.ndarray:
        """What of a frame is registered."""
        if self.params.highpass_sigma_px is None:
            return frame
        high_pass(frame, box_radius_px(self.params.highpass_sigma_px), self._high[:2], self._high[2])
        return self._high[2]

    def _given(self, block: Block, inputs: Values) -> np.ndarray:
        """The shifts to apply to a block (t, …), NaN where there are none."""
        if self._given_shifts is None:
            if self.needs and "shift_px" not in inputs:
                raise FrameError('motion: mode = "apply" needs shifts_px, or a step before it that gives shift_px')
            return np.asarray(inputs.get("shift_px", np.empty(0)))
        known = self._given_shifts[block.index : block.stop]
        return np.concatenate([known, np.full((len(block) - len(known), *known.shape[1:]), np.nan)])

    def _take_over(self, shift_px: np.ndarray) -> bool:
        """Go by a shift given; whether there is one, within max_shift_px."""
        if not (np.abs(shift_px) <= self._max_px).all():
            return False
        self._patches_px = np.array(shift_px, float).reshape(self._patches_px.shape)
        return True

    # What is handed on

    def _hand_on(self, frame: np.ndarray, seen: np.ndarray, readable: bool, valid: bool, out: np.ndarray) -> float:
        """Write the frame as read at the last shift; the template learns from one that is valid."""
        template, whole = self._template, self._shifted if any(self._crop) else out
        window, blur = self._grid.read(frame, self._patches_px, whole)
        compared = whole
        if seen is not frame:
            compared = self._high[3]
            self._grid.read(seen, self._patches_px, compared)
        correlation = float(similarity(compared, template.image, window, EVERY_ROW))
        young = self.params.mode != "apply" and readable and not template.established()
        if readable and (not template.frames or (young and template.exceeds_contrast(seen))):
            template.begin(seen, frame)
        elif valid or young:
            frozen = self._frozen and template.frames >= self._anchored_at
            template.learn(compared, whole, window, blur, frozen)
        if valid:
            top, bottom, left, right = window
            low, high = self._rectangle[::2], self._rectangle[1::2]
            low[:], high[:] = np.maximum(low, (top, left)), np.minimum(high, (bottom, right))
        y, x = self._crop
        if whole is not out:
            out[...] = whole[y : whole.shape[0] - y, x : whole.shape[1] - x]
        if self.params.border == "nan":
            top, bottom, left, right = window
            out[:top] = out[bottom:] = np.nan
            out[:, :left] = out[:, right:] = np.nan
        return correlation

    def _compile(self, spec: Spec) -> None:
        """Run every kernel once on the types that will come."""
        frame = np.zeros(spec.shape, spec.dtype)
        frame.flags.writeable = False
        scratch = SteeredTemplate(spec.shape, self._grid, 2)
        seen = self._filtered(frame)
        scratch.begin(seen, frame)
        scratch.measure(seen, self._patches_px)
        scratch.measure(scratch.image, self._patches_px)
        self._grid.read(seen, self._patches_px, self._shifted)
        self._grid.read(frame, self._patches_px, self._shifted)
        similarity(self._shifted, scratch.image, (0, 1, 0, 1), EVERY_ROW)
        scratch.learn(self._shifted, self._shifted, (0, 1, 0, 1), 1.0, False)
        self._search.look(seen, 1.0)
        self._search.find(scratch.structure)
        if self._saturation_adu is not None:
            count_from(frame, self._saturation_adu, EVERY_ROW)


def _require_gain(state: State) -> float:
    gain = state.get("gain")
    if not (isinstance(gain, float) and math.isfinite(gain)):
        raise StateError(f"motion: state 'gain' must be a number, found {gain!r}")
    return gain
