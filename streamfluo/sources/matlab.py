"""Movies in MATLAB files (up to version 7) as sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from .arrays import ArraySource, stack_of
from .planes import Stack


class MatlabSource(ArraySource):
    """The only array (y, x, t) in a .mat file, or `?dataset=name`. The file is read whole: it is compressed in one
    piece. Version 7.3 files are HDF5: name them .h5."""

    selections = (*ArraySource.selections, "dataset")

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        from scipy.io import loadmat, whosmat

        try:
            movies = {name: shape for name, shape, _ in whosmat(path) if len(shape) == 3}
        except NotImplementedError:
            raise SourceError(f"{path}: a version 7.3 file, which is HDF5; name it {path.stem}.h5") from None
        except Exception as error:  # scipy raises many kinds on bytes that are no .mat
            raise SourceError(f"{path}: not a MATLAB file that can be read: {error}") from None
        name = selection.get("dataset", next(iter(movies), "") if len(movies) == 1 else "")
        if name not in movies:
            listed = ", ".join(f"{key} {shape}" for key, shape in movies.items()) or "none"
            raise SourceError(f"{path}: arrays (y, x, t): {listed}; name one: {path.name}?dataset=NAME")
        self._array = np.ascontiguousarray(np.moveaxis(loadmat(path, variable_names=[name])[name], 2, 0))
        return stack_of(self._array, path)
