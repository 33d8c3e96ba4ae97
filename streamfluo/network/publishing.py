"""The results and preview endpoints: XPUB sockets that know what is watched, so that nothing is sent for nobody."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import SourceError
from ..core.records import encode_record
from .socket import bind, receive

QUEUE_BYTES = 128 << 20  # what one slow viewer may leave waiting here
MAX_PREVIEWS = 16
MAX_EVENTS = 50
EVENTS = "event/"
_ROUND_MESSAGES = 10_000

Parts = list[Any]


class ResultsServer:
    """Topics and who watches them. `topics` are all there are; a subscription to anything else is counted and let go.

    `message_nbytes` is about the size of the largest message: it bounds the queue of a slow viewer in bytes.
    """

    def __init__(self, context: zmq.Context[Any], uri: str, topics: Iterable[str], message_nbytes: int) -> None:
        self.refused: Counter[str] = Counter()
        self._topics = tuple(topics)
        self._watched: Counter[str] = Counter()  # beginnings of topics
        self._last: dict[str, Parts] = {}
        self._events: deque[Parts] = deque(maxlen=MAX_EVENTS)
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_MANUAL, 1)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 1024)
        self._socket.setsockopt(zmq.SNDHWM, max(32, min(1000, QUEUE_BYTES // max(1, message_nbytes))))
        self.endpoint = _bound(self._socket, uri)

    def poller(self) -> zmq.Poller:
        """Return a poller that wakes when somebody subscribes."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        return poller

    def watched(self) -> frozenset[str]:
        """Return the topics somebody is subscribed to."""
        return frozenset(t for t in self._topics if any(t.startswith(prefix) for prefix in self._watched))

    def turn(self) -> bool:
        """Take what subscribers say; returns whether something changed. Who comes late gets the last of each topic."""
        changed = False
        for _ in range(_ROUND_MESSAGES):
            parts = receive(self._socket, 1)
            if parts is None:
                break
            changed |= len(parts) == 1 and self._hear(parts[0])
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
        self._socket.close()

    def _hear(self, message: bytes) -> bool:
        prefix = message[1:].decode("utf-8", "replace")
        if message[:1] not in (b"\x00", b"\x01"):
            self.refused["type"] += 1
            return False
        if not any(topic.startswith(prefix) for topic in self._topics):
            self.refused["topic"] += message[0]
            return False
        if message[0]:
            self._socket.setsockopt(zmq.SUBSCRIBE, message[1:])
            self._watched[prefix] += 1
            for topic, parts in self._last.items():
                if topic.startswith(prefix):
                    self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
            for parts in self._events if EVENTS.startswith(prefix) else ():
                self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
            return True
        self._socket.setsockopt(zmq.UNSUBSCRIBE, message[1:])
        self._watched[prefix] -= 1
        self._watched += Counter()  # forget those nobody watches any more
        return True


class PreviewServer:
    """The newest frames, an endpoint for each step and binning that was asked for.

    A viewer that does not keep up leaves one frame waiting in its queue here; the next ones pass it by.
    """

    def __init__(self, context: zmq.Context[Any], uri: str, series_uid: str, steps: Iterable[str]) -> None:
        self._context, self._uri, self._series_uid = context, uri, series_uid
        self._steps = tuple(steps)
        self._sockets: dict[tuple[str, int], zmq.Socket[bytes]] = {}
        self._endpoints: dict[tuple[str, int], str] = {}
        self._watchers: Counter[tuple[str, int]] = Counter()

    def endpoint(self, step: str, bin_px: int) -> str:
        """Return the endpoint that sends these frames. Raises SourceError for a step that is not there."""
        key = (step, bin_px)
        if key not in self._sockets:
            if step not in self._steps:
                raise SourceError(f"no step {step[:64]!r}; there is {', '.join(map(repr, self._steps))}")
            if len(self._sockets) >= MAX_PREVIEWS:
                raise SourceError(f"{MAX_PREVIEWS} previews are running already")
            socket = self._context.socket(zmq.XPUB)
            socket.setsockopt(zmq.SNDHWM, 1)
            socket.setsockopt(zmq.SNDBUF, 1 << 20)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.MAXMSGSIZE, 1024)
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._endpoints[key] = _bound(socket, self._uri)
            self._sockets[key] = socket
        return self._endpoints[key]

    def turn(self) -> bool:
        """Take what subscribers say; returns whether something changed."""
        changed = False
        for key, socket in self._sockets.items():
            for _ in range(_ROUND_MESSAGES):
                parts = receive(socket, 1)
                if parts is None:
                    break
                if len(parts) == 1 and parts[0] in (b"\x00", b"\x01"):  # all or nothing: there are no topics
                    self._watchers[key] += 1 if parts[0][0] else -1
                    changed = True
        return changed

    def watched(self) -> frozenset[str]:
        """Return the steps whose frames somebody watches."""
        return frozenset(step for (step, _), watchers in self._watchers.items() if watchers > 0)

    def send(self, step: str, block: Block, arrived_ns: int) -> None:
        """Send the block's last frame, that arrived at this time (UTC epoch), to who watches this step."""
        for (name, bin_px), socket in self._sockets.items():
            if name == step and self._watchers[name, bin_px] > 0:
                binned = preview_frame(block, bin_px)
                user = {"step": step, "bin_px": bin_px, "arrived_ns": arrived_ns}
                header = wire.image_of(self._series_uid, binned, 0, binned.index, user)
                record = encode_record(wire.encode(header), [binned.pixels[0]], version=1)
                socket.send(b"".join(record), zmq.DONTWAIT, copy=False)

    def close(self) -> None:
        """Give the sockets back."""
        for socket in self._sockets.values():
            socket.close()


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
    return Block(block.index, block.times_ns, pixels[None], block.channel)


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


def _bound(socket: zmq.Socket[bytes], uri: str) -> str:
    try:
        return bind(socket, uri)
    except SourceError:
        socket.close()
        raise
