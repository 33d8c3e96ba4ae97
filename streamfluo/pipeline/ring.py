"""The ring: the one buffer between the source's thread and the threads behind it, bounded by bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from ..core.block import Block
from ..core.grid import GRID_FRAMES
from ..core.spec import Spec
from ..edges.source import Gap


class Ring:
    """Blocks by reference, each reader with its own cursor; what every reader has passed is let go.

    `put` waits while the ring is full: the source's own edge decides what waiting means. `take` gives a reader up to
    32 waiting frames as one block that ends at a multiple of 32 of the frame index, so that accumulating kernels see
    whole grid cells. A block that already is one passes by reference; smaller ones are copied together once.
    """

    def __init__(self, spec: Spec, max_bytes: int, readers: Sequence[str]) -> None:
        self.max_bytes = max(max_bytes, 2 * GRID_FRAMES * spec.frame_nbytes)
        self.backlog = self.peak_backlog = 0
        self._items: deque[Block | Gap] = deque()
        self._first = 0  # number of the oldest item held
        self._next = dict.fromkeys(readers, 0)  # number of each reader's next item
        self._offset = dict.fromkeys(readers, 0)  # frames of that item already taken
        self._scratch = np.empty((GRID_FRAMES, *spec.shape), spec.dtype)
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Block | Gap) -> bool:
        """Append a block or gap, waiting for room. Returns False if the ring was closed meanwhile."""
        size = _nbytes(item)
        with self._changed:
            while self.backlog and self.backlog + size > self.max_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self.backlog += size
            self.peak_backlog = max(self.peak_backlog, self.backlog)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """No more items; readers still get what waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drop_reader(self, reader: str) -> None:
        """Stop keeping items for a reader that has given up."""
        with self._changed:
            del self._next[reader]
            self._let_go()

    def take(self, reader: str, max_frames: int = GRID_FRAMES) -> Block | Gap | None:
        """Return the next block or gap, waiting for one; None at the end. Valid until the next call."""
        with self._changed:
            head = self._wait_for_head(reader)
            if head is None or isinstance(head, Gap):
                if head is not None:
                    self._advance(reader)
                return head
            pieces = self._pieces(reader, max_frames)
        if len(pieces) == 1:
            return pieces[0]
        frames = 0
        for piece in pieces:
            self._scratch[frames : frames + len(piece)] = piece.pixels
            frames += len(piece)
        times = np.concatenate([piece.times_ns for piece in pieces])
        return Block(pieces[0].index, times, self._scratch[:frames], pieces[0].channel)

    def take_all(self, reader: str) -> list[Block | Gap]:
        """Return every waiting item as it came, waiting for one; empty at the end."""
        with self._changed:
            if self._wait_for_head(reader) is None:
                return []
            items = [self._items[n] for n in range(self._next[reader] - self._first, len(self._items))]
            self._next[reader] += len(items)
            return items

    def _wait_for_head(self, reader: str) -> Block | Gap | None:
        self._let_go()
        while True:
            at = self._next[reader] - self._first
            if at < len(self._items):
                return self._items[at]
            if self._closed:
                return None
            self._changed.wait()

    def _pieces(self, reader: str, max_frames: int) -> list[Block]:
        """The reader's next consecutive frames, up to the next multiple of 32 of the index."""
        head = self._items[self._next[reader] - self._first]
        assert isinstance(head, Block)
        start = head.index + self._offset[reader]
        stop = min(start + max_frames, (start // GRID_FRAMES + 1) * GRID_FRAMES)
        pieces: list[Block] = []
        while start < stop and (at := self._next[reader] - self._first) < len(self._items):
            item = self._items[at]
            if not isinstance(item, Block) or not item.index <= start < item.stop:
                break
            pieces.append(item.cut(start, stop))
            start = pieces[-1].stop
            self._offset[reader] = start - item.index
            if start == item.stop:
                self._advance(reader)
        return pieces

    def _advance(self, reader: str) -> None:
        self._next[reader] += 1
        self._offset[reader] = 0

    def _let_go(self) -> None:
        """Drop items every reader has passed; called when a reader asks for more, so what it holds stays counted."""
        oldest = min(self._next.values(), default=self._first + len(self._items))
        while self._first < oldest:
            self.backlog -= _nbytes(self._items.popleft())
            self._first += 1
        self._changed.notify_all()


def _nbytes(item: Block | Gap) -> int:
    return item.pixels.nbytes if isinstance(item, Block) else 0
