"""How dense spots were lately."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..core.state import State, require_array, require_int

CELL_FRAMES, CELLS = 64, 4  # the newest cells of the frame index


class RecentSpots:
    """Frames, spots, and spots with neighbours in the newest 256 frames, in cells of 64 of the frame index."""

    def __init__(self) -> None:
        self._newest = -1  # the cell that the last column is
        self._counts = np.zeros((3, CELLS), np.int64)

    def add(self, first: int, spots: np.ndarray, beside: np.ndarray) -> None:
        """Count consecutive frames from index `first` on: spots, and those with neighbours, of each frame (t,)."""
        cells = (first + np.arange(len(spots))) // CELL_FRAMES
        for cell in np.unique(cells):
            here = cells == cell
            self._put(int(cell), np.array([here.sum(), spots[here].sum(), beside[here].sum()]))

    def absorb(self, other: Self) -> None:
        """Add what another one counted."""
        for place in range(CELLS):
            if other._counts[:, place].any():
                self._put(other._newest - (CELLS - 1 - place), other._counts[:, place])

    def per_frame(self) -> float:
        """Return the mean number of spots in a frame; NaN before the first."""
        frames, spots, _ = self._counts.sum(1)
        return float(spots / frames) if frames else np.nan

    def overlapping(self) -> float:
        """Return the share of spots that have neighbours; NaN where there are none."""
        _, spots, beside = self._counts.sum(1)
        return float(beside / spots) if spots else np.nan

    def state(self) -> State:
        """Return the counts and which cells they are of."""
        return {"recent": self._counts.copy(), "recent_cell": self._newest}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        self._counts = require_array(state, "recent", self._counts, where)
        self._newest = require_int(state, "recent_cell", where)

    def _put(self, cell: int, counts: np.ndarray) -> None:
        later = cell - self._newest if self._newest >= 0 else CELLS
        if later > 0:
            self._counts = np.roll(self._counts, -min(later, CELLS), axis=1)
            self._counts[:, max(0, CELLS - later) :] = 0
            self._newest = cell
        place = CELLS - 1 - (self._newest - cell)
        if place >= 0:
            self._counts[:, place] += counts
