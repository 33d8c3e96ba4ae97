"""Product sums on a card, of frames there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirror
from ..core.spec import Spec
from ..pixels.kernels.power_sums_gpu import TILE_PX
from .card_sums import CardSums
from .kernels.products_gpu import WITH_TOTAL, products_source
from .product_sums import Factor, ProductSums
from .with_total import ProductsWithTotal


class CardProducts(CardSums, ProductSums):
    """ProductSums on a card; a map is copied to the host when it is read first."""

    def __init__(self, spec: Spec, tuples: Sequence[Sequence[Factor]], card: Card) -> None:
        self._card = card
        super().__init__(spec, tuples)
        self._kernels = card.compiled(products_source(self._parents, self._last), PIXEL=spec.dtype)

    def add(self, frames: Any, earlier: Any = None) -> None:
        """Add the products whose first frame is any but the last `depth`, of frames behind `earlier` ones."""
        before = 0 if earlier is None else len(earlier)
        count = max(0, before + len(frames) - self.depth)
        if not count:
            return
        pivot, sums = self._pivot.there(), self._sums.to_change()
        given = (frames if earlier is None else earlier, before, frames, count, self.pixels, self.spec.shape[1])
        for kernel in self._kernels.values():
            kernel.items(self.pixels, *given, pivot, sums)
        self.n += count

    def _map(self, q: int) -> np.ndarray:
        sums = self._sums.there()
        return self._card.get((sums[:, q, 0] + sums[:, q, 1]).reshape(-1)[: self.pixels])


class CardProductsWithTotal(CardProducts, ProductsWithTotal):
    """ProductsWithTotal on a card."""

    def __init__(self, spec: Spec, tuples: Sequence[Sequence[Factor]], card: Card) -> None:
        self._totals = Mirror(card, (spec.shape[0] * spec.shape[1],))
        super().__init__(spec, tuples, card)
        self._of_total = card.compiled(WITH_TOTAL, PIXEL=spec.dtype, TILE=TILE_PX)

    @property
    def _with_total(self) -> np.ndarray:
        return self._totals.host

    @_with_total.setter
    def _with_total(self, sums: np.ndarray) -> None:
        self._totals.host = sums

    def add(self, frames: Any, earlier: Any = None) -> None:
        xp, n, tiles = self._card.xp, len(frames), -(-self.pixels // TILE_PX)
        of_tiles, totals = xp.empty((n, tiles)), xp.empty(n)
        super().add(frames, earlier)
        pivot = self._pivot.there()
        self._of_total["tile_differences"].blocks(n * tiles, frames, n, self.pixels, pivot, tiles, of_tiles)
        self._of_total["frame_differences"].items(n, of_tiles, n, tiles, totals)
        sums = self._totals.to_change()
        self._of_total["add_with_total"].items(self.pixels, frames, n, self.pixels, pivot, totals, sums)

    def copy(self) -> Self:
        new = super().copy()
        new._totals = self._totals.copy()
        return new

    def clear(self, pivot: np.ndarray) -> None:
        super().clear(pivot)
        self._totals.clear()
