"""The results and preview endpoints: XPUB sockets that know what is watched, so that nothing is sent for nobody."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import SourceError
from ..core.operator import Gives
from ..core.plane import ONE_PLANE, in_plane, plane_in
from ..core.records import encode_record
from ..core.wire import SOURCE
from .connections import NOBODY, Connections
from .frames import Frames
from .socket import bind, receive_frames

QUEUE_BYTES = 128 << 20  # what one slow viewer may leave waiting here
MAX_PREVIEWS = 16
PREVIEW_HZ = 30.0  # where no run says another rate
IDLE_S = 30.0  # a preview that nobody watches for so long is closed
SUBSCRIBING_S = 1.0  # who asked for one may still be about to watch it
# Connections: with 256 of the data endpoint 640, of the 1024 files that a process may open on most systems.
MAX_VIEWERS = 128
MAX_VIEWERS_OF_ONE = 16  # preview
MAX_REFUSED = 2000  # subscriptions of one connection to what is not there, 2 MB: libzmq keeps them
MAX_EVENTS = 50
SERIES, HEALTH, EVENTS = "series/", "health/", "event/"
_ROUND_MESSAGES = 10_000

MAX_ASKED = 64  # previews that wait to be opened
ASKED_PATIENCE_S = 5.0

Parts = list[Any]
OpenPreview = Callable[[str, int], Future[str]]


def topics_of(gives: Mapping[str, Mapping[str, Gives]]) -> list[str]:
    """Return the topics of all that steps give, by step and name."""
    topics = [SERIES, HEALTH, EVENTS]
    for step, of in gives.items():
        kinds = {given.kind for given in of.values()}
        topics += [f"values/{step}/"] if kinds & {"per_frame", "by_id", "table"} else []
        topics += [f"snapshot/{step}/{given.name}/" for given in of.values() if given.kind == "snapshot"]
    return topics


def as_told(given: Gives) -> tuple[str, str, tuple[str, ...], str, str]:
    """Return what `hello` says of one thing that a step gives."""
    return given.name, given.kind, given.dims, given.unit, given.meaning


class Subscriptions:
    """What each connection of an XPUB socket is subscribed to: what one takes back stays with the others."""

    def __init__(self, socket: zmq.Socket[bytes], limit: int, refused: Counter[str]) -> None:
        self._socket, self._refused = socket, refused
        self._connections = Connections(socket, limit, refused)
        self._of: dict[int, set[bytes]] = {}
        self._wrong: Counter[int] = Counter()  # how many messages were refused of a connection
        self.changed = False

    def __bool__(self) -> bool:
        return any(self._of.values())

    def prefixes(self) -> set[bytes]:
        """Return the beginnings of topics that somebody is subscribed to."""
        return set().union(*self._of.values())

    def receive(self) -> tuple[int, bytes] | None:
        """Return the next message and whose it is, NOBODY's if that one is gone; None if there is none."""
        parts = receive_frames(self._socket, 1)
        self.turn()  # who left before this came must not take along what it says
        if parts is None:
            return None
        speaker = self._connections.speaker(parts[0])
        return speaker if speaker in self._connections else NOBODY, parts[0].bytes if len(parts) == 1 else b""

    def turn(self) -> None:
        """Forget who left."""
        for gone in self._connections.turn():
            self.changed |= bool(self._of.pop(gone, None))
            del self._wrong[gone]

    def put(self, speaker: int, message: bytes) -> bool:
        """Take a subscription or its end; returns whether anything changed for this connection."""
        mine = self._of.setdefault(speaker, set())
        changed = (message[1:] in mine) != bool(message[0])
        (mine.add if message[0] else mine.discard)(message[1:])
        self.changed |= changed
        return changed

    def refuse(self, speaker: int, rule: str) -> None:
        """Count what breaks a rule; who goes on with it is hung up on."""
        self._refused[rule] += 1
        self._wrong[speaker] += 1
        if self._wrong[speaker] == MAX_REFUSED and speaker != NOBODY:
            self._connections.hang_up(speaker)

    def close(self) -> None:
        """Give up the connections."""
        self._connections.close()


