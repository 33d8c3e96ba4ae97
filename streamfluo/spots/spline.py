"""The cubic spline of a measured PSF, loaded and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.loaded import Loaded
from ..core.spec import Spec
from .kernels.psf import Spline

_NAMES = ("coefficients", "tz", "ty", "tx")
_EMPTY = np.zeros(0)
NO_SPLINE = Spline(np.zeros((0, 0, 0)), _EMPTY, _EMPTY, _EMPTY, np.zeros((0, 0)), _EMPTY)


def spline_of_file(loaded: Loaded, spec: Spec) -> Mapping[str, np.ndarray]:
    """Return the arrays of an .npz with coefficients and knots. Raises ConfigError for a file that holds none."""
    if loaded.arrays is None:
        raise loaded.expected("coefficients, tz, ty, tx (.npz)")
    return loaded.arrays


def checked_spline(spline: Any) -> Spline:
    """Return the Spline of a tuple or a mapping. Raises ConfigError if coefficients and knots do not fit."""
    if spline is None:
        raise ConfigError('model "spline" needs spline: coefficients (z, y, x) and knots tz, ty, tx in nm')
    if isinstance(spline, Mapping):
        spline = {"coefficients" if name == "coeffs" else name: part for name, part in spline.items()}
        if missing := [name for name in _NAMES if name not in spline]:
            raise ConfigError(f"spline: no {', '.join(missing)}; found {', '.join(map(str, spline))}")
        spline = [spline[name] for name in _NAMES]
    if len(spline) != 4:
        raise ConfigError(f"spline: expected coefficients, tz, ty, tx, found {len(spline)} arrays")
    coefficients, *knots = (np.ascontiguousarray(part, np.float64) for part in spline)
    expected = tuple(len(knot) - 4 for knot in knots)
    if coefficients.shape != expected or min(expected) < 4:
        raise ConfigError(f"spline: cubic knots tz, ty, tx are for coefficients {expected}, found {coefficients.shape}")
    finite = all(np.isfinite(part).all() for part in (coefficients, *knots))
    if not finite or any((np.diff(knot) < 0).any() for knot in knots):
        raise ConfigError("spline: coefficients must be finite and knots ascend")
    tz, ty, tx = knots
    return Spline(coefficients, tz, ty, tx, np.empty(expected[1:]), np.empty(expected[1]))
