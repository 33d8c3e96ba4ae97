"""A camera as the kernels take it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.spec import Camera
from .kernels.measuring import Sensor


def sensor(camera: Camera, rounding_adu2: float, saturation: float, shape: tuple[int, int]) -> Sensor:
    """Return the Sensor of a camera's numbers or maps (y, x), in any mix.

    Without gain, offset and read noise all pixels weigh the same. Raises ValueError for maps of another shape.
    """
    offset, known = camera.offset_adu, noise_known(camera)
    gain = np.asarray(1.0 if camera.gain_e_per_adu is None else camera.gain_e_per_adu)
    read = np.asarray(0.0 if camera.read_noise_e is None else camera.read_noise_e)
    variance = read**2 + gain**2 * rounding_adu2 if known else np.asarray(1.0)

    def as_map(value: Any) -> np.ndarray:
        value = np.asarray(value)
        return np.ascontiguousarray(np.broadcast_to(value, shape if value.ndim else (1, shape[1])), np.float32)

    poisson = camera.excess_noise if known else 0.0
    return Sensor(
        as_map(0.0 if offset is None or camera.gain_e_per_adu is None else offset),
        as_map(gain),
        as_map(variance),
        saturation,
        poisson,
    )


def noise_known(camera: Camera) -> bool:
    """Whether a pixel's noise follows from its light: gain, offset and read noise are known."""
    return None not in [v if v is None else 0 for v in (camera.gain_e_per_adu, camera.offset_adu, camera.read_noise_e)]


def background_known(camera: Camera) -> bool:
    """Whether light and offset can be told apart, or are not: without a gain both are in ADU, together."""
    return camera.offset_adu is not None or camera.gain_e_per_adu is None


def what_is_unknown(camera: Camera) -> str:
    """Return a sentence about a camera that is told in part, '' for one that is known or not told at all."""
    names = ("gain_e_per_adu", "offset_adu", "read_noise_e")
    missing = [name for name in names if getattr(camera, name) is None]
    if not missing or len(missing) == len(names):
        return ""
    so = ["errors follow from residuals, chi2 is NaN"]
    if not background_known(camera):
        so.append("the background, which holds the offset, is NaN")
    if camera.gain_e_per_adu is None:
        so.append("light is in ADU")
    return f"the camera's {' and '.join(missing)} unknown: {', '.join(so)}; calibrate with dark frames gives them"
