"""Whether a data endpoint keeps the protocol: what `streamfluo protocol check` asks, rule by rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import zmq

from ..core import wire
from ..core.errors import WireError
from .arrivals import MAX_FRAME_BYTES
from .socket import connect, new_context, receive

PATIENCE_S = 3.0

Rule = tuple[str, str | None]  # the rule, and what is wrong (None: it is kept)


class _Peer:
    """A DEALER that remembers what it was sent."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], uri: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        connect(self.socket, uri)

    def say(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def hear(self, wanted: Callable[[wire.Message], bool], patience_s: float = PATIENCE_S) -> list[bytes] | None:
        """The next message that is wanted, as parts; None after a while. Raises WireError if one breaks a rule."""
        deadline = time.monotonic() + patience_s
        while self.socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            parts = receive(self.socket, 2)
            if parts is not None and wanted(wire.decode(parts[0])):
                return parts
        return None


def check_server(uri: str, frames: int = 20) -> Iterator[Rule]:
    """Yield each rule and what is wrong with how the server at `uri` keeps it. Raises SourceError for a bad URI."""
    with new_context() as context:
        peer = _Peer(context, uri)
        try:
            for rule, test in _RULES:
                try:
                    problem = test(peer, frames)
                except WireError as error:
                    problem = f"{error} ({error.kind})"
                yield rule, problem
                if test is _hello and problem:
                    return  # nobody there, or nobody of ours
            peer.say(wire.encode(wire.Bye()))
        finally:
            peer.socket.close(1000)


def _hello(peer: _Peer, frames: int) -> str | None:
    peer.say(wire.encode(wire.Hello()))
    parts = peer.hear(lambda m: isinstance(m, wire.Hello))
    return None if parts else "no answer"


def _json(peer: _Peer, frames: int) -> str | None:
    peer.say(msgspec.json.encode(wire.Status()))
    parts = peer.hear(lambda m: isinstance(m, wire.Status))
    return None if parts else "no answer"


def _version(peer: _Peer, frames: int) -> str | None:
    peer.say(msgspec.msgpack.encode({"type": "subscribe", "version": 999}))
    parts = peer.hear(lambda m: isinstance(m, wire.Error))
    if parts is None:
        return "no error came"
    answer = wire.decode(parts[0])
    assert isinstance(answer, wire.Error)
    return None if wire.VERSION in answer.supported else f"supported says {answer.supported}"


def _garbage(peer: _Peer, frames: int) -> str | None:
    for parts in ([b""], [b"\xc1"], [b"{"], [b"x"] * 5, [msgspec.msgpack.encode({"type": "picture"})]):
        peer.say(*parts)
    return _hello(peer, frames)


def _start(peer: _Peer, frames: int) -> str | None:
    peer.say(wire.encode(wire.Subscribe(from_seq="oldest", credit=0)))
    parts = peer.hear(lambda m: isinstance(m, wire.Start | wire.Error))
    if parts is None:
        return "no start came"
    answer = wire.decode(parts[0])
    if isinstance(answer, wire.Error):
        return f"refused: {answer.reason}"
    assert isinstance(answer, wire.Start)
    wire.check_frame(answer.dtype, answer.shape)
    return None


def _credit(peer: _Peer, frames: int) -> str | None:
    parts = peer.hear(lambda m: isinstance(m, wire.Image), 0.5)
    return None if parts is None else "a frame came without credit"


def _images(peer: _Peer, frames: int) -> str | None:
    peer.say(wire.encode(wire.Credit(n=frames)))
    seq = -1
    for n in range(frames):
        parts = peer.hear(lambda m: isinstance(m, wire.Image | wire.End))
        if parts is None:
            return f"{n} of {frames} frames came" if n == 0 else None  # a slow camera is no fault
        image = wire.decode(parts[0])
        if isinstance(image, wire.End):
            return None
        assert isinstance(image, wire.Image)
        if len(parts) != 2:
            return f"an image of {len(parts)} parts"
        wire.frame_pixels(image, parts[1])
        if image.seq <= seq:
            return f"seq {image.seq} after {seq}"
        seq = image.seq
    return None


def _no_more(peer: _Peer, frames: int) -> str | None:
    parts = peer.hear(lambda m: isinstance(m, wire.Image), 0.5)
    return None if parts is None else "more frames came than there was credit for"


def _heartbeat(peer: _Peer, frames: int) -> str | None:
    parts = peer.hear(lambda m: isinstance(m, wire.Heartbeat))
    return None if parts else f"none within {PATIENCE_S:g} s"


_RULES: tuple[tuple[str, Callable[[_Peer, int], str | None]], ...] = (
    ("hello is answered", _hello),
    ("a JSON header is understood, status answered", _json),
    ("an unknown version is refused with those supported", _version),
    ("garbage is dropped and the next question answered", _garbage),
    ("subscribe is answered by a start within the limits", _start),
    ("no frame comes without credit", _credit),
    ("frames come with credit, whole and in order of seq", _images),
    ("no more frames than credit", _no_more),
    ("heartbeats come", _heartbeat),
)
