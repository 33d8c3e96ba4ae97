"""Power sums for cumulants: accumulated cell by cell, re-based, merged, read."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.card import Card
from ..core.spec import Spec
from ..core.thread_pool import in_bands
from ..pixels.kernels.power_sums import POWER_TILE_PX, add_powers, add_sums, cell_powers, median
from ..pixels.kernels.power_sums_gpu import POWERS
from .kernels.cumulants import Powers, move_pivot, read_moments
from .shared_sums import SharedSums

SETTLED_FRAMES = 32  # a pivot from a cell of so many frames is final
NS_A_POWER = 0.25  # on one core, of a pixel, frame and order
MEDIAN_FRAMES = 17  # of a cell: enough to reject a flash


class PowerSums(SharedSums):
    """Σ (x − pivot)^j of every pixel for j = 1 … order, in two floats each, over some frames.

    The pivot is the pixel's median in 17 frames of the first cell, or of a later and larger one while there are fewer
    than 32 frames: about a first frame that is a flash, sums of sixth powers lose two more digits.
    Memory: 8 · (1 + 2·order) bytes a pixel, order rounded up to an even number.
    """

    def __init__(self, spec: Spec, order: int) -> None:
        self.order, self.spec = order, spec
        self.pixels = spec.shape[0] * spec.shape[1]
        tiles, powers = -(-self.pixels // POWER_TILE_PX), order + order % 2
        self.n = 0
        self.pivot = np.zeros((tiles, POWER_TILE_PX))
        self.sums = np.zeros((tiles, powers, 2, POWER_TILE_PX))

    def better_pivot(self, cell: np.ndarray) -> np.ndarray | None:
        """Return the pivot (tiles, 1024) to re-base to before this cell is added, or None."""
        if self.n >= SETTLED_FRAMES or len(cell) < self.n:
            return None
        pivot = np.zeros(self.pivot.size)
        some = np.linspace(0, len(cell) - 1, min(len(cell), MEDIAN_FRAMES)).astype(int)
        middle = np.zeros(self.pixels, cell.dtype)
        median(cell.reshape(len(cell), self.pixels), some, middle)
        known = middle.astype(np.float32).astype(float)
        pivot[: self.pixels] = np.where(np.isfinite(known), known, 0)
        return pivot.reshape(self.pivot.shape)

    def add(self, cell: np.ndarray) -> None:
        """Add a cell's frames (n, y, x)."""
        if (pivot := self.better_pivot(cell)) is not None:
            self.move_pivot(pivot)
        self.add_frames(cell)

    def add_frames(self, frames: np.ndarray) -> None:
        """Add frames (n, y, x) about the current pivot."""
        before = self.own()
        flat, work_ns = frames.reshape(len(frames), self.pixels), NS_A_POWER * len(frames) * self.order * self.pixels
        in_bands(len(self.sums), work_ns, lambda *tiles: add_powers(flat, self.pivot, self.sums, before, tiles))
        self.n += len(frames)

    def move_pivot(self, pivot: np.ndarray) -> None:
        """Re-base the sums on another pivot (tiles, 1024) of float32 values."""
        self.sums = self.about(pivot)
        self.pivot = pivot

    def absorb(self, other: PowerSums) -> None:
        """Add another part's sums, which stay unchanged."""
        if not other.n:
            return
        if not self.n:
            self.n, self.pivot, self.sums = other.n, other.pivot.copy(), other.sums.copy()
            return
        self.absorb_sums(other)
        self.n += other.n

    def absorb_sums(self, other: PowerSums) -> None:
        """Add another part's sums, but not its number of frames."""
        sums = self.own_filled()
        add_sums(other.about(self.pivot), sums)
        self.sums = sums

    def about(self, pivot: np.ndarray) -> np.ndarray:
        """Return a copy of the sums about another pivot."""
        sums = self.sums.copy()
        move_pivot(sums, self.n, pivot - self.pivot)
        return sums

    def plain_about(self, pivot: np.ndarray, n: int, sums: np.ndarray) -> np.ndarray:
        """Return sums (tiles, powers, 1024) of n frames, re-based from this pivot to another."""
        both = np.stack([sums, np.zeros_like(sums)], axis=2)
        move_pivot(both, n, pivot - self.pivot)
        return both[:, :, 0] + both[:, :, 1]

    def plain(self) -> np.ndarray:
        """Return the sums as float64 (tiles, powers, 1024), a copy."""
        return self.sums[:, :, 0] + self.sums[:, :, 1]

    def waiting(self, frames: np.ndarray, order: int) -> np.ndarray:
        """Return the sums (tiles, ≥ order, 1024) of frames not yet added, (0, …) without any."""
        totals = np.empty((len(self.sums) if len(frames) else 0, order + order % 2, POWER_TILE_PX))
        cell_powers(frames.reshape(len(frames), self.pixels), self.pivot, totals)
        return totals

    def read(self, order: int, cumulant: bool, waiting: np.ndarray, frames: int) -> np.ndarray:
        """Return the mean (order 1), central moment or cumulant of every pixel (y, x), NaN without frames."""
        out = np.full(self.pixels, np.nan)
        if self.n + frames:
            read_moments(self.pivot, Powers(self.sums, waiting, self.n + frames), order, cumulant, out)
        return out.reshape(self.spec.shape)


class CardPowerSums(PowerSums):
    """PowerSums on a card, of frames there; the sums are copied to the host to be read, merged or saved."""

    def __init__(self, spec: Spec, order: int, card: Card) -> None:
        self._card, self._card_is_new, self._host_is_new = card, False, False
        self._host = np.empty(0)
        super().__init__(spec, order)
        self._host_is_new = False  # all are 0
        tiles, powers = self._host.shape[:2]
        self._there, self._pivot_there = card.xp.zeros(self._host.shape), card.xp.zeros((tiles, POWER_TILE_PX))
        self._add_powers = card.compiled(POWERS, PIXEL=spec.dtype, ORDERS=powers)["add_powers"]

    @property
    def sums(self) -> np.ndarray:
        """The sums on the host; assign them after a change in place."""
        if self._card_is_new:
            self._host = self._card.get(self._there)
            self._card_is_new = False
        return self._host

    @sums.setter
    def sums(self, sums: np.ndarray) -> None:
        self._host, self._host_is_new, self._card_is_new = sums, True, False

    def copy(self) -> PowerSums:  # type: ignore[override]
        """Return an independent copy on the host."""
        new = PowerSums(self.spec, self.order)
        new.n, new.pivot, new.sums = self.n, self.pivot, self.sums.copy()
        return new

    def add_frames(self, frames: Any) -> None:
        if self._host_is_new:
            self._there[...] = self._card.put(self._host)
            self._pivot_there[...] = self._card.put(self.pivot)
            self._host_is_new = False
        self._add_powers.items(self.pixels, frames, len(frames), self.pixels, self._pivot_there, self._there)
        self._card_is_new = True
        self.n += len(frames)
