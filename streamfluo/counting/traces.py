"""Intensity traces from a file or an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError


def read_traces(source: Any, where: str = "traces") -> np.ndarray:
    """Return traces (n, t) float64 from an array (n, t), a .npy file of one, or a .csv file with one column per trace.

    A .csv may have one header line; its separator is a comma, semicolon, tab or space; an empty field is NaN. Raises
    ConfigError if the file cannot be read.
    """
    if not isinstance(source, str | Path):
        array = np.asarray(source)
    else:
        path = Path(source)
        try:
            array = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _columns(path).T
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{where}: {path} cannot be read as traces: {error}") from None
    array = np.atleast_2d(array)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: traces are numbers (n, t), found {array.shape} {array.dtype}")
    return array.astype(float)


def _columns(path: Path) -> np.ndarray:
    """Return the table of a .csv (t, n)."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    comma = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    rows = [[field.strip() for field in line.split(comma)] for line in lines]
    first = 0 if all(_number(field) for field in rows[0]) else 1
    width = len(rows[0])
    for n, row in enumerate(rows[first:], first + 1):
        if len(row) != width:
            raise ValueError(f"line {n} has {len(row)} fields, not {width}")
        bad = [field for field in row if not _number(field)]
        if bad:
            raise ValueError(f"line {n} has {bad[0]!r}, which is not a number")
    if len(rows) == first:
        raise ValueError("it has only a header line")
    return np.array([[float(field or "nan") for field in row] for row in rows[first:]])


def _number(field: str) -> bool:
    try:
        float(field or "nan")
    except ValueError:
        return False
    return True
