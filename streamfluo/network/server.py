"""The data endpoint: frames served losslessly to any number of consumers, each at its own pace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import zmq

from ..core import wire
from ..core.calibration import encode_calibration
from ..core.errors import SourceError, WireError
from ..core.header import MAX_HEADER_BYTES, MAX_USER_BYTES, Buffer
from .access import ANYBODY, denied, whose
from .arrivals import Refusals
from .compressed import Packing
from .connections import NOBODY, Connections
from .consumers import Consumer, Consumers, fair_share, places, shared_memory
from .facts import end_of, frame_facts, introduction, report
from .frames import Frames
from .keys import Role
from .publishing import AskedPreviews, NewestFrames, OpenPreview, PreviewServer
from .recorded import Recorded
from .socket import bind, free_endpoint, new_context, receive_frames

HEARTBEAT_S = 1.0
SILENT_S = 10.0  # then a consumer is taken for dead, its cursor kept
GRACE_S = 30.0  # how long the end waits for consumers that went away, or never came
MAX_CONNECTIONS = MAX_CONSUMERS = 256  # consumers, and who only asks
MAX_WAITING = 16  # messages of one connection that are not taken yet, of 64 KiB at most; libzmq keeps them when it goes
_ROUND_FRAMES = 32  # frames to one consumer before the others have their turn
_ROUND_MESSAGES = 256  # messages taken before frames have their turn
_NEEDED: Mapping[type[wire.Message], Role] = {
    wire.Status: "view", wire.Preview: "view", wire.Look: "view", wire.Past: "view",
    wire.Subscribe: "record", wire.Credit: "record", wire.Ack: "record",
}  # fmt: skip
_ROUND_S = 0.05  # for questions, then for frames: one answer may take 5 ms where other threads are busy


class DataServer:
    """Serves one series at `uri` to any number of consumers, and answers who is there and how it fares.

    It owns `frames`; without any only the answers are given, to which `hello` and `status` add. With `wait` the series
    does not begin before the first consumer can take a frame. `run` serves until every subscriber has acknowledged the
    end; who has other things to do besides calls `turn`. Raises SourceError for an endpoint that cannot be bound or
    frames the wire does not carry.
    """

    def __init__(
        self,
        frames: Frames | None,
        uri: str,
        *,
        program: str = "replay",
        wait: bool = False,
        hello: Callable[[], Mapping[str, Any]] = dict,
        status: Callable[[], Mapping[str, Any]] = dict,
        preview: OpenPreview | None = None,
        recorded: Recorded = Recorded(),
    ) -> None:
        if frames is not None and np.dtype(frames.spec.dtype).str not in wire.FRAME_DTYPES:
            raise SourceError(f"{frames.series.source}: {frames.spec.dtype} frames; the wire carries u1 u2 u4 i2 f4")
        self.emitted = 0
        self.refused = Refusals(uri)
        self._frames, self._wait, self._program = frames, wait, program
        self._hello, self._status, self._recorded = hello, status, recorded
        self._newest: NewestFrames | None = None  # its own previews, where its user has none
        self._consumers = Consumers()
        self._ended: float | None = None
        self._beat = 0.0
        self.context = new_context()
        self._socket = self.context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._frame_nbytes = frames.spec.frame_nbytes + MAX_USER_BYTES if frames else 1 << 20
        self._share = self._most_waiting = fair_share((), self._frame_nbytes)  # frames that may wait for each consumer
        self._socket.setsockopt(zmq.SNDHWM, self._most_waiting)
        self._socket.setsockopt(zmq.RCVHWM, MAX_WAITING)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_HEADER_BYTES)
        self._connections = Connections(self._socket, MAX_CONNECTIONS, self.refused)
        try:
            self.endpoint = bind(self._socket, uri, ANYBODY)
        except SourceError:
            self.close()
            raise
        if frames is not None and preview is None:
            shown = wire.source_facts(frames.spec)
            previews = PreviewServer(self.context, free_endpoint(uri), frames.series.uid, shown)
            self._newest = NewestFrames(previews, frames)
            preview = previews.open
        self._asked = AskedPreviews(preview)

    def run(self, stopped: Callable[[], bool] = lambda: False, tick: Callable[[], None] = lambda: None) -> None:
        """Serve until the series is over and acknowledged, or `stopped`; `tick` is called about ten times a second."""
        ticked, pause_s, poller = 0.0, 0.0, self.poller()
        while not self.over():
            if stopped():
                self.end("aborted")
                return
            poller.poll(int(pause_s * 1000))
            pause_s = self.turn()
            now = time.monotonic()
            if now - ticked >= 0.1:
                ticked = now
                tick()

    def poller(self) -> zmq.Poller:
        """Return a poller that wakes when there is something to do."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        if self._frames is not None and self._frames.waker is not None:
            poller.register(self._frames.waker.fileno(), zmq.POLLIN)
        return poller

    def turn(self) -> float:
        """Do what is to be done, without waiting; returns after how many seconds there is more at the latest."""
        frames, frontier = self._frames, 0
        if frames is not None and not self._wait:
            frames.begin()
        if frames is not None and frames.waker is not None:
            frames.waker.clear()
        gone = self._connections.turn()
        for consumer in self._consumers.values() if gone else ():
            if consumer.descriptor in gone:  # another connection will have its number
                consumer.descriptor = NOBODY
        more = self._receive()
        for identity, answer in self._asked.answers():
            if isinstance(answer, wire.Preview):
                self._answer(identity, answer)
            else:
                self._decline(identity, str(answer))
        if frames is not None:
            frontier = frames.frontier()
            more |= self._emit(frames, frontier)
        if self._newest is not None:
            self._newest.turn(self.emitted)
        if time.monotonic() - self._beat >= HEARTBEAT_S:
            self._beat = time.monotonic()
            self._beat_hearts()
        if more:
            return 0.0
        # Of this turn's frontier: a frame that came due since would wait for the next one, a quarter of them did.
        pause_s = self._consumers.longest_pause_s()
        return min(pause_s, frames.pause_s(frontier)) if frames is not None else pause_s

    def close(self) -> None:
        """Stop the frames and give the socket back; what was sent still travels for two seconds."""
        if self._frames is not None:
            self._frames.close()
        if self._newest is not None:
            self._newest.previews.close()
        self._consumers.forget(*self._consumers)
        self._connections.close()
        self._socket.close()
        self.context.term()

    @property
    def consumers(self) -> int:
        """Consumers heard of within the last ten seconds."""
        return self._consumers.heard_since(time.monotonic() - SILENT_S)

    def end(self, reason: str) -> None:
        """Tell every consumer that the series ends here."""
        if self._frames is None:
            return
        message = wire.encode(end_of(self._frames, self.emitted, reason))
        for identity, consumer in self._consumers.items():
            if not consumer.end_sent:
                self._send(identity, [message])

    def pending(self) -> bool:
        """Whether a consumer, present or lately gone, has not acknowledged the end."""
        return self._consumers.pending()

    def over(self) -> bool:
        """Whether every subscriber has acknowledged the end; who left without a word, or nobody, is waited for."""
        if self._ended is None:
            return False
        now = time.monotonic()
        for consumer in self._consumers.values():
            if not consumer.done and now - max(self._ended, consumer.heard_at) < GRACE_S:
                return False
        # Frames that leave by the clock are over for good; those that wait to be taken wait for somebody else a while.
        paced = self._frames is not None and self._frames.paced
        taken = paced or any(c.end_acknowledged for c in self._consumers.values())
        heard = max((c.heard_at for c in self._consumers.values()), default=self._ended)
        return (bool(self._consumers) and taken) or now - max(self._ended, heard) >= GRACE_S

    def _emit(self, frames: Frames, frontier: int) -> bool:
        """Send frames before `frontier`; returns whether a consumer could take more at once."""
        more, began = False, time.monotonic()
        for identity, consumer in list(self._consumers.items()):
            if consumer.rests_until > began:
                continue
            if time.monotonic() - began >= _ROUND_S:
                more = True
                break
            self._consumers[identity] = self._consumers.pop(identity)  # the next round begins behind it
            if consumer.credit and consumer.cursor < frames.oldest < frontier:
                gap = wire.Gap(series_uid=frames.series.uid, first=consumer.cursor, last=frames.oldest - 1)
                if self._send(identity, [wire.encode(gap)]):
                    consumer.cursor = gap.last + 1
            if (count := min(_ROUND_FRAMES, consumer.credit, frontier - consumer.cursor)) > 0:
                count = min(count, consumer.room(self._share, began, not frames.paced))
                more |= 0 < count == self._send_frames(frames, identity, consumer, count)
            if frames.total is not None and consumer.cursor >= frames.total and not consumer.end_sent:
                consumer.end_sent = self._send(identity, [wire.encode(end_of(frames, self.emitted, frames.ended))])
        if frames.paced:
            self.emitted = max(self.emitted, frontier)
        if self._ended is None and frames.total is not None and frontier == frames.total:
            self._ended = time.monotonic()
        return more

    def _beat_hearts(self) -> None:
        """Tell every consumer that we are here; who neither speaks nor reads is hung up on, what waits for it freed."""
        now = time.monotonic()
        for identity, consumer in self._consumers.items():
            if not self._give(identity, [wire.encode(wire.Heartbeat())]):  # one that has room is no sign that it reads
                consumer.served(now, False)
            consumer.let_go(unless_used=True)
            if consumer.full and not consumer.gone and now - consumer.heard_at >= SILENT_S:
                self.refused["unread"] += 1
                self._connections.hang_up(consumer.descriptor)
        self._share = fair_share(self._consumers.values(), self._frame_nbytes)

    def _send_frames(self, frames: Frames, identity: bytes, consumer: Consumer, count: int) -> int:
        sent = 0
        while sent < count:
            block = frames.block(consumer.cursor)
            if block is None:  # it fell out of the history just now: a gap comes first
                return sent
            if isinstance(block, wire.Gap):
                if not self._send(identity, [wire.encode(block)]):
                    return sent
                consumer.cursor, count = consumer.cursor + 1, count - 1
                continue
            for n in range(min(len(block), count - sent)):
                image = wire.image_of(frames.series.uid, block, n, consumer.cursor)
                header, pixels = consumer.packed(image, block.pixels[n], self._share)
                if not self._send(identity, [header, *pixels]):
                    return sent
                if pixels:
                    consumer.sent(header)
                sent += 1
                consumer.cursor += 1
                consumer.credit -= 1
                self.emitted = max(self.emitted, consumer.cursor)
        return sent

    def _receive(self) -> bool:
        """Take what consumers say, at most a round of it; returns whether there may be more."""
        began = time.monotonic()
        for _ in range(_ROUND_MESSAGES):
            parts = receive_frames(self._socket, 2)
            if parts is None:
                return False
            identity, speaker = parts[0].bytes, self._connections.speaker(parts[0])
            try:
                if len(parts) != 2:
                    raise WireError("parts", f"{len(parts) - 1} parts where one header should be")
                self._handle(identity, speaker, whose(parts[0]), wire.decode(parts[1].buffer))
            except WireError as error:
                self.refused.add(error)
                if error.kind == "version":
                    self._answer(identity, wire.Error(reason=str(error)))
            if time.monotonic() - began >= _ROUND_S:
                break
        return True

    def _handle(self, identity: bytes, speaker: int, key: str, message: wire.Message) -> None:
        if refused := denied(self.context, key, _NEEDED.get(type(message), ANYBODY)):
            self._decline(identity, refused, "role")
        elif isinstance(message, wire.Subscribe):
            self._subscribe(identity, speaker, key, message)
        elif isinstance(message, wire.Hello):
            self._answer(identity, self._introduction())
        elif isinstance(message, wire.Status):
            self._answer(identity, self._report())
        elif isinstance(message, wire.Preview | wire.Look | wire.Past):
            try:
                self._show(identity, message)
            except SourceError as error:
                self._decline(identity, str(error))
        elif (consumer := self._consumers.get(identity)) is None or consumer.key != key:
            self._decline(identity, "unknown consumer; subscribe first")
        else:
            consumer.heard_at = time.monotonic()
            self._hear(consumer, message)

    def _show(self, identity: bytes, message: wire.Preview | wire.Look | wire.Past) -> None:
        if isinstance(message, wire.Preview):
            self._asked.ask(identity, message)
        else:
            self._answer(identity, *self._recorded.answer(message, self._most_waiting))

    def _hear(self, consumer: Consumer, message: wire.Message) -> None:
        if isinstance(message, wire.Credit):
            consumer.credit += max(0, message.n)
            self._begin(consumer)
        elif isinstance(message, wire.Ack):
            consumer.end_acknowledged = consumer.end_sent and message.seq >= consumer.cursor
        elif isinstance(message, wire.Bye):
            consumer.left, consumer.credit = True, 0
            consumer.let_go()
        else:
            raise WireError("type", f"a consumer does not send {type(message).__name__.lower()}")

    def _subscribe(self, identity: bytes, speaker: int, key: str, message: wire.Subscribe) -> None:
        frames = self._frames
        if frames is None:
            self._decline(identity, "no frames are served here; ask hello for the results")
            return
        uid, last = frames.series.uid, frames.last_seq()
        if message.series not in ("current", uid):
            self._decline(identity, f"series {message.series[:64]} is not here; there is {uid}")
            return
        named = {"oldest": frames.oldest, "live": self.emitted}
        cursor = named[message.from_seq] if isinstance(message.from_seq, str) else message.from_seq
        if not 0 <= cursor <= last:
            self._decline(identity, f"from_seq {cursor} is outside 0 to {last}")
            return
        if identity not in self._consumers and not self._room():
            self._decline(identity, f"{len(self._consumers)} consumers are here already")
            return
        now, packing = time.monotonic(), Packing(message.codecs or ())
        consumer = Consumer(cursor, max(0, message.credit), now, key, speaker, packing)
        self._consumers.forget(identity)
        memory = shared_memory(consumer, self._consumers, frames) if message.memory else ""
        self._consumers[identity] = consumer
        self._share = fair_share(self._consumers.values(), self._frame_nbytes)
        self._answer(identity, frames.start())
        if frames.spec.camera and (calibration := encode_calibration(uid, frames.spec.camera)):
            self._answer(identity, calibration[0], calibration[1])
        if memory:
            self._answer(identity, wire.Memory(series_uid=uid, memory=memory))
        self._begin(consumer)

    def _room(self) -> bool:
        """Whether one more consumer can be served; the one silent for longest makes room if it is taken for dead."""
        room = places(self._frame_nbytes, MAX_CONSUMERS)
        if dead := self._consumers.make_room(room, time.monotonic() - SILENT_S):
            self._connections.hang_up(dead.descriptor)
        return len(self._consumers) < room

    def _begin(self, consumer: Consumer) -> None:
        if consumer.credit and self._frames is not None:
            self._frames.begin()

    def _introduction(self) -> wire.Hello:
        facts: dict[str, Any] = {"program": self._program}
        if self._frames is not None:
            facts |= frame_facts(self._frames)
        if self._newest is not None:
            facts["endpoints"] = {"preview": self._newest.previews.first}
        return introduction({**facts, **self._hello()})

    def _report(self) -> wire.Status:
        counters: dict[str, Any] = {"consumers": self.consumers, "emitted": self.emitted, "refused": dict(self.refused)}
        frames = self._frames
        if frames is not None:
            counters |= {"dropped_camera": frames.dropped_camera, "oldest": frames.oldest}
        facts = {
            "program": self._program,
            "state": "ended" if self._ended is not None else "running",
            "series_uid": frames.series.uid if frames is not None else "",
            **self._status(),
        }
        return report(facts, counters)

    def _decline(self, identity: bytes, reason: str, rule: str = "request") -> None:
        """Count a request that cannot be met, and say why."""
        self.refused[rule] += 1
        self._answer(identity, wire.Error(reason=reason))

    def _send(self, identity: bytes, parts: list[Buffer | zmq.Frame | np.ndarray]) -> bool:
        """Send without waiting, and note whether there was room for it; False if there was none or it is gone."""
        sent = self._give(identity, parts)
        self._consumers[identity].served(time.monotonic(), sent)
        return sent

    def _give(self, identity: bytes, parts: list[Buffer | zmq.Frame | np.ndarray]) -> bool:
        consumer = self._consumers[identity]
        try:
            self._socket.send_multipart([identity, *parts], zmq.DONTWAIT, copy=False)  # type: ignore[list-item]
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            consumer.gone, consumer.credit = True, 0  # its cursor is kept for its return
            consumer.let_go()
            return False
        return True

    def _answer(self, identity: bytes, message: wire.Message, arrays: Sequence[np.ndarray] = ()) -> None:
        with contextlib.suppress(zmq.ZMQError):  # who has gone meanwhile needs no answer
            self._socket.send_multipart([identity, wire.encode(message), *(a.data for a in arrays)], zmq.DONTWAIT)
