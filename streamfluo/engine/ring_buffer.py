"""The ring: the one buffer between the source's thread and the threads behind it, bounded by bytes."""

from __future__ import annotations

import math
import mmap
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.block import Block
from ..core.grid import GRID_FRAMES
from ..core.source import Gap
from ..core.spec import Spec

_BY_REFERENCE_FRAMES = 8  # blocks of so many frames are kept as they are; smaller ones are gathered
WAITING_S = 1.0
_SPARE_SLABS = 1  # what a backlog took beyond it is given back to the system
_GATHER_S = 0.004  # how long a reader that fell behind waits for the rest of a cell


@dataclass
class _Run:
    """Consecutive frames in one array: a block as it came, or a slab that still fills. A gap has no pixels.

    `arrived_ns`: when each frame came (UTC epoch).
    """

    index: int
    pixels: np.ndarray | None
    times_ns: np.ndarray
    channel: str
    count: int
    arrived_ns: np.ndarray
    slab: bool = False
    gap: Gap | None = None

    @property
    def filling(self) -> bool:
        """Whether frames of its grid cell may still be added, if it is the last run."""
        return self.slab and (self.count == 0 or (self.index + self.count) % GRID_FRAMES != 0)


@dataclass
class _Cursor:
    """Where a reader stands: its next frames' run and how many of it were taken; the oldest run it still looks at;
    whether it fell behind; when what it took last had arrived."""

    run: int = 0
    taken: int = 0
    held: int = 0
    behind: bool = False
    arrived_ns: int = 0


