"""Online rigid motion correction at the limit of what the photons allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ...core.block import Block
from ...core.errors import ConfigError, StateError
from ...core.operator import NO_VALUES, Gives, Operator, Output, Values
from ...core.params import Params
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...kernels.shifting import count_from, cubic_weights, shift_frame, similarity
from .search import CoarseSearch, LostScene
from .template import EVERY_ROW, SteeredTemplate

REROUND_PX = 0.75  # a step longer than this is taken again from the next whole pixel
REGAIN = 0.15  # a gain further off is compared again at the new one: until then residuals are clipped on one side
STEPS = 8
STEP_PX = 2.0
TRUSTED_GAIN = (0.5, 2.5)  # structure in a frame against that of the template; a frame misread has less
CLEAR_GAIN = 0.75  # below it the coarse search is asked as well
SATURATED_PART = 0.2
SEEN_PART = 0.25


class MotionParams(Params, frozen=True):
    mode: Annotated[Literal["rigid", "apply"], Meta(description="measure shifts, or apply those in shifts_px")] = (
        "rigid"
    )
    max_shift_px: Annotated[
        float | tuple[float, float], Meta(description="largest shift from the template, or (y, x) [px]")
    ] = 10
    init_frames: Annotated[int, Meta(ge=2, description="frames until the template is anchored")] = 200
    template: Annotated[Any, Meta(description="path of a .npy or an array (y, x): registered against as it is")] = None
    template_update: Annotated[
        Literal["auto", "slow", "frozen"],
        Meta(description="frozen: not once it is anchored; auto: frozen if it was given"),
    ] = "auto"
    restart_frames: Annotated[
        int, Meta(ge=1, description="lost frames in a row, all of one scene, that begin a new template")
    ] = 100
    border: Annotated[
        Literal["copy", "nan", "crop"], Meta(description="what stands where the frame does not reach")
    ] = "copy"
    shifts_px: Annotated[Any, Meta(description="path of a .npy or an array (frames, 2) by index, for mode apply")] = (
        None
    )


@register("motion")
class Motion(Operator):
    """Frames brought back to where the template has them, float32, each with the shift that was found.

    One weighted Gauss–Newton step through precomputed steering images of the template (kernels/steering.py) from the
    last whole shift; frames that fit badly are searched for by a coarse cross-correlation. The template grows from
    frame 0 on as the mean of the corrected frames, over the last 800; after `init_frames` a copy of it is the anchor,
    against which its walk is measured and taken out. Frames are read at the shift reported, by cubic interpolation.
    A frame that cannot be trusted (blank, a fifth saturated, NaN, beyond max_shift_px) keeps the last shift, teaches
    nothing and is not `valid`. Cost at 512 × 512: about 1.2 rfft2 of the frame.
    """

    Params = MotionParams
    gives = (
        Gives("frames", "frames", ("t", "y", "x"), "ADU", "the corrected frames"),
        Gives("shift_px", "per_frame", ("t", "yx"), "px", "shift of the tissue against the template"),
        Gives("correlation", "per_frame", ("t",), "", "of the corrected frame with the template"),
        Gives("valid", "per_frame", ("t",), "", "whether the shift was measured and can be trusted"),
        Gives("restarted", "per_frame", ("t",), "", "whether a new scene began a new template here"),
        Gives("template", "snapshot", ("y", "x"), "ADU", "what frames are registered against"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of the corrected frames"),
        Gives("valid_rectangle", "snapshot", ("edge",), "px", "top, bottom, left, right of what every frame reached"),
    )
    examples = (
        {"init_frames": 20, "max_shift_px": (3, 4), "border": "nan"},
        {"border": "crop", "max_shift_px": 2},
        {"mode": "apply", "shifts_px": [[0.3, -0.6], [1.0, 0.25]] * 100},
    )

    def __init__(self, params: MotionParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._max_px = _both_axes(params.max_shift_px)
        margins = [math.ceil(most) + 2 for most in self._max_px]
        self._crop = tuple(margins) if params.border == "crop" else (0, 0)
        if min(side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True)) < 1:
            raise ConfigError(f"motion: cropped by max_shift_px = {params.max_shift_px} nothing is left")
        height, width = (side - 2 * margin for side, margin in zip(spec.shape, self._crop, strict=True))
        camera = spec.camera if not any(self._crop) else None  # maps would no longer fit
        self._out_spec = spec.with_(shape=(height, width), dtype="float32", camera=camera)
        self._given_shifts = _given_shifts(params)
        template = _given_template(params, spec)
        self._frozen = params.template_update == "frozen" or (params.template_update == "auto" and template is not None)
        self._anchored_at = 0 if template is not None else params.init_frames
        self._template = SteeredTemplate(spec.shape, params.init_frames, template)
        self._search = CoarseSearch(spec.shape, (math.ceil(self._max_px[0]), math.ceil(self._max_px[1])))
        self._lost = LostScene(spec.shape)
        self._last_px, self._gain = np.zeros(2), 1.0
        self._rectangle = np.array([0, spec.shape[0], 0, spec.shape[1]])
        self._saturation_adu = _saturation(spec)
        self._row = np.zeros(spec.shape[1] + 2 * (margins[1] + 3), np.float32)
        self._shifted = np.zeros(spec.shape, np.float32)
        self._compile(spec)

    @property
    def out_spec(self) -> Spec:
        return self._out_spec

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        n = len(block)
        corrected = np.empty((n, *self._out_spec.shape), np.float32)
        shifts, correlation = np.empty((n, 2)), np.full(n, np.nan)
        valid, restarted = np.zeros((2, n), bool)
        for t, frame in enumerate(block.pixels):
            if self._given_shifts is None:
                valid[t], restarted[t] = self._register(frame)
            else:
                valid[t] = self._look_up(block.index + t)
            correlation[t] = self._hand_on(frame, bool(valid[t]), corrected[t])
            shifts[t] = self._last_px
        values = {"shift_px": shifts, "correlation": correlation, "valid": valid, "restarted": restarted}
        return Output(block.index, values, Block(block.index, block.times_ns, corrected, block.channel))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        held = {"template": self._template.image, "mean": self._template.mean, "valid_rectangle": self._rectangle}
        return {name: held[name].copy() for name in self.snapshot_names(names)}

    def state(self) -> State:
        mine = {"last_px": self._last_px.copy(), "valid_rectangle": self._rectangle.copy()}
        return {
            **mine,
            "gain": self._gain,
            "anchored_at": self._anchored_at,
            **self._template.state(),
            **self._lost.state(),
        }

    def restore(self, state: State) -> None:
        self._last_px = require_array(state, "last_px", self._last_px, self.kind)
        self._rectangle = require_array(state, "valid_rectangle", self._rectangle, self.kind)
        self._gain = _require_gain(state)
        self._anchored_at = require_int(state, "anchored_at", self.kind)
        self._template.restore(state)
        self._lost.restore(state)

    # Where a frame lies

    def _register(self, frame: np.ndarray) -> tuple[bool, bool]:
        """Find a frame's shift; whether it can be trusted, and whether the template began anew with it."""
        template = self._template
        if not self._readable(frame):
            return False, False
        if not template.established():
            return not template.frames, False
        found = self._climb(frame, *(round(s) for s in self._last_px - template.walked_px))
        if found is None or found[2] < CLEAR_GAIN:
            self._search.look(frame, 1.5 * float(template.image.max()))
            other = self._climb(frame, *self._search.find(template.structure))
            found = max((f for f in (found, other) if f is not None), key=lambda f: f[2], default=None)
        if found is not None:
            self._lost.forget()
            self._last_px = np.array(found[:2]) + template.walked_px
            self._gain = found[2]
            return True, False
        self._lost.add(self._search.binned)
        if self._lost.frames < self.params.restart_frames or self._frozen:
            return False, False
        self._lost.forget()
        template.begin(frame)
        self._last_px, self._gain = np.zeros(2), 1.0
        return True, True

    def _climb(self, frame: np.ndarray, shift_y: int, shift_x: int) -> tuple[float, float, float] | None:
        """Step from a whole shift until the step is short; (y, x, gain), or None if that leads nowhere."""
        gain = self._gain
        for _ in range(STEPS):
            compared_at = gain
            dy, dx, gain, seen = self._template.measure(frame, shift_y, shift_x, compared_at)
            if not (math.isfinite(dy) and math.isfinite(dx) and seen >= SEEN_PART):
                return None
            y, x = (s + max(-STEP_PX, min(STEP_PX, d)) for s, d in ((shift_y, dy), (shift_x, dx)))
            gain = max(TRUSTED_GAIN[0] / 2, min(TRUSTED_GAIN[1], gain)) if abs(gain - compared_at) > REGAIN else gain
            if max(abs(dy), abs(dx)) <= REROUND_PX and abs(gain - compared_at) <= REGAIN:
                return (y, x, gain) if self._trusted(y, x, gain) else None
            shift_y, shift_x = round(y), round(x)
        return None

    def _trusted(self, y_px: float, x_px: float, gain: float) -> bool:
        within = abs(y_px) <= self._max_px[0] and abs(x_px) <= self._max_px[1]
        # A young template may still have blank frames in it, and any frame more structure.
        young = self._template.frames < self._anchored_at
        return within and gain >= TRUSTED_GAIN[0] and (young or gain <= TRUSTED_GAIN[1])

    def _readable(self, frame: np.ndarray) -> bool:
        if frame.dtype.kind == "f" and not np.isfinite(frame[::EVERY_ROW]).any():
            return False
        return self._saturation_adu is None or count_from(frame, self._saturation_adu, EVERY_ROW) <= SATURATED_PART

    def _look_up(self, index: int) -> bool:
        shifts = self._given_shifts
        if shifts is None or not index < len(shifts) or not np.isfinite(shifts[index]).all():
            return False
        if not (np.abs(shifts[index]) <= self._max_px).all():
            return False
        self._last_px = shifts[index].copy()
        return True

    # What is handed on

    def _hand_on(self, frame: np.ndarray, valid: bool, out: np.ndarray) -> float:
        """Write the frame as read at the last shift; the template learns from one that is valid."""
        whole = np.floor(self._last_px).astype(int)
        weights_y, weights_x = (cubic_weights(f) for f in self._last_px - whole)
        shift_frame(frame, int(whole[0]), int(whole[1]), weights_y, weights_x, self._row, self._shifted)
        (top, bottom), (left, right) = (_reached(int(s), n) for s, n in zip(whole, self.spec.shape, strict=True))
        window = (top, bottom, left, right)
        correlation = float(similarity(self._shifted, self._template.image, window, EVERY_ROW))
        young = self._given_shifts is None and not self._template.established() and self._readable(frame)
        if not self._template.frames or (young and self._template.outshone_by(frame)):
            if self._readable(frame):
                self._template.begin(frame)
        elif valid or young:
            frozen = self._frozen and self._template.frames >= self._anchored_at
            blur = float((weights_y**2).sum() * (weights_x**2).sum())
            self._template.learn(self._shifted, window, blur, frozen)
        if valid:
            low, high = self._rectangle[::2], self._rectangle[1::2]
            low[:], high[:] = np.maximum(low, (top, left)), np.minimum(high, (bottom, right))
        self._lay_out(window, out)
        return correlation

    def _lay_out(self, window: tuple[int, int, int, int], out: np.ndarray) -> None:
        y, x = self._crop
        out[...] = self._shifted[y : self._shifted.shape[0] - y, x : self._shifted.shape[1] - x]
        if self.params.border == "nan":
            top, bottom, left, right = window
            out[:top] = out[bottom:] = np.nan
            out[:, :left] = out[:, right:] = np.nan

    def _compile(self, spec: Spec) -> None:
        """Run every kernel once on the types that will come."""
        frame = np.zeros(spec.shape, spec.dtype)
        frame.flags.writeable = False
        scratch = SteeredTemplate(spec.shape, 2, None)
        scratch.begin(frame)
        scratch.measure(frame, 0, 0)
        scratch.measure(scratch.image, 0, 0)
        shift_frame(frame, 0, 0, cubic_weights(0.0), cubic_weights(0.0), self._row, self._shifted)
        similarity(self._shifted, scratch.image, (0, 1, 0, 1), EVERY_ROW)
        scratch.learn(self._shifted, (0, 1, 0, 1), 1.0, False)
        self._search.look(frame, 1.0)
        self._search.find(scratch.structure)
        if self._saturation_adu is not None:
            count_from(frame, self._saturation_adu, EVERY_ROW)


