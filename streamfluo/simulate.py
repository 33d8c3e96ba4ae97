"""Simulated recordings with their truth, for notebooks and tests; long series stream from `open_source("sim:…")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .core.params import build_params
from .edges.simulate.calcium import CalciumParams, CalciumSimulator

__all__ = ["calcium"]


def calcium(frames: int = 500, **params: Any) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Return a calcium movie (frames, y, x) uint16 and its truth by name, as `sim:calcium` streams them.

    Parameters are those of `edges.simulate.calcium.CalciumParams`, names in the truth those of
    `CalciumSimulator.truth`. The whole movie is in memory at once. Raises ConfigError for a parameter that is unknown
    or out of range.

        movie, truth = calcium(frames=300, shape=(128, 128), seed=3)
    """
    built = build_params(CalciumParams, {"frames": frames, **params}, "simulate.calcium")
    simulator = CalciumSimulator(built)
    return simulator.render(0, frames), simulator.truth(frames)
