"""The settings of counting: parameters, where they may lie, how the fit is done."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from ..core.errors import ConfigError


@dataclass(frozen=True)
class Parameters:
    """How bright emitters are and how they switch; numbers, or arrays of one shape.

    `mu`: intensity of an emitter that is on; `mu_bg`: of none; in electrons (a frame) under the camera emission, in the
    traces' unit under the lognormal. `sigma`: of log-intensity (lognormal), or noise beside shot noise [e] (camera).
    `p_on`, `p_off`, `p_bleach`: probabilities a frame, the last of an emitter that is on.
    """

    mu: Any
    mu_bg: Any
    sigma: Any
    p_on: Any
    p_off: Any
    p_bleach: Any = 0.0

    @classmethod
    def of(cls, array: np.ndarray) -> Parameters:
        """Take them from the last axis (…, 6) of an array."""
        return cls(*np.moveaxis(array, -1, 0))

    def array(self) -> np.ndarray:
        """Return them as an array (…, 6)."""
        return np.stack(np.broadcast_arrays(*(np.asarray(v, float) for v in astuple(self))), axis=-1)


Range = tuple[float, float] | None


@dataclass(frozen=True)
class ParameterRanges:
    """Where each parameter may lie (low, high); None: anywhere sensible for the traces; low = high: known.

    The fit begins where the traces' moments say. With a `…_step` it begins from a grid of so many values over each
    range instead (ranges without one: their middle), of which the `num_guesses` likeliest are followed.
    """

    mu_range: Range = None
    mu_bg_range: Range = None
    sigma_range: Range = None
    p_on_range: Range = None
    p_off_range: Range = None
    p_bleach_range: Range = None
    mu_step: int | None = None
    mu_bg_step: int | None = None
    sigma_step: int | None = None
    p_on_step: int | None = None
    p_off_step: int | None = None
    p_bleach_step: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name.endswith("_step"):
                if not (isinstance(value, int) and 1 <= value <= 1000):
                    raise ConfigError(
                        f"ParameterRanges: {field.name} is a number of values, 1 to 1000, found {value!r}"
                    )
                if getattr(self, field.name.replace("_step", "_range")) is None:
                    raise ConfigError(f"ParameterRanges: {field.name} needs {field.name.replace('_step', '_range')}")
            else:
                _check_range(field.name, value)


def _check_range(name: str, value: Any) -> None:
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise ConfigError(f"ParameterRanges: {name} is (low, high), found {value!r}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"ParameterRanges: {name} must be finite, found {value!r}")
    if low > high:
        raise ConfigError(f"ParameterRanges: {name} is upside down: {low:g} is above {high:g}")
    if name.startswith("p_") and not 0 < low <= high < 1:
        raise ConfigError(f"ParameterRanges: {name} lies between 0 and 1, found {value!r}")
    if name in ("mu_range", "sigma_range") and low <= 0:
        raise ConfigError(f"ParameterRanges: {name} is above 0, found {value!r}")


@dataclass(frozen=True)
class HyperParameters:
    """How counting is done, by the names known from blinx, and how each differs.

    `min_y`: fewest emitters. `num_guesses`: starts that are followed; the best is kept. `epoch_length`: most steps of
    the optimiser. `is_done_limit`: relative gain of log-likelihood below which a fit is done; a thousandth of it is
    used, as steps here are longer. `is_done_window` and `step_sizes` are taken and not used: BFGS finds its own.
    `distribution_threshold`: largest distance (total variation) between the states' occupancy and the stationary one
    before a fit counts as doubtful. `max_x`: None: the largest intensity, and intensities as they are; else
    intensities are rounded to `num_x_bins` bins below it. `p_outlier`: weight of outliers, evenly over those bins.
    `traces`: how many tell what all share (not in blinx). Raises ConfigError.
    """

    min_y: int = 1
    num_guesses: int = 3
    epoch_length: int = 1000
    is_done_limit: float = 1e-5
    is_done_window: int = 10
    step_sizes: Parameters | None = None
    distribution_threshold: float = 0.1
    max_x: float | None = None
    num_x_bins: int = 1024
    p_outlier: float = 0.1
    traces: int = 40

    def __post_init__(self) -> None:
        limits = {"min_y": 1, "num_guesses": 1, "epoch_length": 1, "is_done_window": 1, "num_x_bins": 2, "traces": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < least:
                raise ConfigError(f"HyperParameters: {name} is a whole number from {least} on, found {value!r}")
        if not 0 <= self.p_outlier < 1:
            raise ConfigError(f"HyperParameters: p_outlier lies in 0 to below 1, found {self.p_outlier!r}")
        for name in ("is_done_limit", "distribution_threshold"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"HyperParameters: {name} is above 0, found {getattr(self, name)!r}")
        if self.max_x is not None and not (math.isfinite(self.max_x) and self.max_x > 0):
            raise ConfigError(f"HyperParameters: max_x is above 0, found {self.max_x!r}")
