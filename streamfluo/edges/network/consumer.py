"""A data endpoint as a source: asks for frames, counts what is missing, comes back after a break."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import numpy as np
import zmq

from ...core import wire
from ...core.block import Block
from ...core.errors import FrameError, SourceError, WireError
from ...core.spec import Spec
from ..source import MAX_BLOCK_FRAMES, Gap, Series, Source
from .socket import connect

PATIENCE_S = 10.0  # for a server to come, or to come back
RETRY_S = 1.0
KEEPALIVE_S = 2.0
WINDOW_BYTES = 64 << 20
MAX_WINDOW = 256  # frames


class NetworkSource(Source):
    """Frames from a data endpoint, from seq 0 on; `blocks` gives them as they come, one a block, without copying.

    Frames the transport or the camera lost are gaps. If the server goes away it is asked again for ten seconds; a
    file replay started anew goes on where it stood. Raises SourceError when nobody answers.
    """

    seekable = False

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.refused: Counter[str] = Counter()
        self._next_seq = 0
        self._next_index: int | None = None
        self._turns: list[tuple[int, int]] = []  # (index, seq) where index − seq changed
        self._acked = -1
        self._end: wire.End | None = None
        self._stopped = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.RCVHWM, 2 * MAX_WINDOW)  # credit bounds what an honest server sends
        try:
            connect(self._socket, uri)
            self._start = self._wait_for_start()
            self.spec, self.series = self._described(self._start)
        except SourceError:
            self.close()
            raise
        self._window = max(4, min(MAX_WINDOW, WINDOW_BYTES // self.spec.frame_nbytes))

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        taken = -self._window  # frames taken since credit was last given
        heard = asked = spoke = time.monotonic()
        while not self._stopped and self._end is None:
            if taken >= self._window // 4 or taken < 0:
                self._send(wire.Credit(n=abs(taken)))
                taken = 0
            now = time.monotonic()
            if now - spoke >= KEEPALIVE_S:
                spoke = now
                self._send(wire.Ack(seq=self._acked))
            parts = self._receive()
            if parts is not None:
                for item in self._items(parts):
                    yield item
                    taken += isinstance(item, Block)
                heard = time.monotonic()  # only now: while a full ring held us up, nobody could be heard
            elif now - heard >= PATIENCE_S:
                raise SourceError(
                    f"{self.uri}: the source vanished: nothing heard for {PATIENCE_S:.0f} s after {self._next_seq} "
                    "frames; what came is kept"
                )
            elif now - heard >= 3 * RETRY_S and now - asked >= RETRY_S:
                asked = now
                self._subscribe(self._window)

    def seek(self, index: int) -> None:
        if index != (self._next_index or 0):
            raise SourceError(f"{self.uri}: a stream cannot be sought; it stands at frame {self._next_index or 0}")

    def resume(self, index: int, seq: int) -> None:
        self._next_index, self._next_seq = index, seq
        self._turns.append((index, seq))
        self._subscribe(0)

    def interrupt(self) -> None:
        self._stopped = True

    def acknowledge(self, index: int) -> None:
        at = bisect_right(self._turns, (index, 1 << 62)) - 1
        if at >= 0:
            first_index, first_seq = self._turns[at]
            self._acked = first_seq + index - 1 - first_index

    def finished(self) -> None:
        if self._end is not None:
            self._send(wire.Ack(seq=self._end.seq))
        else:
            self._send(wire.Bye())

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def _receive(self) -> list[zmq.Frame] | None:
        """Return the next message's parts, None after 100 ms without one."""
        try:
            return self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            if not self._socket.poll(100):
                return None
            return self._socket.recv_multipart(copy=False)

    def _items(self, parts: list[zmq.Frame]) -> Iterator[Block | Gap]:
        """What a message means for the stream; one that does not keep the protocol is dropped and counted."""
        try:
            message = wire.decode(parts[0].buffer)
            if isinstance(message, wire.Image):
                yield from self._frame(message, parts)
            elif isinstance(message, wire.Gap) and message.series_uid == self.series.uid:
                yield from self._gone(message)
            elif isinstance(message, wire.End) and message.series_uid == self.series.uid:
                yield from self._missing(message.seq, None)
                self._end = message
                self.ended = message.reason
            elif isinstance(message, wire.Start) and message.series_uid != self.series.uid:
                raise SourceError(f"{self.uri}: another series began ({message.source}); start a new run for it")
            elif isinstance(message, wire.Error):
                self._refused_by_server(message)
        except WireError as error:
            self.refused[error.kind] += 1

    def _frame(self, image: wire.Image, parts: list[zmq.Frame]) -> Iterator[Block | Gap]:
        if len(parts) != 2:
            raise WireError("parts", f"an image has 2 parts, found {len(parts)}")
        if image.series_uid != self.series.uid or image.seq < self._next_seq:
            return  # another series, or a frame that came before the break already
        pixels = wire.frame_pixels(image, parts[1].buffer)
        if pixels.shape != self.spec.shape or pixels.dtype.name != self.spec.dtype:
            raise WireError("spec", f"frame {image.index} is {pixels.shape} {pixels.dtype}, the series {self.spec}")
        if self._next_index is not None and image.index < self._next_index:
            raise WireError("index", f"frame {image.index} after frame {self._next_index - 1}")
        yield from self._missing(image.seq, image.index)
        self._next_seq, self._next_index = image.seq + 1, image.index + 1
        yield Block(image.index, np.array([image.t_ns]), pixels[None], image.channel)

    def _gone(self, gap: wire.Gap) -> Iterator[Gap]:
        """What the server no longer has; before our first frame only that one tells which indices these were."""
        if self._next_index is not None and gap.first <= self._next_seq <= gap.last:
            yield from self._missing(gap.last + 1, None)
            self._next_index += gap.last + 1 - self._next_seq
            self._next_seq = gap.last + 1

    def _missing(self, seq: int, index: int | None) -> Iterator[Gap]:
        """Gaps before the frame with this seq and index: what the transport lost, then what the camera dropped."""
        lost = seq - self._next_seq
        expected = self._next_index if self._next_index is not None else (index or 0) - lost
        if lost > 0:
            yield Gap(max(0, expected), lost, "transport")
        if index is not None:
            dropped = index - expected - lost
            if dropped > 0:
                yield Gap(expected + lost, dropped, "camera")
            if lost or dropped or not self._turns:
                self._turns.append((index, seq))

    def _refused_by_server(self, error: wire.Error) -> None:
        if error.reason.startswith("unknown consumer"):  # the server is new and a credit overtook our subscription
            self._subscribe(self._window)
        else:
            raise SourceError(f"{self.uri}: the server refused: {error.reason}")

    def _subscribe(self, credit: int) -> None:
        series = self.series.uid if hasattr(self, "series") else "current"
        self._send(wire.Subscribe(series=series, from_seq=self._next_seq, credit=credit))

    def _send(self, message: wire.Message) -> None:
        try:
            self._socket.send(wire.encode(message), zmq.DONTWAIT)
        except zmq.Again:
            self.refused["unsent"] += 1

    def _wait_for_start(self) -> wire.Start:
        self._subscribe(0)
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(int(left * 1000) + 1):
                break
            parts = self._socket.recv_multipart()
            try:
                message = wire.decode(parts[0])
            except WireError as error:
                self.refused[error.kind] += 1
                continue
            if isinstance(message, wire.Start):
                return message
            if isinstance(message, wire.Error):
                raise SourceError(f"{self.uri}: the server refused: {message.reason}")
        raise SourceError(f"{self.uri}: nobody serves frames here (waited {PATIENCE_S:.0f} s); is the source running?")

    def _described(self, start: wire.Start) -> tuple[Spec, Series]:
        try:
            wire.check_frame(start.dtype, start.shape)
            spec = Spec.from_header({name: getattr(start, name) for name in start.__struct_fields__})
        except (WireError, FrameError, TypeError) as error:
            raise SourceError(f"{self.uri}: the series' start cannot be used: {error}") from None
        return spec, Series(start.series_uid, start.source, start.t0_ns, start.frames, start.user)
