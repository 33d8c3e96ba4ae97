"""Parameters of the emitter model, their ranges, and the options of a fit."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from ..core.errors import ConfigError
from ..core.spec import Camera

Emission = Literal["lognormal", "camera"]


@dataclass(frozen=True)
class Parameters:
    """Brightness and kinetics of emitters: numbers, or arrays of one shape.

    `mu`: intensity of an emitter that is on; `mu_bg`: background; both in electrons per frame under the camera
    emission, in the unit of the traces under the lognormal. `sigma`: standard deviation of log-intensity (lognormal),
    or of the noise besides shot noise [e] (camera). `p_on`, `p_off`: switching probabilities per frame; `p_bleach`:
    bleaching probability per frame of an emitter that is on.
    """

    mu: Any
    mu_bg: Any
    sigma: Any
    p_on: Any
    p_off: Any
    p_bleach: Any = 0.0

    @classmethod
    def of(cls, array: np.ndarray) -> Parameters:
        """Return Parameters from the last axis of an array (…, 6)."""
        return cls(*np.moveaxis(array, -1, 0))

    def array(self) -> np.ndarray:
        """Return an array (…, 6)."""
        return np.stack(np.broadcast_arrays(*(np.asarray(v, float) for v in astuple(self))), axis=-1)


class TraceModel(NamedTuple):
    """The model of a trace: its emission, the camera it was recorded with, and whether emitters bleach.

    `camera`: offset and gain of traces in ADU under the camera emission; None: traces are in electrons.
    """

    emission: Emission = "lognormal"
    camera: Camera | None = None
    bleaching: bool = False


Range = tuple[float, float] | None


@dataclass(frozen=True)
class ParameterRanges:
    """The range (low, high) of each parameter; None: bounds from the traces; low = high: the parameter is known.

    A fit starts from method-of-moments values. With a `…_step` it starts from a grid of so many values over each range
    (a range without a step: its midpoint), and follows the `num_guesses` most likely grid points. Names are blinx's.
    Raises ConfigError.
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
    """Options of a fit, under blinx's names.

    `min_y`: smallest number of emitters. `num_guesses`: starts that are followed; the best is kept. `epoch_length`:
    maximum number of optimiser steps. `is_done_limit`: relative gain of the log-likelihood at convergence; a thousandth
    of it is used, as BFGS takes longer steps. `is_done_window`, `step_sizes` and
    `distribution_threshold` are accepted and unused: BFGS finds its own, and what is doubtful follows from `checks`.
    `max_x`: intensities are rounded to `num_x_bins` bins below it; None: the largest intensity, without rounding.
    `p_outlier`: probability of an outlier, uniform over the bins.
    `traces`: number of traces that shared parameters are fitted to (not in blinx). Raises ConfigError.
    """

    min_y: int = 0
    num_guesses: int = 3
    epoch_length: int = 1000
    is_done_limit: float = 1e-5
    is_done_window: int = 10
    step_sizes: Parameters | None = None
    distribution_threshold: float = 0.1
    max_x: float | None = None
    num_x_bins: int = 1024
    p_outlier: float = 0.01
    traces: int = 40

    def __post_init__(self) -> None:
        limits = {"min_y": 0, "num_guesses": 1, "epoch_length": 1, "is_done_window": 1, "num_x_bins": 2, "traces": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < least:
                raise ConfigError(f"HyperParameters: {name} is an integer from {least} on, found {value!r}")
        if not 0 <= self.p_outlier < 1:
            raise ConfigError(f"HyperParameters: p_outlier lies in 0 to below 1, found {self.p_outlier!r}")
        for name in ("is_done_limit", "distribution_threshold"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"HyperParameters: {name} is above 0, found {getattr(self, name)!r}")
        if self.max_x is not None and not (math.isfinite(self.max_x) and self.max_x > 0):
            raise ConfigError(f"HyperParameters: max_x is above 0, found {self.max_x!r}")
