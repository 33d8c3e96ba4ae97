"""Frames compressed on the wire: the same bits, only for who reads them, and nothing believed that a chunk says."""

import zlib

import msgspec
import numpy as np
import pytest
from pushing import pushed
from test_network_hostile import END, FRAMES, image, indices, pack, told
from toy_server import Movie, frames, serving

from streamfluo import SourceError, Spec, open_source
from streamfluo.core import wire
from streamfluo.core.errors import WireError
from streamfluo.core.source import Series
from streamfluo.network import compressed
from streamfluo.network.compressed import Packing, unpacked

imagecodecs = pytest.importorskip("imagecodecs", reason="needs imagecodecs: the extra [formats]")

DIM = np.random.default_rng(2).poisson(2.0, (300, 8, 9)).astype(np.uint16)  # which LZ4 makes smaller
SHAPES = [(1, 1), (8, 9), (13, 17), (64, 1), (300, 200)]


class Dim(Movie):
    def __init__(self, dtype="uint16", shape=(40, 50)):
        self.spec, self.series = Spec(shape, dtype, interval_s=0.01), Series("dim", "toy:dim", frames=50)
        self.frames = np.random.default_rng(2).poisson(2.0, (50, *shape)).astype(dtype)
        self.frames[7] = 0
        self.next = 0


def bytes_sent(server):
    """How long the second part of each message was, that a server gives its socket."""
    sent, give = [], server._give
    server._give = lambda identity, parts: sent.append(memoryview(parts[-1]).nbytes) or give(identity, parts)
    return sent


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32"])
def test_every_frame_comes_with_the_same_bits_in_fewer_bytes(dtype):
    movie = Dim(dtype)
    with serving(movie) as served:
        sent = bytes_sent(served.server)
        with open_source(f"{served.uri}?codec=blosc2") as source:
            got = frames(source.blocks())
            source.finished()
        assert served.ended()
    assert all(np.array_equal(got[n].view("u1"), movie.frames[n].view("u1")) for n in range(50))
    of_frames = sorted(n for n in sent if n > 200 or n == 32)  # start and end are shorter, the black frame is 32
    assert len(of_frames) == 50
    assert sum(of_frames) < 0.6 * movie.frames.nbytes


@pytest.mark.parametrize("codec", ["", "?codec=none"])
def test_within_a_machine_frames_are_sent_as_they_are_unless_asked(codec):
    with serving(Dim()) as served, open_source(served.uri + codec) as source:
        sent = bytes_sent(served.server)
        frames(source.blocks())
        source.finished()
        assert served.ended()
    assert sent.count(4000) == 50


def test_beyond_the_machine_what_there_is_is_asked_for(monkeypatch):
    assert compressed.wanted("tcp://rig:1", None, True) == ("blosc2",)
    assert compressed.wanted("tcp://rig:1", "none", True) == ()
    monkeypatch.setattr(compressed, "library", lambda: None)
    assert compressed.wanted("tcp://rig:1", None, True) == ()
    with pytest.raises(SourceError, match=r'tcp://rig:1: codec blosc2 needs imagecodecs: pip install "streamfluo'):
        compressed.wanted("tcp://rig:1", "blosc2", True)


@pytest.mark.parametrize("codecs", [[], ["zstd"], ["zstd", "blosc2"]])
def test_a_server_takes_of_what_is_read_there_what_it_has(codecs):
    header, part = Packing(codecs).packed(head(DIM[0], seq=0), DIM[0])
    assert (header.codec == "blosc2") == ("blosc2" in codecs)
    assert (memoryview(part).nbytes < DIM[0].nbytes) == ("blosc2" in codecs)


def test_a_server_without_the_library_sends_them_as_they_are(monkeypatch):
    monkeypatch.setattr(compressed, "library", lambda: None)
    frame = DIM[0]
    assert Packing(["blosc2"]).packed(head(frame), frame)[1] is frame


def test_noise_that_does_not_get_smaller_is_sent_as_it_is_and_seldom_tried():
    packing, tried = Packing(["blosc2"]), []
    encode = packing._encode
    packing._encode = lambda *args, **options: tried.append(1) or encode(*args, **options)
    noise = np.random.default_rng(1).integers(0, 2**16, (64, 64)).astype(np.uint16)
    assert all(packing.packed(head(noise), noise)[1] is noise for _ in range(64))
    assert len(tried) == 2


# What a chunk says is not believed


def head(pixels, seq=4, **changes):
    facts = dict(series_uid="movie", seq=seq, index=seq, dtype=pixels.dtype.str, shape=pixels.shape)
    return wire.Image(**{**facts, "nbytes": pixels.nbytes, **changes})


def chunk(pixels=DIM[4], **options):
    said = dict(level=1, compressor="lz4", shuffle="bitshuffle", typesize=pixels.itemsize, numthreads=1)
    return imagecodecs.blosc2_encode(pixels, **{**said, **options})


