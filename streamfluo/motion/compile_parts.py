"""What compiles the kernels of motion in two parts, beside each other in half the time; and one that can wait."""

from __future__ import annotations

import numpy as np

from ..core.spec import Spec
from ..pixels.kernels.seen import seen_window
from .banded import correlation
from .kernels.agreement import Evidence
from .kernels.gauss_newton import Frame, read_only
from .kernels.highpass import box_radius_px, high_pass
from .kernels.shifting import CorrectedFrame, fraction_from
from .measurement import Measurement
from .params import MotionParams, both_axes, known_shifts, patch_grid, saturation_adu
from .patches import PatchGrid
from .search import CoarseSearch
from .shift_prior import ShiftFilter
from .template import ROW_STRIDE, Template


def compile_measuring(params: MotionParams, spec: Spec) -> None:
    """Compile what measures the shift of a frame, near by or far off."""
    registered = _registered(params, spec)
    _measure(params, spec, registered)
    _, scratch = _grid_and_template(params, spec)
    ShiftFilter()
    search = CoarseSearch(spec.shape, both_axes(params.max_shift_px))
    search.find(registered, scratch, 1.0)
    correlation(np.zeros(spec.shape, np.float32), scratch.image, (0, spec.shape[0], 0, spec.shape[1]), ROW_STRIDE)
    if (saturated := saturation_adu(spec)) is not None:
        fraction_from(_frame(spec.shape, spec.dtype), saturated, ROW_STRIDE)


def compile_drift(params: MotionParams, spec: Spec) -> None:
    """Compile what measures the template's drift: the anchor is registered as a frame of float32 would be.

    No frame needs it before the template is anchored.
    """
    _measure(params, spec, _frame(spec.shape, "float32"))


def compile_correcting(params: MotionParams, spec: Spec) -> None:
    """Compile what shifts frames back, averages them in the template, and looks at those that fit badly."""
    grid, scratch = _grid_and_template(params, spec)
    patches_px, corrected = np.zeros((*grid.shape, 2)), np.zeros(spec.shape, np.float32)
    raw, registered = _frame(spec.shape, spec.dtype), _registered(params, spec)
    seen = seen_window(raw)
    scratch.begin(registered, raw)
    for pixels in (raw, registered, _frame(spec.shape, "float32")):  # the last one: the template, where it is repeated
        grid.resample(Frame(pixels, seen_window(pixels)), patches_px, corrected)
    nothing = Measurement(patches_px, 1.0, 0.0, Evidence(1.0, 1.0, 0.0, 1.0, 0.0), scratch.own_light)
    scratch.misfit(Frame(registered, seen_window(registered)), nothing)
    scratch.update(CorrectedFrame(corrected, corrected, seen, scratch.own_light), 1.0, False)()


def _grid_and_template(params: MotionParams, spec: Spec) -> tuple[PatchGrid, Template]:
    grid = patch_grid(params, spec.shape, known_shifts(params))
    return grid, Template(spec.shape, grid, 2)


def _measure(params: MotionParams, spec: Spec, pixels: np.ndarray) -> None:
    grid, scratch = _grid_and_template(params, spec)
    scratch.measure(Frame(pixels, seen_window(pixels)), np.zeros((*grid.shape, 2)))


def _registered(params: MotionParams, spec: Spec) -> np.ndarray:
    """What is registered of a frame as it comes."""
    frame = _frame(spec.shape, spec.dtype)
    if params.highpass_sigma_px is not None:
        buffers = np.zeros((3, *spec.shape), np.float32)
        high_pass(frame, box_radius_px(params.highpass_sigma_px), buffers[:2], buffers[2])
        frame = read_only(buffers[2])
    return frame


def _frame(shape: tuple[int, int], dtype: str) -> np.ndarray:
    return read_only(np.zeros(shape, dtype))
