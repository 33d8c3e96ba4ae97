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
TENTH = 10


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
    return int(hot.mask.sum()) if len(frames) >= DETECTION_FRAMES else 0, dead


class Bleaching(NamedTuple):
    """The part of the light lost between the first and the last tenth of the sample, and its standard error."""

    lost: float
    error: float
    offset_known: bool


def bleaching(sample: Sample) -> Bleaching:
    """Return how much of the light above the offset was lost; without an offset, of the recorded level."""
    count = len(sample.pixels) // TENTH
    if count < 2:
        return Bleaching(np.nan, np.inf, False)
    camera = sample.spec.camera
    known = camera is not None and camera.offset_adu is not None
    offset = float(np.mean(camera.offset_adu)) if known and camera is not None else 0.0  # type: ignore[arg-type]
    level = np.array([np.nanmedian(frame[::2, ::2]) for frame in sample.pixels], float)
    mean = np.array([np.nanmean(frame[::2, ::2]) for frame in sample.pixels], float)
    about = mean if np.nanstd(level) == 0 else level  # medians of few photons are whole numbers
    about = mean if len(np.unique(level)) < 50 else about
    first, last = about[:count] - offset, about[-count:] - offset
    if not first.mean() > 0:
        return Bleaching(np.nan, np.inf, known)
    scatter = np.hypot(first.std(), last.std()) / np.sqrt(max(count / 10, 1))  # ten frames hang together
    return Bleaching(1 - float(last.mean() / first.mean()), float(scatter / first.mean()), known)


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
