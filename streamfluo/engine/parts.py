"""The parts of a run that its threads share, and where the run stands."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.block import Block
from ..core.plane import ONE_PLANE
from ..core.source import Gap, Source
from ..core.step_values import StepValues
from ..session.checkpoint import Checkpoint
from ..session.recording import Recording
from ..session.writer import SessionWriter
from .accounting import Accounts
from .byte_queue import ByteQueue
from .chain import Chain
from .config import Config
from .publisher import Publisher
from .ring_buffer import RingBuffer


class Handed(NamedTuple):
    """In the queue of values: what the frames of a plane before this index gave stands before it."""

    plane: str
    next_index: int


class Position:
    """Where a run stands in each plane, in frame indices.

    `reached`: the first frame that the chain has not seen. `resumed_at`: the first one that the session did not hold
    when the run began. `written`: every frame before it is where it shall stay. Each has its own writer.
    """

    def __init__(self, planes: Sequence[str]) -> None:
        self.reached = dict.fromkeys(planes, 0)
        self.resumed_at = dict.fromkeys(planes, 0)
        self.written = dict.fromkeys(planes, 0)

    @property
    def next_index(self) -> int:
        """The first frame that the chain has not seen, of the plane that is furthest behind."""
        return min(self.reached.values())

    @property
    def resumes(self) -> bool:
        """Whether the session held frames when the run began."""
        return any(self.resumed_at.values())


@dataclass
class Stopping:
    """How a run is told to end. `state`: how it will have ended, None while it goes on. `abandoned`: the chain takes
    no more of the frames that wait."""

    state: str | None = None
    abandoned: threading.Event = field(default_factory=threading.Event)


@dataclass
class Parts:
    """What the threads of a run share; each part has one thread that writes to it. None: the run does without."""

    source: Source
    config: Config
    chain: Chain
    ring: RingBuffer
    values: ByteQueue[StepValues | Checkpoint | Handed]
    accounts: Accounts
    position: Position
    stopping: Stopping
    max_frames: int | None = None
    session: SessionWriter | None = None
    recording: Recording | None = None
    publisher: Publisher | None = None
    began_s: float | None = None
    chain_ended_s: float | None = None
    blocked: dict[str, str] = field(default_factory=dict)  # calls to the disk that do not come back, in words

    @property
    def has_journal(self) -> bool:
        """Whether raw frames are recorded."""
        return self.session is not None and self.session.journal is not None

    def tell(self, event: Mapping[str, Any]) -> None:
        """Let session and viewers know what happened. Callable from any thread."""
        if self.session is not None:
            self.session.event(event)
        if self.publisher is not None:
            self.publisher.event(event)

    def plane(self, item: Block | Gap) -> str:
        """Return the plane that frames are of, or missing of."""
        return item.plane if self.chain.spec.planes else ONE_PLANE

    def tell_gap(self, gap: Gap) -> None:
        """Let session and viewers know of frames that never came."""
        of = {"plane": gap.plane} if gap.plane else {}
        self.tell({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason, **of})
