"""The parts of a run that its threads share, and where the run stands."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    """In the queue of values: what the frames before this index gave stands before it."""

    next_index: int


@dataclass
class Position:
    """Where a run stands, in frame indices.

    `next_index`: the first frame that the chain has not seen. `resumed_at`: the first one that the session did not hold
    when the run began. `written`: every frame before it is where it shall stay.
    """

    next_index: int = 0
    resumed_at: int = 0
    written: int = 0


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

    def tell_gap(self, gap: Gap) -> None:
        """Let session and viewers know of frames that never came."""
        self.tell({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason})
