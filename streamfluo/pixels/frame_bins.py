"""Sums of squares of pixels over some frames, on the processor or on a card."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirror
from ..core.spec import Spec
from .kernels.binning import add_binned
from .kernels.binning_gpu import BINNING


class FrameBins:
    """One bin of frames that fills up, and whole ones; `divisor` is that of a bin's sum, 0 for the sum itself."""

    def __init__(self, spec: Spec, side_px: int, divisor: float, dtype: str) -> None:
        self._side_px, self._divisor, self._dtype = side_px, divisor, np.dtype(dtype)
        self.shape = spec.shape[0] // side_px, spec.shape[1] // side_px
        self._total_dtype = np.dtype(np.int64 if np.dtype(spec.dtype).kind in "iu" else np.float64)
        self._allocate(spec)

    def _allocate(self, spec: Spec) -> None:
        self.total = np.zeros(self.shape, self._total_dtype)
        nothing = np.empty((0, *spec.shape), spec.dtype)
        nothing.flags.writeable = False
        add_binned(nothing, self._side_px, self.total)

    def empty(self, n: int) -> Any:
        """Return memory for n bins (n, y, x)."""
        return np.empty((n, *self.shape), self._dtype)

    def restart(self) -> None:
        """Begin the bin anew."""
        self.total[...] = 0

    def add(self, frames: Any) -> None:
        """Add frames (n, y, x) to the bin."""
        add_binned(frames, self._side_px, self.total)

    def finish(self, out: Any) -> None:
        """Write the bin to out (y, x), and begin anew."""
        out[...] = self.total / self._divisor if self._divisor else self.total
        self.restart()

    def whole(self, frames: Any, out: Any) -> None:
        """Write bins of all of frames (n, y, x) to out (m, y, x), with n a multiple of m."""
        for part, made in zip(frames.reshape(len(out), -1, *frames.shape[1:]), out, strict=True):
            self.add(part)
            self.finish(made)


class CardBins(FrameBins):
    """FrameBins on a card, of frames there: a kernel for all whole bins of a block."""

    def __init__(self, spec: Spec, side_px: int, divisor: float, dtype: str, card: Card) -> None:
        self._card = card
        super().__init__(spec, side_px, divisor, dtype)

    def _allocate(self, spec: Spec) -> None:
        self._totals = Mirror(self._card, self.shape, self._total_dtype)
        given = {"PIXEL": spec.dtype, "TOTAL": self._total_dtype.name, "OUT": self._dtype.name}
        self._kernels = self._card.compiled(BINNING, **given)
        self._pixels, self._bins = spec.shape[0] * spec.shape[1], self.shape[0] * self.shape[1]
        self._of_frame = (self._pixels, spec.shape[1], self._bins, self.shape[1], self._side_px)

    @property
    def total(self) -> np.ndarray:
        """The sum so far on the host; assign it after a change in place."""
        return self._totals.host

    @total.setter
    def total(self, total: np.ndarray) -> None:
        self._totals.host = total

    def empty(self, n: int) -> Any:
        return self._card.xp.empty((n, *self.shape), self._dtype)

    def restart(self) -> None:
        self._totals.clear()

    def add(self, frames: Any) -> None:
        self._kernels["add_binned"].items(self._bins, frames, len(frames), *self._of_frame, self._totals.to_change())

    def finish(self, out: Any) -> None:
        self._kernels["finish_bins"].items(self._bins, self._totals.there(), self._bins, self._divisor, out)
        self.restart()

    def whole(self, frames: Any, out: Any) -> None:
        many, n = len(out), len(frames) // len(out)
        self._kernels["whole_bins"].items(many * self._bins, frames, many, n, *self._of_frame, self._divisor, out)
