"""What reads messages of strangers, for a fuzzer.

An input is a list of messages, each a list of parts; all go to whoever takes messages of strangers.
"""

import atexit
import contextlib
import io
from collections import Counter
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import msgspec
import numpy as np
import zmq
from toys import ONES, Movie

from streamfluo import StreamfluoError
from streamfluo.core import results, wire
from streamfluo.core.calibration import encode_calibration, with_calibration
from streamfluo.core.source import Gap
from streamfluo.core.spec import Camera, Spec
from streamfluo.core.step_values import StepValues
from streamfluo.network.arrivals import Arrivals, Refusals
from streamfluo.network.compressed import Packing
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.ingest import IngestSource
from streamfluo.network.server import DataServer
from streamfluo.network.slabs import Slabs, SlabWriter
from streamfluo.session.values import values_message

ours = contextlib.suppress(StreamfluoError)
SPEC = Spec((3, 4), "u2", interval_s=0.1)
PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def messages_in(data):
    """Read: parts in a message (u8), length (u16) and bytes of each part."""
    stream, found = io.BytesIO(data), []
    while count := stream.read(1):
        parts = [stream.read(int.from_bytes(stream.read(2), "little")) for _ in range(count[0] % 8)]
        found.append([Part(part) for part in parts] or [Part(b"")])
    return found[:64]


def packed(messages):
    """Write what `messages_in` reads."""
    parts = [bytes([len(m)]) + b"".join(len(p).to_bytes(2, "little") + bytes(p) for p in m) for m in messages]
    return b"".join(parts)


class Part:
    """A part of a message as zmq.Frame has it."""

    more = False

    def __init__(self, data):
        self.bytes, self.buffer = data, memoryview(data)

    def get(self, name):
        return 3


class Ended(Exception):
    """No message is left."""


def quiet_connections():
    return SimpleNamespace(
        denied="",
        why_denied=lambda: "",
        turn=list,
        speaker=lambda part: 3,
        closings={3: 0},
        allowances={},
        unheard_bytes=0,
        close=lambda: None,
    )


class Pushed(IngestSource):
    """An ingest endpoint to which these messages come."""

    def __init__(self, messages):
        self.uri, self.refused = "ingest", Refusals("ingest")
        self._strays, self._key, self._slabs = Counter(), "", Slabs()
        self._stopped = self._resumed = self._handed_on = False
        self._messages, self._sender, self._other, self._over = iter(messages), None, None, ""
        self._socket = SimpleNamespace(
            connections=quiet_connections(), belongs_to=lambda *_: None, receive=self._receive, close=lambda: None
        )
        self._first = self._wait_for_series(None)

    def _receive(self, wait=True):
        for parts in self._messages:
            return parts[:3]
        raise Ended


class Told(NetworkSource):
    """A consumer whose server says this."""

    def __init__(self, messages):
        self.uri, self.refused = "consumer", Refusals("consumer")
        self._stopped, self._end, self._acked, self._from = False, None, -1, 0
        self._codecs = self._memory = msgspec.UNSET
        self._slabs = Slabs()
        self._messages, self._connections = iter(messages), quiet_connections()
        self._socket = SimpleNamespace(poll=self._no_more, send=lambda *a: None)
        self.series = SimpleNamespace(uid="movie")
        self.spec, self._window = SPEC, 8
        self._arrivals = Arrivals(SPEC, "movie", slabs=self._slabs)

    def _no_more(self, _):
        raise Ended

    def _receive(self):
        for parts in self._messages:
            return parts
        raise Ended


@cache
def data_server():
    movie = Movie(ONES[:20], seekable=True)
    movie.series = replace(movie.series, frames=20)  # of a movie without end any frame may be asked for
    server = DataServer(ReplayedFrames(movie), "tcp://127.0.0.1:0")
    server._socket.close(0)
    server._socket = SimpleNamespace(send_multipart=_refuse_some, setsockopt=lambda *a: None)
    return server


def _refuse_some(parts, *_, **__):
    if len(parts[0]) % 3 == 1:
        raise zmq.Again
    assert sum(memoryview(part).nbytes for part in parts) < 1 << 20


def server_hears(messages):
    server = data_server()
    server._consumers.clear()
    for parts in messages:
        with contextlib.suppress(StreamfluoError):
            server._handle(b"a" * (len(parts) % 4), 3, "", wire.decode(parts[-1].buffer))
    list(server._asked.answers())
    server._emit(server._frames, server._frames.frontier())
    server._beat_hearts()
    assert server.consumers <= 256