class ResultsServer:
    """Topics and who watches them. `topics` are all there are; a subscription to anything else is counted and let go.

    `message_nbytes` is about the size of the largest message: it bounds the queue of a slow viewer in bytes.
    """

    def __init__(self, context: zmq.Context[Any], uri: str, topics: Iterable[str], message_nbytes: int) -> None:
        self.refused: Counter[str] = Counter()
        self._topics = tuple(topics)
        self._last: dict[str, Parts] = {}
        self._events: deque[Parts] = deque(maxlen=MAX_EVENTS)
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_MANUAL, 1)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 1024)
        self._socket.setsockopt(zmq.SNDHWM, max(32, min(1000, QUEUE_BYTES // max(1, message_nbytes))))
        self._subscriptions = Subscriptions(self._socket, MAX_VIEWERS, self.refused)
        try:
            self.endpoint = bind(self._socket, uri, "view")
        except SourceError:
            self.close()
            raise

    def poller(self) -> zmq.Poller:
        """Return a poller that wakes when somebody subscribes."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        return poller

    def watched(self) -> frozenset[str]:
        """Return the topics somebody is subscribed to."""
        prefixes = self._subscriptions.prefixes()
        return frozenset(t for t in self._topics if any(t.encode().startswith(prefix) for prefix in prefixes))

    def turn(self) -> bool:
        """Take what subscribers say; returns whether something changed. Who comes late gets the last of each topic."""
        for _ in range(_ROUND_MESSAGES):
            if (heard := self._subscriptions.receive()) is None:
                break
            self._hear(*heard)
        changed, self._subscriptions.changed = self._subscriptions.changed, False
        return changed

    def send(self, topic: str, message: wire.Message, arrays: Iterable[np.ndarray] = (), keep: bool = False) -> None:
        """Send to who watches the topic; `keep` it for who comes late."""
        parts: Parts = [topic.encode(), wire.encode(message), *arrays]
        if topic == EVENTS:
            self._events.append(parts)
        elif keep:
            self._last[topic] = parts
        self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)

    def close(self) -> None:
        """Give the socket back."""
        self._subscriptions.close()
        self._socket.close()

    def _hear(self, speaker: int, message: bytes) -> None:
        prefix = message[1:]
        if message[:1] not in (b"\x00", b"\x01"):
            self._subscriptions.refuse(speaker, "type")
        elif not any(topic.encode().startswith(prefix) for topic in self._topics):
            if message[0]:  # its end says nothing new
                self._subscriptions.refuse(speaker, "topic")
        elif speaker == NOBODY:
            return
        elif not self._subscriptions.put(speaker, message):
            self._subscriptions.refuse(speaker, "subscription")  # a second one, or the end of one that is not
        elif message[0]:
            self._socket.setsockopt(zmq.SUBSCRIBE, prefix)
            for parts in self._kept(prefix):
                self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
        else:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, prefix)

    def _kept(self, prefix: bytes) -> list[Parts]:
        """What who comes late is sent at once."""
        events = list(self._events) if EVENTS.encode().startswith(prefix) else []
        return [parts for topic, parts in self._last.items() if topic.encode().startswith(prefix)] + events


class _Shown:
    """One preview: its socket, who watches it, since when nobody does."""

    def __init__(self, context: zmq.Context[Any], uri: str, refused: Counter[str]) -> None:
        self.socket = socket = context.socket(zmq.XPUB)
        socket.setsockopt(zmq.SNDHWM, 1)
        socket.setsockopt(zmq.SNDBUF, 1 << 20)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, 1024)
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.watchers = Subscriptions(socket, MAX_VIEWERS_OF_ONE, refused)
        self.wanted = time.monotonic()
        try:
            self.endpoint = bind(socket, uri, "view")
        except SourceError:
            self.close()
            raise

    def turn(self) -> bool:
        for _ in range(_ROUND_MESSAGES):
            if (heard := self.watchers.receive()) is None:
                break
            if heard[1] not in (b"\x00", b"\x01"):  # all or nothing: there are no topics
                self.watchers.refuse(heard[0], "topic")
            elif heard[0] != NOBODY:
                self.watchers.put(*heard)
        if self.watchers:
            self.wanted = time.monotonic()
        changed, self.watchers.changed = self.watchers.changed, False
        return changed

    def close(self) -> None:
        self.watchers.close()
        self.socket.close()


class PreviewServer:
    """The newest frames, an endpoint for each step and binning that was asked for, until nobody watches it any more.

    That of the first step, unbinned, stays: `hello` names it. A viewer that does not keep up leaves one frame waiting
    in its queue here; the next ones pass it by.
    """

    def __init__(self, context: zmq.Context[Any], uri: str, series_uid: str, steps: Iterable[str]) -> None:
        self.refused: Counter[str] = Counter()
        self._context, self._uri, self._series_uid = context, uri, series_uid
        self._steps = tuple(steps)
        self._shown: dict[tuple[str, int], _Shown] = {}
        self.endpoint(self._steps[0], 1)

    @property
    def first(self) -> str:
        """The endpoint that `hello` names: that of the first step, unbinned."""
        return self.endpoint(self._steps[0], 1)

    def endpoint(self, step: str, bin_px: int) -> str:
        """Return the endpoint that sends these frames. Raises SourceError for a step that is not there."""
        key = (step, bin_px)
        if key not in self._shown:
            if step not in self._steps:
                raise SourceError(f"no step {step[:64]!r}; there is {', '.join(map(repr, self._steps))}")
            if len(self._shown) >= MAX_PREVIEWS and not self._close_one():
                raise SourceError(f"{MAX_PREVIEWS} previews are running already")
            self._shown[key] = _Shown(self._context, self._uri, self.refused)
        self._shown[key].wanted = time.monotonic()
        return self._shown[key].endpoint

    def _close_one(self) -> bool:
        """Make room for who turns from plane to plane: close what nobody has watched for longest; False if none is."""
        idle = {key: s.wanted for key, s in self._shown.items() if not s.watchers and key != (self._steps[0], 1)}
        oldest = min(idle, key=lambda key: idle[key], default=None)
        if oldest is None or time.monotonic() - idle[oldest] < SUBSCRIBING_S:
            return False
        self._shown.pop(oldest).close()
        return True

    def open(self, step: str, bin_px: int, answer: Future[str] | None = None) -> Future[str]:
        """Return `answer`, or one, with the endpoint that sends these frames or why there is none."""
        answer = answer or Future()
        try:
            answer.set_result(self.endpoint(step, bin_px))
        except SourceError as error:
            answer.set_exception(error)
        return answer

    def turn(self) -> bool:
        """Take what subscribers say, close what nobody watches; returns whether something changed."""
        changed, now = False, time.monotonic()
        for key, shown in list(self._shown.items()):
            changed |= shown.turn()
            if now - shown.wanted >= IDLE_S and key != (self._steps[0], 1):
                self._shown.pop(key).close()
        return changed

    def watched(self) -> frozenset[str]:
        """Return the steps whose frames somebody watches."""
        return frozenset(step for (step, _), shown in self._shown.items() if shown.watchers)

    def send(self, step: str, block: Block, arrived_ns: int) -> None:
        """Send the block's last frame, that arrived at this time (UTC epoch), to who watches this step."""
        for (name, bin_px), shown in self._shown.items():
            if name == step and shown.watchers:
                binned = preview_frame(block, bin_px)
                user = {"step": step, "bin_px": bin_px, "arrived_ns": arrived_ns}
                header = wire.image_of(self._series_uid, binned, 0, binned.index, user)
                record = encode_record(wire.encode(header), [binned.pixels[0]], version=1)
                shown.socket.send(b"".join(record), zmq.DONTWAIT, copy=False)

    def close(self) -> None:
        """Give the sockets back."""
        for shown in self._shown.values():
            shown.close()


class NewestFrames:
    """Shows the newest of the frames that a data endpoint serves to who watches its previews."""

    def __init__(self, previews: PreviewServer, frames: Frames) -> None:
        self.previews = previews
        self._frames = frames
        self._shown, self._showed = -1, 0.0

    def turn(self, emitted: int) -> None:
        """Send the newest of the frames that were emitted, one of each plane, if somebody watches and it is due."""
        self.previews.turn()
        now, newest, planes = time.monotonic(), emitted - 1, self._frames.spec.plane_names
        if newest <= self._shown or now - self._showed < 1 / PREVIEW_HZ or not self.previews.watched():
            return
        self._shown, self._showed = newest, now
        for seq in range(max(0, newest + 1 - len(planes)), newest + 1):
            if isinstance(block := self._frames.block(seq), Block):
                step = in_plane(plane_in(planes, block.plane) or ONE_PLANE, SOURCE)
                self.previews.send(step, block.cut(block.index, block.index + 1), time.time_ns())


class AskedPreviews:
    """Previews that were asked for: `open_preview` may have them opened by another thread, and nobody waits for it."""

    def __init__(self, open_preview: OpenPreview | None) -> None:
        self._open = open_preview
        self._waiting: deque[tuple[float, bytes, wire.Preview, Future[str]]] = deque()

    def ask(self, identity: bytes, message: wire.Preview) -> None:
        """Have a preview opened. Raises SourceError where there are none, or too many are asked for."""
        if self._open is None:
            raise SourceError("no previews here")
        if len(self._waiting) >= MAX_ASKED:
            raise SourceError(f"{MAX_ASKED} previews are asked for already; ask again")
        opened = self._open(message.step, message.bin_px)
        self._waiting.append((time.monotonic(), identity, message, opened))

    def answers(self) -> Iterator[tuple[bytes, wire.Preview | SourceError]]:
        """Yield who asked, and the answer, in order: of those that were opened or refused, or waited for too long."""
        while self._waiting:
            asked_at, identity, message, opened = self._waiting[0]
            if not opened.done() and time.monotonic() - asked_at < ASKED_PATIENCE_S:
                return
            self._waiting.popleft()
            try:
                endpoint = opened.result(0)
            except SourceError as error:
                yield identity, error
            except TimeoutError:
                yield identity, SourceError("no preview could be opened; ask again")
            else:
                yield identity, wire.Preview(step=message.step, bin_px=message.bin_px, endpoint=endpoint)


def preview_frame(block: Block, bin_px: int) -> Block:
    """Return a block's last frame, averaged over bin_px × bin_px pixels (what does not fill a bin is cut).

    Averages, and pixels of a type the wire does not carry, are float32.
    """
    block = block.cut(block.stop - 1, block.stop)
    if bin_px > 1:
        pixels = _binned(block.pixels[0], bin_px)
    elif block.pixels.dtype.str in wire.FRAME_DTYPES:
        return block
    else:
        pixels = block.pixels[0].astype(np.float32)
    return block.of(pixels[None])


def _binned(frame: np.ndarray, bin_px: int) -> np.ndarray:
    """Means of bins: whole rows added, then columns; 8 times as fast as numpy's mean over two axes."""
    y, x = (n // bin_px for n in frame.shape)
    rows = np.zeros((y, x * bin_px), np.float32)
    for n in range(bin_px):
        rows += frame[n : y * bin_px : bin_px, : x * bin_px]
    means = np.zeros((y, x), np.float32)
    for n in range(bin_px):
        means += rows[:, n::bin_px]
    means /= np.float32(bin_px**2)
    return means
