"""The settings of motion correction, and the arrays they name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError
from ..core.loaded import Loaded, plain_array, values_by_index
from ..core.params import Params
from ..core.spec import Spec
from .patches import PatchGrid


class MotionParams(Params, frozen=True):
    mode: Annotated[
        Literal["rigid", "piecewise", "apply"],
        Meta(description="measure one shift a frame, or a smooth field of shifts; or apply those in shifts_px"),
    ] = "rigid"
    max_shift_px: Annotated[
        float | tuple[float, float], Meta(description="largest shift from the template, or (y, x) [px]")
    ] = 10
    highpass_sigma_px: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="register what varies over less than this; for one-photon data, a neuron's radius [px]"),
    ] = None
    init_frames: Annotated[int, Meta(ge=2, description="frames until the template is anchored")] = 200
    template: Annotated[Any, Meta(description="path of a .npy or an array (y, x): registered against as it is")] = None
    template_update: Annotated[
        Literal["auto", "slow", "frozen"],
        Meta(description="frozen: not once it is anchored; auto: frozen if it was given"),
    ] = "auto"
    patch_stride_px: Annotated[
        int, Meta(ge=16, description="piecewise: distance of patches, whose shifts the field goes through [px]")
    ] = 96
    patch_overlap_px: Annotated[int, Meta(ge=0, description="piecewise: how far patches overlap [px]")] = 32
    max_deviation_px: Annotated[
        float, Meta(gt=0, description="piecewise: largest shift of a patch from the mean of them [px]")
    ] = 4
    restart_frames: Annotated[
        int, Meta(ge=1, description="lost frames in a row, all of one scene, that begin a new template")
    ] = 100
    border: Annotated[
        Literal["copy", "nan", "crop"], Meta(description="what stands where the frame does not reach")
    ] = "copy"
    shifts_px: Annotated[
        Any,
        Meta(
            description="mode apply: a session, a .npy or an array (frames, 2) or (frames, py, px, 2) by index; "
            "none: the shift_px that a step before this one gives"
        ),
    ] = None


def both_axes(value: float | tuple[float, float]) -> tuple[float, float]:
    """max_shift_px along y and x."""
    y, x = value if isinstance(value, tuple) else (value, value)
    if not (0 < y < 1000 and 0 < x < 1000):
        raise ConfigError(f"motion: max_shift_px must be positive and below 1000, found {value}")
    return float(y), float(x)


def patch_grid(params: MotionParams, shape: tuple[int, int], given_shifts: np.ndarray | None) -> PatchGrid:
    """Patches for a field; one where there is one shift for a frame."""
    in_patches = given_shifts is not None and given_shifts.ndim == 4
    if params.mode != "piecewise" and not in_patches:
        return PatchGrid(shape)
    grid = PatchGrid(shape, params.patch_stride_px, params.patch_overlap_px, params.max_deviation_px)
    if given_shifts is not None and given_shifts.shape[1:3] != grid.shape:
        raise ConfigError(
            f"motion: shifts_px are for {given_shifts.shape[1:3]} patches, the settings make {grid.shape}"
        )
    return grid


def given_template(params: MotionParams, spec: Spec) -> np.ndarray | None:
    """The template the user brings (y, x), if any."""
    if params.template is None:
        return None
    image = _array(params.template, "template")
    if image.shape != spec.shape or not np.isfinite(image).all():
        raise ConfigError(f"motion: template must be finite and {spec.shape} as the frames are, found {image.shape}")
    return image.astype(np.float32)


def given_shifts(params: MotionParams) -> np.ndarray | None:
    """Shifts to apply (frames, 2) or (frames, py, px, 2) by index; None: measured, or another step's."""
    if params.mode != "apply":
        if params.shifts_px is not None:
            raise ConfigError('motion: shifts_px are for mode = "apply"')
        return None
    if params.shifts_px is None:
        return None
    shifts = _array(params.shifts_px, "shifts_px")
    if shifts.ndim not in (2, 4) or shifts.shape[-1] != 2:
        raise ConfigError(
            f"motion: shifts_px must be (frames, 2) as (dy, dx), or (frames, py, px, 2), found {shifts.shape}"
        )
    return shifts.astype(float)


def recorded_shifts(loaded: Loaded, spec: Spec) -> np.ndarray:
    """Return shifts from a .npy, or those that `motion` measured in a session, by frame index."""
    if loaded.steps is None:
        return plain_array(loaded, spec)
    step = loaded.step("motion")
    return values_by_index(step, "patch_shift_px" if "patch_shift_px" in step.values else "shift_px")


def _array(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"motion: {name} must hold numbers, found {array.dtype}")
    return array


def saturation_adu(spec: Spec) -> float | None:
    """The value at which pixels are full: the camera's, or the integer type's."""
    if spec.camera is not None and spec.camera.saturation_adu is not None:
        return float(np.min(spec.camera.saturation_adu))
    return float(np.iinfo(spec.dtype).max) if np.dtype(spec.dtype).kind in "iu" else None
