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

    def __len__(self) -> int:
        return len(self.columns["frame"]) if self.columns else 0

    def of_frame(self, index: int, within: int) -> dict[str, np.ndarray]:
        """Return the rows of a frame; if it has none, of the newest before it that has, at most `within` earlier."""
        frames = self.columns.get("frame", np.empty(0))
        near = frames[(frames <= index) & (frames >= index - within)]
        return {name: column[frames == near.max()] for name, column in self.columns.items()} if near.size else {}
