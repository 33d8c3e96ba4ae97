"""Calibration of a camera from one or several light levels, and dark frames: a library call, and its parts for streams.

found = analysis.calibrate([bright, dim], dark=dark)        # stacks (t, y, x)
found.camera.save("calibration.npz")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError
from ..core.spec import Camera, Spec
from .gain import Gain, GainParams
from .kernels.photon_transfer import LEVEL_STEP
from .levels import fit_levels
from .pixel_noise import MIN_FRAMES, ROUNDING_ADU2, Dark, Pixels, dark_of_pixels
from .transfer import PhotonTransfer

DARK_STEP = 0.5  # of the mean of dark frames, whose offset may jitter: that of light is larger
HIDDEN_ADU2 = 0.125  # dark variance, of which 1/12 is rounding: noise below .2 ADU shows by chance


class Calibration(NamedTuple):
    """A camera's photon transfer: the fit over all light levels, the camera it gives, the statistics of each level.

    `fit.reason` says why the gain is undetermined, '' where it is not.
    """

    fit: PhotonTransfer
    camera: Camera
    levels: tuple[Pixels, ...]


class LightLevels:
    """Mean and variance of each pixel at each light level of a series; a relative `step` of the mean begins a new one.

    Levels of fewer than MIN_FRAMES frames are left out.
    """

    def __init__(self, spec: Spec, step: float = LEVEL_STEP) -> None:
        self._spec, self._step = spec, step
        self._operator, self._before = Gain(GainParams(), spec), np.nan
        self._levels: list[Pixels] = []
        self._frames = self._steps = 0

    def add(self, block: Block) -> None:
        """Add the next frames."""
        for part in _cut_at_steps(block, self._step):
            if _is_step(self._before, float(part.pixels[0].mean()), self._step):
                self._steps += 1
                self._close_level()
            self._frames += len(part)
            self._operator.update(part)
            self._before = float(part.pixels[-1].mean())

    def finish(self) -> list[Pixels]:
        """Return the statistics of each level. Raises FrameError for light that does not stay at one."""
        self._close_level()
        if self._frames >= MIN_FRAMES and self._steps > self._frames / MIN_FRAMES:
            raise FrameError(
                f"the frames' mean changes by more than {self._step:.0%} from one frame to the next, {self._steps} "
                f"times in {self._frames} frames: the illumination flickers or swings; steady it, or stay at each "
                f"level for {MIN_FRAMES} frames or more"
            )
        return self._levels

    def _close_level(self) -> None:
        pixels = self._operator.pixels()
        if pixels is not None and pixels.frames >= MIN_FRAMES:
            self._levels.append(pixels)
        self._operator = Gain(GainParams(), self._spec)


def calibrate(light: Sequence[np.ndarray], dark: np.ndarray | None = None, camera: Camera | None = None) -> Calibration:
    """Return the calibration from stacks (t, y, x) [ADU] of one or several light levels, and of dark frames.

    `camera`: what is known already, as saturation_adu. Raises FrameError for stacks of different sizes or types, and
    if no level lasts MIN_FRAMES frames.
    """
    stacks = [np.asarray(stack) for stack in ([*light, dark] if dark is not None else light)]
    if not light or any(s.ndim != 3 for s in stacks) or len({(s.shape[1:], s.dtype) for s in stacks}) > 1:
        found = ", ".join(f"{s.shape} {s.dtype}" for s in stacks) or "none"
        raise FrameError(f"calibrate: stacks (t, y, x) of one size and type are wanted, found {found}")
    spec = Spec(stacks[0].shape[1:], stacks[0].dtype.name, camera=camera)
    levels = [level for stack in stacks[: len(light)] for level in _levels_of(stack, spec)]
    known = None if dark is None else dark_of(_levels_of(stacks[-1], spec, DARK_STEP))
    return calibrate_levels(levels, known, spec)


def calibrate_levels(levels: Sequence[Pixels], dark: Dark | None, spec: Spec) -> Calibration:
    """Return the calibration from the statistics of light levels. Raises FrameError if there are none."""
    if not levels:
        raise FrameError(f"no light level lasts {MIN_FRAMES} frames; record longer, under steady light")
    fit = fit_levels(list(levels), dark)
    return Calibration(fit, camera_of(fit, dark, spec, levels), tuple(levels))


def dark_of(levels: Sequence[Pixels]) -> Dark:
    """Return offset and dark variance from a series without light. Raises FrameError unless it has one level."""
    if len(levels) != 1:
        raise FrameError(f"dark frames have one level, found {len(levels)} of {MIN_FRAMES} or more")
    return dark_of_pixels(levels[0])


def camera_of(fit: PhotonTransfer, dark: Dark | None, spec: Spec, levels: Sequence[Pixels] = ()) -> Camera:
    """Return the camera: maps if pixels differ significantly, else numbers; None where unknown.

    Per-pixel gains are shrunk towards the mean (empirical Bayes). Read noise hidden by the rounding to ADU is unknown.
    """
    saturation = spec.camera.saturation_adu if spec.camera else None
    if saturation is None:
        saturation = saturation_of(levels)
    excess = spec.camera.excess_noise if spec.camera else 1.0
    gain = None if fit.reason else _gain(fit, spec)
    if dark is None or dark.wrong:
        return Camera(gain_e_per_adu=gain, saturation_adu=saturation, excess_noise=excess)
    offset, variance = (np.asarray(m, float).reshape(spec.shape) for m in (dark.offset, dark.variance))
    rounding = ROUNDING_ADU2 if np.dtype(spec.dtype).kind in "iu" else 0.0
    hidden = rounding > 0 and float(np.nanmedian(variance)) < HIDDEN_ADU2
    read = None if gain is None or hidden else gain * np.sqrt(np.maximum(variance - rounding, 0))
    return Camera(offset, gain, read, None, saturation, excess)


def saturation_of(levels: Sequence[Pixels]) -> float | None:
    """Return the grey value [ADU] at which pixels saturate, None if none did at any light level."""
    tops = [level.top_adu for level in levels if level.tops]
    highest = max((level.top_adu for level in levels), default=np.nan)
    return max(tops) if tops and max(tops) >= highest else None


def _gain(fit: PhotonTransfer, spec: Spec) -> Any:
    """The gain of each pixel shrunk towards the mean (empirical Bayes), or one number where pixels do not differ."""
    if not fit.scatter or fit.gains is None:
        return fit.gain
    known = np.isfinite(fit.gains)
    spread = np.median(np.abs(fit.gains[known] - fit.gain)) * 1.4826
    weight = min(1.0, (fit.scatter * fit.gain / spread) ** 2)
    gains = np.where(known & (fit.gains > 0), fit.gains, fit.gain)
    return np.asarray(fit.gain + weight * (gains - fit.gain)).reshape(spec.shape)


def _levels_of(stack: np.ndarray, spec: Spec, step: float = LEVEL_STEP) -> list[Pixels]:
    levels = LightLevels(spec, step)
    levels.add(Block(0, np.arange(len(stack)), stack))
    return levels.finish()


def _cut_at_steps(block: Block, step: float) -> Iterator[Block]:
    """The block's frames, cut where the light level changes."""
    means = block.pixels.mean(axis=(1, 2)).tolist()
    steps = [n for n, (a, b) in enumerate(pairwise(means), 1) if _is_step(a, b, step)]
    for a, b in pairwise([0, *steps, len(block)]):
        yield block.cut(block.index + a, block.index + b)


def _is_step(before: float, after: float, step: float) -> bool:
    """Whether two consecutive frames with these means have different light levels."""
    return abs(after - before) > step * max(abs(after), abs(before))
