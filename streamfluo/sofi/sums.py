"""Power sums for cumulants: accumulated cell by cell, re-based, merged, read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..core.card import Card
from ..core.spec import Spec
from ..core.thread_pool import in_bands
from ..pixels.kernels.power_sums import POWER_TILE_PX, add_powers, add_sums, cell_powers, median
from ..pixels.kernels.power_sums_gpu import POWERS
from .batches import Batches
from .card_sums import CardSums
from .kernels.cumulants import Powers, doubling_change, move_pivot, read_error, read_moments
from .kernels.cumulants_gpu import CUMULANTS
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
        self._allocate((tiles, POWER_TILE_PX), (tiles, powers, 2, POWER_TILE_PX))

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
        if self.n:
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

    def error(self, order: int, waiting: np.ndarray, frames: int, batches: Batches) -> np.ndarray:
        """Return the standard error of k_order (y, x); NaN before there are two batches."""
        marks_n, marks = batches.read()
        out = np.full(self.pixels, np.nan)
        if len(marks_n):
            read_error(Powers(self.sums, waiting, self.n + frames), marks, marks_n, order, out)
        return out.reshape(self.spec.shape)

    def changes(self, waiting: np.ndarray, frames: int, mark: np.ndarray, mark_n: int) -> np.ndarray:
        """Return Σ (k_j now − k_j at a mark after mark_n frames)² and Σ k_j² over the pixels (order − 1, 2)."""
        squares = np.zeros((self.order - 1, 2))
        doubling_change(Powers(self.sums, waiting, self.n + frames), mark, mark_n, self.order, squares)
        return squares

    def compile_marks(self, waiting: np.ndarray, batches: Batches) -> None:
        """Compile what reads marks, on empty sums."""
        powers, (marks_n, marks) = Powers(self.sums, waiting, 1), batches.read()
        read_error(powers, marks, marks_n, 2, np.empty(self.pixels))
        doubling_change(powers, self.plain(), 1, 2, np.empty((1, 2)))


class CardPowerSums(CardSums, PowerSums):
    """PowerSums on a card, of frames there, and read there; the host's are for merging and saving."""

    def __init__(self, spec: Spec, order: int, card: Card) -> None:
        self._card, self._powers = card, order + order % 2
        super().__init__(spec, order)
        adding = card.compiled(POWERS, PIXEL=spec.dtype, ORDERS=self._powers)
        self._kernels = {**adding, **card.compiled(CUMULANTS, ORDERS=self._powers)}

    def better_pivot(self, cell: Any) -> np.ndarray | None:
        if self.n >= SETTLED_FRAMES or len(cell) < self.n:
            return None
        return super().better_pivot(self._card.get(cell))  # of the first frames, once

    def add_frames(self, frames: Any) -> None:
        pivot, sums = self._pivot.there(), self._sums.to_change()
        self._kernels["add_powers"].items(self.pixels, frames, len(frames), self.pixels, pivot, sums)
        self.n += len(frames)

    def waiting(self, frames: Any, order: int) -> Any:
        """Return the sums (tiles, powers, 1024) of frames not yet added, on the card, (0, …) without any."""
        xp = self._card.xp
        totals = xp.zeros((len(self.pivot) if len(frames) else 0, self._powers, POWER_TILE_PX))
        if len(frames):
            pivot = self._pivot.there()
            self._kernels["cell_powers"].items(self.pixels, frames, len(frames), self.pixels, pivot, totals)
        return totals

    def read(self, order: int, cumulant: bool, waiting: Any, frames: int) -> np.ndarray:
        if not self.n + frames:
            return np.full(self.spec.shape, np.nan)
        out = self._card.xp.empty(self.spec.shape)
        read_moments = self._kernels["read_moments"].items
        read_moments(self.pixels, self._pivot.there(), *self._sums_of(waiting, frames), order, int(cumulant), out)
        return self._card.get(out)

    def error(self, order: int, waiting: Any, frames: int, batches: Batches) -> np.ndarray:
        xp, n = self._card.xp, self.n + frames
        counts, marks = batches.frames_and_sums()
        if not len(counts):
            return np.full(self.spec.shape, np.nan)
        c, squares = xp.empty((order + 1, self.pixels)), xp.zeros(self.pixels)
        now = xp.zeros((len(self.pivot), self._powers, POWER_TILE_PX))
        self._kernels["find_influence"].items(self.pixels, *self._sums_of(waiting, frames), order, c, now)
        in_batch = np.diff([0, *counts, n])
        for b, (before, after) in enumerate(pairwise([now, *marks, now])):
            given = (c, after, before, int(b == 0), float(in_batch[b]), self.pixels, order, squares)
            self._kernels["add_batch"].items(self.pixels, *given)
        used = float(((in_batch / n) ** 2).sum())
        if not used < 1:
            return np.full(self.spec.shape, np.nan)
        return self._card.get(xp.sqrt(squares / (1 - used)) / n).reshape(self.spec.shape)

    def compile_marks(self, waiting: Any, batches: Batches) -> None:
        """They are compiled."""

    def changes(self, waiting: Any, frames: int, mark: Any, mark_n: int) -> np.ndarray:
        blocks = -(-self.pixels // 256)
        parts = self._card.xp.empty((blocks, self._powers - 1, 2))
        given = (*self._sums_of(waiting, frames)[:4], mark, float(mark_n), self.pixels, self.order, parts)
        self._kernels["changes"].blocks(blocks, *given)
        return np.asarray(self._card.get(parts).sum(0)[: self.order - 1])

    def _sums_of(self, waiting: Any, frames: int) -> tuple[Any, ...]:
        """Sums and waiting ones, of how many powers and frames, and the pixels, as kernels take them."""
        sums = self._sums.there()
        with_waiting = len(waiting) > 0
        powers = self._powers if with_waiting else 0
        return sums, waiting if with_waiting else sums, powers, float(self.n + frames), self.pixels
