"""The coarse search of frames far from the last shift, on a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.card import Card
from .kernels.search_gpu import SEARCH
from .search import CoarseSearch


class CardSearch(CoarseSearch):
    """The same by the card's FFT; `binned` lies there. The host waits twice."""

    def __init__(self, card: Card, dtypes: Sequence[Any], shape: tuple[int, int], max_px: tuple[float, float]) -> None:
        super().__init__(shape, max_px)
        self._card, self._shape = card, shape
        self._kernels = {name: card.compiled(SEARCH, PIXEL=name) for name in {np.dtype(each).name for each in dtypes}}
        self.binned, self._structure = (card.xp.zeros(self.binned.shape, np.float32) for _ in range(2))

    def find(self, frame: Any, template: Any, most_gain: float) -> tuple[int, int]:
        xp, kernels, image = self._card.xp, self._kernels[np.dtype(frame.dtype).name], template.image_there
        some, like = ((of[:: self.ROWS]).reshape(1, -1) for of in (frame, image))
        levels = [xp.nanmedian(some, axis=1), xp.median(like, axis=1), xp.max(image.reshape(1, -1), axis=1)]
        level, middle, most = self._card.get(xp.concatenate([each.astype(np.float64) for each in levels])).tolist()
        limit = np.float32((level if level == level else 0.0) + most_gain * (most - middle))
        kernels["bin_2x2"].items(self.binned.size, *self._shape, frame, limit, self.binned)
        kernels["bin_structure"].items(self.binned.size, *self._shape, *template.structure_there, self._structure)
        centred = self.binned - xp.mean(self.binned.reshape(1, -1), axis=1)
        one, other = (xp.fft.rfft2(image, self._size) for image in (self._structure, centred))
        near = xp.fft.irfft2(xp.conj(one) * other, self._size)
        for axis, reach in enumerate(self._reach):
            ends = (slice(-reach, None), slice(None, reach + 1))
            near = xp.concatenate([near[(slice(None),) * axis + (end,)] for end in ends], axis=axis)
        [at] = self._card.get(xp.argmax(near.reshape(1, -1), axis=1)).tolist()
        y, x = divmod(at, near.shape[1])
        return 2 * (y - self._reach[0]), 2 * (x - self._reach[1])

    def lost(self) -> np.ndarray:
        return self._card.get(self.binned)
