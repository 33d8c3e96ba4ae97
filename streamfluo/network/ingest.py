"""An ingest endpoint as a source: frames that another program pushes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import FrameError, SourceError, WireError
from ..core.source import MAX_BLOCK_FRAMES, NO_PLANES, Gap, Series, Source
from ..core.spec import Spec
from .access import whose
from .arrivals import Arrivals, Refusals
from .ingest_socket import MAX_SENDERS, IngestSocket
from .slabs import Slabs, check_parts

SILENT_S = 10.0  # then, or once its connection is gone, another sender may go on with the series
STRAYS = 10  # images of another series in a row, of the same sender: its start was lost, one may be a mistake
_Sent = wire.Start | wire.Image | wire.Memory | wire.End
TURNS = 2 * MAX_SENDERS  # messages in which each connection had its turn: libzmq takes one of each in a circle


class IngestSource(Source):
    """Frames pushed to `ingest+tcp://127.0.0.1:5556`, one a block; opening it waits for the first message.

    There is no acknowledgement: what is under way when we die is lost, and a jump of seq is a gap. The series begins
    with a start, or with the first image, which then says shape and dtype. It belongs to the connection that began it:
    what others send is refused and counted, until that one is gone or has been silent for 10 s; then one with the same
    key may go on. Raises SourceError for
    an endpoint that cannot be bound or a start that cannot be, and when another series follows: `following` is its
    source.
    """

    seekable = False
    refused: Refusals

    def __init__(self, uri: str, before: IngestSource | None = None) -> None:
        self.uri = uri
        self.refused = Refusals(uri)
        self._slabs = Slabs()
        self._stopped = self._resumed = self._handed_on = False
        self._strays: Counter[str] = Counter()  # images of another series that came in a row
        self._sender: int | None = None  # the connection whose series it is
        self._other: list[zmq.Frame] | None = None  # what another series began with
        self._socket: IngestSocket = IngestSocket(uri, self.refused) if before is None else before._socket
        self._over = "" if before is None else before.series.uid  # whose late frames begin nothing
        try:
            self.endpoint = self._socket.endpoint
            self._first = self._wait_for_series(None if before is None else before._other)
        except BaseException:  # Ctrl-C while nobody sends
            self.close()
            raise

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        parts: list[zmq.Frame] | None = self._first
        self._heard = time.monotonic()
        while not self._stopped:
            if parts is not None:
                try:
                    message = self._of_the_series(parts)
                    if isinstance(message, wire.Image):
                        self._go_on(message)
                        yield from self._arrivals.image(message, parts)
                        self._heard = time.monotonic()  # only now: while a full ring held us up, nobody was heard
                    elif isinstance(message, wire.Memory):
                        self._slabs.offered(message)
                    elif isinstance(message, wire.End):
                        yield from self._arrivals.end(message)
                        self.ended = message.reason
                        return
                except WireError as error:
                    self.refused.add(error)
            parts = self._receive()

    def seek(self, index: int) -> None:
        raise SourceError(f"{self.uri}: pushed frames cannot be sought")

    def resume(self, index: int, seq: int, planes: Mapping[str, int] = NO_PLANES) -> None:
        self._arrivals.resume(index, seq, planes)
        self._resumed = True

    def recall(self, spec: Spec, series: Series) -> None:
        self.spec, self.series = spec, series
        self._arrivals = Arrivals(spec, series.uid, None, self.refused, self._slabs)

    def interrupt(self) -> None:
        self._stopped = True

    def keep_alive(self) -> None:
        self._socket.connections.turn()  # while a full ring holds us up, what strangers send goes on

    def following(self) -> IngestSource:
        self._handed_on = True
        self._socket.open_to_all()
        return IngestSource(self.uri, self)

    def close(self) -> None:
        self._slabs.close()
        if not self._handed_on:
            self._socket.close()

    def _of_the_series(self, parts: list[zmq.Frame]) -> _Sent:
        """Return the message. Raises WireError for one that is not of this series, or of a sender that has no say in
        it, SourceError where that one begins another series."""
        sender, message = self._socket.connections.speaker(parts[0]), wire.decode(parts[0].buffer)
        if not isinstance(message, _Sent):
            raise WireError("type", f"a sender does not send {type(message).__name__.lower()}")
        has_say = sender == self._sender or (whose(parts[0]) == self._key and self._may_follow())
        if has_say and self._begins_another(message, sender):
            self._other = parts
            raise SourceError(f"{self.uri}: another series began ({_name(message)}); start a new run for it")
        self._arrivals.check_series(message.series_uid)
        if not has_say:
            raise WireError("sender", f"a message of series {self.series.uid[:64]!r}, but not of who began it")
        if sender != self._sender:
            self._belongs_to(sender)
        self._heard, self._others = time.monotonic(), 0
        return message

    def _begins_another(self, message: _Sent, sender: int) -> bool:
        """Whether another series has begun: its start says so, or, where that was lost, its sender's images do."""
        if message.series_uid in (self.series.uid, self._over) or isinstance(message, wire.End):
            self._strays.clear()
        elif isinstance(message, wire.Start):
            return True
        elif sender == self._sender:
            self._strays = Counter({message.series_uid: self._strays[message.series_uid] + 1})
        return max(self._strays.values(), default=0) >= STRAYS

    def _may_follow(self) -> bool:
        """Whether another sender may go on with the series: its own is silent, or gone, and all that it said was taken.

        What waits of a connection that closed comes after the word that it did, in turn with what others say.
        """
        self._socket.connections.turn()  # the word that a connection closed comes before what the next one says
        self._others += 1
        return (self._gone() and self._others > TURNS) or time.monotonic() - self._heard >= SILENT_S

    def _gone(self) -> bool:
        return self._sender is not None and self._socket.connections.closings[self._sender] > self._closings

    def _belongs_to(self, sender: int) -> None:
        self._sender, self._closings, self._others = sender, self._socket.connections.closings[sender], 0
        self._socket.belongs_to(sender, self.spec)

    def _go_on(self, image: wire.Image) -> None:
        """Frames pushed while we were away are gone, however many: nobody kept them."""
        if self._resumed:
            self._resumed = False
            self._arrivals.gone(wire.Gap(first=0, last=image.seq - 1))

    def _receive(self) -> list[zmq.Frame] | None:
        """The next message's parts; None after 100 ms without one."""
        parts = self._socket.receive(wait=False)
        if parts is None and self._gone():
            self._others = TURNS  # nothing waits of anybody
        return parts or self._socket.receive()

    def _wait_for_series(self, parts: list[zmq.Frame] | None) -> list[zmq.Frame]:
        """The first message that says what the series is, and what it says."""
        while True:
            parts = parts or self._socket.receive()
            if parts is None:
                continue
            try:
                message = wire.decode(parts[0].buffer)
                if isinstance(message, wire.Start):
                    self._begin(message)
                elif isinstance(message, wire.Image) and message.series_uid != self._over:
                    check_parts(message, parts)
                    part = self._slabs.pixels(message) if isinstance(message, wire.Slab) else parts[1].buffer
                    wire.frame_pixels(message, part)
                    self._begin(wire.Start(series_uid=message.series_uid, dtype=message.dtype, shape=message.shape))
                else:
                    raise WireError("type", "neither a start nor an image begins the series")
            except WireError as error:
                self.refused.add(error)
                parts = None
            else:
                self._key = whose(parts[0])
                self._belongs_to(self._socket.connections.speaker(parts[0]))
                return parts

    def _begin(self, start: wire.Start) -> None:
        try:
            wire.check_frame(start.dtype, start.shape)
            self.spec = Spec.from_header({name: getattr(start, name) for name in start.__struct_fields__})
        except (FrameError, TypeError) as error:
            raise WireError("start", f"the series' start cannot be used: {error}") from None
        self.series = Series(start.series_uid, start.source or self.uri, start.t0_ns, start.frames, start.user)
        self._arrivals = Arrivals(self.spec, start.series_uid, None, self.refused, self._slabs)


def _name(message: _Sent) -> str:
    return (message.source if isinstance(message, wire.Start) else "") or message.series_uid[:64]
