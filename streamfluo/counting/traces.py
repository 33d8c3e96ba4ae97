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


def steady(traces: np.ndarray, illumination: Any = None, background: Any = None, offset: float = 0.0) -> np.ndarray:
    """Return traces (n, t) as under a steady illumination and on a steady background; both `None`: as they are.

    illumination (t,): in any unit, such as the mean of the movie's frames less the camera's offset. background (t,) or
    (n, t): in the unit of the traces, offset included. offset: of the traces. Raises ConfigError.
    """
    if background is not None:
        course = _course("background", background, traces)
        traces = traces - course + course.mean(axis=1, keepdims=True)
        offset = course.mean(axis=1, keepdims=True)
    if illumination is not None:
        course = _course("illumination", illumination, traces)
        if course.min() <= 0:
            raise ConfigError(f"illumination: is above 0, found {course.min():g}; subtract less than all of it")
        traces = (traces - offset) / (course / course.mean(axis=1, keepdims=True)) + offset
    return traces


def _course(name: str, course: Any, traces: np.ndarray) -> np.ndarray:
    """Return a course over the frames (1, t) or (n, t)."""
    array = np.atleast_2d(np.asarray(course))
    if array.dtype.kind not in "biuf" or array.shape not in ((1, traces.shape[1]), traces.shape):
        raise ConfigError(
            f"{name}: numbers (t,) or (n, t) for traces {traces.shape}, found {array.shape} {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise ConfigError(f"{name}: has values that are not finite")
    return array.astype(float)
