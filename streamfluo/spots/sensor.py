"""A camera as the kernels take it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.spec import Camera
from .kernels.measuring import Sensor


def sensor(camera: Camera, rounding_adu2: float, saturation: float, shape: tuple[int, int]) -> Sensor:
    """Return the Sensor of a camera's numbers or maps (y, x), in any mix.

    Without gain and offset all pixels weigh the same. Raises ValueError for maps of another shape.
    """
    offset, gain = camera.offset_adu, camera.gain_e_per_adu
    known = gain is not None and offset is not None
    gain = np.asarray(1.0 if gain is None else gain)
    read = np.asarray(0.0 if camera.read_noise_e is None else camera.read_noise_e)
    variance = read**2 + gain**2 * rounding_adu2 if known else np.asarray(1.0)

    def as_map(value: Any) -> np.ndarray:
        value = np.asarray(value)
        return np.ascontiguousarray(np.broadcast_to(value, shape if value.ndim else (1, shape[1])), np.float32)

    poisson = camera.excess_noise if known else 0.0
    return Sensor(as_map(offset if known else 0.0), as_map(gain), as_map(variance), saturation, poisson)
