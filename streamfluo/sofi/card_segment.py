"""The sums of the open window of a bleaching segment, on a card."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirror
from .card_products import CardProductsWithTotal
from .kernels.trend_gpu import TREND
from .segment_sums import Layout, SegmentSums
from .sums import CardPowerSums


class CardSegmentSums(SegmentSums):
    """SegmentSums on a card, of frames there: of one window after the other, in the same memory."""

    power: CardPowerSums
    crossed: CardProductsWithTotal | None

    def __init__(self, layout: Layout, card: Card) -> None:
        self._card, self._trends = card, Mirror(card, (layout.spec.shape[0] * layout.spec.shape[1],))
        self._add_trend = card.compiled(TREND, PIXEL=layout.spec.dtype)["add_trend"]
        self.layout, self.start = layout, 0
        self.power = CardPowerSums(layout.spec, layout.order, card)
        self.crossed = layout.crossed.on_card(card) if layout.crossed is not None else None
        self._times, self._near = np.zeros(layout.order + 1), 0.0

    @property
    def _trend(self) -> np.ndarray:
        return self._trends.host

    @_trend.setter
    def _trend(self, trend: np.ndarray) -> None:
        self._trends.host = trend

    def begin(self, start: int, pivot: np.ndarray) -> None:
        """Begin anew with the frames from index `start` on."""
        self.start, self._times, self._near = start, np.zeros(len(self._times)), 0.0
        self.power.clear(pivot.copy())
        if self.crossed is not None:
            self.crossed.clear(self._flat(pivot).copy())
        self._trends.clear()

    def copy(self) -> Self:
        new = super().copy()
        new.__dict__["_trends"] = self._trends.copy()
        return new

    def _add_trends(self, cell: Any, times: np.ndarray) -> None:
        pixels, blocks = self.power.pixels, -(-self.power.pixels // 256)
        near, there = self._card.xp.empty(blocks), self._card.put(times)
        pivot = self.power.pivot_there()
        self._add_trend.blocks(blocks, cell, len(cell), pixels, there, pivot, self._trends.to_change(), near)
        self._near += float(self._card.get(near).sum())
