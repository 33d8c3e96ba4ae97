"""What compiles the kernels of motion in two parts, some 9 s of a core each: beside each other in half the time."""

from __future__ import annotations

from collections.abc import Sequence

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
    """Compile what measures the shift of a frame, and of the template against its anchor, near by or far off."""
    grid, scratch = _grid_and_template(params, spec)
    registered = _registered(params, spec)
    for pixels in registered:
        scratch.measure(Frame(pixels, seen_window(pixels)), np.zeros((*grid.shape, 2)))
    ShiftFilter()
    search = CoarseSearch(spec.shape, both_axes(params.max_shift_px))
    search.bin(registered[0], 1.0)
    search.find(scratch.structure)
    correlation(np.zeros(spec.shape, np.float32), scratch.image, (0, spec.shape[0], 0, spec.shape[1]), ROW_STRIDE)
    if (saturated := saturation_adu(spec)) is not None:
        fraction_from(_frame(spec.shape, spec.dtype), saturated, ROW_STRIDE)


def compile_correcting(params: MotionParams, spec: Spec) -> None:
    """Compile what shifts frames back, averages them in the template, and looks at those that fit badly."""
    grid, scratch = _grid_and_template(params, spec)
    patches_px, corrected = np.zeros((*grid.shape, 2)), np.zeros(spec.shape, np.float32)
    raw, registered = _frame(spec.shape, spec.dtype), _registered(params, spec)
    seen = seen_window(raw)
    scratch.begin(registered[0], raw)
    for pixels in (raw, *registered):
        grid.resample(Frame(pixels, seen_window(pixels)), patches_px, corrected)
    nothing = Measurement(patches_px, 1.0, 0.0, Evidence(1.0, 1.0, 0.0, 1.0, 0.0), scratch.own_light)
    for pixels in registered:
        scratch.misfit(Frame(pixels, seen_window(pixels)), nothing)
    scratch.update(CorrectedFrame(corrected, corrected, seen, scratch.own_light), 1.0, False)()


def _grid_and_template(params: MotionParams, spec: Spec) -> tuple[PatchGrid, Template]:
    grid = patch_grid(params, spec.shape, known_shifts(params))
    return grid, Template(spec.shape, grid, 2)


def _registered(params: MotionParams, spec: Spec) -> Sequence[np.ndarray]:
    """What is registered of a frame as it comes, and the anchor."""
    frame = _frame(spec.shape, spec.dtype)
    if params.highpass_sigma_px is not None:
        buffers = np.zeros((3, *spec.shape), np.float32)
        high_pass(frame, box_radius_px(params.highpass_sigma_px), buffers[:2], buffers[2])
        frame = read_only(buffers[2])
    return frame, _frame(spec.shape, "float32")


def _frame(shape: tuple[int, int], dtype: str) -> np.ndarray:
    return read_only(np.zeros(shape, dtype))
