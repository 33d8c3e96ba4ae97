"""The parameters of motion correction, and the arrays they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError
from ..core.loaded import Loaded, RecordedStep, plain_array, values_by_index
from ..core.params import Params
from ..core.spec import Spec
from .patches import PatchGrid


class MotionParams(Params, frozen=True):
    mode: Annotated[
        Literal["rigid", "piecewise", "apply"],
        Meta(description="measure a rigid shift or a displacement field (piecewise-rigid), or apply shifts_px"),
    ] = "rigid"
    max_shift_px: Annotated[
        float | tuple[float, float], Meta(description="largest shift from the template, one number or (y, x) [px]")
    ] = 10
    highpass_sigma_px: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="σ of a Gaussian high-pass before registration; for one-photon data, a neuron's radius [px]"),
    ] = None
    init_frames: Annotated[int, Meta(ge=2, description="frames until the template is anchored")] = 200
    template: Annotated[
        Any, Meta(description="template (y, x) to register against: a .npy by its path, or an array")
    ] = None
    template_update: Annotated[
        Literal["auto", "slow", "frozen"],
        Meta(
            description="slow: running mean; frozen: constant once it is anchored; auto: frozen if `template` is stated"
        ),
    ] = "auto"
    patch_stride_px: Annotated[int, Meta(ge=16, description="piecewise: distance between patches [px]")] = 96
    patch_overlap_px: Annotated[int, Meta(ge=0, description="piecewise: overlap of patches [px]")] = 32
    max_deviation_px: Annotated[
        float, Meta(gt=0, description="piecewise: largest deviation of a patch's shift from their mean [px]")
    ] = 4
    restart_frames: Annotated[
        int, Meta(ge=1, description="consecutive lost frames of one scene after which a new template begins")
    ] = 100
    border: Annotated[
        Literal["nan", "copy", "crop"],
        Meta(description="pixels outside the shifted frame: NaN, copies of the nearest, or crop the frames"),
    ] = "nan"
    shifts_px: Annotated[
        Any,
        Meta(
            description="mode apply: shifts (frames, 2) or (frames, py, px, 2) by index: a session, .npy or array; "
            "none: the shift_px of a step before this one"
        ),
    ] = None


def both_axes(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return max_shift_px along y and x. Raises ConfigError outside 0 to 1000."""
    y, x = value if isinstance(value, tuple) else (value, value)
    if not (0 < y < 1000 and 0 < x < 1000):
        raise ConfigError(f"motion: max_shift_px must be positive and below 1000, found {value}")
    return float(y), float(x)


def patch_grid(params: MotionParams, shape: tuple[int, int], known_shifts: np.ndarray | None) -> PatchGrid:
    """Return the grid of patches, of a single one for rigid shifts.

    known_shifts: those to apply, if any. Raises ConfigError if they belong to another grid.
    """
    in_patches = known_shifts is not None and known_shifts.ndim == 4
    if params.mode != "piecewise" and not in_patches:
        return PatchGrid(shape)
    grid = PatchGrid(shape, params.patch_stride_px, params.patch_overlap_px, params.max_deviation_px)
    if known_shifts is not None and known_shifts.shape[1:3] != grid.shape:
        raise ConfigError(
            f"motion: shifts_px are for {known_shifts.shape[1:3]} patches, the parameters make {grid.shape}"
        )
    return grid


def known_template(params: MotionParams, spec: Spec) -> np.ndarray | None:
    """Return the stated template (y, x) float32, or None. Raises ConfigError for another shape or values not finite."""
    if params.template is None:
        return None
    image = _array(params.template, "template")
    if image.shape != spec.shape or not np.isfinite(image).all():
        raise ConfigError(f"motion: template must be finite and {spec.shape} as the frames are, found {image.shape}")
    return image.astype(np.float32)


def known_shifts(params: MotionParams) -> np.ndarray | None:
    """Return the shifts to apply (frames, 2) or (frames, py, px, 2) [px] by frame index, or None: not stated.

    Raises ConfigError for other shapes, or where the mode is not "apply".
    """
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
    """Return the saturation value [ADU] of the camera or of the integer type; None if there is neither."""
    if spec.camera is not None and spec.camera.saturation_adu is not None:
        return float(np.min(spec.camera.saturation_adu))
    return float(np.iinfo(spec.dtype).max) if np.dtype(spec.dtype).kind in "iu" else None


def shifts_again(step: RecordedStep, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that apply the shifts which a recorded step measured with `params`."""
    name = "patch_shift_px" if "patch_shift_px" in step.values else "shift_px"
    shifts = values_by_index(step, name)
    largest = float(np.nanmax(np.abs(shifts), initial=0.5)) + 0.5
    stated = {key: value for key, value in params.items() if key not in ("template", "template_update", "shifts_px")}
    if stated.get("border") != "crop":  # with it the size of the frames follows from max_shift_px
        stated["max_shift_px"] = largest
    return {**stated, "mode": "apply", "shifts_px": shifts, "template_update": "frozen", "init_frames": 2}
