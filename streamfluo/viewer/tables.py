"""The newest rows of a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MAX_ROWS = 5000
MAX_COLUMNS = 32


class Rows:
    """The newest 5000 rows of a table, columns by name; one of them is `frame`."""

    def __init__(self) -> None:
        self.columns: dict[str, np.ndarray] = {}
        self.total = 0
        self.revision = 0

    def take(self, columns: Mapping[str, np.ndarray]) -> bool:
        """Append rows; False if they are not those of a table."""
        lengths = {column.shape for column in columns.values()}
        if "frame" not in columns or len(lengths) != 1 or len(next(iter(lengths))) != 1 or len(columns) > MAX_COLUMNS:
            return False
        if self.columns.keys() != columns.keys():
            self.columns = {name: column[:0] for name, column in columns.items()}
        self.columns = {name: np.concatenate([self.columns[name], columns[name]])[-MAX_ROWS:] for name in columns}
        self.total += len(columns["frame"])
        self.revision += 1
        return True

    def take_earlier(self, columns: Mapping[str, np.ndarray]) -> bool:
        """Put rows of before in front, but for those at their end that are here already; False if they do not fit."""
        if not len(self):
            return bool(columns) and self.take(columns)
        lengths = {column.shape for column in columns.values()}
        if self.columns.keys() != columns.keys() or len(lengths) != 1 or len(next(iter(lengths))) != 1:
            return False
        count = len(columns["frame"])
        both = next(n for n in range(min(count, len(self)), -1, -1) if self._begins_with(columns, count - n))
        self.columns = {n: np.concatenate([columns[n][: count - both], a])[-MAX_ROWS:] for n, a in self.columns.items()}
        self.total += count - both
        self.revision += 1
        return True

    def _begins_with(self, columns: Mapping[str, np.ndarray], first: int) -> bool:
        """Whether the rows from `first` on are those that are here first."""
        heads = {name: (a[first:], self.columns[name][: len(a) - first]) for name, a in columns.items()}
        return np.array_equal(*heads["frame"]) and all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f" == b.dtype.kind) for a, b in heads.values()
        )

    def __len__(self) -> int:
        return len(self.columns["frame"]) if self.columns else 0

    def of_frame(self, index: int, within: int) -> dict[str, np.ndarray]:
        """Return the rows of a frame; if it has none, of the newest before it that has, at most `within` earlier."""
        frames = self.columns.get("frame", np.empty(0))
        near = frames[(frames <= index) & (frames >= index - within)]
        return {name: column[frames == near.max()] for name, column in self.columns.items()} if near.size else {}


def by_table(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the columns of each table of a message: `spots/frame` is one of `spots`."""
    tables: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        table, _, column = name.partition("/")
        if column:
            tables.setdefault(table, {})[column] = array
    return tables
