"""The ring: the one buffer between the source's thread and the threads behind it, bounded by bytes."""

from __future__ import annotations

import math
import mmap
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError
from ..core.grid import GRID_FRAMES
from ..core.plane import ONE_PLANE
from ..core.source import Gap
from ..core.spec import Spec
from .lane import MANY, Lane, Run

_BY_REFERENCE_FRAMES = 8  # blocks of so many frames are kept as they are; smaller ones are gathered
WAITING_S = 1.0
PLANES_BYTES = 512 << 20  # at least, where there are several planes: twice what a file gives of all of them at once
STALL_FRAMES, STALL_SHARE = (
    64,
    0.6,
)  # so far one plane may be ahead of another that it waits for, in frames, of the room
_GATHER_S = 0.004  # how long a reader that fell behind waits for the rest of a cell


class RingBuffer:
    """Frames on their way to several readers, each with its own cursor; what every reader has passed is let go.

    `put` waits while the ring is full, and calls `waiting` each second: the source's own edge decides what waiting
    means. Frames that come singly are copied into slabs of 32, one per cell of the frame index's grid, which are used
    again, the last one freed first: the source's own memory is free at once, and a backlog is handed on as whole cells
    without another copy. (Keeping the messages themselves was 10 % slower with `moments` behind it.) Larger blocks pass
    by reference.

    A reader that keeps up gets each frame at once. One that last found several waiting gives the cell 4 ms to fill:
    fewer wake-ups, and whole cells for the kernels, just when there is no time to lose.

    Each plane has a lane of its own. `take` hands on the planes evenly, and of a plane that `follows` others no frame
    before theirs of that index; if those stay away for 64 frames, it goes on without them. `take_all` gives frames in
    the order in which they came.
    """

    def __init__(
        self,
        spec: Spec,
        max_bytes: int,
        readers: Sequence[str],
        waiting: Callable[[], None] = lambda: None,
        follows: Mapping[str, Collection[str]] | None = None,
        pin: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        """`pin` is told of each slab, where a card reads them."""
        self._waiting, self._pin = waiting, pin
        self._dtype, self._frame_nbytes = np.dtype(spec.dtype), spec.frame_nbytes
        planes = len(spec.plane_names)
        self._lanes = {name: Lane(readers) for name in spec.plane_names}
        self._only = self._lanes.get(ONE_PLANE)
        self._follows = follows or {}
        if self._only is not None:
            self.max_bytes = max(max_bytes, 4 * GRID_FRAMES * spec.frame_nbytes)
        else:
            self.max_bytes = max(max_bytes, PLANES_BYTES, 4 * planes * spec.frame_nbytes)
        room = self.max_bytes // (planes * spec.frame_nbytes)  # frames of each plane
        self._stall_frames = max(1, min(STALL_FRAMES, int(STALL_SHARE * room)))
        self._slab_shape = (min(GRID_FRAMES, 1 << (room // 4).bit_length() - 1), *spec.shape)
        self.backlog = self.peak_backlog = 0
        self._began = False
        self._puts = 0
        self._arrived_ns = dict.fromkeys(readers, 0)  # when what a reader took last had arrived
        self._behind = dict.fromkeys(readers, False)  # whether it fell behind
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
        """Append a block or gap, waiting for room. Returns False if the ring was closed meanwhile.

        Raises FrameError for a plane that the stream does not list.
        """
        lane = self._lane(item)
        self._puts += 1
        if isinstance(item, Gap):
            nothing = np.empty(0, np.int64)
            return self._append(lane, Run(item.first, None, nothing, "", 0, 0, nothing, self._order(1), gap=item))
        if len(item) >= _BY_REFERENCE_FRAMES:
            now = np.full(len(item), time.monotonic_ns())
            order = self._order(len(item))
            run = Run(item.index, item.pixels, item.times_ns, item.channel, item.z, len(item), now, order)
            run.user, run.nbytes = item.user, item.nbytes
            return self._append(lane, run)
        start, cell = item.index, self._slab_shape[0]
        while start < item.stop:
            part = item.cut(start, (start // cell + 1) * cell)
            if not self._gather(lane, part):
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
            del self._behind[reader]
            for lane in self._lanes.values():
                lane.drop_reader(reader)
            self._let_go()

    def pass_over(self, reader: str, reason: str) -> list[Gap]:
        """Keep what waits for a reader no longer, and return the gaps in it, its frames as gaps of that reason."""
        with self._frames:
            if reader not in self._behind:
                return []  # it has given up
            passed = [(run, name) for name, lane in self._lanes.items() for run in lane.pass_over(reader)]
            self._let_go()
        return [run.gap or Gap(run.index, run.count, reason, name) for run, name in passed if run.gap or run.count]

    def take(self, reader: str, max_frames: int = GRID_FRAMES, wait_s: float | None = None) -> Block | Gap | None:
        """Return the next gap, or up to `max_frames` waiting frames as a block, waiting for one; None at the end, or
        if none came within `wait_s`.

        A block ends at a multiple of 32 of the frame index at the latest. It is valid until the reader's next call.
        """
        with self._frames:
            chosen = self._wait(reader, self._next_evenly, wait_s)
            return None if chosen is None else self._cut(reader, chosen[0], max_frames, stop=chosen[1])

    def take_more(self, reader: str) -> tuple[Block, int, int] | None:
        """Return the next cell of 32 frames, if it waits whole, when its last frame had arrived, and the number to let
        go with of what a reader took before; None of several planes. It is valid until the next `take`."""
        with self._frames:
            if self._only is None or (run := self._only.next(reader)) is None or run.gap is not None:
                return None
            if self._only.left(reader) < GRID_FRAMES:
                return None
            at = self._only.at(reader)
            item, self._arrived_ns[reader] = self._only.cut(reader, GRID_FRAMES)
            assert isinstance(item, Block)
            return item, self._arrived_ns[reader], at

    def let_go_before(self, reader: str, number: int) -> None:
        """A reader looks no longer at what it took before what `take_more` gave with this number."""
        with self._frames:
            if self._only is not None and reader in self._behind:
                self._only.release_before(reader, number)
                self._let_go()

    def over(self, reader: str) -> bool:
        """Whether nothing is left for a reader, and nothing will come."""
        with self._frames:
            return self._closed and not any(lane.next(reader) for lane in self._lanes.values())

    def waiting(self, reader: str) -> int:
        """Return how many frames a reader has not taken yet; 0 for one that has given up."""
        with self._frames:
            return sum(lane.waiting(reader) for lane in self._lanes.values()) if reader in self._behind else 0

    def arrived_ns(self, reader: str) -> int:
        """When the last frame of what a reader took last had arrived, by the monotonic clock."""
        return self._arrived_ns[reader]

    def take_all(self, reader: str) -> list[Block | Gap]:
        """Return everything that waits in the order it came in, waiting for something; empty at the end.

        Valid until the next call.
        """
        with self._frames:
            items: list[Block | Gap] = []
            chosen = self._wait(reader, self._next_in_order)
            while chosen is not None:
                items.append(self._cut(reader, chosen[0], MANY, order=chosen[1]))
                chosen = self._next_in_order(reader)
            return items

    def _lane(self, item: Block | Gap) -> Lane:
        if self._only is not None:
            return self._only
        if item.plane not in self._lanes:
            raise FrameError(f"a frame of plane {item.plane!r}; the stream lists {', '.join(self._lanes)}")
        return self._lanes[item.plane]

    def _order(self, frames: int) -> np.ndarray:
        return np.full(frames, self._puts)

    def _append(self, lane: Lane, run: Run) -> bool:
        with self._frames:
            if not self._wait_for_room(run.nbytes):
                return False
            self._begin(run.index)
            lane.append(run)
            self._frames.notify_all()
            return True

    def _gather(self, lane: Lane, part: Block) -> bool:
        """Copy frames of one grid cell into the last slab, or a new one."""
        cell = self._slab_shape[0]
        with self._frames:
            run = lane.last
            if run is None or not run.slab or run.index + run.count != part.index or part.index % cell == 0:
                if not self._wait_for_room(cell * self._frame_nbytes):
                    return False
                self._begin(part.index)
                slab = self._slabs.pop() if self._slabs else self._new_slab()
                times_ns, arrived_ns, order = np.empty((3, cell), np.int64)
                run = Run(part.index, slab, times_ns, part.channel, part.z, 0, arrived_ns, order, slab=True)
                run.nbytes = cell * self._frame_nbytes
                lane.append(run)
        # Frames behind `count` are nobody's yet: they are written without holding the lock.
        new = slice(run.count, run.count + len(part))
        run.pixels[new] = part.pixels  # type: ignore[index]
        run.times_ns[new] = part.times_ns
        run.arrived_ns[new] = time.monotonic_ns()
        run.order[new] = self._puts
        if part.user:
            run.user = {**run.user, **part.user}
        with self._frames:
            run.count += len(part)
            self._count_in(run, part.nbytes - part.pixels.nbytes)
            if self._eager or part.stop % cell == 0:
                self._frames.notify_all()
            return not self._closed

    def _new_slab(self) -> np.ndarray:
        slab = _slab(self._slab_shape, self._dtype)
        if self._pin is not None:
            self._pin(slab)
        return slab

    def _count_in(self, run: Run, nbytes: int) -> None:
        """A run holds more than it was given room for; the next one waits for it."""
        run.nbytes += nbytes
        self.backlog += nbytes

    def _begin(self, index: int) -> None:
        if not self._began:
            self._began = True
            for lane in self._lanes.values():
                lane.begin(index)

    def _wait_for_room(self, nbytes: int) -> bool:
        while self.backlog and self.backlog + nbytes > self.max_bytes and not self._closed:
            if not self._room.wait(WAITING_S):
                self._waiting()
        if not self._closed:
            self.backlog += nbytes
            self.peak_backlog = max(self.peak_backlog, self.backlog)
        return not self._closed

    def _wait(
        self, reader: str, choose: Callable[[str], tuple[Lane, int] | None], wait_s: float | None = None
    ) -> tuple[Lane, int] | None:
        """The lane that a reader takes from next, and up to where; what it took before is let go."""
        for lane in self._lanes.values():
            lane.release(reader)
        self._let_go()
        if self._behind[reader] and not (self._closed or any(lane.has_cell(reader) for lane in self._lanes.values())):
            self._frames.wait(_GATHER_S)
        self._eager += 1
        while (chosen := choose(reader)) is None and not self._closed:
            if not self._frames.wait(wait_s):
                break
        self._eager -= 1
        return chosen

    def _next_evenly(self, reader: str) -> tuple[Lane, int] | None:
        """The lane whose next frame has the lowest index, of those that need not wait for another; before which index
        it must stop."""
        if self._only is not None:
            return (self._only, MANY) if self._only.next(reader) else None
        chosen: tuple[int, Lane, int] | None = None
        for name, lane in self._lanes.items():
            if lane.next(reader) is None:
                continue
            position, stop = lane.position(reader), self._stop(reader, name)
            if position < stop and (chosen is None or position < chosen[0]):
                chosen = position, lane, stop
        return chosen[1:] if chosen else None

    def _stop(self, reader: str, name: str) -> int:
        """Before which index a plane must stop, for the ones that it follows to be ahead of it."""
        stop = MANY
        for leader in self._follows.get(name, ()):
            lane = self._lanes[leader]
            missing = lane.next(reader) is None
            stalled = self._lanes[name].reach(reader) - lane.position(reader) > self._stall_frames
            if not (missing and (self._closed or stalled)):
                stop = min(stop, lane.position(reader))
        return stop

    def _next_in_order(self, reader: str) -> tuple[Lane, int] | None:
        """The lane whose next frame came first, and the put that brought the next frame of another lane."""
        if self._only is not None:
            return (self._only, MANY) if self._only.next(reader) else None
        waiting = sorted((lane.order(reader), n) for n, lane in enumerate(self._lanes.values()) if lane.next(reader))
        if not waiting:
            return None
        following = waiting[1][0] if len(waiting) > 1 else MANY
        return list(self._lanes.values())[waiting[0][1]], following

    def _cut(self, reader: str, lane: Lane, max_frames: int, stop: int = MANY, order: int = MANY) -> Block | Gap:
        item, arrived_ns = lane.cut(reader, max_frames, stop, order)
        if isinstance(item, Block):
            self._behind[reader], self._arrived_ns[reader] = len(item) > 1, arrived_ns
        return item

    def _let_go(self) -> None:
        """Drop runs every reader has passed; called when a reader asks for more, so what it holds stays counted."""
        for lane in self._lanes.values():
            for run in lane.let_go():
                if run.pixels is not None:
                    self.backlog -= run.nbytes
                    if run.slab and len(self._slabs) < len(self._lanes):  # what a backlog took beyond is given back
                        self._slabs.append(run.pixels)
                    self._room.notify_all()


def _slab(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray:
    """Memory mapped for itself: from malloc, what a backlog took was not given back, 17 MB a slab of 512 × 512.

    In large pages where the system has them: one is touched first in .9 ms instead of 11.6.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    else:
        memory = mmap.mmap(-1, nbytes)
    return np.frombuffer(memory, dtype).reshape(shape)
