"""The data endpoint: a source served losslessly to any number of consumers, each at its own pace."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import zmq

from ...core import wire
from ...core.block import Block
from ...core.errors import SourceError, WireError
from ..source import Gap, Source
from .socket import bind

log = logging.getLogger("streamfluo")

HEARTBEAT_S = 1.0
SILENT_S = 10.0  # then a consumer is taken for dead, its cursor kept
GRACE_S = 30.0  # how long the end waits for consumers that went away, or never came
IN_FLIGHT_BYTES = 64 << 20
_ROUND_FRAMES = 32  # frames to one consumer before the others have their turn


@dataclass
class Consumer:
    """One subscriber: the next seq it gets, how many frames it can take, what it has acknowledged."""

    cursor: int
    credit: int
    heard_at: float
    end_sent: bool = False
    end_acknowledged: bool = False


class ReplayedFrames:
    """Frames of a seekable source by seq; with `loop` the file begins anew behind its last frame."""

    def __init__(self, source: Source, loop: bool) -> None:
        self.length = source.series.frames
        self.total = None if loop else self.length
        self._source = source
        self._interval_ns = round((source.spec.interval_s or 0) * 1e9)
        self.last = (1 << 62) // max(1, self._interval_ns)  # a looped series ends where its times leave 64 bits
        self._recent: deque[Block] = deque(maxlen=4)  # consumers side by side share reads
        self._position = 0
        self._blocks: Iterator[Block | Gap] = source.blocks()

    def block(self, seq: int) -> Block:
        """Return the block of frames that begins at `seq`, or its rest. Raises SourceError if it cannot be read."""
        at = seq if self.total is not None or self.length is None else seq % self.length
        block = next((b for b in self._recent if b.index <= at < b.stop), None) or self._read(at)
        block = block.cut(at, block.stop)
        if seq == at:
            return block
        return Block(seq, block.times_ns + (seq - at) * self._interval_ns, block.pixels, block.channel)

    def _read(self, at: int) -> Block:
        if at != self._position:
            self._source.seek(at)
            self._blocks = self._source.blocks()
        block = next(self._blocks, None)
        if not isinstance(block, Block):
            raise SourceError(f"{self._source.series.source}: no frame {at}")
        self._recent.append(block)
        self._position = block.stop
        return block


class DataServer:
    """Serves one series at `uri`, `fps` frames a second (None: as fast as the consumers take them).

    `loop` makes it one unbounded series; with `wait` no frame counts as emitted before the first consumer can take
    one. `run` serves until every subscriber has acknowledged the end. Raises SourceError for an endpoint that cannot
    be bound or frames the wire does not carry.
    """

    def __init__(
        self, source: Source, uri: str, *, fps: float | None = None, loop: bool = False, wait: bool = False
    ) -> None:
        dtype = np.dtype(source.spec.dtype).str
        if dtype not in wire.FRAME_DTYPES:
            raise SourceError(f"{source.series.source}: {source.spec.dtype} frames; the wire carries u1 u2 u4 i2 f4")
        self.emitted = 0
        self.refused: Counter[str] = Counter()
        self._source, self._fps, self._wait = source, fps, wait
        self._frames = ReplayedFrames(source, loop)
        self._consumers: dict[bytes, Consumer] = {}
        self._began: float | None = None
        self._ended: float | None = None
        self._logged = 0.0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDHWM, max(2, min(1000, IN_FLIGHT_BYTES // source.spec.frame_nbytes)))
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_HEADER_BYTES)
        try:
            self.endpoint = bind(self._socket, uri)
        except SourceError:
            self.close()
            raise

    def run(self, stopped: Callable[[], bool] = lambda: False, tick: Callable[[], None] = lambda: None) -> None:
        """Serve until the series is over and acknowledged, or `stopped`; `tick` is called about ten times a second."""
        ticked = beat = 0.0
        if not self._wait:
            self._began = time.monotonic()
        while not self._over():
            if stopped():
                self._end("aborted")
                return
            more = self._emit()
            if self._socket.poll(self._pause_ms(more)):
                self._receive()
            now = time.monotonic()
            if now - beat >= HEARTBEAT_S:
                beat = now
                for identity in list(self._consumers):
                    self._send(identity, [wire.encode(wire.Heartbeat())])
            if now - ticked >= 0.1:
                ticked = now
                tick()

    def close(self) -> None:
        """Give the socket back; what was sent still travels for two seconds."""
        self._socket.close()
        self._context.term()

    @property
    def consumers(self) -> int:
        """Consumers heard of within the last ten seconds."""
        now = time.monotonic()
        return sum(now - c.heard_at < SILENT_S for c in self._consumers.values())

    def _frontier(self) -> int:
        """One past the newest frame that may leave now."""
        total = self._frames.total if self._frames.total is not None else 1 << 62
        if self._began is None:
            return 0
        if self._fps is None:
            return total
        return min(total, int((time.monotonic() - self._began) * self._fps) + 1)

    def _emit(self) -> bool:
        """Send what may leave; returns whether a consumer could take more at once."""
        frontier, more = self._frontier(), False
        for identity, consumer in list(self._consumers.items()):
            count = min(_ROUND_FRAMES, consumer.credit, frontier - consumer.cursor)
            sent = self._send_frames(identity, consumer, count) if count > 0 else 0
            more |= count > 0 and sent == count
            if consumer.cursor == self._frames.total and not consumer.end_sent:
                consumer.end_sent = self._send(identity, [wire.encode(self._end_message("finished"))])
        if self._fps is not None:
            self.emitted = max(self.emitted, frontier)
        if self._ended is None and self._began is not None and frontier == self._frames.total:
            self._ended = time.monotonic()
        return more

    def _send_frames(self, identity: bytes, consumer: Consumer, count: int) -> int:
        sent = 0
        while sent < count:
            block = self._frames.block(consumer.cursor)
            for n in range(min(len(block), count - sent)):
                header = wire.image_of(self._source.series.uid, block, n)
                if not self._send(identity, [wire.encode(header), block.pixels[n]]):
                    return sent
                sent += 1
                consumer.cursor += 1
                consumer.credit -= 1
                self.emitted = max(self.emitted, consumer.cursor)
        return sent

    def _send(self, identity: bytes, parts: list[wire.Buffer | np.ndarray]) -> bool:
        """Send without waiting; False if the consumer's pipe is full or it is gone."""
        try:
            self._socket.send_multipart([identity, *parts], zmq.DONTWAIT, copy=False)  # type: ignore[list-item]
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._consumers[identity].credit = 0  # gone; its cursor is kept for its return
            return False
        return True

    def _receive(self) -> None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            identity = parts[0]
            try:
                if len(parts) != 2:
                    raise WireError("parts", f"{len(parts) - 1} parts where one header should be")
                self._handle(identity, wire.decode(parts[1]))
            except WireError as error:
                self._refuse(identity, error)

    def _handle(self, identity: bytes, message: wire.Message) -> None:
        if isinstance(message, wire.Subscribe):
            self._subscribe(identity, message)
            return
        consumer = self._consumers.get(identity)
        if consumer is None:
            self._answer(identity, wire.Error(reason="unknown consumer; subscribe first"))
            return
        consumer.heard_at = time.monotonic()
        if isinstance(message, wire.Credit):
            consumer.credit += max(0, message.n)
            self._begin(consumer)
        elif isinstance(message, wire.Ack):
            consumer.end_acknowledged = consumer.end_sent and message.seq >= consumer.cursor
        elif isinstance(message, wire.Bye):
            consumer.end_acknowledged = True
            consumer.credit = 0
        else:
            raise WireError("type", f"a consumer does not send {type(message).__name__.lower()}")

    def _subscribe(self, identity: bytes, message: wire.Subscribe) -> None:
        uid, total = self._source.series.uid, self._frames.total
        if message.series not in ("current", uid):
            self._answer(identity, wire.Error(reason=f"series {message.series[:64]} is not here; there is {uid}"))
            return
        named = {"oldest": 0, "live": self.emitted}
        cursor = named[message.from_seq] if isinstance(message.from_seq, str) else message.from_seq
        last = self._frames.last if total is None else total
        if not 0 <= cursor <= last:
            self._answer(identity, wire.Error(reason=f"from_seq {cursor} is outside 0 to {last}"))
            return
        consumer = Consumer(cursor, max(0, message.credit), time.monotonic())
        self._consumers[identity] = consumer
        self._answer(identity, self._start_message())
        self._begin(consumer)

    def _begin(self, consumer: Consumer) -> None:
        if self._began is None and consumer.credit:
            self._began = time.monotonic()

    def _start_message(self) -> wire.Start:
        series, facts = self._source.series, self._source.spec.to_header()
        return wire.Start(
            series_uid=series.uid,
            source=series.source,
            t0_ns=series.t0_ns,
            frames=self._frames.total,
            user=dict(series.user),
            **facts,
        )

    def _end_message(self, reason: str) -> wire.End:
        emitted = self._frames.total if reason == "finished" else self.emitted
        return wire.End(series_uid=self._source.series.uid, seq=emitted or 0, frames=emitted or 0, reason=reason)  # type: ignore[arg-type]

    def _answer(self, identity: bytes, message: wire.Message) -> None:
        try:
            self._socket.send_multipart([identity, wire.encode(message)], zmq.DONTWAIT)
        except zmq.ZMQError:
            self.refused["unanswered"] += 1

    def _refuse(self, identity: bytes, error: WireError) -> None:
        self.refused[error.kind] += 1
        if error.kind == "version":
            self._answer(identity, wire.Error(reason=str(error)))
        now = time.monotonic()
        if now - self._logged >= 1:
            self._logged = now
            log.warning("%s: message dropped: %s", self.endpoint, error)

    def _end(self, reason: str) -> None:
        message = wire.encode(self._end_message(reason))
        for identity, consumer in self._consumers.items():
            if not consumer.end_sent:
                self._send(identity, [message])

    def _over(self) -> bool:
        """Whether the last frame may leave, every subscriber has acknowledged the end, and those that went away
        without a word, or nobody at all, have been waited for."""
        if self._ended is None:
            return False
        now = time.monotonic()
        for consumer in self._consumers.values():
            if not consumer.end_acknowledged and now - max(self._ended, consumer.heard_at) < GRACE_S:
                return False
        return bool(self._consumers) or now - self._ended >= GRACE_S

    def _pause_ms(self, more: bool) -> int:
        """How long to listen before the next frame is due."""
        if more:
            return 0
        if self._fps is None or self._began is None or self._ended is not None:
            return 1 if any(c.credit for c in self._consumers.values()) else 50
        due = self._began + self._frontier() / self._fps
        return max(0, min(50, int((due - time.monotonic()) * 1000)))
