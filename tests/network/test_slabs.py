"""Frames through shared memory: the bits that come are those sent through tcp, whoever dies, and however it lies."""

import errno
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import time

import msgspec
import numpy as np
import pytest
from pushing import free_port, pushed
from systems import needs_ipc
from toy_server import Movie, frames, serving

from streamfluo import Block, SourceError, Spec, WireError, open_source
from streamfluo.client import FrameSender
from streamfluo.core import wire
from streamfluo.core.plane import Plane
from streamfluo.core.source import Gap
from streamfluo.network import consumers, sender, server, shared_memory, slabs
from streamfluo.network.shared_memory import FOLDER, NAME, Segment
from streamfluo.network.slabs import Slabs, SlabWriter

needs_folder = pytest.mark.skipif(not shared_memory._has_folder(), reason="shared memory is no file here")


@pytest.fixture(autouse=True)
def small_frames_too(monkeypatch):
    monkeypatch.setattr(consumers, "LEAST_FRAME_BYTES", 1)
    monkeypatch.setattr(sender, "LEAST_FRAME_BYTES", 1)


@pytest.fixture
def read(monkeypatch):
    """The frames that were read from slabs."""
    found, pixels = [], Slabs.pixels
    monkeypatch.setattr(Slabs, "pixels", lambda self, image: found.append(image.index) or pixels(self, image))
    return found


def names():
    return {path.name for path in FOLDER.glob("sf-*")} if shared_memory._has_folder() else set()


def pictures(shape, dtype, count=40):
    return np.random.default_rng(7301).integers(0, 250, (count, *shape)).astype(dtype)


def block(index, pixels):
    return Block(index, np.array([index * 1_000_000]), pixels[None])


def image(seq, shape=(8, 9), **changes):
    nbytes = 2 * shape[0] * shape[1]
    return wire.Image(
        **{"series_uid": "pushed", "seq": seq, "index": seq, "dtype": "<u2", "shape": shape, "nbytes": nbytes} | changes
    )


# The same bits

KINDS = [((1, 1), "u1"), ((8, 9), "u2"), ((131, 257), "i2"), ((64, 1000), "f4"), ((33, 7), "u4")]


class Odd(Movie):
    def __init__(self, shape, dtype):
        super().__init__(40, spec=Spec(shape, dtype, interval_s=0.01))
        self.frames = pictures(shape, dtype)

    def blocks(self, max_frames=32):
        for item in super().blocks(max_frames):
            yield Block(item.index, item.times_ns, item.pixels)


@pytest.mark.parametrize(("shape", "dtype"), KINDS)
def test_a_data_endpoint_gives_the_bits_that_come_through_tcp(shape, dtype, read):
    before = names()
    with serving(Odd(shape, dtype)) as served:
        with open_source(f"{served.uri}?memory=none") as source:
            through_tcp = frames(source.blocks())
            assert read == []
        with open_source(served.uri) as source:
            attach(source)
            got = frames(source.blocks())
            assert names() <= before  # once it is open its name is gone: nothing can be left
            assert source.refused == {}
            source.finished()
    assert list(got) == list(through_tcp) == list(range(40))
    assert all(np.array_equal(got[n], through_tcp[n]) and got[n].dtype == np.dtype(dtype) for n in got)
    assert read == list(range(40))


def attach(source):
    """Take the offer before any frame is asked for."""
    until(lambda: [list(source._items(parts)) for parts in [source._receive()] if parts] and source._slabs._ring)


@pytest.mark.parametrize(("shape", "dtype"), KINDS)
def test_an_ingest_endpoint_has_the_bits_that_were_pushed(shape, dtype, read):
    movie, before = pictures(shape, dtype), names()
    got = received(free_port(), Spec(shape, dtype), movie)
    assert list(got) == list(range(40))
    assert all(np.array_equal(got[n], movie[n]) for n in got)
    assert read
    assert names() <= before


def received(port, spec, movie, options="", paced=True):
    """The frames that come of a movie that is pushed from a thread, the second half once the memory is open."""

    def push():
        with FrameSender(f"tcp://127.0.0.1:{port}{options}", spec) as to:
            for n, pixels in enumerate(movie):
                to.send(block(n, pixels))
                if paced and n == len(movie) // 2 and to._slabs is not None:
                    until(lambda: to._slabs.attached)

    thread = threading.Thread(target=push)
    thread.start()
    with open_source(f"ingest+tcp://127.0.0.1:{port}") as source:
        got = frames(source.blocks())
        assert source.refused == {}
        assert source.ended == "finished"
    thread.join(10)
    assert not thread.is_alive()
    return got


