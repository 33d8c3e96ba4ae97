"""What an earlier run found, where an operator's parameter names its session."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ConfigError, did_you_mean


def recorded_values(path: Path, kind: str, name: str) -> np.ndarray:
    """Return per-frame values of a session's first step of a kind, by frame index (index, …), NaN for frames missing.

    Raises SessionError for a folder that is none, ConfigError if no such step gave them.
    """
    session, step = _first(path, kind)
    values, index = session.values(step), session.index(step)
    if name not in values:
        raise ConfigError(f"{path}: step {step!r} gave no {name!r}{did_you_mean(name, values)}")
    by_index = np.full((int(index.max(initial=-1)) + 1, *values[name].shape[1:]), np.nan)
    by_index[index] = values[name]
    return by_index


def recorded_step(path: Path, kind: str) -> Mapping[str, Any]:
    """Return all values of a session's first step of a kind, a table as a mapping of columns.

    Raises SessionError for a folder that is none, ConfigError if there is no such step.
    """
    session, step = _first(path, kind)
    return session.values(step)


def _first(path: Path, kind: str) -> tuple[Any, str]:
    # By name, since sessions stand on the floors above; the operator that asks need not know them.
    session = importlib.import_module("streamfluo.session.reader").open_session(path)
    step = next((step for step, facts in session.steps.items() if facts.kind == kind), None)
    if step is None:
        raise ConfigError(f"{path}: no step of kind {kind!r}; it has {', '.join(session.steps) or 'none'}")
    return session, step
