"""Copy-on-write sums, read on another thread while frames arrive."""

from __future__ import annotations

from typing import Any, Self
from weakref import WeakSet

import numpy as np

from ..core.state import State, require_array, require_int
from ..core.thread_pool import in_bands

NS_A_SUM = 2.0  # on one core, most of it the memory's, which may be fresh


class SharedSums:
    """Sums of n frames about a pivot, which a copy shares until one of the two changes and writes to other memory.

    A copy costs nothing, and the next cell writes the sums elsewhere: to the memory shared before, once it has no
    reader, as fresh memory costs 20 ms more (130 MB: 29 products at 512×512).
    """

    n: int
    pivot: np.ndarray
    sums: np.ndarray
    _readers: WeakSet[Any] | None = None  # of `sums`, this object included
    _left: np.ndarray | None = None  # the sums shared before these
    _left_readers: WeakSet[Any] | None = None

    def _allocate(self, pivot: tuple[int, ...], sums: tuple[int, ...]) -> None:
        self.n, self.pivot, self.sums = 0, np.zeros(pivot), np.zeros(sums)

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

    def add_up(self, out: np.ndarray) -> None:
        """Write the sums as float64 to out (tiles, sums, 1024)."""

        def add(first: int, stop: int) -> None:
            np.add(self.sums[first:stop, :, 0], self.sums[first:stop, :, 1], out=out[first:stop])

        in_bands(len(out), NS_A_SUM * out.size, add)

    def state(self, name: str) -> State:
        """Return state entries that begin with `name`."""
        return {f"{name}_n": self.n, f"{name}_pivot": self.pivot.copy(), f"{name}_sums": self.sums.copy()}

    def restore(self, state: State, name: str) -> None:
        """Restore the entries of `state`. Raises StateError."""
        self.pivot = require_array(state, f"{name}_pivot", self.pivot, "sofi")
        self.sums = require_array(state, f"{name}_sums", self.sums, "sofi")
        self.n = require_int(state, f"{name}_n", "sofi")
