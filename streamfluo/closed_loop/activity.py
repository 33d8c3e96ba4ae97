"""Activity of cells that come one after the other, in columns that stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import StateError
from ..core.state import State


class SeenIds:
    """Every id that there ever was, in order of appearance."""

    def __init__(self, ids: np.ndarray | None = None) -> None:
        self.ids = np.empty(0, np.int64) if ids is None else ids
        self._columns = {name: n for n, name in enumerate(self.ids.tolist())}

    def columns(self, ids: np.ndarray) -> np.ndarray:
        """Return the column of each id; new ones get the next."""
        for name in np.asarray(ids).tolist():
            if name not in self._columns:
                self._columns[name] = len(self._columns)
        if len(self._columns) > len(self.ids):
            self.ids = np.fromiter(self._columns, np.int64)
        return np.array([self._columns[name] for name in np.asarray(ids).tolist()], int)

    def rows(self, values: Any, ids: Any) -> np.ndarray:
        """Return values (t, K) by id as rows (t, columns): 0 for ids that are not there."""
        columns, values = self.columns(ids), np.asarray(values, float)
        rows = np.zeros((len(values), len(self.ids)))
        rows[:, columns] = values
        return rows


def restored(state: State, name: str, shape: tuple[int, ...], where: str, dtype: type = np.float64) -> np.ndarray:
    """Return a fresh copy of an array of that shape (-1: any length) and type, all finite. Raises StateError."""
    value = state.get(name)
    fits = isinstance(value, np.ndarray) and value.ndim == len(shape) and value.dtype == dtype
    if not fits or any(want not in (-1, has) for want, has in zip(shape, value.shape, strict=True)):  # type: ignore[union-attr]
        raise StateError(f"{where}: state {name!r} must be an array {shape} {np.dtype(dtype)}, found {value!r:.80}")
    if not np.isfinite(value).all():  # type: ignore[arg-type]
        raise StateError(f"{where}: state {name!r} must be finite numbers; the state was damaged")
    return value.copy()  # type: ignore[union-attr]
