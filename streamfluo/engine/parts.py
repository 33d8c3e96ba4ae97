"""The parts of a run that its threads share, and where the run stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.block import Block
from ..core.plane import ONE_PLANE
from ..core.source import Gap, Source
from ..core.step_values import StepValues
from ..session.checkpoint import Checkpoint
from ..session.health import Latency
from ..session.recording import Recording
from ..session.step_frames import StepFrames
from ..session.writer import SessionWriter
from .accounting import Accounts
from .acting import Acting
from .asked import Asked
from .byte_queue import ByteQueue
from .chain import Chain
from .config import Config
from .found import Found
from .listening import Listening
from .publisher import Publisher
from .ring_buffer import RingBuffer
from .shown_inputs import ShownInputs
from .told_before import ToldBefore


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


class Arriving:
    """Which frames have come, and whether they are taken or, while it pauses, passed by.

    One lock, so that a pause begins between two frames whose numbers are known.
    """

    def __init__(self, planes: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._reached = dict.fromkeys(planes, 0)
        self._goes_on = threading.Event()
        self._goes_on.set()

    @property
    def paused(self) -> bool:
        """Whether frames are passed by."""
        return not self._goes_on.is_set()

    @property
    def next_index(self) -> int:
        """The frame that comes next, of the plane that is furthest ahead."""
        with self._lock:
            return max(self._reached.values())

    def pause(self) -> int:
        """Take no more frames; returns the first one that is not taken."""
        with self._lock:
            self._goes_on.clear()
            return max(self._reached.values())

    def resume(self) -> int:
        """Take frames again; returns the first one that is taken."""
        with self._lock:
            self._goes_on.set()
            return max(self._reached.values())

    def came(self, plane: str, stop: int) -> bool:
        """Frames before `stop` came of a plane; returns whether they are taken."""
        with self._lock:
            self._reached[plane] = stop
            return self._goes_on.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it goes on; returns whether it does."""
        return self._goes_on.wait(timeout_s)


@dataclass
class Stopping:
    """How a run is told to end. `state`: how it will have ended, None while it goes on. `leave`: nobody needs to wait
    for its return. `abandoned`: the chain takes no more of the frames that wait."""

    state: str | None = None
    leave: bool = True
    abandoned: threading.Event = field(default_factory=threading.Event)


@dataclass
class Parts:
    """What the threads of a run share; each part has one thread that writes to it. None: the run does without.

    `do_asked` does what was `asked` of the chain's thread.
    """

    source: Source
    config: Config
    chain: Chain
    ring: RingBuffer
    values: ByteQueue[StepValues | StepFrames | Checkpoint | Handed]
    accounts: Accounts
    position: Position
    stopping: Stopping
    arriving: Arriving
    asked: Asked
    max_frames: int | None = None
    session: SessionWriter | None = None
    recording: Recording | None = None
    publisher: Publisher | None = None
    acting: Acting | None = None
    listening: Listening | None = None
    told_before: ToldBefore = field(default_factory=ToldBefore)
    shown_inputs: ShownInputs | None = None
    latency: Latency = field(default_factory=Latency)
    found: Found = field(init=False)
    do_asked: Callable[[], None] = lambda: None
    began_s: float | None = None
    chain_ended_s: float | None = None
    kept: Checkpoint | None = None  # the chain's last one, where a card may be lost
    blocked: dict[str, str] = field(default_factory=dict)  # calls to the disk that do not come back, in words

    def __post_init__(self) -> None:
        self.found = Found((step.id, step.operator.counted) for step in self.chain.steps)

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

    def commit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Have the session note events before anything comes of them, then tell viewers. Raises OSError."""
        if self.session is not None:
            self.session.commit(events)
        if self.publisher is not None:
            for event in events:
                self.publisher.event(event)

    def plane(self, item: Block | Gap) -> str:
        """Return the plane that frames are of, or missing of."""
        return item.plane if self.chain.spec.planes else ONE_PLANE

    def tell_gap(self, gap: Gap) -> None:
        """Let session and viewers know of frames that never came."""
        of = {"plane": gap.plane} if gap.plane else {}
        self.tell({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason, **of})
