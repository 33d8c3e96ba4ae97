"""Intensity traces of a file or an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.loaded import Loaded, plain_array


def traces_of_file(loaded: Loaded, spec: Any = None) -> np.ndarray:
    """Return traces (n, t) of a .npy, or of a .csv with one column per trace. Raises ConfigError."""
    if loaded.columns is None:
        return plain_array(loaded, spec)
    for name, column in loaded.columns.items():
        if column.dtype.kind == "U":
            raise ConfigError(f"{loaded.path}: column {name!r} holds words; a trace is a column of numbers")
    return np.stack(list(loaded.columns.values()))


def checked_traces(traces: Any, where: str = "traces") -> np.ndarray:
    """Return traces (n, t) as float64. Raises ConfigError for what holds no numbers."""
    array = np.atleast_2d(np.asarray(traces))
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: traces are numbers (n, t), found {array.shape} {array.dtype}")
    return array.astype(float)
