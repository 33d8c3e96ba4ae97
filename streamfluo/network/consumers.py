"""Who takes frames of a data endpoint: how far each one is, and how much may wait for it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import zmq

from ..core import wire
from ..core.header import Buffer
from .compressed import Packing
from .connections import NOBODY
from .frames import Frames
from .slabs import CACHED_BYTES, LEAST_FRAME_BYTES, LEAST_SLABS, SlabWriter

IN_FLIGHT_BYTES = 64 << 20  # to one consumer
BUDGET_BYTES = 256 << 20  # to all of them
LEAST_FRAMES = 2  # a series' start and calibration go the same way
MAX_FRAMES = 1000  # however small they are
_MARKS = 8  # in a consumer's share
PAUSE_S, WAIT_S = 0.05, 0.005  # 16 MiB are read in 3 ms; credit comes in between
_REST_S, _LONGEST_REST_S = 0.01, 0.64

Part = Buffer | np.ndarray
log = logging.getLogger("streamfluo")


@dataclass
class Consumer:
    """One subscriber: the next seq it gets, how many frames it can take, how far its end has come."""

    cursor: int
    credit: int
    heard_at: float
    key: str = ""  # of who subscribed: nobody else's, under whatever identity, goes on with it
    descriptor: int = NOBODY  # of its connection
    packing: Packing = field(default_factory=Packing)
    slabs: SlabWriter | None = None  # of a consumer on this machine
    end_sent: bool = False
    end_acknowledged: bool = False
    left: bool = False
    gone: bool = False
    full: bool = False  # it has not read what was sent last
    waits: bool = False  # for it to take frames in shared memory, of which nobody tells
    rests_until: float = 0.0
    _rest_s: float = _REST_S
    _sent: int = 0  # frames given to libzmq, and how many of them certainly went out
    _left: int = 0
    _marks: deque[tuple[int, zmq.MessageTracker]] = field(default_factory=deque)

    def packed(self, image: wire.Image, pixels: np.ndarray, share: int) -> tuple[bytes | zmq.Frame, list[Part]]:
        """Return a frame's header as it is sent, and what follows it: nothing where its pixels are in shared memory."""
        if self.slabs is not None and self.slabs.attached:
            self.slabs.forget_name()
            if (slab := self.slabs.put(image, pixels)) is not None:
                return wire.encode(slab), []
        image, part = self.packing.packed(image, pixels)
        return self.header(wire.encode(image), share), [part]

    @property
    def done(self) -> bool:
        """Whether it waits for nothing any more."""
        return self.end_acknowledged or self.left

    def let_go(self, unless_used: bool = False) -> None:
        """Give back the memory that it shares; `unless_used`: if it has not come for it."""
        if self.slabs is not None and (not unless_used or self.slabs.given_up):
            self.slabs.close()
            self.slabs = None

    def room(self, share: int, now: float, keeps: bool = False) -> int:
        """Return how many more frames may wait for it here; where there is room for none it rests.

        If the server `keeps` its frames for later they wait for a free slab, of few that stay in a cache.

        libzmq does not tell how many wait; it tells when it is done with a message, and messages go in order. To set
        its high-water mark anew is no way: on a socket whose connections come and go it writes to freed memory (4.3.5).
        """
        while self._marks and self._marks[0][1].done:
            self._left = self._marks.popleft()[0]
        room = max(0, share - (self._sent - self._left))
        if room and keeps and self.slabs is not None and self.slabs.attached:
            free = self.slabs.free
            self.waits = not free
            return min(room, free)
        if not room:
            self.served(now, False)
        return room

    def header(self, header: bytes, share: int) -> bytes | zmq.Frame:
        """Return the next frame's header as it is sent: now and then one that tells when it went out."""
        last = self._marks[-1][0] if self._marks else self._left
        return zmq.Frame(header, track=True, copy=False) if self._sent + 1 - last >= max(1, share // _MARKS) else header

    def sent(self, header: bytes | zmq.Frame) -> None:
        """Note that a frame with this header was sent."""
        self._sent += 1
        if isinstance(header, zmq.Frame) and header.tracker is not None:
            self._marks.append((self._sent, header.tracker))

    def served(self, now: float, sent: bool) -> None:
        """Note whether there was room for what it was sent: who does not read is asked ever less often, since each
        frame it might take is read from disk again."""
        self.full = not sent
        if sent:
            self._rest_s = _REST_S
        else:
            self.rests_until = now + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)


class Consumers(dict[bytes, Consumer]):
    """Those of a data endpoint, by their identities."""

    def heard_since(self, then: float) -> int:
        """Return how many were heard of since."""
        return sum(consumer.heard_at > then for consumer in self.values())

    def longest_pause_s(self) -> float:
        """Return how long to wait for a message, at most."""
        return WAIT_S if any(c.waits and c.credit and c.slabs for c in self.values()) else PAUSE_S

    def pending(self) -> bool:
        """Whether one, present or lately gone, has not acknowledged the end."""
        return any(not consumer.done for consumer in self.values())

    def make_room(self, places: int, then: float) -> Consumer | None:
        """Where all places are taken forget the one silent for longest, if that is since `then`; returns it."""
        if len(self) < places:
            return None
        identity, oldest = min(self.items(), key=lambda item: item[1].heard_at)
        if oldest.heard_at <= then:
            self.forget(identity)
            return oldest
        return None

    def forget(self, *identities: bytes) -> None:
        """Let go of these, and of the memory that they share."""
        for identity in identities:
            if consumer := self.pop(identity, None):
                consumer.let_go()


def shared_memory(consumer: Consumer, others: Consumers, frames: Frames) -> str:
    """Return the name of memory that a consumer may share, "" where that is not worth it or `others` leave no room in
    the budget.

    It holds as much as may be under way, so that live frames are lost no earlier than in messages; of a recording,
    whose frames wait, what stays in a cache.
    """
    nbytes, frame_nbytes = IN_FLIGHT_BYTES if frames.paced else CACHED_BYTES, frames.spec.frame_nbytes
    shared = sum(other.slabs.nbytes for other in others.values() if other.slabs is not None)
    if frame_nbytes < LEAST_FRAME_BYTES or shared + max(nbytes, LEAST_SLABS * frame_nbytes) > BUDGET_BYTES:
        return ""
    try:
        consumer.slabs = SlabWriter(frame_nbytes, nbytes)
    except OSError as error:
        log.warning("shared memory: %s; frames to this consumer travel in messages", error.strerror or error)
        return ""
    return consumer.slabs.ring


def fair_share(consumers: Iterable[Consumer], frame_nbytes: int) -> int:
    """Return how many frames may wait for each consumer, so that all of them together keep to the budget."""
    present = sum(not (c.gone or c.left) for c in consumers)
    nbytes = min(IN_FLIGHT_BYTES, BUDGET_BYTES // max(1, present))
    return max(LEAST_FRAMES, min(MAX_FRAMES, nbytes // frame_nbytes))


def places(frame_nbytes: int, at_most: int) -> int:
    """Return how many consumers the budget has room for."""
    return max(1, min(at_most, BUDGET_BYTES // (LEAST_FRAMES * frame_nbytes)))
