"""Writing localisations as HDF5, with what is known of the movie in a YAML beside it, as Picasso reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DATASET = "locs"


def write_locs(path: Path, columns: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> list[Path]:
    """Write columns (n,) as the dataset `locs` of an HDF5 and `about` as its YAML; return both files.

    Raises ImportError without h5py.
    """
    import h5py

    count = len(next(iter(columns.values())))
    rows = np.empty(count, [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=rows)
    beside = path.with_suffix(".yaml")
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in about.items())
    beside.write_text("".join(lines), encoding="utf-8")
    return [path, beside]