class RingBuffer:
    """Frames on their way to several readers, each with its own cursor; what every reader has passed is let go.

    `put` waits while the ring is full, and calls `waiting` each second: the source's own edge decides what waiting
    means. Frames that come singly are
    copied into slabs of 32, one per cell of the frame index's grid, which are used again, the last one freed first:
    the source's own memory is free at once, and a backlog is handed on as whole cells without another copy. (Keeping
    the messages themselves was 10 % slower with `moments` behind it.) Larger blocks pass by reference.

    A reader that keeps up gets each frame at once. One that last found several waiting gives the cell 4 ms to fill:
    fewer wake-ups, and whole cells for the kernels, just when there is no time to lose.
    """

    def __init__(
        self, spec: Spec, max_bytes: int, readers: Sequence[str], waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._waiting = waiting
        self._shape, self._dtype = (GRID_FRAMES, *spec.shape), np.dtype(spec.dtype)
        self._frame_nbytes = spec.frame_nbytes
        self.max_bytes = max(max_bytes, 4 * GRID_FRAMES * spec.frame_nbytes)
        self.backlog = self.peak_backlog = 0
        self._runs: deque[_Run] = deque()
        self._first = 0  # number of the oldest run held
        self._cursors = {reader: _Cursor() for reader in readers}
        self._slabs: list[np.ndarray] = []
        self._closed = False
        self._eager = 0  # readers waiting for the very next frame
        lock = threading.Lock()
        self._frames, self._room = threading.Condition(lock), threading.Condition(lock)

    @property
    def full(self) -> bool:
        """Whether less than a tenth is free."""
        return self.backlog > 0.9 * self.max_bytes

    def put(self, item: Block | Gap) -> bool:
        """Append a block or gap, waiting for room. Returns False if the ring was closed meanwhile."""
        if isinstance(item, Gap):
            nothing = np.empty(0, np.int64)
            return self._append(_Run(item.first, None, nothing, "", 0, nothing, gap=item))
        if len(item) >= _BY_REFERENCE_FRAMES:
            now = np.full(len(item), time.time_ns())
            return self._append(_Run(item.index, item.pixels, item.times_ns, item.channel, len(item), now))
        start = item.index
        while start < item.stop:
            part = item.cut(start, (start // GRID_FRAMES + 1) * GRID_FRAMES)
            if not self._gather(part):
                return False
            start = part.stop
        return True

    def close(self) -> None:
        """No more items; readers still get what waits."""
        with self._frames:
            self._closed = True
            self._frames.notify_all()
            self._room.notify_all()

    def drop_reader(self, reader: str) -> None:
        """Stop keeping frames for a reader that has given up."""
        with self._frames:
            del self._cursors[reader]
            self._let_go()

    def take(self, reader: str, max_frames: int = GRID_FRAMES, wait_s: float | None = None) -> Block | Gap | None:
        """Return the next gap, or up to `max_frames` waiting frames as a block, waiting for one; None at the end, or
        if none came within `wait_s`.

        A block ends at a multiple of 32 of the frame index at the latest. It is valid until the reader's next call.
        """
        with self._frames:
            run = self._wait(reader, wait_s)
            return None if run is None else self._cut(self._cursors[reader], run, max_frames)

    def over(self, reader: str) -> bool:
        """Whether nothing is left for a reader, and nothing will come."""
        with self._frames:
            return self._closed and self._next(self._cursors[reader]) is None

    def waiting(self, reader: str) -> int:
        """Return how many frames a reader has not taken yet; 0 for one that has given up."""
        with self._frames:
            if (cursor := self._cursors.get(reader)) is None:
                return 0
            behind = list(self._runs)[cursor.run - self._first :]
            return max(0, sum(run.count for run in behind) - cursor.taken)

    def arrived_ns(self, reader: str) -> int:
        """When the last frame of what a reader took last had arrived (UTC epoch)."""
        return self._cursors[reader].arrived_ns

    def take_all(self, reader: str) -> list[Block | Gap]:
        """Return everything that waits, waiting for something; empty at the end. Valid until the next call."""
        with self._frames:
            items: list[Block | Gap] = []
            run = self._wait(reader)
            cursor = self._cursors[reader]
            while run is not None:
                items.append(self._cut(cursor, run, 1 << 30))
                run = self._next(cursor)
            return items

    def _append(self, run: _Run) -> bool:
        nbytes = 0 if run.pixels is None else run.pixels.nbytes
        with self._frames:
            if not self._wait_for_room(nbytes):
                return False
            self._runs.append(run)
            self._frames.notify_all()
            return True

    def _gather(self, part: Block) -> bool:
        """Copy frames of one grid cell into the last slab, or a new one."""
        with self._frames:
            run = self._runs[-1] if self._runs else None
            if run is None or not run.slab or run.index + run.count != part.index or part.index % GRID_FRAMES == 0:
                if not self._wait_for_room(GRID_FRAMES * self._frame_nbytes):
                    return False
                slab = self._slabs.pop() if self._slabs else _slab(self._shape, self._dtype)
                times_ns, arrived_ns = np.empty((2, GRID_FRAMES), np.int64)
                run = _Run(part.index, slab, times_ns, part.channel, 0, arrived_ns, slab=True)
                self._runs.append(run)
        # Frames behind `count` are nobody's yet: they are written without holding the lock.
        run.pixels[run.count : run.count + len(part)] = part.pixels  # type: ignore[index]
        run.times_ns[run.count : run.count + len(part)] = part.times_ns
        run.arrived_ns[run.count : run.count + len(part)] = time.time_ns()
        with self._frames:
            run.count += len(part)
            if self._eager or part.stop % GRID_FRAMES == 0:
                self._frames.notify_all()
            return not self._closed

    def _wait_for_room(self, nbytes: int) -> bool:
        while self.backlog and self.backlog + nbytes > self.max_bytes and not self._closed:
            if not self._room.wait(WAITING_S):
                self._waiting()
        if not self._closed:
            self.backlog += nbytes
            self.peak_backlog = max(self.peak_backlog, self.backlog)
        return not self._closed

    def _wait(self, reader: str, wait_s: float | None = None) -> _Run | None:
        """The run with the reader's next frames; what it took before is let go."""
        cursor = self._cursors[reader]
        self._next(cursor)
        cursor.held = cursor.run
        self._let_go()
        if cursor.behind and not self._has_cell(cursor):
            self._frames.wait(_GATHER_S)
        self._eager += 1
        while (run := self._next(cursor)) is None and not self._closed:
            if not self._frames.wait(wait_s):
                break
        self._eager -= 1
        return run

    def _has_cell(self, cursor: _Cursor) -> bool:
        """Whether a reader's next frames reach the end of their grid cell or of their run."""
        run = self._next(cursor)
        return self._closed or (run is not None and not (run.filling and run is self._runs[-1]))

    def _next(self, cursor: _Cursor) -> _Run | None:
        while (at := cursor.run - self._first) < len(self._runs):
            run = self._runs[at]
            if cursor.taken < (1 if run.gap else run.count):
                return run
            if run.filling and at + 1 == len(self._runs):
                return None
            cursor.run, cursor.taken = cursor.run + 1, 0
        return None

    def _cut(self, cursor: _Cursor, run: _Run, max_frames: int) -> Block | Gap:
        if run.gap is not None:
            cursor.taken = 1
            return run.gap
        start = run.index + cursor.taken
        stop = min(start + max_frames, run.index + run.count, (start // GRID_FRAMES + 1) * GRID_FRAMES)
        frames = slice(cursor.taken, cursor.taken + stop - start)
        cursor.taken = frames.stop
        cursor.behind = stop - start > 1
        cursor.arrived_ns = int(run.arrived_ns[frames.stop - 1])
        return Block(start, run.times_ns[frames], run.pixels[frames], run.channel)  # type: ignore[index]

    def _let_go(self) -> None:
        """Drop runs every reader has passed; called when a reader asks for more, so what it holds stays counted."""
        oldest = min((c.held for c in self._cursors.values()), default=self._first + len(self._runs))
        while self._first < oldest:
            run = self._runs.popleft()
            self._first += 1
            if run.pixels is not None:
                self.backlog -= run.pixels.nbytes
                if run.slab and len(self._slabs) < _SPARE_SLABS:
                    self._slabs.append(run.pixels)
                self._room.notify_all()


def _slab(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray:
    """Memory mapped for itself: from malloc, what a backlog took was not given back, 17 MB a slab of 512 × 512."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)