def changed(at, value):
    return bytes([*chunk()[:at], value, *chunk()[at + 1 :]])


def sent(part, **changes):
    return [pack({**msgspec.to_builtins(head(DIM[4], codec="blosc2", nbytes_wire=len(part))), **changes}), part]


BAD = {
    "a codec that nobody knows": ("codec", sent(chunk(), codec="zstd")),
    "a codec that is no word": ("fields", sent(chunk(), codec=7)),
    "no length": ("fields", sent(chunk(), nbytes_wire=None)),
    "another length": ("nbytes", sent(chunk(), nbytes_wire=99)),
    "a length below nothing": ("fields", sent(chunk(), nbytes_wire=-1)),
    "another frame's size": ("nbytes", sent(chunk(), nbytes=2**31)),
    "a shape of 16 GB": ("nbytes", sent(chunk(), shape=[65536, 65536], nbytes=2**33)),
    "nothing": ("damaged", sent(b"")),
    "half a header": ("damaged", sent(chunk()[:20])),
    "a header alone": ("damaged", sent(chunk()[:32])),
    "half of it": ("damaged", sent(chunk()[:60])),
    "another compressor": ("damaged", sent(chunk(compressor="zstd"))),
    "bytes shuffled": ("damaged", sent(chunk(shuffle="shuffle"))),
    "nothing shuffled": ("damaged", sent(chunk(shuffle="noshuffle"))),
    "another item": ("damaged", sent(chunk(DIM[4].view("u1")))),
    "a larger chunk": ("damaged", sent(chunk(np.zeros((8, 18), "u2")))),
    "a smaller chunk": ("damaged", sent(chunk(np.zeros((8, 8), "u2")))),
    "a filter of a plugin": ("damaged", sent(changed(21, 35))),
    "a codec of a plugin": ("damaged", sent(changed(2, chunk()[2] & 0x1F | 0xE0))),
    "a dictionary": ("damaged", sent(changed(31, 1))),
    "a lazy chunk": ("damaged", sent(changed(31, 8))),
    "one value": ("damaged", sent(changed(31, 48))),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_chunk_is_dropped_counted_and_a_gap(name):
    kind, bad = BAD[name]
    items, refused = told(*[bad if seq == 4 else image(seq) for seq in range(10)], END)
    assert indices(items) == [0, 1, 2, 3, ("gap", 4, 1, "transport"), 5, 6, 7, 8, 9]
    assert refused == {kind: 1}


def survives(seed, count):
    """Take chunks with some bytes changed; those that are refused are, and what is taken has a frame's size."""
    rng, good = np.random.default_rng(seed), np.frombuffer(chunk(np.tile(DIM[:9], (1, 9, 8)).reshape(-1, 72)), "u1")
    shape = (648, 72)
    taken = 0
    for _ in range(count):
        bad = good.copy()
        bad[rng.integers(0 if rng.random() < 0.3 else 32, len(bad), rng.integers(1, 9))] = rng.integers(0, 256)
        bad = bad[: len(bad) if rng.random() < 0.8 else rng.integers(0, len(bad))]
        facts = dict(series_uid="movie", seq=4, index=4, dtype="<u2", shape=shape, nbytes=shape[0] * shape[1] * 2)
        header = wire.Image(**facts, codec="blosc2", nbytes_wire=len(bad))
        try:
            pixels = wire.frame_pixels(header, unpacked(header, bad.tobytes(), header.nbytes))
        except WireError:
            continue
        assert pixels.shape == shape
        taken += 1
    return taken


def test_chunks_with_bytes_changed_are_refused_or_a_frame():
    assert 0 < survives(0, 2000) < 2000


@pytest.mark.slow
def test_a_hundred_thousand_chunks_with_bytes_changed():
    assert 0 < survives(1, 100_000) < 100_000


def test_whose_pixels_are_not_those_of_its_crc_is_refused():
    for crc32, refusals in ((zlib.crc32(DIM[4].tobytes()), {}), (7, {"damaged": 1})):
        items, refused = told(*[sent(chunk(), crc32=crc32) if n == 4 else image(n) for n in range(10)], END)
        assert refused == refusals
        assert list(frames(items)) == [n for n in range(10) if n != 4 or not refusals]


def test_who_pushes_may_compress_after_a_start():
    start = {"type": "start", "series_uid": "movie", "dtype": "<u2", "shape": [8, 9], "interval_s": 0.01}
    messages = [image(n) if n % 2 else sent(chunk(DIM[n]), seq=n, index=n) for n in range(10)]
    with pushed([start], *messages, END) as source:
        got = frames(source.blocks())
    assert all(np.array_equal(got[n], FRAMES[n] if n % 2 else DIM[n]) for n in range(10))
