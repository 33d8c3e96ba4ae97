"""A camera as the kernels take it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.spec import Camera, CameraValue
from .kernels.measuring import Sensor


def sensor(camera: Camera, rounding_adu2: float, saturation: float, shape: tuple[int, int]) -> Sensor:
    """Return the Sensor of a camera's numbers or maps (y, x), in any mix, None or NaN where one is unknown.

    Without gain and offset all pixels weigh the same; without the read noise they weigh by their light, and what
    scatters is measured. Raises ValueError for maps of another shape.
    """
    offset, gain = camera.offset_adu, camera.gain_e_per_adu
    known = not unknown(gain) and not unknown(offset)
    measured = not known or unknown(camera.read_noise_e)
    gain = np.asarray(1.0 if unknown(gain) else gain)
    read = np.asarray(0.0 if measured else camera.read_noise_e)
    read = np.where(np.isnan(read), np.inf, read)  # a pixel of unknown noise has no weight
    variance = read**2 + gain**2 * rounding_adu2 if known else np.asarray(1.0)

    def as_map(value: Any) -> np.ndarray:
        value = np.asarray(value)
        return np.ascontiguousarray(np.broadcast_to(value, shape if value.ndim else (1, shape[1])), np.float32)

    poisson = camera.excess_noise if known else 0.0
    return Sensor(as_map(offset if known else 0.0), as_map(gain), as_map(variance), saturation, poisson, measured)


def unknown(value: CameraValue) -> bool:
    """Whether a camera's value is None, or NaN in every pixel."""
    return value is None or bool(np.isnan(value).all())


def background_known(camera: Camera) -> bool:
    """Whether light and offset can be told apart, or are not: without a gain both are in ADU, together."""
    return not unknown(camera.offset_adu) or unknown(camera.gain_e_per_adu)


def what_is_unknown(camera: Camera) -> str:
    """Return a sentence about a camera that is told in part, '' for one that is known or not told at all."""
    names = ("gain_e_per_adu", "offset_adu", "read_noise_e")
    missing = [name for name in names if unknown(getattr(camera, name))]
    if not missing or len(missing) == len(names):
        return ""
    so = ["errors follow from residuals, chi2 is NaN"]
    if not background_known(camera):
        so.append("the background, which holds the offset, is NaN")
    if unknown(camera.gain_e_per_adu):
        so.append("light is in ADU")
    return f"the camera's {' and '.join(missing)} unknown: {', '.join(so)}; calibrate with dark frames gives them"
