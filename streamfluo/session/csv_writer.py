"""Writing tables as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rows = Iterable[Sequence[Any]]


def write_csv(path: Path, header: Iterable[Any], rows: Rows) -> Path:
    """Write a table and return its file. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def as_table(index: np.ndarray, values: Mapping[str, np.ndarray], by_id: set[str]) -> tuple[list[str], Rows]:
    """Return header and rows, a frame a row; arrays of several numbers a frame become columns `name[0,1]`, those
    `by_id` columns `name[id]`."""
    names, columns = ["frame"], [index.tolist()]
    for name, array in values.items():
        if name == "ids":
            continue
        flat = array.reshape(len(array), math.prod(array.shape[1:]))  # no −1: there may be no rows
        for n in range(flat.shape[1]):
            label = values["ids"][n] if name in by_id else ",".join(map(str, np.unravel_index(n, array.shape[1:])))
            names.append(name if array.ndim == 1 else f"{name}[{label}]")
            columns.append(flat[:, n].tolist())
    return names, zip(*columns, strict=True)
