"""What a Gauss–Newton step of a frame against the template gives, and what it starts from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .kernels.agreement import Evidence
from .kernels.gauss_newton import Light


class Measurement(NamedTuple):
    """One Gauss–Newton step of a frame against the template.

    patches_px (py, px, 2) [px]; the frame's gain; the distance [px] of the shifts from the integer shifts at which the
    frame was compared; what speaks for it; the frame's light.
    """

    patches_px: np.ndarray
    gain: float
    distance_px: float
    evidence: Evidence
    light: Light


class Tried(NamedTuple):
    """How a frame is compared: the gain it is taken to have, how many times their limit residuals may reach, and the
    gain that frames usually have."""

    gain: float = 1.0
    reach: float = 1.0
    usual: float = 1.0
