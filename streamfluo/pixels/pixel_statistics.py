"""Running sums and extremes of every pixel, on the processor or on a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.card import Card
from ..core.mirrored import Mirrored
from ..core.spec import Spec
from ..core.thread_pool import in_bands
from .frame_totals import FrameTotals
from .kernels.power_sums import TILE_PX, PixelSums, accumulate
from .kernels.power_sums_gpu import PIXEL_SUMS

NS_A_PIXEL = 0.3  # of a frame, on one core


class PixelStatistics:
    """Pivot, Σ d and Σ d² of d = x − pivot, smallest and largest value, and in how many frames it was NaN, of each
    pixel (y, x): exact integers for 8- and 16-bit frames."""

    def __init__(self, spec: Spec) -> None:
        dtype = np.dtype(spec.dtype)
        exact = dtype.kind in "iu" and dtype.itemsize <= 2
        self.dtype = np.dtype(np.int64 if exact else np.float64)
        self._total_dtype = np.dtype(np.int64 if dtype.kind in "iu" else np.float64)
        self._pixels = spec.shape[0] * spec.shape[1]
        self._totals = FrameTotals(spec)
        self._arrays = {
            "pivot": np.zeros(spec.shape, np.int32 if exact else np.float64),
            "sum": np.zeros(spec.shape, self.dtype),
            "sum_squares": np.zeros(spec.shape, self.dtype),
            "low": np.zeros(spec.shape, dtype),
            "high": np.zeros(spec.shape, dtype),
            "unseen": np.zeros(spec.shape if dtype.kind == "f" else (0, 0), np.int64),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return the arrays by name, to be read."""
        return self._arrays

    def to_change(self) -> Mapping[str, np.ndarray]:
        """Return the arrays by name, to be changed."""
        return self._arrays

    def add(self, cell: Any) -> np.ndarray:
        """Add a cell's frames (n, y, x); return the total signal of each."""
        sums = PixelSums(*(array.reshape(-1) for array in self._arrays.values()))
        flat, tiles = cell.reshape(len(cell), self._pixels), -(-self._pixels // TILE_PX)
        totals = np.zeros((tiles + 1, len(cell)), self._total_dtype)
        in_bands(tiles, NS_A_PIXEL * cell.size, lambda *band: accumulate(flat, sums, band, totals[1:]))
        return np.asarray(np.add.accumulate(totals)[-1].astype(np.float64))  # one tile after the other

    def signal(self, pixels: Any) -> np.ndarray:
        """Return the sum over the seen pixels of frames (n, y, x)."""
        return self._totals(pixels)


class CardPixelStatistics(PixelStatistics):
    """PixelStatistics on a card, of frames there; copied to the host to be read, merged or saved."""

    def __init__(self, spec: Spec, card: Card) -> None:
        super().__init__(spec)
        counted = int(self._arrays["unseen"].size > 0)
        pivot, number = self._arrays["pivot"].dtype.name, self.dtype.name
        self._mirrored, self._card = Mirrored(card, self._arrays), card
        self._accumulate = card.compiled(PIXEL_SUMS, PIXEL=spec.dtype, PIVOT=pivot, SUM=number, COUNTED=counted)[
            "accumulate"
        ]
        self._totals = FrameTotals(spec, card)

    def arrays(self) -> Mapping[str, np.ndarray]:
        return self._mirrored.on_host()

    def to_change(self) -> Mapping[str, np.ndarray]:
        return self._mirrored.to_change()

    def add(self, cell: Any) -> np.ndarray:
        self._accumulate.items(self._pixels, cell, len(cell), self._pixels, *self._mirrored.on_card().values())
        return self.signal(cell)
