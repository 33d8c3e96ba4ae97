"""Sums that are read on another thread while frames go on."""

from __future__ import annotations

from typing import Any, Self
from weakref import WeakSet

import numpy as np


class SharedSums:
    """Sums that a copy shares until one of the two changes: that one then writes new ones, and leaves these.

    So a copy costs nothing, and the next cell of frames a write of the sums elsewhere: to those shared before, once
    nobody reads them any more, as memory never touched costs 20 ms more (the 130 MB of 29 products, 512×512).
    """

    sums: np.ndarray
    _readers: WeakSet[Any] | None = None  # of `sums`, this object too
    _left: np.ndarray | None = None  # the sums shared before these
    _left_readers: WeakSet[Any] | None = None

    def copy(self) -> Self:
        """An independent copy."""
        if self._readers is None:
            self._readers = WeakSet([self])
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _left=None, _left_readers=None)
        self._readers.add(new)
        return new

    def own(self) -> np.ndarray:
        """Make `sums` memory that nobody else reads; return what they were where they now are empty, else none."""
        if self._readers is None or len(self._readers) == 1:
            return self.sums[:0]
        before, spare = self.sums, self._left
        if spare is None or self._left_readers:
            spare = np.empty_like(before)
        self._readers.discard(self)
        self._left, self._left_readers = before, self._readers
        self.sums, self._readers = spare, None
        return before

    def own_filled(self) -> np.ndarray:
        """Return the sums, to be changed in place."""
        before = self.own()
        if len(before):
            self.sums[:] = before
        return self.sums
