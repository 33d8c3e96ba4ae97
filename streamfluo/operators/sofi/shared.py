"""Sums that are read on another thread while frames go on."""

from __future__ import annotations

from typing import Self

import numpy as np


class SharedSums:
    """Sums that a copy shares until one of the two changes: that one then writes new ones, and leaves these.

    So a copy costs nothing, and the next cell of frames a write of the sums to fresh memory.
    """

    sums: np.ndarray
    _shared = False

    def copy(self) -> Self:
        """An independent copy."""
        self._shared = True
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def own(self) -> np.ndarray:
        """Make `sums` memory that nobody else reads; return what they were where they now are empty, else none."""
        if not self._shared:
            return self.sums[:0]
        before, self._shared = self.sums, False
        self.sums = np.empty_like(before)
        return before

    def own_filled(self) -> np.ndarray:
        """Return the sums, to be changed in place."""
        before = self.own()
        if len(before):
            self.sums[:] = before
        return self.sums
