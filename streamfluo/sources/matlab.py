"""Movies in MATLAB files (up to version 7) as sources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from .arrays import ArraySource, stack_of
from .declared import check_declared, in_one_line
from .hdf5_storage import is_hdf5
from .plane_selection import Stack
from .planes import PlaneSource

# MATLAB's numeric classes; cells, structures and texts are no movies.
_ITEM_BYTES = {
    "double": 8, "single": 4, "logical": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8,
}  # fmt: skip


class MatlabSource(ArraySource):
    """The only array (y, x, t) in a .mat file, or `?dataset=name`. The file is read whole: it is compressed in one
    piece. Version 7.3 files are HDF5 and read as such."""

    selections = (*ArraySource.selections, "dataset")

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        if path.is_file() and is_hdf5(path):
            from .hdf5 import Hdf5Source

            return Hdf5Source(path, selection)
        return cls(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        from scipy.io import loadmat, whosmat

        with in_one_line(f"{path}: not a MATLAB file that can be read"):
            held = whosmat(path)
        # Of two arrays of one name scipy reads the first.
        movies = {name: shape for name, shape, kind in reversed(held) if len(shape) == 3 and kind in _ITEM_BYTES}
        kinds = {name: kind for name, _, kind in reversed(held)}
        name = selection.get("dataset", next(iter(movies), "") if len(movies) == 1 else "")
        if name not in movies:
            listed = ", ".join(f"{key} {shape}" for key, shape in movies.items()) or "none"
            raise SourceError(f"{path}: arrays (y, x, t): {listed}; name one: {path.name}?dataset=NAME")
        check_declared(path, name, math.prod(movies[name]) * _ITEM_BYTES[kinds[name]])
        with in_one_line(f"{path}: {name} cannot be read"):
            self._array = np.ascontiguousarray(np.moveaxis(loadmat(path, variable_names=[name])[name], 2, 0))
        return stack_of(self._array, path)
