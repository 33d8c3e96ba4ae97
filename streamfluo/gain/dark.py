"""The camera without light, as a user states it: an offset, maps, or dark frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import ConfigError, FrameError
from ..core.grid import GRID_FRAMES
from ..core.loaded import Loaded, plain_array
from ..core.spec import FRAME_DTYPES, Camera, Spec
from .pixel_noise import ROUNDING_ADU2, Dark, dark_of_pixels
from .sums import StepSums

MIN_DARK_FRAMES = 2
WANTED = "an offset [ADU], or the path of a calibration (.npz), of dark frames (n, y, x) or an offset map (y, x) (.npy)"


def known_dark(dark: Any, spec: Spec) -> Dark | None:
    """Return offset and dark variance (p,) [ADU, ADU²] as stated by `dark`, or else the offset of the stream's camera.

    Raises ConfigError for values of another kind, or of another shape than the frames.
    """
    if dark is None:
        offset = spec.camera.offset_adu if spec.camera else None
        return None if offset is None else _checked(Dark(_flat(offset, spec)), spec)
    if isinstance(dark, Mapping):
        return _checked(_from_calibration(dark, spec), spec)
    array = np.asarray(dark)
    if array.dtype.kind not in "iuf" or array.ndim not in (0, 2, 3):
        raise ConfigError(f"gain: dark must be {WANTED}, found an array of {array.dtype} with {array.ndim} axes")
    if array.ndim < 3:
        return _checked(Dark(_flat(array, spec)), spec)
    if len(array) < MIN_DARK_FRAMES:
        raise ConfigError(f"gain: a dark series has at least {MIN_DARK_FRAMES} frames, found {len(array)}")
    if array.shape[1:] != spec.shape:
        raise ConfigError(f"gain: dark is {array.shape[1:]}, the frames are {spec.shape}")
    if array.dtype.name not in FRAME_DTYPES:
        array = array.astype(float)
    sums = StepSums(spec.with_(dtype=array.dtype.name))
    for first in range(0, len(array), GRID_FRAMES):
        cell = np.ascontiguousarray(array[first : first + GRID_FRAMES]).reshape(-1, array[0].size)
        cell.flags.writeable = False
        sums.add(first, cell)
    return _checked(dark_of_pixels(sums.pixels(np.zeros(array[0].size, bool))), spec)


def dark_of_file(loaded: Loaded, spec: Spec) -> Any:
    """Return the arrays of a calibration (.npz), or dark frames or an offset map (.npy)."""
    return loaded.arrays if loaded.arrays is not None else plain_array(loaded, spec)


def _from_calibration(arrays: Mapping[str, np.ndarray], spec: Spec) -> Dark:
    """The offset, and the dark variance: variance_adu2, or (read noise / gain)² plus that of rounding."""
    try:
        camera = Camera.of(arrays)
        variance = arrays.get("variance_adu2")
        frames = int(arrays.get("dark_frames", 0))
    except (FrameError, ValueError, TypeError) as error:
        raise ConfigError(f"gain: dark: {error}") from None
    if camera.offset_adu is None:
        raise ConfigError("gain: dark: the calibration holds no offset_adu")
    if variance is None and camera.read_noise_e is not None and camera.gain_e_per_adu is not None:
        variance = np.asarray((camera.read_noise_e / camera.gain_e_per_adu) ** 2 + ROUNDING_ADU2)
    return Dark(_flat(camera.offset_adu, spec), None if variance is None else _flat(variance, spec), frames)


def _flat(value: Any, spec: Spec) -> np.ndarray | float:
    array = np.asarray(value, float)
    if array.ndim == 0:
        return float(array)
    if array.shape != spec.shape:
        raise ConfigError(f"gain: dark is {array.shape}, the frames are {spec.shape}")
    return np.ascontiguousarray(array).reshape(-1)


def _checked(dark: Dark, spec: Spec) -> Dark:
    for name, value in (("offset", dark.offset), ("variance", dark.variance)):
        if value is not None and not np.isfinite(value).all():
            raise ConfigError(f"gain: the dark {name} is not finite in {np.sum(~np.isfinite(value))} pixels")
    return dark