def until(true, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_planes_of_a_volume_keep_their_places(read):
    spec = Spec((8, 9), "u2", interval_s=0.1, planes=(Plane("green", 0), Plane("green", 1)))
    movie, port = pictures((8, 9), "u2"), free_port()

    def push():
        with FrameSender(f"tcp://127.0.0.1:{port}", spec) as to:
            for n, pixels in enumerate(movie):
                to.send(Block(n // 2, np.array([n]), pixels[None], "green", n % 2))
                if n == 10:
                    until(lambda: to._slabs.attached)

    threading.Thread(target=push, daemon=True).start()
    with open_source(f"ingest+tcp://127.0.0.1:{port}") as source:
        items = list(source.blocks())
    assert [(i.index, i.z) for i in items] == [(n // 2, n % 2) for n in range(40)]
    assert all(np.array_equal(item.pixels[0], movie[n]) for n, item in enumerate(items))
    assert read


@needs_ipc
def test_notes_travel_over_ipc_as_well(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    with serving(Odd((8, 9), "u2"), uri="ipc://f") as served, open_source(served.uri) as source:
        attach(source)
        assert len(frames(source.blocks())) == len(read) == 40
    with serving(Odd((8, 9), "u2"), uri="ipc://g") as served, open_source("ipc://g?memory=none") as source:
        read.clear()
        assert len(frames(source.blocks())) == 40
        assert not read


def test_two_senders_and_their_receivers_do_not_meet(read):
    movies = [pictures((16, 9), "u2"), pictures((16, 9), "u2")[::-1].copy()]
    got = [None, None]

    def take(n):
        got[n] = received(free_port(), Spec((16, 9), "u2"), movies[n])

    threads = [threading.Thread(target=take, args=[n]) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for n in (0, 1):
        assert all(np.array_equal(got[n][i], movies[n][i]) for i in range(40))


def test_two_consumers_have_memory_of_their_own_and_small_frames_none(monkeypatch):
    with serving(Odd((8, 9), "u2"), wait=True) as served:
        sources = [open_source(served.uri) for _ in range(3)]
        rings = [c.slabs.ring for c in served.server._consumers.values()]
        assert len(set(rings)) == 3
        assert [list(frames(source.blocks())) for source in sources] == [list(range(40))] * 3
        monkeypatch.setattr(consumers, "LEAST_FRAME_BYTES", 1 << 16)
        with open_source(served.uri):
            assert [c.slabs for c in served.server._consumers.values()][-1] is None
        for source in sources:
            source.close()


# Nothing is overwritten that was not taken; what is is a loss, and said


def test_a_slab_is_written_again_once_its_frame_was_taken():
    writer, reader, movie = SlabWriter(144, most=3), Slabs(), pictures((8, 9), "u2")
    reader.offered(wire.Memory(series_uid="pushed", memory=writer.ring))
    assert writer.attached
    notes = [writer.put(image(n), movie[n]) for n in range(4)]
    assert notes[3] is None
    assert bytes(reader.pixels(notes[0])) == movie[0].tobytes()
    assert writer.put(image(3), movie[3]) is None
    reader.taken(notes[0])
    again = writer.put(image(3), movie[3])
    assert again.slab == notes[0].slab
    assert bytes(reader.pixels(again)) == movie[3].tobytes()
    assert bytes(reader.pixels(notes[1])) == movie[1].tobytes()
    with pytest.raises(WireError, match="frame 0, slab 0 of shared memory: written again before it was read"):
        reader.pixels(notes[0])
    reader.taken(image(9))
    assert writer.under_way == 0
    reader.close()
    writer.close()


def test_a_frame_that_is_written_while_it_is_copied_is_lost(monkeypatch):
    writer, reader, movie = SlabWriter(144), Slabs(), pictures((8, 9), "u2")
    note, copyto = writer.put(image(0), movie[0]), np.copyto

    def copied(to, place):
        copyto(to[:70], place[:70])
        writer._free, writer._under_way = [note.slab], type(writer._under_way)()
        monkeypatch.setattr(slabs.np, "copyto", copyto)
        writer.put(image(5), movie[5])
        copyto(to[70:], place[70:])

    monkeypatch.setattr(slabs.np, "copyto", copied)
    with pytest.raises(WireError, match="the frame is lost"):
        reader.pixels(note)
    reader.close()
    writer.close()


def test_a_sender_that_does_not_wait_loses_frames_and_never_changes_them(monkeypatch):
    """It writes to two slabs in turn, taken or not."""
    movie, port = pictures((8, 9), "u2"), free_port()

    def rude(self):
        while self._under_way:
            self._free.append(self._under_way.popleft()[1])

    monkeypatch.setattr(SlabWriter, "_let_go", rude)
    monkeypatch.setattr(sender, "QUEUE_FRAMES", 2)
    monkeypatch.setattr(SlabWriter, "attached", True)

    def push():
        with FrameSender(f"tcp://127.0.0.1:{port}", Spec((8, 9), "u2")) as to:
            for n, pixels in enumerate(movie):
                to.send(block(n, pixels))
            until(lambda: to._slabs._words[slabs._ATTACHED])

    thread = threading.Thread(target=push)
    with open_source_later(port, thread) as source:
        items = list(source.blocks())
    thread.join(10)
    got = frames(items)
    assert all(np.array_equal(got[n], movie[n]) for n in got)
    lost = [n for i in items if isinstance(i, Gap) for n in range(i.first, i.first + i.count)]
    assert sorted([*lost, *got]) == list(range(40))
    assert source.refused["overwritten"] == 40 - len(got)
    assert len(got) < 40


def open_source_later(port, thread):
    thread.start()
    time.sleep(0.05)
    return open_source(f"ingest+tcp://127.0.0.1:{port}")


# Whoever dies

CHILD = """
import sys, time
import numpy as np
from streamfluo import Block, Spec, open_source
from streamfluo.client import FrameSender
what, uri, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
movie = np.random.default_rng(5).integers(0, 2**16, (8, 256, 256)).astype(np.uint16)
if what == "send":
    to = FrameSender(uri, Spec((256, 256), "u2"))
    print(to._slabs._segment.name, flush=True)
    for n in range(count):
        to.send(Block(n, np.array([n]), movie[n % 8][None]))
    print("sent", flush=True)
    time.sleep(60)
else:
    with open_source(uri) as source:
        for n, block in enumerate(source.blocks()):
            if n == count:
                print("came", flush=True)
                time.sleep(60)
"""
MOVIE = np.random.default_rng(5).integers(0, 2**16, (8, 256, 256)).astype(np.uint16)


def child(what, uri, count):
    return subprocess.Popen([sys.executable, "-c", CHILD, what, uri, str(count)], stdout=subprocess.PIPE, text=True)


@needs_folder
def test_a_killed_sender_leaves_what_it_sent_and_no_name():
    uri = f"tcp://127.0.0.1:{free_port()}"
    with child("send", uri, 60) as process, open_source(f"ingest+{uri}") as source:
        name = process.stdout.readline().strip()
        assert name in names()
        assert stat.S_IMODE((FOLDER / name).stat().st_mode) == 0o600
        items = source.blocks()
        got = [next(items) for _ in range(50)]
        process.stdout.readline()
        process.kill()
        process.wait()
        got += [next(items) for _ in range(10)]
    assert [b.index for b in got] == list(range(60))
    assert all(np.array_equal(b.pixels[0], MOVIE[b.index % 8]) for b in got)
    assert name not in names()


@needs_folder
def test_what_a_sender_left_that_was_killed_before_anybody_came_the_next_one_removes(monkeypatch):
    with child("send", "tcp://127.0.0.1:9", 0) as process:
        name = process.stdout.readline().strip()
        SlabWriter(144).close()
        monkeypatch.setattr(shared_memory, "_ORPHAN_S", 0.0)
        SlabWriter(144).close()
        assert name in names()  # it lives
        process.kill()
        process.wait()
    SlabWriter(144).close()
    assert name not in names()


def test_of_a_killed_receiver_the_next_one_has_the_rest(read):
    uri = f"tcp://127.0.0.1:{free_port()}"
    to = FrameSender(uri, Spec((256, 256), "u2"))
    with child("receive", f"ingest+{uri}", 30) as process:
        for n in range(31):
            to.send(block(n, MOVIE[n % 8]))
        process.stdout.readline()
        assert to._slabs.attached
        process.kill()
        process.wait()

    def push():
        for n in range(31, 91):
            to.send(block(n, MOVIE[n % 8]))
            if n == 40:
                until(lambda: to._follow_receiver() or to._slabs.attached)
        to.close()

    thread = threading.Thread(target=push)
    thread.start()
    with open_source(f"ingest+{uri}") as source:
        items = list(source.blocks())
        assert set(source.refused) <= {"type"}
    thread.join(10)
    assert not thread.is_alive()
    got = frames(items)
    assert all(np.array_equal(got[n], MOVIE[n % 8]) for n in got)
    assert list(got) == list(range(min(got), 91))  # of what was under way to who was killed the first is missing alone
    assert min(got) <= 31 + sender.QUEUE_FRAMES
    assert read


def test_a_killed_consumer_loses_nothing_for_the_next_one_and_its_memory_is_given_back():
    with serving(Odd((256, 256), "u2"), fps=None) as served:
        with child("receive", served.uri, 5) as process:
            process.stdout.readline()
            (consumer,) = served.server._consumers.values()
            assert consumer.slabs.attached
            process.kill()
            process.wait()
        until(lambda: consumer.slabs is None)
        with open_source(served.uri) as source:
            assert list(frames(source.blocks())) == list(range(40))


# Bad notes


def told(writer, **changes):
    note = writer.put(image(1), pictures((8, 9), "u2")[1])
    return [{**msgspec.to_builtins(note), "type": "slab", **changes}]


WRONG = {
    "a path for a name": ("memory", dict(memory="../../etc/passwd")),
    "a path in a name": ("memory", dict(memory=f"sf-/../../etc/x.{'0' * 32}")),
    "no such name": ("memory", dict(memory=f"sf-0123456789abcdef.{'0' * 32}")),
    "a slab that is not there": ("memory", dict(slab=3)),
    "a slab far out": ("memory", dict(slab=2**61)),
    "a slab below": ("fields", dict(slab=-1)),
    "an older stamp": ("overwritten", dict(slab=1)),
    "a larger frame": ("nbytes", dict(shape=[800, 900], nbytes=2 * 800 * 900)),
    "a size that lies": ("nbytes", dict(nbytes=2**40)),
    "another shape": ("spec", dict(shape=[9, 8])),
    "no dtype of ours": ("dtype", dict(dtype="|O")),
    "compressed": ("memory", dict(codec="blosc2", nbytes_wire=5)),
    "a wrong checksum": ("damaged", dict(crc32=7)),
    "another series": ("series", dict(series_uid="another")),
    "no slab": ("fields", dict(slab=None)),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_note_that_lies_is_refused_with_one_line_and_the_next_frame_comes(what, caplog):
    rule, changes = WRONG[what]
    writer, first = SlabWriter(144, most=3), pictures((8, 9), "u2")[0].tobytes()
    start = [dict(type="start", series_uid="pushed", dtype="<u2", shape=[8, 9])]
    whole = [[msgspec.to_builtins(image(n)) | {"type": "image"}, first] for n in (0, 2)]
    end = [dict(type="end", series_uid="pushed", seq=3, frames=3)]
    with caplog.at_level(logging.WARNING), pushed(start, whole[0], told(writer, **changes), whole[1], end) as source:
        items = list(source.blocks())
        assert source.refused == {rule: 1}
    assert [item for item in items if isinstance(item, Gap)] == [Gap(1, 1)]
    assert len(caplog.messages) == 1
    assert "message dropped" in caplog.text
    writer.close()


@pytest.mark.parametrize(("name", "refused"), [("../x", 1), (f"sf-0123456789abcdef.{'0' * 32}", 0)])
def test_an_offer_of_what_is_not_here_is_passed_over_of_what_is_no_name_refused(name, refused):
    start = [dict(type="start", series_uid="pushed", dtype="<u2", shape=[8, 9])]
    offer = [dict(type="memory", series_uid="pushed", memory=name)]
    frame = [msgspec.to_builtins(image(0)) | {"type": "image"}, bytes(144)]
    with pushed(start, offer, frame, [dict(type="end", series_uid="pushed", seq=1, frames=1)]) as source:
        assert len(list(source.blocks())) == 1
        assert source.refused == ({"memory": 1} if refused else {})


def test_a_name_without_its_secret_opens_nothing_and_marks_nothing():
    writer = SlabWriter(144)
    name, _, secret = writer.ring.partition(".")
    with pytest.raises(WireError, match="is not that of the sender"):
        Slabs().pixels(wire.Slab(**msgspec.structs.asdict(image(0)), memory=f"{name}.{secret[::-1]}", slab=0))
    assert not writer.attached
    writer.close()


LIES = {
    "too many slabs": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 257, 144),
    "none": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 0, 144),
    "no bytes": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 2, 0),
    "more than there is": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 99, 144),
    "more than anything": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 2, 2**64 - 1),
    "something else": lambda b: b.__setitem__(slice(0, 8), b"whatever"),
}
HEAD = slabs._MAGIC, bytes(16)


@pytest.mark.parametrize("lie", LIES)
def test_memory_that_is_not_what_it_says_is_not_attached_to(lie):
    segment = Segment(4096 * 3)
    slabs._HEADER.pack_into(segment.buffer, 0, *HEAD, 2, 144)
    LIES[lie](segment.buffer)
    reader = Slabs()
    with pytest.raises(WireError, match=re.escape(f"shared memory {segment.name}")):
        reader._attach(f"{segment.name}.{'0' * 32}")
    with pytest.raises(WireError):
        reader.offered(wire.Memory(series_uid="pushed", memory=f"{segment.name}.{'0' * 32}"))
    assert segment.buffer[64:72] == bytes(8)
    segment.forget_name()
    segment.close()


@needs_folder
@pytest.mark.parametrize("wrong", ["for others to read", "a link", "a folder", "empty", "short"])
def test_a_file_that_is_not_memory_of_ours_is_not_opened(wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    path = tmp_path / "sf-0123456789abcdef"
    if wrong == "a link":
        (tmp_path / "file").write_bytes(bytes(9000))
        path.symlink_to(tmp_path / "file")
    elif wrong == "a folder":
        path.mkdir()
    else:
        path.write_bytes(bytes({"empty": 0, "short": 100}.get(wrong, 9000)))
        path.chmod(0o644 if wrong == "for others to read" else 0o600)
    with pytest.raises(WireError, match="shared memory sf-0123456789abcdef"):
        Slabs()._attach(f"{path.name}.{'0' * 32}")
    shared_memory.remove_orphans()
    assert NAME.fullmatch(path.name)
    assert os.path.lexists(path)


# Where there is none


def test_where_there_is_no_room_frames_come_in_messages_and_it_is_said(monkeypatch, caplog, read):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(consumers, "SlabWriter", full)
    monkeypatch.setattr(sender, "SlabWriter", full)
    with serving(Odd((8, 9), "u2")) as served, open_source(served.uri) as source:
        assert len(frames(source.blocks())) == 40
    assert "shared memory: No space left on device; frames to this consumer travel in messages" in caplog.messages
    movie = pictures((8, 9), "u2")
    assert len(received(free_port(), Spec((8, 9), "u2"), movie)) == 40
    assert not read


@needs_folder
def test_a_full_folder_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        SlabWriter(144)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_the_systems_own_shared_memory_serves(monkeypatch, read):
    monkeypatch.setattr(shared_memory, "_has_folder", lambda: False)
    with serving(Odd((8, 9), "u2")) as served, open_source(served.uri) as source:
        attach(source)
        assert len(frames(source.blocks())) == len(read) == 40
    assert names() == set() or not shared_memory._has_folder()


def test_a_consumer_that_cannot_open_it_has_its_frames_in_messages(monkeypatch, read):
    monkeypatch.setattr(Slabs, "offered", lambda *_: None)
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.01)
    with serving(Odd((8, 9), "u2"), wait=True) as served, open_source(served.uri) as source:
        (consumer,) = served.server._consumers.values()
        monkeypatch.setattr(slabs, "_UNATTACHED_S", 0.0)
        assert len(frames(source.blocks())) == 40
        until(lambda: consumer.slabs is None)
    assert not read


@pytest.mark.parametrize(
    ("options", "asks"), [("", True), ("?memory=none", msgspec.UNSET), ("?codec=blosc2", msgspec.UNSET)]
)
def test_a_consumer_has_memory_only_if_it_asks_for_it(options, asks):
    with serving(Odd((8, 9), "u2"), wait=True) as served, open_source(served.uri + options) as source:
        assert source._memory is asks
        assert [c.slabs is not None for c in served.server._consumers.values()] == [asks is True]


def test_a_sender_refuses_frames_of_another_kind():
    with pytest.raises(SourceError, match="the wire carries"):
        FrameSender("tcp://127.0.0.1:9", Spec((8, 9), "f8"))
    to = FrameSender("tcp://127.0.0.1:9?memory=none", Spec((8, 9), "u2"))
    to._socket.setsockopt(sender.zmq.LINGER, 0)
    with pytest.raises(SourceError, match=r"frames \(9, 8\)"):
        to.send(block(0, pictures((9, 8), "u2")[0]))
    to.close("error")
