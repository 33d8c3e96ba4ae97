"""Frames gathered on a fixed grid of the frame index, so that sums never depend on how frames were cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .block import Block
from .card import Card
from .card_block import frames_of
from .errors import StateError
from .spec import Spec
from .state import State, require_int

GRID_FRAMES = 32  # a per-pixel kernel then reads each accumulator once per 32 frames


class FrameGrid:
    """Cuts a stream into cells that end at multiples of 32 of the frame index and at gaps.

    An operator that accumulates runs its kernel once per cell. A block that covers a whole cell passes through
    without a copy; other frames are copied once into a waiting buffer of 32 frames.
    """

    def __init__(self, spec: Spec, card: Card | None = None) -> None:
        """`card`: frames wait there, and cells are arrays of it."""
        self._card = card
        self._buffer = (card.xp if card else np).empty((GRID_FRAMES, *spec.shape), spec.dtype)
        self._count = 0
        self._next_index = -1
        self._shared = False  # a copy reads the waiting frames: the next cell gathers in another buffer

    @property
    def waiting(self) -> np.ndarray:
        """The frames not yet handed on, (n, y, x), read-only; n may be 0."""
        view = self._buffer[: self._count]
        if self._card is None:
            view.flags.writeable = False
        return view

    def push(self, block: Block) -> Iterator[np.ndarray]:
        """Yield each cell (n, y, x) that this block completes, in order; consume it before asking for the next."""
        pixels = frames_of(block, self._card)
        if block.index != self._next_index:
            yield from self.flush()
        start = block.index
        while start < block.stop:
            cell_stop = min((start // GRID_FRAMES + 1) * GRID_FRAMES, block.stop)
            frames = pixels[start - block.index : cell_stop - block.index]
            self._next_index = start = cell_stop
            if len(frames) == GRID_FRAMES:
                yield frames
                continue
            self._own_buffer()
            self._buffer[self._count : self._count + len(frames)] = frames
            self._count += len(frames)
            if cell_stop % GRID_FRAMES == 0:
                yield from self.flush()

    def flush(self) -> Iterator[np.ndarray]:
        """Yield the waiting frames (n, y, x) as a last, shorter cell if there are any: at a gap and at a merge."""
        if self._count:
            frames, self._count = self.waiting, 0
            yield frames

    def copy(self) -> FrameGrid:
        """A grid with the waiting frames of now; it can be read and flushed, not pushed to.

        It costs nothing, on a card a copy there: another buffer would have to be found when frames come.
        """
        new = object.__new__(FrameGrid)
        if self._card is not None:
            new.__dict__.update(self.__dict__, _buffer=self.waiting.copy())
            return new
        self._shared = True
        new.__dict__.update(self.__dict__, _buffer=self._buffer.view())
        new._buffer.flags.writeable = False
        return new

    def _own_buffer(self) -> None:
        """Leave a buffer whose frames a copy reads once they no longer wait here."""
        if self._shared and not self._count:
            self._buffer, self._shared = np.empty_like(self._buffer), False

    def state(self) -> State:
        """The waiting frames and the index that comes next, as state entries."""
        waiting = self.waiting.copy() if self._card is None else self._card.get(self.waiting)
        return {"waiting": waiting, "next_index": self._next_index}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError if the frames are of another shape or type."""
        waiting, buffer = state.get("waiting"), self._buffer
        if (
            not isinstance(waiting, np.ndarray)
            or (waiting.shape[1:], waiting.dtype) != (buffer.shape[1:], buffer.dtype)
            or len(waiting) >= GRID_FRAMES
        ):
            found = f"{waiting.shape} {waiting.dtype}" if isinstance(waiting, np.ndarray) else repr(waiting)
            raise StateError(
                f"waiting frames: expected fewer than 32 of {buffer.shape[1:]} {buffer.dtype}, found {found}"
            )
        self._next_index = require_int(state, "next_index", "waiting frames")
        self._count = 0
        self._own_buffer()
        self._count = len(waiting)
        if self._count:
            self._buffer[: self._count] = waiting if self._card is None else self._card.put(waiting)
