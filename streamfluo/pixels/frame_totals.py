"""The total signal of every frame, on the processor or on a card."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.card import Card
from ..core.spec import Spec
from ..core.thread_pool import in_bands
from .kernels.power_sums import frame_totals
from .kernels.power_sums_gpu import FRAME_TOTALS, TILE_PX

NS_A_PIXEL = 0.1  # of a frame, on one core


class FrameTotals:
    """The sum over the seen pixels of frames (n, y, x), as float64 (n,) of the host: of integers exact."""

    def __init__(self, spec: Spec, card: Card | None = None) -> None:
        self._dtype = np.dtype(np.int64 if np.dtype(spec.dtype).kind in "iu" else np.float64)
        self._pixels, self._card = spec.shape[0] * spec.shape[1], card
        if card is not None:
            found = card.compiled(FRAME_TOTALS, PIXEL=spec.dtype, TOTAL=self._dtype.name, TILE=TILE_PX)
            self._tile_totals, self._frame_totals = found["tile_totals"], found["frame_totals"]

    def __call__(self, frames: Any) -> np.ndarray:
        n, pixels = len(frames), self._pixels
        if self._card is None:
            found = np.empty(n, self._dtype)
            flat = frames.reshape(n, pixels)
            in_bands(n, NS_A_PIXEL * frames.size, lambda a, b: frame_totals(flat[a:b], found[a:b]))
            return found.astype(np.float64)
        xp, tiles = self._card.xp, -(-pixels // TILE_PX)
        of_tiles, totals = xp.empty((n, tiles), self._dtype), xp.empty(n)
        self._tile_totals.blocks(n * tiles, frames, n, pixels, tiles, of_tiles)
        self._frame_totals.items(n, of_tiles, n, tiles, totals)
        return self._card.get(totals)
