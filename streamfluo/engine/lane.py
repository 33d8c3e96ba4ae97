"""A lane of the ring: the frames of one plane on their way to several readers.

Belongs to the ring, under whose lock all of it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.block import NO_USER, Block
from ..core.grid import GRID_FRAMES
from ..core.source import Gap

MANY = 1 << 62


@dataclass
class Run:
    """Consecutive frames in one array: a block as it came, or a slab that still fills. A gap has no pixels.

    Of each frame `arrived_ns` says when it came (monotonic clock), `order` the number of the put that brought it.
    """

    index: int
    pixels: np.ndarray | None
    times_ns: np.ndarray
    channel: str
    z: int
    count: int
    arrived_ns: np.ndarray
    order: np.ndarray
    slab: bool = False
    gap: Gap | None = None
    user: Mapping[int, Mapping[str, Any]] = field(default_factory=lambda: NO_USER)
    nbytes: int = 0  # held for it

    @property
    def filling(self) -> bool:
        """Whether frames of its grid cell may still be added, if it is the last run."""
        assert self.pixels is not None
        return self.slab and (self.count == 0 or (self.index + self.count) % len(self.pixels) != 0)

    @property
    def size(self) -> int:
        """How many frames may be taken of it; of a gap one, the gap."""
        return 1 if self.gap else self.count


@dataclass
class _Cursor:
    """Where a reader stands: its next frames' run and how many of it were taken; the oldest run it still looks at;
    the index of the next frame, once the ring has had one."""

    run: int = 0
    taken: int = 0
    held: int = 0
    position: int = 0


class Lane:
    """The runs of one plane, and where each reader stands in them."""

    def __init__(self, readers: Iterable[str]) -> None:
        self._runs: deque[Run] = deque()
        self._first = 0  # number of the oldest run held
        self._cursors = {reader: _Cursor() for reader in readers}

    @property
    def last(self) -> Run | None:
        """The newest run."""
        return self._runs[-1] if self._runs else None

    def append(self, run: Run) -> None:
        """Take a run behind the others."""
        self._runs.append(run)

    def begin(self, index: int) -> None:
        """The first frame that came, of whatever plane, has this index."""
        for cursor in self._cursors.values():
            cursor.position = index

    def next(self, reader: str) -> Run | None:
        """Return the run with a reader's next frames, None while there are none."""
        cursor = self._cursors[reader]
        while (at := cursor.run - self._first) < len(self._runs):
            run = self._runs[at]
            if cursor.taken < run.size:
                return run
            if run.gap is None and run.filling and at + 1 == len(self._runs):
                return None
            cursor.run, cursor.taken = cursor.run + 1, 0
        return None

    def position(self, reader: str) -> int:
        """Return the index of a reader's next frame, or one past the last that it took."""
        run, cursor = self.next(reader), self._cursors[reader]
        return cursor.position if run is None else run.index + cursor.taken

    def reach(self, reader: str) -> int:
        """Return one past the index of the last frame that waits for a reader."""
        run = self.last
        return self.position(reader) if run is None else run.index + (run.gap.count if run.gap else run.count)

    def order(self, reader: str) -> int:
        """Return the number of the put that brought a reader's next frame; a large one while there is none."""
        run = self.next(reader)
        return MANY if run is None else int(run.order[self._cursors[reader].taken])

    def has_cell(self, reader: str) -> bool:
        """Whether a reader's next frames reach the end of their grid cell or of their run."""
        run = self.next(reader)
        return run is not None and not (run.gap is None and run.filling and run is self._runs[-1])

    def at(self, reader: str) -> int:
        """Return the number of the run that a reader is at."""
        return self._cursors[reader].run

    def release_before(self, reader: str, number: int) -> None:
        """A reader looks no longer at runs before that of this number."""
        cursor = self._cursors[reader]
        cursor.held = max(cursor.held, number)

    def left(self, reader: str) -> int:
        """Return how many frames a reader has not taken of the run that it is at."""
        run = self.next(reader)
        return 0 if run is None else run.size - self._cursors[reader].taken

    def waiting(self, reader: str) -> int:
        """Return how many frames a reader has not taken yet."""
        cursor = self._cursors[reader]
        behind = list(self._runs)[cursor.run - self._first :]
        return max(0, sum(run.count for run in behind) - cursor.taken)

    def cut(self, reader: str, max_frames: int, stop: int = MANY, order: int = MANY) -> tuple[Block | Gap, int]:
        """Return a reader's next frames and when the last of them arrived, or its next gap.

        At most `max_frames`, before index `stop`, that came before the put `order`, and to the end of their cell.
        """
        cursor, run = self._cursors[reader], self.next(reader)
        assert run is not None  # the ring chose it because it has something
        if run.gap is not None:
            cursor.taken, cursor.position = 1, run.gap.first + run.gap.count
            return run.gap, 0
        first = run.index + cursor.taken
        stop = min(stop, first + max_frames, run.index + run.count, (first // GRID_FRAMES + 1) * GRID_FRAMES)
        frames = slice(cursor.taken, cursor.taken + stop - first)
        if run.order[frames.stop - 1] >= order:
            frames = slice(frames.start, int(np.searchsorted(run.order[: frames.stop], order)))
        cursor.taken, cursor.position = frames.stop, run.index + frames.stop
        assert run.pixels is not None
        said, numbers = run.user, range(first, run.index + frames.stop)
        user = {n: said[n] for n in numbers if n in said} if said else NO_USER
        block = Block(first, run.times_ns[frames], run.pixels[frames], run.channel, run.z, user)
        return block, int(run.arrived_ns[frames.stop - 1])

    def release(self, reader: str) -> None:
        """A reader looks no longer at what it took."""
        self.next(reader)
        cursor = self._cursors[reader]
        cursor.held = cursor.run

    def pass_over(self, reader: str) -> list[Run]:
        """Let a reader go on behind all that came, and return what it has not taken; its runs are nobody's any more.

        What it took last stays as it is for as long as it looks at it: no slab of those is filled again. The last run
        may still be filled; the reader stays at it.
        """
        cursor = self._cursors[reader]
        passed: list[Run] = []
        for at in range(cursor.held - self._first, len(self._runs)):
            run = self._runs[at]
            run.slab = run.slab and at + 1 == len(self._runs) and run.filling
        while (following := self.next(reader)) is not None:
            run = following
            passed.append(replace(run, index=run.index + cursor.taken, count=run.count - cursor.taken, pixels=None))
            cursor.position = run.index + run.count if run.gap is None else run.gap.first + run.gap.count
            cursor.taken = run.size
        cursor.held = cursor.run
        return passed

    def drop_reader(self, reader: str) -> None:
        """Keep no more frames for a reader."""
        del self._cursors[reader]

    def let_go(self) -> Iterable[Run]:
        """Drop the runs that every reader has passed, and give them back."""
        oldest = min((c.held for c in self._cursors.values()), default=self._first + len(self._runs))
        while self._first < oldest:
            self._first += 1
            yield self._runs.popleft()
