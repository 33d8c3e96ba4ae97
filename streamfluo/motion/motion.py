"""Online motion correction, rigid and piecewise-rigid, near the Cramér–Rao bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, StateError
from ..core.loaded import plain_array
from ..core.operator import NO_VALUES, Gives, Operator, Output, Presents, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_finite, require_int
from ..core.unseen import VALID, known_pixels, valid_frames
from ..pixels.kernels.seen import seen_window
from .hot_pixels import HotPixels
from .kernels.gauss_newton import WIDE, Frame, read_only
from .kernels.highpass import box_radius_px, high_pass
from .kernels.shifting import CorrectedFrame, correlation, fraction_from
from .measurement import Measurement, Tried
from .params import MotionParams, both_axes, known_shifts, known_template, patch_grid, recorded_shifts, saturation_adu
from .registered_share import RegisteredShare
from .repeats import Repeats
from .search import CoarseSearch, LostScene
from .shift_prior import ShiftFilter
from .template import NEAR_PX, ROW_STRIDE, Template
from .trust import CLEAR_GAIN, TRUSTED_GAIN, Age, explained, plausible, precise
from .volume_shift import VolumeShift

GAIN_TOLERANCE = 0.15  # a gain further off is a step of its own
CLEAR_SIGMA = 2.0  # of noise: what a gain may leave of the template's contrast, for few residuals to be clipped
STEPS = 8
USUAL_RATE = 0.01  # a frame, of what is usual: light that fades, not light that is switched
MAX_SATURATED = 0.2
MIN_SEEN = 0.25
MIN_FITTING = 0.7  # of the pixels seen: where more are clipped as outliers, nothing is known of the rest
MISSED_FRAMES = 20  # and four for each one registered: a template of a beginning that is not confirmed begins again
MIN_SIDE_PX = 2  # the coarse search bins 2 × 2 pixels


@register("motion")
class Motion(Operator):
    """Registers each frame against a template and gives it back corrected, float32, with its shift.

    One weighted Gauss–Newton step (kernels/gauss_newton.py) from the last integer shift; a coarse cross-correlation
    searches for frames that fit badly. The template is the running mean of the last 800 corrected frames, from frame 0
    on; after `init_frames` a copy of it becomes the anchor, against which its drift is measured and subtracted. Frames
    are interpolated at the reported shift (interpolation_weights.py); pixels that the shift brought in from outside are
    NaN. Isolated outliers in each of the first five frames are hot pixels; the median of their neighbours replaces
    them. A frame that cannot be trusted (blank, a fifth saturated, NaN, too far, of another scene) keeps the
    last shift, does not update the template and is not `valid`; nor is one whose shift is not determined to a pixel
    (too dim, or of a lattice: repeats.py), which is followed all the same. In piecewise mode a displacement field runs
    through the shifts of patches (patches.py). Cost at 512 × 512: 1.3 rfft2 of the frame, piecewise 8.
    """

    Params = MotionParams
    version = 7  # frames in little light are valid where they are bright enough
    may_need = (VALID,)
    of_planes = ("shift_px",)
    from_file = {"template": plain_array, "shifts_px": recorded_shifts}
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
    presents = Presents(("frames", "template", "mean"), ("shift_px", "correlation"))
    examples = (
        {"init_frames": 20, "max_shift_px": (3, 4), "border": "copy"},
        {"border": "crop", "max_shift_px": 2},
        {"mode": "apply", "shifts_px": [[0.3, -0.6], [1.0, 0.25]] * 100},
        {"mode": "piecewise", "patch_stride_px": 16, "patch_overlap_px": 8, "init_frames": 20, "highpass_sigma_px": 4},
    )
    live = {"max_shift_px": (3, 5), "restart_frames": 7}

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
        self._uncropped = np.zeros(spec.shape, np.float32)
        filtered = params.highpass_sigma_px is not None
        self._filter_buffers = np.zeros((4 if filtered else 0, *spec.shape), np.float32)
        template = known_template(params, spec)
        self._frozen = params.template_update == "frozen" or (params.template_update == "auto" and template is not None)
        self._anchored_at = 0 if template is not None else params.init_frames
        self._grid = patch_grid(params, spec.shape, self._known_shifts)
        self.needs = ("shift_px",) if params.mode == "apply" and self._known_shifts is None else ()
        if params.mode != "piecewise" and self._grid.single:
            self.gives = tuple(g for g in self.gives if g.name != "patch_shift_px")
        if template is not None and params.highpass_sigma_px is not None:
            template = self._filtered(template).copy()
        self._template = Template(spec.shape, self._grid, params.init_frames, template, filtered)
        self._search = CoarseSearch(spec.shape, self._max_px)
        self._lost = LostScene(spec.shape)
        self._hot = HotPixels(spec.shape, spec.dtype)
        self._shift_filter = ShiftFilter()
        self._patches_px = np.zeros((*self._grid.shape, 2))
        self._gain = self._usual_gain = 1.0
        self._share, self._volume = RegisteredShare(), VolumeShift()
        self._repeats = Repeats(spec.shape, self._grid, self._max_px)
        self._determined = True  # whether the last frame's shift is known to a pixel
        self._missed, self._again = 0, False  # frames not registered before the anchor; no frames confirmed a template
        self._rectangle = np.array([0, spec.shape[0], 0, spec.shape[1]])
        self._saturation_adu = saturation_adu(spec)
        self._compile(spec)

    @property
    def out_spec(self) -> Spec:
        return self._out_spec

    def change(self, params: MotionParams) -> None:
        most = both_axes(params.max_shift_px)
        if most != self._max_px:
            if params.border == "crop":
                raise ConfigError('motion: with border = "crop" the size of the frames follows from max_shift_px')
            self._max_px = most
            self._search.look_within(most)
            self._repeats.look_within(most)
        self.params = params

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        n = len(block)
        corrected = np.empty((n, *self._out_spec.shape), np.float32)
        patches, correlations = np.empty((n, *self._grid.shape, 2)), np.full(n, np.nan)
        valid, restarted = np.zeros((2, n), bool)
        known, declared = self._shifts_to_apply(block, inputs), valid_frames(block, inputs)
        for t, raw in enumerate(block.pixels):
            usable, registers = bool(declared[t]) and self._usable(raw), False
            if usable:
                self._hot.observe(raw)
            pixels = self._hot.repair(raw)
            seen, self._light = seen_window(pixels), self._template.own_light
            frame, registered = Frame(pixels, seen), Frame(self._filtered(pixels), seen)
            if self.params.mode == "apply":
                valid[t] = registers = self._apply(known[t]) and bool(declared[t])
            elif usable:
                registers, restarted[t] = self._register(registered)
                valid[t] = registers and self._determined
                self._share.add(block.index + t, bool(valid[t]))
            correlations[t] = self._correct(frame, registered, (usable, registers, bool(valid[t])), corrected[t])
            patches[t] = self._patches_px
        values = {"shift_px": patches.mean((1, 2)), "correlation": correlations, "valid": valid, "restarted": restarted}
        if any(g.name == "patch_shift_px" for g in self.gives):
            values["patch_shift_px"] = patches
        return Output(block.index, values, block.of(corrected))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        held = {
            "template": self._template.of_seen_pixels(self._template.image),
            "mean": self._template.of_seen_pixels(self._template.mean),
            "valid_rectangle": self._rectangle,
            "hot_pixels": self._hot.mask,
        }
        return {name: held[name].copy() for name in self.snapshot_names(names)}

    def state(self) -> State:
        mine: State = {"gain": self._gain, "usual_gain": self._usual_gain, "again": int(self._again)}
        return {
            **mine,
            "patches_px": self._patches_px.copy(),
            "valid_rectangle": self._rectangle.copy(),
            "anchored_at": self._anchored_at,
            "missed": self._missed,
            **self._template.state(),
            **self._lost.state(),
            **self._hot.state(),
            **self._shift_filter.state(),
            **self._share.state(),
            **self._volume.state(),
            **self._repeats.state(),
        }

    def restore(self, state: State) -> None:
        self._patches_px = require_finite(state, "patches_px", self._patches_px, self.kind)
        self._rectangle = require_array(state, "valid_rectangle", self._rectangle, self.kind)
        self._gain, self._usual_gain = _require_gain(state, "gain"), _require_gain(state, "usual_gain")
        self._anchored_at = require_int(state, "anchored_at", self.kind)
        self._missed = require_int(state, "missed", self.kind)
        self._again = bool(require_int(state, "again", self.kind))
        self._template.restore(state)
        self._lost.restore(state)
        self._hot.restore(state)
        self._shift_filter.restore(state)
        self._share.restore(state)
        self._volume.restore(state, self.kind)
        self._repeats.restore(state)

    def doubt(self) -> str:
        return self._share.doubt(self._repeats.period_px)

    # Registration

    def _register(self, registered: Frame) -> tuple[bool, bool]:
        """Measure a frame's shift; returns whether it is trusted, and whether a new template begins with it.

        `_determined` says whether the shift is known to a pixel; it is followed where it is not, so that the template
        becomes better.
        """
        template, self._determined = self._template, True
        if not template.established():
            return not template.frames, False
        self._repeats.renew(template)
        last = self._patches_px - template.walked_px
        found = self._gauss_newton(registered, last)
        if found is None or found.gain < max(CLEAR_GAIN, self._repeats.clear_gain) * self._usual_gain:
            self._search.bin(registered.pixels, self._brightest_adu(registered.pixels))
            start = last - self._grid.mean(last) + self._search.find(template.structure)
            other = self._gauss_newton(registered, start)
            if other is not None and other.gain < CLEAR_GAIN * self._usual_gain:
                other = None  # a place elsewhere that is a little like the template
            found = max((f for f in (found, other) if f is not None), key=lambda f: f.gain, default=None)
        if found is not None:
            self._lost.forget()
            self._patches_px, self._gain = found.patches_px + template.walked_px, found.gain
            self._usual_gain += USUAL_RATE * (found.gain - self._usual_gain)
            self._light = found.light
            mean_px, information = self._grid.mean(self._patches_px).copy(), found.gain**2 * template.information
            self._patches_px += self._shift_filter.update(mean_px, information) - mean_px
            self._determined = self._is_determined(found)
            return True, False
        self._shift_filter.predict()
        self._lost.add(self._search.binned)
        self._missed += template.frames < self._anchored_at
        unconfirmed = self._missed > MISSED_FRAMES + 4 * template.frames
        if (self._lost.frames < self.params.restart_frames and not unconfirmed) or self._frozen:
            return False, False
        self._lost.forget()
        template.forget()
        self._repeats.forget()
        self._missed, self._again = 0, unconfirmed
        self._shift_filter.reset()
        self._patches_px = np.zeros_like(self._patches_px)
        self._gain = self._usual_gain = 1.0
        return True, True

    def _gauss_newton(self, frame: Frame, patches_px: np.ndarray) -> Measurement | None:
        """Iterate from the shifts of patches until the step is short; None where it is not, or is not trusted."""
        tried, widened = Tried(self._gain, usual=self._usual_gain), False
        tolerance = self._usual_gain * min(GAIN_TOLERANCE, CLEAR_SIGMA / max(self._template.contrast_sigma, 1.0))
        for _ in range(STEPS):
            step = self._template.measure(frame, patches_px, tried, self._patches_px)
            if not (math.isfinite(step.distance_px) and step.evidence.seen >= MIN_SEEN):
                return None
            patches_px, same_gain = step.patches_px, abs(step.gain - tried.gain) <= tolerance
            near = same_gain and step.distance_px <= NEAR_PX
            fits = same_gain and step.evidence.fitting >= MIN_FITTING
            if near and tried.reach == 1 and (fits or widened):
                return step if fits and self._trusted(step, frame) else None
            if not same_gain:
                least, most = TRUSTED_GAIN[0] / 2 * self._usual_gain, 1.1 * TRUSTED_GAIN[1] * self._usual_gain
                tried = tried._replace(gain=max(least, min(most, step.gain)))
            tried = tried._replace(reach=1.0 if near or fits else WIDE)
            widened |= tried.reach == WIDE
        return None

    def _trusted(self, found: Measurement, frame: Frame) -> bool:
        within, gain = np.abs(self._grid.mean(found.patches_px)) <= self._max_px, found.gain / self._usual_gain
        if not (within.all() and plausible(gain, found.evidence, self._age)):
            return False
        return explained(gain < max(CLEAR_GAIN, self._repeats.like_gain), self._template.misfit(frame, found))

    def _is_determined(self, found: Measurement) -> bool:
        """Whether a shift is known to a pixel, and no other place is as good."""
        measured_px = 1 / (found.gain * math.sqrt(max(self._template.sure_information, 1e-9)))
        alike = found.gain < self._repeats.clear_gain * self._usual_gain
        known = precise(measured_px, self._shift_filter.error_px, self._age)
        return known and not (alike or self._repeats.undetermined(found.gain))

    @property
    def _age(self) -> Age:
        template = self._template
        return Age(template.frames, template.frames >= self._anchored_at, template.settled, self._again)

    def _brightest_adu(self, frame: np.ndarray) -> float:
        """The brightest that tissue may be in a frame [ADU], so that single pixels do not decide the coarse search."""
        step, image = frame[::ROW_STRIDE], self._template.image[::ROW_STRIDE]
        level = float(np.median(step[np.isfinite(step)])) if np.isfinite(step).any() else 0.0
        return level + TRUSTED_GAIN[1] * self._usual_gain * float(self._template.image.max() - np.median(image))

    def _usable(self, frame: np.ndarray) -> bool:
        return self._saturation_adu is None or fraction_from(frame, self._saturation_adu, ROW_STRIDE) <= MAX_SATURATED

    def _filtered(self, frame: np.ndarray) -> np.ndarray:
        """What of a frame is registered: the frame, or its high-pass."""
        if self.params.highpass_sigma_px is None:
            return frame
        high_pass(
            frame, box_radius_px(self.params.highpass_sigma_px), self._filter_buffers[:2], self._filter_buffers[2]
        )
        return read_only(self._filter_buffers[2])

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
        self._patches_px = np.array(shift_px, float).reshape(self._patches_px.shape)
        return True

    # Correction

    def _correct(self, frame: Frame, registered: Frame, said: tuple[bool, bool, bool], out: np.ndarray) -> float:
        """Write the frame interpolated at the last shift, and update the template; returns their correlation.

        `said`: whether the frame can be used, was registered, and is valid.
        """
        usable, registers, valid = said
        template, pixels = self._template, self._uncropped if any(self._crop) else out
        window, noise_left = self._grid.resample(frame, self._patches_px, pixels)
        compared = pixels
        if registered.pixels is not frame.pixels:
            compared = self._filter_buffers[3]
            self._grid.resample(registered, self._patches_px, compared)
        coefficient = float(correlation(compared, template.image, window, ROW_STRIDE))
        unestablished = self.params.mode != "apply" and usable and not template.established()
        if usable and (not template.frames or (unestablished and template.exceeds_contrast(registered.pixels))):
            template.begin(registered.pixels, frame.pixels)
        elif registers or unestablished:
            frozen = self._frozen and template.frames >= self._anchored_at
            template.update(CorrectedFrame(compared, pixels, window, self._light), noise_left, frozen)
        if valid:
            top, bottom, left, right = window
            low, high = self._rectangle[::2], self._rectangle[1::2]
            low[:], high[:] = np.maximum(low, (top, left)), np.minimum(high, (bottom, right))
        y, x = self._crop
        if pixels is not out:
            out[...] = pixels[y : pixels.shape[0] - y, x : pixels.shape[1] - x]
        if self.params.border == "nan":
            top, bottom, left, right = window
            out[:top] = out[bottom:] = np.nan
            out[:, :left] = out[:, right:] = np.nan
        return coefficient

    def _compile(self, spec: Spec) -> None:
        """Compile every kernel for the types of this stream."""
        frame = read_only(np.zeros(spec.shape, spec.dtype))
        anchor = read_only(np.zeros(spec.shape, np.float32))
        scratch = Template(spec.shape, self._grid, 2)
        registered = self._filtered(frame)
        seen = seen_window(frame)
        scratch.begin(registered, frame)
        for pixels in (registered, anchor):
            measured = scratch.measure(Frame(pixels, seen), self._patches_px)
            scratch.misfit(Frame(pixels, seen), measured)
        for pixels in (registered, frame, anchor):
            self._grid.resample(Frame(pixels, seen), self._patches_px, self._uncropped)
        correlation(self._uncropped, scratch.image, seen, ROW_STRIDE)
        scratch.update(CorrectedFrame(self._uncropped, self._uncropped, seen, scratch.own_light), 1.0, False)
        self._search.bin(registered, 1.0)
        self._search.find(scratch.structure)
        if self._saturation_adu is not None:
            fraction_from(frame, self._saturation_adu, ROW_STRIDE)


def _require_gain(state: State, name: str) -> float:
    gain = state.get(name)
    if not (isinstance(gain, float) and 0 < gain < math.inf):
        raise StateError(f"motion: state {name!r} must be a positive number, found {gain!r}")
    return gain
