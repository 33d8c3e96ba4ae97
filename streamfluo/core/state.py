"""State: what an operator must carry to go on where it stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import StateError

State = dict[str, np.ndarray | int | float | str]


def check_state(state: Any, where: str) -> State:
    """Return `state` if it is flat and plain: str → numeric ndarray, int, float or str. Raises StateError."""
    if not isinstance(state, Mapping):
        raise StateError(f"{where}: a state is a mapping, found {type(state).__name__}")
    for name, value in state.items():
        plain = type(value) in (int, float, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufcU")
        if not isinstance(name, str) or not plain:
            raise StateError(f"{where}: state {name!r} must be a plain array, int, float or str, found {type(value)}")
    return dict(state)


def require_shape(state: State, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Return a fresh copy of the array `name` of that shape. Raises StateError if it is missing or another."""
    value = state.get(name)
    if not isinstance(value, np.ndarray) or value.shape != shape:
        found = value.shape if isinstance(value, np.ndarray) else value
        raise StateError(f"{where}: state {name!r} must be an array {shape}, found {found}")
    return value.copy()
