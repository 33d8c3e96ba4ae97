"""Motion of the field in the sample, by the operator `motion`, and whether parts of it move on their own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import StreamfluoError
from ..motion.motion import Motion
from ..motion.params import MotionParams
from .sample import Sample

MIN_VALID = 0.8  # of the frames registered, for shifts to be stated
MAX_SHIFT_PX = 30.0
PIECEWISE_FRAMES = 300
MIN_SIDE_PX, PIECEWISE_SIDE_PX, STRIDE_PX, OVERLAP_PX = 16, 96, 48, 16


class Shifts(NamedTuple):
    """Registered frames (t, y, x) float32 and what was measured of their shifts [px]; `reason`: why nothing was.

    `rms_px` (y, x) about the mean, `largest_px` from it, `valid`: part of the frames that were registered.
    Without shifts `frames` are those of the sample.
    """

    frames: np.ndarray
    rms_px: tuple[float, float]
    largest_px: float
    valid: float
    reason: str = ""


def measure_shifts(sample: Sample, highpass_sigma_px: float | None = None) -> Shifts:
    """Return the rigid shifts of the sample, the frames registered."""
    nothing = (np.nan, np.nan)
    if min(sample.spec.shape) < MIN_SIDE_PX or len(sample.pixels) < 2:
        why = f"{len(sample.pixels)} frames of {sample.spec.shape[0]} × {sample.spec.shape[1]} px are too little"
        return Shifts(sample.pixels.astype(np.float32), nothing, np.nan, 0.0, why)
    most = min(MAX_SHIFT_PX, min(sample.spec.shape) / 5)
    params = MotionParams(max_shift_px=most, highpass_sigma_px=highpass_sigma_px)
    frames = np.empty(sample.pixels.shape, np.float32)
    operator = Motion(params, sample.spec.with_(camera=None))
    shifts: list[np.ndarray] = []
    valid: list[np.ndarray] = []
    try:
        for block in sample.blocks():
            output = operator.update(block)
            assert output.block is not None
            frames[block.index : block.stop] = output.block.pixels
            shifts.append(np.asarray(output.values["shift_px"]))
            valid.append(np.asarray(output.values["valid"]))
    except StreamfluoError as error:
        return Shifts(sample.pixels.astype(np.float32), nothing, np.nan, 0.0, str(error))
    known, path = np.concatenate(valid).astype(bool), np.concatenate(shifts)
    share = float(known.mean())
    if share < MIN_VALID:
        why = f"{share:.0%} of {len(known)} frames could be registered; too little structure, or too little light"
        return Shifts(sample.pixels.astype(np.float32), nothing, np.nan, share, why)
    about = path[known] - path[known].mean(0)
    rms = np.sqrt((about**2).mean(0))
    frames[~known] = np.nan
    return Shifts(frames, (float(rms[0]), float(rms[1])), float(np.abs(about).max()), share)


def parts_move_px(sample: Sample) -> float:
    """Return the rms [px] of what patches move on their own, beyond noise; NaN where the field is too small.

    Noise of one frame's shifts is not that of the next: the covariance of consecutive frames is taken.
    """
    if min(sample.spec.shape) < PIECEWISE_SIDE_PX or len(sample.pixels) < 20:
        return float("nan")
    most = min(MAX_SHIFT_PX, min(sample.spec.shape) / 5)
    params = MotionParams(
        mode="piecewise", max_shift_px=most, patch_stride_px=STRIDE_PX, patch_overlap_px=OVERLAP_PX, init_frames=50
    )
    operator, own = Motion(params, sample.spec.with_(camera=None)), []
    for block in sample.blocks():
        if block.index >= PIECEWISE_FRAMES:
            break
        values = operator.update(block).values
        patches, valid = np.asarray(values["patch_shift_px"]), np.asarray(values["valid"], bool)
        own.append(np.where(valid[:, None, None, None], patches - patches.mean((1, 2), keepdims=True), np.nan))
    path = np.concatenate(own)[20:]
    path = path - np.nanmean(path, axis=0)
    products = path[1:] * path[:-1]
    if not np.isfinite(products).any():
        return float("nan")
    return float(np.sqrt(max(0.0, float(np.nanmean(products)))))
