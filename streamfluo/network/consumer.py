"""A data endpoint as a source: asks for frames, counts what is missing, comes back after a break."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
import zmq

from ..core import wire
from ..core.block import Block
from ..core.calibration import with_calibration
from ..core.errors import FrameError, SourceError, WireError
from ..core.results import MAX_ARRAYS
from ..core.source import MAX_BLOCK_FRAMES, NO_PLANES, Gap, Series, Source
from ..core.spec import Spec
from .arrivals import MAX_FRAME_BYTES, Arrivals, Refusals
from .compressed import wanted
from .connections import Connections
from .slabs import Slabs
from .socket import connect, new_context, parse_endpoint, receive, receive_frames

PATIENCE_S = 10.0  # for a server to come, or to come back
RETRY_S = 1.0
KEEPALIVE_S = 2.0
WINDOW_BYTES = 64 << 20
CREDIT_BYTES = 8 << 20  # given at once, so that a server that waits for us to take frames wakes in time
MAX_WINDOW = 256  # frames
MAX_PARTS = 2 + MAX_ARRAYS


class NetworkSource(Source):
    """Frames from a data endpoint, from seq 0 on, or from now on with `?from=live`; one a block.

    From a server on this machine they come through shared memory, unless `?memory=none`; from beyond compressed where
    that helps, unless `?codec=none`. Frames that the transport or the camera lost are gaps. If the server goes away it
    is asked again for ten seconds; a file replay started anew goes on where it stood. Raises SourceError when nobody
    answers, or a codec is asked for that is not here.
    """

    seekable = False
    refused: Refusals

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.refused = Refusals(uri)
        self._acked = -1
        self._end: wire.End | None = None
        self._stopped = False
        self._slabs = Slabs()
        self._context = new_context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, 2 * MAX_WINDOW)  # credit bounds what an honest server sends
        self._connections = Connections(self._socket, 1, self.refused)
        self._connections.unheard_bytes = 4 * WINDOW_BYTES + 2 * MAX_FRAME_BYTES
        try:
            connect(self._socket, uri)
            endpoint = parse_endpoint(uri)
            self._from: int | Literal["live"] = "live" if endpoint.live else 0
            self._codecs = wanted(uri, endpoint.codec, endpoint.elsewhere) or msgspec.UNSET
            beside = endpoint.memory and not (endpoint.elsewhere or self._codecs)
            self._memory: bool | msgspec.UnsetType = True if beside else msgspec.UNSET
            self._start = self._wait_for_start()
            self.spec, self.series = self._described(self._start)
            if (self._start.camera or {}).get("maps"):
                self.spec = self._wait_for_calibration()
            first = 0 if self._from == 0 else None
            self._arrivals = Arrivals(self.spec, self.series.uid, first, self.refused, self._slabs)
        except SourceError:
            self.close()
            raise
        self._window = max(4, min(MAX_WINDOW, WINDOW_BYTES // self.spec.frame_nbytes))

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        taken = -self._window  # frames taken since credit was last given
        portion = max(1, min(self._window // 4, CREDIT_BYTES // self.spec.frame_nbytes))
        heard = asked = spoke = time.monotonic()
        while not self._stopped and self._end is None:
            if taken >= portion or taken < 0:
                self._send(wire.Credit(n=abs(taken)))
                taken = 0
            now = time.monotonic()
            if now - spoke >= KEEPALIVE_S:
                spoke = now
                self.keep_alive()
            parts = self._receive()
            if parts is not None:
                for item in self._items(parts):
                    yield item
                    taken += isinstance(item, Block)
                heard = time.monotonic()  # only now: while a full ring held us up, nobody could be heard
            elif self._connections.denied == "key" and now - heard >= self.patience_s:
                raise SourceError(f"{self.uri}: {self._connections.why_denied()}; what came is kept")
            elif now - heard >= max(PATIENCE_S, self.patience_s):
                came, heard_s = self._arrivals.next_seq, now - heard
                raise SourceError(
                    f"{self.uri}: the source vanished: nothing heard for {heard_s:.0f} s after {came} frames; "
                    "what came is kept"
                )
            elif now - heard >= 3 * RETRY_S and now - asked >= RETRY_S:
                asked = now
                self._subscribe(self._window)

    def seek(self, index: int) -> None:
        stands = self._arrivals.next_index or 0
        if index != stands:
            raise SourceError(f"{self.uri}: a stream cannot be sought; it stands at frame {stands}")

    def resume(self, index: int, seq: int, planes: Mapping[str, int] = NO_PLANES) -> None:
        self._arrivals.resume(index, seq, planes)
        self._subscribe(0)

    def interrupt(self) -> None:
        self._stopped = True

    def acknowledge(self, index: int) -> None:
        seq = self._arrivals.seq_before(index)
        self._acked = self._acked if seq is None else seq

    def keep_alive(self) -> None:
        self._send(wire.Ack(seq=self._acked))

    def finished(self) -> None:
        if self._end is not None:
            self._send(wire.Ack(seq=self._end.seq))
        else:
            self._send(wire.Bye())

    def close(self) -> None:
        self._slabs.close()
        self._connections.close()
        self._socket.close()
        self._context.term()

    def _receive(self) -> list[zmq.Frame] | None:
        """Return the next message's parts, None after 100 ms without one."""
        self._connections.turn()
        parts = receive_frames(self._socket, MAX_PARTS)
        if parts is None and self._socket.poll(100):
            parts = receive_frames(self._socket, MAX_PARTS)
        if parts is not None:
            self._connections.speaker(parts[0])
        return parts

    def _items(self, parts: list[zmq.Frame]) -> Iterator[Block | Gap]:
        """What a message means for the stream; one that does not keep the protocol is dropped and counted."""
        try:
            message = wire.decode(parts[0].buffer)
            if isinstance(message, wire.Image):
                if self._arrivals.next_seq is None:
                    self.joined_seq = message.seq
                yield from self._arrivals.image(message, parts)
            elif isinstance(message, wire.Gap):
                self._arrivals.check_series(message.series_uid)
                self._arrivals.gone(message)
            elif isinstance(message, wire.End):
                yield from self._arrivals.end(message)
                self._end = message
                self.ended = message.reason
            elif isinstance(message, wire.Memory):
                self._arrivals.check_series(message.series_uid)
                self._slabs.offered(message)
            elif isinstance(message, wire.Start) and message.series_uid != self.series.uid:
                raise SourceError(f"{self.uri}: another series began ({message.source}); start a new run for it")
            elif isinstance(message, wire.Error):
                self._refused_by_server(message)
        except WireError as error:
            self.refused.add(error)

    def _refused_by_server(self, error: wire.Error) -> None:
        if error.reason.startswith("unknown consumer"):  # the server is new and a credit overtook our subscription
            self._subscribe(self._window)
        else:
            raise SourceError(f"{self.uri}: the server refused: {error.reason}")

    def _subscribe(self, credit: int) -> None:
        seq = self._from if self._arrivals.next_seq is None else self._arrivals.next_seq
        uid, memory = self.series.uid, self._memory
        self._send(wire.Subscribe(series=uid, from_seq=seq, credit=credit, codecs=self._codecs, memory=memory))

    def _send(self, message: wire.Message) -> None:
        try:
            self._socket.send(wire.encode(message), zmq.DONTWAIT)
        except zmq.Again:
            self.refused["unsent"] += 1

    def _wait_for_start(self) -> wire.Start:
        self._send(wire.Subscribe(from_seq=self._from, credit=0, codecs=self._codecs, memory=self._memory))
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            self._connections.turn()
            if self._connections.denied in ("key", "mechanism"):
                break
            if not self._socket.poll(int(min(left, 0.1) * 1000) + 1):
                continue
            parts = receive(self._socket, MAX_PARTS) or [b""]
            try:
                message = wire.decode(parts[0])
            except WireError as error:
                self.refused.add(error)
                continue
            if isinstance(message, wire.Start):
                return message
            if isinstance(message, wire.Error):
                raise SourceError(f"{self.uri}: the server refused: {message.reason}")
        why = self._connections.why_denied()
        why = why or f"nobody serves frames here (waited {PATIENCE_S:.0f} s); is the source running?"
        raise SourceError(f"{self.uri}: {why}")

    def _wait_for_calibration(self) -> Spec:
        """The maps that the start announced; without them the stream is as good as before."""
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0 and self._socket.poll(int(left * 1000) + 1):
            parts = receive(self._socket, MAX_PARTS) or [b""]
            try:
                message = wire.decode(parts[0])
                if isinstance(message, wire.Calibration) and message.series_uid == self.series.uid:
                    return with_calibration(self.spec, message, parts[1:])
            except WireError as error:
                self.refused.add(error)
                if error.kind in ("calibration", "parts", "nbytes", "arrays", "shape"):
                    return self.spec
        return self.spec

    def _described(self, start: wire.Start) -> tuple[Spec, Series]:
        try:
            wire.check_frame(start.dtype, start.shape)
            spec = Spec.from_header({name: getattr(start, name) for name in start.__struct_fields__})
        except (WireError, FrameError, TypeError) as error:
            raise SourceError(f"{self.uri}: the series' start cannot be used: {error}") from None
        return spec, Series(start.series_uid, start.source, start.t0_ns, start.frames, start.user)
