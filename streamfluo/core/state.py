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


def require_array(state: State, name: str, like: np.ndarray, where: str) -> np.ndarray:
    """Return a fresh copy of the array `name`, of the shape and type of `like`. Raises StateError if it is another."""
    value = state.get(name)
    if not isinstance(value, np.ndarray) or (value.shape, value.dtype) != (like.shape, like.dtype):
        found = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
        raise StateError(f"{where}: state {name!r} must be an array {like.shape} {like.dtype}, found {found}")
    return value.copy()


def require_finite(state: State, name: str, like: np.ndarray, where: str) -> np.ndarray:
    """Return `require_array` if all of it is finite. Raises StateError if it is not."""
    value = require_array(state, name, like, where)
    if not np.isfinite(value).all():
        raise StateError(f"{where}: state {name!r} must be finite numbers; the state was damaged")
    return value


def require_int(state: State, name: str, where: str) -> int:
    """Return the int `name`. Raises StateError if it is missing or something else."""
    value = state.get(name)
    if type(value) is not int:
        raise StateError(f"{where}: state {name!r} must be an int, found {value!r}")
    return value
