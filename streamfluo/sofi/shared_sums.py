"""Copy-on-write sums, read on another thread while frames arrive."""

from __future__ import annotations

from typing import Any, Self
from weakref import WeakSet

import numpy as np


class SharedSums:
    """Sums that a copy shares until one of the two changes, which then writes to other memory.

    A copy costs nothing, and the next cell writes the sums elsewhere: to the memory shared before, once it has no
    reader, as fresh memory costs 20 ms more (130 MB: 29 products at 512×512).
    """

    sums: np.ndarray
    _readers: WeakSet[Any] | None = None  # of `sums`, this object included
    _left: np.ndarray | None = None  # the sums shared before these
    _left_readers: WeakSet[Any] | None = None

    def copy(self) -> Self:
        """Return an independent copy."""
        if self._readers is None:
            self._readers = WeakSet([self])
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _left=None, _left_readers=None)
        self._readers.add(new)
        return new

    def own(self) -> np.ndarray:
        """Make `sums` memory of this object alone; return the old sums where the new are unset, else (0, …)."""
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
