"""Correction of cumulants for shot and read noise by the camera's calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import ConfigError
from ..core.spec import Camera, Spec

# Signed Stirling numbers of the first kind s(n, j), j = 1 … n: factorial cumulants from cumulants
STIRLING: tuple[tuple[int, ...], ...] = (
    (1,),
    (-1, 1),
    (2, -3, 1),
    (-6, 11, -6, 1),
    (24, -50, 35, -10, 1),
    (-120, 274, -225, 85, -15, 1),
    (720, -1764, 1624, -735, 175, -21, 1),
    (-5040, 13068, -13132, 6769, -1960, 322, -28, 1),
)


class CameraNoise:
    """Cumulants of the intensity from those of the frames: the factorial cumulants of the electrons.

    κ_n = Σ_j s(n, j) k_j [electrons], k_2 less the variance of the read noise (Daley & Vere-Jones 2003, An Introduction
    to the Theory of Point Processes I, 5.2). Raises ConfigError without a calibrated camera.
    """

    def __init__(self, spec: Spec) -> None:
        camera = spec.camera or Camera()
        missing = [n for n in ("offset_adu", "gain_e_per_adu", "read_noise_e") if getattr(camera, n) is None]
        if missing:
            raise ConfigError(
                f"sofi: noise = 'camera' needs the camera's {', '.join(missing)}, which the source does not state; "
                "use noise = 'lag'"
            )
        self._offset = np.asarray(camera.offset_adu)
        self._gain = np.asarray(camera.gain_e_per_adu)
        self._read_variance = np.asarray(camera.read_noise_e) ** 2

    def correct(self, order: int, mean: np.ndarray, cumulants: Sequence[np.ndarray]) -> np.ndarray:
        """Return k_order [ADU^order] without noise, from the mean [ADU] and the cumulants 2 … order."""
        total = STIRLING[order - 1][0] * (mean - self._offset) * self._gain
        for j, k in enumerate(cumulants, 2):
            electrons = k * self._gain**j - (self._read_variance if j == 2 else 0)
            total = total + STIRLING[order - 1][j - 1] * electrons
        return np.asarray(total / self._gain**order)