def run_wire(data, folder):
    messages = messages_in(data)
    for parts in messages:
        buffers = [part.buffer for part in parts]
        with ours:
            message = wire.decode(buffers[0])
            assert wire.decode(wire.encode(message)) == message or "nan" in repr(message)
            if isinstance(message, wire.Image) and len(buffers) > 1:
                wire.frame_pixels(message, buffers[1])
            if isinstance(message, wire.Start):
                Spec.from_header({name: getattr(message, name) for name in message.__struct_fields__}).to_header()
            if isinstance(message, wire.Calibration):
                with_calibration(SPEC, message, buffers[1:])
        with ours:
            results.decode_result([b"values/level/", *buffers])
    for made in (Pushed, Told):
        with ours, contextlib.suppress(Ended):
            source = made(messages)
            try:
                for item in source.blocks():
                    assert isinstance(item, Gap) or item.pixels.nbytes < 1 << 20
            finally:
                source._slabs.close()
    with ours, contextlib.suppress(Ended):
        told = Told(messages)
        told._described(told._wait_for_start())
    server_hears(messages)


def wire_seeds(folder):
    image = {"series_uid": "movie", "dtype": "<u2", "shape": (3, 4), "nbytes": 24}
    start = wire.Start(series_uid="movie", **SPEC.to_header())
    frames = [[wire.encode(wire.Image(seq=n, index=n, t_ns=n, **image)), PIXELS.tobytes()] for n in range(3)]
    end = [wire.encode(wire.End(series_uid="movie", seq=3, frames=3))]
    maps, arrays = encode_calibration("movie", Camera(offset_adu=np.ones((3, 4)), gain_e_per_adu=2.0))
    words = [
        wire.Subscribe(credit=8), wire.Subscribe(from_seq="live", credit=2**20), wire.Credit(n=3), wire.Ack(seq=2),
        wire.Bye(), wire.Hello(), wire.Status(), wire.Preview(bin_px=2), wire.Look(index=3), wire.Heartbeat(),
        wire.Past(step="level", names=("traces",), before=3), wire.Past(step="level", before=2**62 - 1),
        wire.Error(reason="no"), wire.Subscribe(credit=8, memory=True),
        wire.Gap(series_uid="movie", first=1, last=9), wire.Event(event="gap", fields={"first": 1}),
    ]  # fmt: skip
    header, parts = values_message("movie", some_values())
    small = Packing(["blosc2"]).packed(wire.Image(seq=0, index=0, **image), np.zeros((3, 4), "<u2"))
    seeds = [
        packed([[wire.encode(start)], [wire.encode(small[0]), bytes(small[1])], end]),
        packed([[wire.encode(start)], *frames, end]),
        packed([*frames, end]),
        packed([[msgspec.json.encode(start)], [msgspec.json.encode(wire.Image(seq=0, index=7, **image)), bytes(24)]]),
        packed([[wire.encode(start)], *in_memory(), *frames[1:], end]),
        packed([[wire.encode(maps), *(a.tobytes() for a in arrays)]]),
        packed([[wire.encode(header), *(p.tobytes() for p in parts)]]),
        *(packed([[wire.encode(word)]]) for word in words),
    ]
    return [*seeds, packed([[wire.encode(word)] for word in words])]


@cache
def in_memory():
    """A frame in a slab, as its sender says it, and the offer before it."""
    writer = SlabWriter(PIXELS.nbytes, most=2)
    atexit.register(writer.close)
    image = wire.Image(series_uid="movie", seq=0, index=0, t_ns=0, dtype="<u2", shape=(3, 4), nbytes=24)
    return [[wire.encode(m)] for m in (wire.Memory(series_uid="movie", memory=writer.ring), writer.put(image, PIXELS))]


def some_values(index=0, frames=3):
    arrays = {
        "level": np.arange(frames, dtype=float),
        "ids": np.array([3, 5], np.int32),
        "traces": np.ones((frames, 2), np.float32),
        "found/frame": np.arange(frames),
        "found/name": np.array(["a", "bc", ""][:frames]),
    }
    return StepValues("level", index, frames, arrays, sum(a.nbytes for a in arrays.values()))
