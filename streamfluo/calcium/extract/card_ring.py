"""The ring's background of frames on a card."""

from __future__ import annotations

import numpy as np

from ...core.state import State
from .background import Background
from .card_buffer import CardBuffer
from .card_frame import CardFrame
from .card_memory import CardMemory
from .components import Components
from .ring_background import MIN_SEEN, NOTHING, WIDTH, Pattern, RingBackground


class CardRing(RingBackground):
    """A ring background whose regressions are on a card. The components are binned on the host, behind each frame, and
    go there with the changes of footprints; which bins are known is told with the frames."""

    def __init__(self, of: RingBackground, memory: CardMemory, buffer: CardBuffer, background: Background) -> None:
        assert memory.ring is not None
        self.__dict__.update(of.__dict__)
        self._memory, self._there, self._buffer = memory, memory.ring, buffer
        self.see(background)
        put = memory.card.put
        for name in ("product", "square", "slope"):
            getattr(memory.ring, name)[...] = put(getattr(self, f"_{name}"))
        memory.ring.whole[...] = put(self._whole.view(np.uint8))
        self._known = (self._seen >= np.float32(MIN_SEEN)).astype(np.float32)  # as long as no frame says otherwise

    def of(self, frame: CardFrame, background: Background, cells: Components) -> object:
        """Return the background (rows, columns) of a frame [ADU], on the card, and gather the frame for the slopes."""
        self.prepare(cells)
        self._prepared = NOTHING
        of_cells, memory, ring = self._buffer.send(self._of_cells).view(np.float32), self._memory, self._there
        told = frame.known
        if self._pattern is None or (told.size and not np.array_equal(told, self._known)):
            self._known = told.astype(np.float32) if told.size else self._known
            self._pattern = self._pattern_of(self._known)
        modes, inverse, (known, counts), nearest = self._pattern
        (rows, columns), count, kernels = self._known.shape, len(modes), ring.kernels
        bins, pictures = rows * columns, (memory.mean, memory.weight, ring.whole)
        kernels["bin_frame"].items(
            bins, frame.there, *memory.shape, *pictures, rows, columns, of_cells, known, ring.binned
        )
        kernels["bin_columns"].items(count * columns, ring.binned, rows, columns, modes, count, ring.columns)
        kernels["fit_modes"].blocks(1, ring.columns, columns, count, inverse, ring.amounts)
        kernels["subtract_modes"].items(bins, ring.binned, bins, modes, count, ring.amounts)
        kernels["regress_on_ring"].items(
            bins, ring.binned, rows, columns, self._radius, self._radius + WIDTH, known, counts, self.memory,
            ring.slope, ring.product, ring.square, ring.background,
        )  # fmt: skip
        if nearest is None:
            return ring.background
        kernels["take_nearest"].items(bins, ring.background, nearest, bins, ring.out)
        return ring.out

    def update_slopes(self) -> None:
        ring, (rows, columns) = self._there, self._slope.shape
        ring.kernels["smooth_rows"].items(rows * columns, ring.product, ring.square, rows, columns, ring.smoothed)
        ring.kernels["slopes_of"].items(rows * columns, ring.smoothed, rows, columns, ring.slope)

    def state(self) -> State:
        for name in ("product", "square", "slope"):
            getattr(self, f"_{name}")[...] = self._memory.card.get(getattr(self._there, name))
        return super().state()

    def _new_pattern(self, known: np.ndarray) -> Pattern:
        put, (modes, inverse, bins, nearest) = self._memory.card.put, super()._new_pattern(known)
        places = None if nearest is None else put(nearest.astype(np.int32))
        return Pattern(put(modes), put(inverse), (put(known), put(bins)), places)
