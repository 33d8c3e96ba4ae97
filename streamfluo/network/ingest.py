"""An ingest endpoint as a source: frames that another program pushes."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import FrameError, SourceError, WireError
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..core.spec import Spec
from .arrivals import MAX_FRAME_BYTES, Arrivals, Refusals
from .socket import bind

QUEUE_FRAMES = 16


class IngestSource(Source):
    """Frames pushed to `ingest+tcp://127.0.0.1:5556`, one a block; opening it waits for the first message.

    There is no acknowledgement: what is under way when we die is lost, and a jump of seq is a gap. The series begins
    with a start, or with the first image, which then says shape and dtype. Raises SourceError for an endpoint that
    cannot be bound or a start that cannot be.
    """

    seekable = False
    refused: Refusals

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.refused = Refusals(uri)
        self._stopped = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_FRAMES)
        try:
            self.endpoint = bind(self._socket, uri.removeprefix("ingest+"))
            self._first = self._wait_for_series()
        except BaseException:  # Ctrl-C while nobody sends
            self.close()
            raise

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        parts: list[zmq.Frame] | None = self._first
        while not self._stopped:
            if parts is not None:
                try:
                    message = wire.decode(parts[0].buffer)
                    if isinstance(message, wire.Image):
                        self._check_series(message.series_uid)
                        self._check_seq(message.seq)
                        yield from self._arrivals.image(message, parts)
                    elif isinstance(message, wire.End):
                        self._check_series(message.series_uid)
                        yield from self._arrivals.missing(message.seq, None)
                        self.ended = message.reason
                        return
                    elif not isinstance(message, wire.Start):
                        raise WireError("type", f"a sender does not send {type(message).__name__.lower()}")
                except WireError as error:
                    self.refused.add(error)
            parts = self._receive()

    def seek(self, index: int) -> None:
        raise SourceError(f"{self.uri}: pushed frames cannot be sought")

    def resume(self, index: int, seq: int) -> None:
        self._arrivals.resume(index, seq)

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def _check_series(self, uid: str) -> None:
        if uid != self.series.uid:
            raise WireError("series", f"a message of series {uid[:64]!r}; this is {self.series.uid[:64]!r}")

    def _check_seq(self, seq: int) -> None:
        expected = self._arrivals.next_seq
        if expected is not None and seq < expected:
            raise WireError("seq", f"a frame of seq {seq} where {expected} should follow; a sender counts up")

    def _receive(self) -> list[zmq.Frame] | None:
        """The next message's parts, at most three of them; None after 100 ms without one."""
        if not self._socket.poll(100):
            return None
        parts = [self._socket.recv(copy=False)]
        while parts[-1].more:
            part = self._socket.recv(copy=False)
            parts = [*parts, part] if len(parts) < 3 else [*parts[:2], part]
        return parts

    def _wait_for_series(self) -> list[zmq.Frame]:
        """The first message that says what the series is, and what it says."""
        while True:
            parts = self._receive()
            if parts is None:
                continue
            try:
                message = wire.decode(parts[0].buffer)
                if isinstance(message, wire.Start):
                    self._begin(message)
                elif isinstance(message, wire.Image) and len(parts) == 2:
                    wire.frame_pixels(message, parts[1].buffer)
                    self._begin(wire.Start(series_uid=message.series_uid, dtype=message.dtype, shape=message.shape))
                else:
                    raise WireError("type", "neither a start nor an image begins the series")
            except WireError as error:
                self.refused.add(error)
            else:
                return parts

    def _begin(self, start: wire.Start) -> None:
        try:
            wire.check_frame(start.dtype, start.shape)
            self.spec = Spec.from_header({name: getattr(start, name) for name in start.__struct_fields__})
        except (FrameError, TypeError) as error:
            raise WireError("start", f"the series' start cannot be used: {error}") from None
        self.series = Series(start.series_uid, start.source or self.uri, start.t0_ns, start.frames, start.user)
        self._arrivals = Arrivals(self.spec, start.series_uid, None)
