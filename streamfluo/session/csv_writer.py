"""Writing tables as CSV: a name for each column, and beside each frame its time in seconds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rows = Iterable[Sequence[Any]]
FRAME, TIME = "frame", "t_s"


def write_csv(path: Path, header: Iterable[Any], rows: Rows) -> Path:
    """Write a table and return its file. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def as_table(
    index: np.ndarray,
    values: Mapping[str, np.ndarray],
    by_id: set[str],
    dims: Mapping[str, Sequence[str]] | None = None,
    t_s: np.ndarray | None = None,
) -> tuple[list[str], Rows]:
    """Return header and rows, a frame a row, with its time [s] where that is given.

    Arrays of several numbers a frame become columns `name[0,1]`, named by what `dims` call the places, `name[y]`; those
    `by_id` columns `name[id]`.
    """
    names, columns = [FRAME], [index.tolist()]
    if t_s is not None:
        names.append(TIME)
        columns.append(known_times(t_s))
    for name, array in values.items():
        if name == "ids":
            continue
        flat = array.reshape(len(array), math.prod(array.shape[1:]))  # no −1: there may be no rows
        if name in by_id and array.ndim > 1:
            names += [f"{name}[{label}]" for label in values["ids"]]
        else:
            names += column_names(name, array.shape[1:], (dims or {}).get(name, ()))
        columns += [flat[:, n].tolist() for n in range(flat.shape[1])]
    return names, zip(*columns, strict=True)


def column_names(name: str, shape: Sequence[int], dims: Sequence[str] = ()) -> list[str]:
    """Return what columns of one number each are called, of an array with so many a row.

    An axis of places with names says them, `accepted, candidates`, or a letter for each, `yx`; else they are numbered.
    """
    if not shape:
        return [name]
    labels = [
        _labels(dims[len(dims) - len(shape) + n] if len(dims) >= len(shape) else "", s) for n, s in enumerate(shape)
    ]
    return [
        f"{name}[{','.join(labels[a][p] for a, p in enumerate(np.unravel_index(n, shape)))}]"
        for n in range(math.prod(shape))
    ]


def frame_rows(rows: Sequence[Sequence[int]], planes: Sequence[str] = ()) -> tuple[list[str], Rows]:
    """Return header and rows of a list of frames: index, the time [ns] of each plane, the same times in seconds."""
    names = [f" {plane}" for plane in planes] or [""]
    header = ["index", *(f"t_ns{name}" for name in names), *(f"{TIME}{name}" for name in names)]
    return header, ((*row, *(t_ns / 1e9 for t_ns in row[1:])) for row in rows)


def _labels(dim: str, size: int) -> list[str]:
    if dim == "edge" and size == 4:
        return ["top", "bottom", "left", "right"]
    words = [word.strip() for word in dim.split(",")]
    if len(words) == size > 1:
        return words
    return list(dim) if len(dim) == size == 2 and dim == "yx" else [str(n) for n in range(size)]


def table_of(
    columns: Mapping[str, np.ndarray], frame: str | None = None, t_s: np.ndarray | None = None
) -> tuple[list[str], Rows]:
    """Return header and rows of columns, with the times `t_s` [s], where given, behind the column called `frame`."""
    names, listed = list[str](), list[list[Any]]()
    for name, column in columns.items():
        names.append(name)
        listed.append(column.tolist())
        if t_s is not None and name == (frame or FRAME):
            names.append(TIME)
            listed.append(known_times(t_s))
    return names, zip(*listed, strict=True)


def known_times(t_s: np.ndarray) -> list[Any]:
    """Return times [s] as cells; what is not known is empty."""
    return [float(t) if math.isfinite(t) else "" for t in t_s.tolist()]
