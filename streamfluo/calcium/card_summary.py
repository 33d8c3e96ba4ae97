"""The sums behind live summary images, on a card."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirrors
from .kernels.neighbour_sums import NeighbourSums
from .kernels.neighbour_sums_gpu import NEIGHBOUR_SUMS
from .summary_sums import SummarySums


class CardSummarySums(SummarySums):
    """SummarySums on a card, of frames there; copied to the host to be read, put together or saved."""

    def __init__(self, shape: tuple[int, int], dtype: str, card: Card) -> None:
        super().__init__(shape, dtype)
        self._mirrored = Mirrors(card, {**self._sums._asdict(), "first": self._first, "last": self._last})
        counted = int(np.dtype(dtype).kind == "f")
        given = {"PIXEL": np.dtype(dtype).name, "INSIDE": self._inside.name}
        self._add_frames = card.compiled(NEIGHBOUR_SUMS, COUNTED=counted, **given)["add_frames"]

    def add(self, cell: Any) -> None:
        if not len(cell):  # while it is built
            return
        there = self._mirrored.on_card()
        sums = [there[name] for name in NeighbourSums._fields]
        n, height, width = cell.shape
        self._add_frames.items(height * width, cell, n, height, width, self.unbroken, *sums, there["last"])
        self.n += n
        self.steps += n - 1 + self.unbroken
        self.unbroken = 1

    def lent(self) -> SummarySums:
        """Return a copy, made on the card."""
        new = copy(self)
        new._mirrored = self._mirrored.copy()
        new._hold(new._mirrored.host)
        return new

    def _own(self) -> None:
        self._mirrored.to_change()

    def to_read(self) -> None:
        self._mirrored.on_host()

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in self._mirrored.to_change().items():
            array[...] = arrays[name]
