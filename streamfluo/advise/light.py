"""What the light of a sample says of the camera and the dye: bleaching, saturation, pixels that are stuck, the gain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.block import Block
from ..gain.gain import Gain, GainParams
from ..motion.hot_pixels import DETECTION_FRAMES, HotPixels
from ..motion.params import saturation_adu
from .sample import Sample

PILED_UP = 5.0  # times as many pixels at the highest value as at the ten below it on average: the converter saturates
MIN_PILED_UP = 20
TENTHS = 10
MOST_SATURATED = 0.2  # of all pixels
MIN_SIDE_PX = 16


class Saturation(NamedTuple):
    """The value [ADU] at which pixels saturate, and the part of all pixels and frames that do; NaN and 0: none."""

    at_adu: float
    share: float


def saturation(sample: Sample) -> Saturation:
    """Return the saturated part of a sample, at the stated value or where values pile up at the highest."""
    pixels = sample.pixels
    if not pixels.size:
        return Saturation(np.nan, 0.0)
    stated, top = saturation_adu(sample.spec), float(np.nanmax(pixels))
    if stated is not None and top >= stated:
        return Saturation(stated, float(np.mean(pixels >= stated)))
    if pixels.dtype.kind == "f" or np.nanmin(pixels) == top:
        return Saturation(np.nan, 0.0)
    few = pixels[:: max(1, len(pixels) // 100)]
    at_top, below = int((few == top).sum()), int(((few < top) & (few >= top - 10)).sum())
    piled = at_top >= MIN_PILED_UP and at_top > PILED_UP * max(below, 1) / 10
    return Saturation(top, float(np.mean(pixels == top))) if piled else Saturation(np.nan, 0.0)


def why_blank(sample: Sample) -> str:
    """Return why frames say nothing at all, '' where they may."""
    pixels, (height, width) = sample.pixels, sample.spec.shape
    if not len(pixels):
        return f"none of {sample.unknown} frames has finite values in most of its pixels"
    if min(height, width) < MIN_SIDE_PX:
        return f"frames of {height} × {width} px, {MIN_SIDE_PX} a side are needed"
    if np.nanmin(pixels) == np.nanmax(pixels):
        return f"every pixel is {np.nanmax(pixels):g} ADU in every frame"
    share = saturation(sample).share
    return f"{share:.0%} of the pixels are saturated" if share > MOST_SATURATED else ""


def stuck_pixels(sample: Sample) -> tuple[int, int]:
    """Return how many pixels are hot, by motion correction's rule, and how many never change while others do."""
    frames = sample.pixels
    hot = HotPixels(sample.spec.shape, sample.spec.dtype)
    if min(sample.spec.shape) >= 3:
        for frame in frames[:DETECTION_FRAMES]:
            hot.observe(frame)
    few = frames[:: max(1, len(frames) // 200)]
    still = (few == few[:1]).all(0)
    dead = int(still.sum()) if len(few) > 10 and still.mean() < 0.5 else 0
    isolated = (hot.mask > 0) & ~still if dead else hot.mask > 0
    return int(isolated.sum()) if len(frames) >= DETECTION_FRAMES else 0, dead


class Bleaching(NamedTuple):
    """The part of the light lost from the first to the last tenth of the sample, and its standard error."""

    lost: float
    error: float
    offset_known: bool


def bleaching(sample: Sample) -> Bleaching:
    """Return how much of the light above the offset was lost; without an offset, of the recorded level.

    A line through the levels of ten tenths; its error holds what slow neuropil adds to each.
    """
    camera = sample.spec.camera
    offset = None if camera is None else camera.offset_adu
    level = float(np.mean(offset)) if offset is not None else 0.0
    if len(sample.pixels) < 2 * TENTHS:
        return Bleaching(np.nan, np.inf, offset is not None)
    tenths = np.array([_level(part) - level for part in np.array_split(sample.pixels, TENTHS)])
    at = np.arange(TENTHS) - (TENTHS - 1) / 2
    slope = float(at @ tenths / (at @ at))
    first = float(tenths.mean() + slope * at[0])
    if not (first > 0 and np.isfinite(slope)):
        return Bleaching(np.nan, np.inf, offset is not None)
    residual = tenths - tenths.mean() - slope * at
    error = float(np.sqrt(residual @ residual / (TENTHS - 2) / (at @ at)))
    return Bleaching(-slope * (TENTHS - 1) / first, error * (TENTHS - 1) / first, offset is not None)


def _level(frames: np.ndarray) -> float:
    """The mean of the dimmer half of each frame's pixels, which few active cells are in."""
    levels = []
    for frame in frames[:: max(1, len(frames) // 40)]:
        few = frame[::2, ::2].ravel()
        known = few[np.isfinite(few)] if frame.dtype.kind == "f" else few
        half = max(1, len(known) // 2)
        levels.append(float(np.partition(known, half - 1)[:half].mean()) if len(known) else np.nan)
    return float(np.nanmean(levels)) if np.isfinite(levels).any() else float("nan")


class Noise(NamedTuple):
    """The gain [e/ADU] with its 95 % interval, or why there is none."""

    gain: float
    interval: tuple[float, float]
    reason: str


def noise(sample: Sample) -> Noise:
    """Return the gain by photon transfer, as the operator `gain` measures it on the longest run of raw frames."""
    run = max(sample.runs, key=lambda r: r.stop - r.start, default=slice(0, 0))
    frames = sample.pixels[run]
    nothing = (float("nan"), float("nan"))
    if len(frames) < 20 or min(sample.spec.shape) < 8:
        return Noise(float("nan"), nothing, "20 frames of 8 × 8 px or more are needed")
    operator = Gain(GainParams(), sample.spec)
    for start in range(0, len(frames), 32):
        part = frames[start : start + 32]
        operator.update(Block(start, np.arange(start, start + len(part)), part))
    read = operator.read(["gain_e_per_adu", "gain_interval", "status"])
    gain, (low, high) = float(read["gain_e_per_adu"]), (float(v) for v in read["gain_interval"])
    status = str(read["status"])
    if not np.isfinite(gain):
        return Noise(gain, nothing, status.partition(": ")[2] or status)
    return Noise(gain, (low, high), "")
