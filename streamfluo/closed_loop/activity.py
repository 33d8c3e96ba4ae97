"""Activity of cells that come one after the other, in columns that stay."""

from __future__ import annotations

import numpy as np

from ..core.errors import StateError
from ..core.state import State


class SeenIds:
    """Every id that there ever was, in order of appearance; `here` which of them have been there."""

    def __init__(self, ids: np.ndarray | None = None, here: np.ndarray | None = None) -> None:
        self.ids = np.empty(0, np.int64) if ids is None else ids
        self.here = np.ones(len(self.ids), bool) if here is None else here
        self._columns = {name: n for n, name in enumerate(self.ids.tolist())}
        self._last_ids, self._last = np.empty(0, np.int64), np.empty(0, int)  # of the last row, and their columns
        self.newest = self._last  # columns of those that were there in it

    def columns(self, ids: np.ndarray) -> np.ndarray:
        """Return the column of each id; new ones get the next."""
        for name in np.asarray(ids).tolist():
            if name not in self._columns:
                self._columns[name] = len(self._columns)
        if (more := len(self._columns) - len(self.ids)) > 0:
            self.ids, self.here = np.fromiter(self._columns, np.int64), np.pad(self.here, (0, more))
        return np.array([self._columns[name] for name in np.asarray(ids).tolist()], int)

    def row(self, values: np.ndarray, ids: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        """Return a frame's values (K,) by id as a row (columns,): 0 for ids that are not `there` (K,).

        Where nothing says which are, an id is from its first value that is not 0 on. Columns of new ones are in the
        order of their ids: which others a block has does not matter.
        """
        if not np.array_equal(ids, self._last_ids):
            self._look_up(np.array(ids))
        if there is None:
            known = self._last >= 0
            there = values != 0
            there[known] |= self.here[self._last[known]]
        if (there & (self._last < 0)).any():
            self.columns(np.sort(ids[there & (self._last < 0)]))
            self._look_up(self._last_ids)
        self.newest = self._last[there]
        self.here[self.newest] = True
        row = np.zeros(len(self.ids))
        row[self.newest] = values[there]
        return row

    def _look_up(self, ids: np.ndarray) -> None:
        self._last_ids, self._last = ids, np.array([self._columns.get(name, -1) for name in ids.tolist()], int)


def restored(state: State, name: str, shape: tuple[int, ...], where: str, dtype: type = np.float64) -> np.ndarray:
    """Return a fresh copy of an array of that shape (-1: any length) and type, all finite. Raises StateError."""
    value = state.get(name)
    fits = isinstance(value, np.ndarray) and value.ndim == len(shape) and value.dtype == dtype
    if not fits or any(want not in (-1, has) for want, has in zip(shape, value.shape, strict=True)):  # type: ignore[union-attr]
        raise StateError(f"{where}: state {name!r} must be an array {shape} {np.dtype(dtype)}, found {value!r:.80}")
    if not np.isfinite(value).all():  # type: ignore[arg-type]
        raise StateError(f"{where}: state {name!r} must be finite numbers; the state was damaged")
    return value.copy()  # type: ignore[union-attr]
