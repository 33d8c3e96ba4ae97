"""Files that a config names in a step's parameters: opened here, and nowhere else."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.loaded import Loaded
from ..core.operator import Operator
from ..core.params import Params, build_params, with_present_names
from ..core.registry import find_operator
from ..core.schemes import opener_of
from ..core.spec import Spec
from ..core.stored_arrays import NOT_AN_ARRAY, read_array, stored_arrays
from ..session.reader import open_session
from .config import Config

SUFFIXES = (".npy", ".npz", ".csv")


def create(kind: str, spec: Spec, device: str = "cpu", **params: Any) -> Operator:
    """Return a new operator of that kind for frames of that spec; parameters may name files.

    Raises ConfigError for parameters it refuses and for files that cannot be read.
    """
    operator = find_operator(kind)
    return operator(built_params(operator, params, spec), spec, device)


def built_params(operator: type[Operator], params: Mapping[str, Any], spec: Spec) -> Params:
    """Return an operator's parameters, files read, for frames of that spec. Raises ConfigError."""
    where = f"operator {operator.kind!r}"
    try:
        stated = with_files(operator, params, spec)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return build_params(operator.Params, stated, where)


def with_files(operator: type[Operator], params: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """Return a step's parameters under their present names, files replaced by what these hold. Raises ConfigError."""
    found = with_present_names(operator.Params, params)
    for name, make in operator.from_file.items():
        if (path := _path_in(found.get(name))) is not None:
            try:
                found[name] = make(load(path), spec)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
    return found


def _path_in(value: Any) -> Path | None:
    """The path that a parameter is; None for other words, which are the operator's own, as psf = "estimate"."""
    if not isinstance(value, str | Path):
        return None
    path = Path(value)
    return path if path.suffix in SUFFIXES or path.is_dir() else None


def load(path: Path) -> Loaded:
    """Return what a .npy, .npz or .csv file or a session holds. Raises ConfigError for what cannot be read."""
    try:
        if path.is_dir():
            return Loaded(str(path), steps=open_session(path).recorded_steps)
        if path.suffix == ".npz":
            with stored_arrays(path) as stored:
                return Loaded(str(path), arrays={name: stored.read(name) for name in stored.names})
        if path.suffix == ".csv":
            return _table(path)
        if path.suffix not in SUFFIXES and path.exists():
            raise ConfigError(f"{path}: no reader for {path.suffix!r}; there is {', '.join(SUFFIXES)}, or a session")
        return Loaded(str(path), array=read_array(path))
    except NOT_AN_ARRAY as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ConfigError(f"{path} cannot be read: {reason}") from None


def _table(path: Path) -> Loaded:
    """Columns of a .csv by name, by number from 0 where the first line has no names.

    Fields are split at commas, semicolons, tabs or spaces; an empty one is NaN.
    """
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    mark = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    rows = [[f.strip() for f in (next(csv.reader([line], delimiter=mark)) if mark else line.split())] for line in lines]
    named = not all(_is_number(field) for field in rows[0])
    width = len(rows[0])
    for n, row in enumerate(rows[named:], named + 1):
        if len(row) != width:
            raise ValueError(f"line {n} has {len(row)} fields, not {width}")
    if len(rows) == named:
        raise ValueError("it has no lines but the names")
    columns = {}
    for k, name in enumerate(rows[0] if named else map(str, range(width))):
        fields = [row[k] for row in rows[named:]]
        numbers = all(map(_is_number, fields))
        columns[name] = np.array([float(f or "nan") for f in fields]) if numbers else np.array(fields)
    return Loaded(str(path), columns=columns)


def _is_number(field: str) -> bool:
    try:
        float(field or "nan")
    except ValueError:
        return False
    return True


def check_schemes(config: Config) -> None:
    """Raise ConfigError for an action or an input of a scheme that there is not; none of them is opened."""
    for action in config.actions:
        opener_of(action.to, "action")
    for one in config.inputs:
        opener_of(one.uri, "input")