def _both_axes(value: float | tuple[float, float]) -> tuple[float, float]:
    y, x = value if isinstance(value, tuple) else (value, value)
    if not (0 < y < 1000 and 0 < x < 1000):
        raise ConfigError(f"motion: max_shift_px must be positive and below 1000, found {value}")
    return float(y), float(x)


def _given_template(params: MotionParams, spec: Spec) -> np.ndarray | None:
    if params.template is None:
        return None
    image = _array(params.template, "template")
    if image.shape != spec.shape or not np.isfinite(image).all():
        raise ConfigError(f"motion: template must be finite and {spec.shape} as the frames are, found {image.shape}")
    return image.astype(np.float32)


def _given_shifts(params: MotionParams) -> np.ndarray | None:
    if params.mode == "rigid":
        if params.shifts_px is not None:
            raise ConfigError('motion: shifts_px are for mode = "apply"')
        return None
    if params.shifts_px is None:
        raise ConfigError('motion: mode = "apply" needs shifts_px')
    shifts = _array(params.shifts_px, "shifts_px")
    if shifts.ndim != 2 or shifts.shape[1] != 2:
        raise ConfigError(f"motion: shifts_px must be (frames, 2) as (dy, dx), found {shifts.shape}")
    return shifts.astype(float)


def _array(value: Any, name: str) -> np.ndarray:
    """An array given as such, as a list, or as the path of a .npy file."""
    try:
        array = np.load(Path(value), allow_pickle=False) if isinstance(value, str | Path) else np.asarray(value)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"motion: {name}: {value!r} cannot be read as an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"motion: {name} must hold numbers, found {array.dtype}")
    return array


def _saturation(spec: Spec) -> float | None:
    """The value at which pixels are full: the camera's, or the integer type's."""
    if spec.camera is not None and spec.camera.saturation_adu is not None:
        return float(np.min(spec.camera.saturation_adu))
    return float(np.iinfo(spec.dtype).max) if np.dtype(spec.dtype).kind in "iu" else None


def _require_gain(state: State) -> float:
    gain = state.get("gain")
    if not (isinstance(gain, float) and math.isfinite(gain)):
        raise StateError(f"motion: state 'gain' must be a number, found {gain!r}")
    return gain


def _reached(shift: int, side: int) -> tuple[int, int]:
    """Rows (or columns) for which all four pixels of the interpolation lie inside the frame."""
    return max(0, 1 - shift), max(0, min(side, side - 2 - shift))
