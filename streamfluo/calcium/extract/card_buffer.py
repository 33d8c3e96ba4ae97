"""Frames, residual bins and footprints on a card, with what is computed of whole frames there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.state import State
from .background import Background
from .buffer import SCALE, Buffer
from .card_memory import FOOTPRINT, MEAN, MODES, PROJECT_THREADS, CardMemory
from .components import BINS, Components, Packed

_LEAST = 1024  # numbers in an upload


class CardBuffer(Buffer):
    """A buffer whose frames and bins are on a card; index and mode activity are on the host.

    Of a frame there come to the host its products with footprints and background modes; of a bin its residual in the
    boxes of the components and, binned 2 × 2, of all; of a candidate its box in the bins. What the host changes of
    footprints and of the mean image goes there before the next frame.
    """

    def __init__(self, of: Buffer, memory: CardMemory, background: Background, cells: Components) -> None:
        self.__dict__.update(of.__dict__)
        self._there, self._background, self._cells = memory, background, cells
        for there, here in (
            *zip(memory.frames, of.frames, strict=True), *zip(memory.bins, of.bins, strict=True),
            *zip(memory.modes, background.modes, strict=True),
            (memory.mean, background.mean), (memory.weight, background.weight),
        ):  # fmt: skip
            there[...] = memory.card.put(here)  # one by one: an upload's memory is kept
        for name in ("frames", "bins", "_total", "white"):
            del self.__dict__[name]
        del self._arrays["frames"], self._arrays["bins"]
        background.unsent.clear()
        cells.unsent = set(range(cells.count))

    def whitened(self, frame: Any, background: Background, activity: Packed, cells: Components) -> Packed:
        """Store the next frame (y, x); return its products with the footprints (K,) and with the modes (M,)."""
        self.send()
        memory, (mode, binned), modes = self._there, activity, len(background.modes)
        pictures = memory.mean, memory.weight, memory.modes, modes
        ring = memory.no_ring if isinstance(binned, np.ndarray) and binned.size == 1 else binned
        expected = _four(mode)
        whiten, slot = memory.whiten, self.slot
        height, width = memory.shape
        stored = memory.frames[slot]
        whiten["whiten_frame"].items(
            height * width, frame.there, height, width, *pictures, *expected, ring, *ring.shape, *memory.between,
            SCALE, stored, memory.kept,
        )  # fmt: skip
        whiten["mode_columns"].items(modes * width, memory.kept, height, width, memory.modes, modes, memory.columns)
        found = self._projected(cells.count, (0, memory.no_pairs, slot, 4), modes)
        return found[: cells.count], found[cells.count :]

    def residual_of_bin(
        self, cells: Components, background: Background, mode_sum: np.ndarray, binned: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Store the residual of the bin that ends now, and summed 2 × 2 on the card alone; return the boxes of the
        components in it, one below the other (K · h, w), and where each lies there (K, 2)."""
        memory, n, (h, w), (height, width) = self._there, cells.count, cells.box_shape, self._there.shape
        there = self.send(cells["bin_sum"])
        activity = there.view(np.float64) if n else memory.no_activity
        modes, tiles = len(background.modes), -(-height // 16) * -(-width // 16)
        root = np.float32(1 / np.sqrt(self.bin_frames))
        memory.residual["residual_of_bin"].blocks(
            tiles, memory.frames, height, width, self.count - self.bin_frames, self.window, np.float32(1 / SCALE),
            memory.modes, modes, *_four(-mode_sum), memory.box, memory.origin, activity, n, h, w, root, memory.total,
            memory.bins[self.bin_order()[-1]],
        )  # fmt: skip
        memory.residual["shrink_and_gather"].items(
            binned.size + n * h * w, memory.total, height, width, *binned.shape, memory.origin, n, h, w,
            memory.maps.binned, memory.gathered,
        )  # fmt: skip
        found = memory.card.get(memory.gathered[: n * h * w]) if n else np.zeros(0, np.float32)
        origin = np.zeros((n, 2), np.int32)
        origin[:, 0] = np.arange(n) * h
        return found.reshape(n * h, w), origin

    def bins_at(self, corner: tuple[int, int], box: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        memory, order = self._there, self.bin_order()
        found = memory.card.xp.zeros((max(1, len(order)), *box), np.int16)
        if len(order):
            size, first = len(order) * box[0] * box[1], int(order[0])
            memory.residual["gather_bins"].items(
                size, memory.bins, *memory.shape, first, len(order), BINS, *corner, *box, found
            )
        return memory.card.get(found)[: len(order)], np.arange(len(order)), (0, 0)

    def subtract(self, cells: Components, k: int, activity: np.ndarray) -> None:
        memory, order = self._there, self.bin_order()
        if not len(order):
            return
        n, (h, w) = len(order), cells.box_shape
        there = self._send(beside=np.ascontiguousarray(activity, np.float64)).view(np.float64)
        memory.residual["subtract_from_bins"].items(
            n * h * w, memory.bins, *memory.shape, int(order[0]), n, BINS, k, memory.box, memory.origin, there, h, w
        )

    def past_of(self, cells: Components, background: Background, k: int) -> np.ndarray:
        slots, near = self.slots(), range(cells.neighbours[k])
        activity = self._listed(np.column_stack((np.full(len(slots), k), slots)), lanes=1)
        for overlap, modes in zip(cells.mode_overlap[k], self.modes[slots].T, strict=True):
            activity -= overlap * modes
        for n in near:
            activity -= cells.overlap[k, n] * cells.history[cells.neighbour[k, n], slots]
        return np.asarray(activity / cells.energy[k])

    def stored(self, cells: Components, slots: np.ndarray, products: np.ndarray) -> np.ndarray:
        """Find the products (slots, K) that are NaN; return no frames."""
        j, k = np.nonzero(np.isnan(products))
        if len(j):
            products[j, k] = self._listed(np.column_stack((k, slots[j])))
        return np.zeros((1, 1), np.int16)

    def newest_bin(self) -> np.ndarray | None:
        order = self.bin_order()
        return self._there.card.get(self._there.bins[order[-1]]) if len(order) else None

    def send(self, beside: np.ndarray | None = None) -> Any:
        """Have the card know footprints and mean image as they are; return an array that goes along, flat, as int32."""
        (h, w), background = self._there.box_shape, self._background
        means = [((y, x), background.mean[y : y + h, x : x + w]) for y, x in sorted(background.unsent)]
        background.unsent.clear()
        return self._send(means, beside)

    def state(self) -> State:
        get = self._there.card.get
        return {
            **super().state(), "buffer_frames": get(self._there.frames), "buffer_bins": get(self._there.bins),
            "binned": get(self._there.maps.binned),
        }  # fmt: skip

    def _listed(self, pairs: np.ndarray, lanes: int = 4) -> np.ndarray:
        """Products (n,) of pairs (n, 2) of a component and a slot, each added up in so many sums."""
        found, most = [], self._there.room
        for first in range(0, len(pairs), most):
            part = np.ascontiguousarray(pairs[first : first + most], np.int32)
            found.append(self._projected(len(part), (1, self._send(beside=part), 0, lanes), 0))
        return np.concatenate(found)

    def _projected(self, n: int, of: tuple[int, Any, int, int], modes: int) -> np.ndarray:
        """Products (n + modes,): whether pairs are listed, which ones, else the slot of all, and in how many sums."""
        memory, (listed, pairs, slot, lanes) = self._there, of
        lists = memory.index, memory.value, memory.counts, memory.box[0].size
        memory.project.blocks(
            -(-(n + modes) // (PROJECT_THREADS // 4)), memory.frames, *memory.shape, *lists, n, listed, pairs, slot,
            np.int32(lanes), memory.columns, modes, 1 / float(SCALE), memory.products,
        )  # fmt: skip
        return memory.card.get(memory.products[: n + modes])

    def _send(
        self, means: list[tuple[tuple[int, int], np.ndarray]] | None = None, beside: np.ndarray | None = None
    ) -> Any:
        """Have the card know the footprints, and the mean image in boxes (h, w) at their corners, in one upload."""
        memory, cells, means = self._there, self._cells, means or []
        if cells.count > memory.room:
            memory.make_room(cells.count)
            cells.unsent = set(range(cells.count))
        rows = [k for k in sorted(cells.unsent) if k < cells.count]
        cells.unsent.clear()
        many, n, (h, w) = len(rows), len(rows) + len(means), cells.box_shape
        extra = 0 if beside is None else beside.nbytes // 4
        if not (extra or n):
            return None
        upload = np.empty(_rounded(extra + n * (4 + h * w)), np.int32)
        if beside is not None:
            upload[:extra] = beside.reshape(-1).view(np.int32)
        changes = upload[extra : extra + n * (4 + h * w)].reshape(n, 4 + h * w)
        values = changes.view(np.float32)[:, 4:]
        changes[:many, 0], changes[:many, 1], changes[:many, 2:4] = FOOTPRINT, rows, cells.origin[rows]
        values[:many] = cells.box[rows].reshape(many, h * w)
        for place, (corner, image) in enumerate(means, many):
            changes[place, 0], changes[place, 2:4], values[place] = MEAN, corner, image.reshape(-1)
        there = memory.card.put(upload)
        floats, kept = there.view(np.float32), (memory.box, memory.origin, memory.mean)
        told = there[extra:], floats[extra:], n, h, w, memory.shape[1]
        memory.residual["take_changes"].items(n * h * w, *told, *kept)
        memory.residual["list_pixels"].blocks(n, *told, memory.index, memory.value, memory.counts)
        return there[:extra]


def _four(amounts: np.ndarray) -> list[np.float32]:
    """Return amounts of background modes (M,) as kernels take them."""
    return [*amounts.astype(np.float32), *np.zeros(MODES - len(amounts), np.float32)]


def _rounded(n: int) -> int:
    """Return a size of n or an eighth more: of few sizes, as a card keeps the memory of an upload for the next one."""
    step = max(_LEAST, 1 << max(0, n.bit_length() - 4))
    return -(-n // step) * step
