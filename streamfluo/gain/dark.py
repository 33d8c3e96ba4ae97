"""What a user knows of the camera without light: an offset, maps, or dark frames."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError, FrameError
from ..core.spec import Camera, Spec
from .pixel_noise import ROUNDING_ADU2, Dark

MIN_DARK_FRAMES = 2
WANTED = "an offset [ADU], or the path of a calibration (.npz), of dark frames (n, y, x) or an offset map (y, x) (.npy)"


def given_dark(dark: Any, spec: Spec) -> Dark | None:
    """Return what `dark` tells, or else the offset that the stream's camera is known to have.

    Raises ConfigError for a file or an array that is none of what is wanted, or of another shape than the frames.
    """
    if dark is None:
        offset = spec.camera.offset_adu if spec.camera else None
        return None if offset is None else _checked(Dark(_flat(offset, spec)), spec)
    if isinstance(dark, str) and Path(dark).suffix == ".npz":
        return _checked(_from_calibration(Path(dark), spec), spec)
    array = _load(dark) if isinstance(dark, str) else np.asarray(dark)
    if array.dtype.kind not in "iuf" or array.ndim not in (0, 2, 3):
        raise ConfigError(f"gain: dark must be {WANTED}, found an array of {array.dtype} with {array.ndim} axes")
    if array.ndim < 3:
        return _checked(Dark(_flat(array, spec)), spec)
    if len(array) < MIN_DARK_FRAMES:
        raise ConfigError(f"gain: a dark series has {MIN_DARK_FRAMES} frames at least, found {len(array)}")
    frames = array.astype(float)
    return _checked(Dark(_flat(frames.mean(0), spec), _flat(frames.var(0, ddof=1), spec), len(frames)), spec)


def _from_calibration(path: Path, spec: Spec) -> Dark:
    """An offset with the dark variance itself (variance_adu2), or what read noise and gain make of it."""
    try:
        camera = Camera.load(path)
        with np.load(path, allow_pickle=False) as z:
            variance = z["variance_adu2"] if "variance_adu2" in z.files else None
            frames = int(z["dark_frames"]) if "dark_frames" in z.files else 0
    except (FrameError, OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"gain: dark: {error}") from None
    if camera.offset_adu is None:
        raise ConfigError(f"gain: dark: {path} holds no offset_adu")
    if variance is None and camera.read_noise_e is not None and camera.gain_e_per_adu is not None:
        variance = np.asarray((camera.read_noise_e / camera.gain_e_per_adu) ** 2 + ROUNDING_ADU2)
    return Dark(_flat(camera.offset_adu, spec), None if variance is None else _flat(variance, spec), frames)


def _load(path: str) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no .npy file"
        raise ConfigError(f"gain: dark: {path} cannot be read ({reason}); give {WANTED}") from None


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
