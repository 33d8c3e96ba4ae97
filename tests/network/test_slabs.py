"""Frames through shared memory: the bits that come are those sent through tcp; where there is none they come in
messages."""

import errno
import os
import threading

import msgspec
import numpy as np
import pytest
from pushing import free_port
from slab_frames import (  # noqa: F401 - fixtures
    Odd,
    attach,
    block,
    frames_read,
    image,
    names,
    needs_folder,
    open_source_later,
    pictures,
    received,
    small_frames_too,
    until,
)
from systems import needs_ipc
from toy_server import frames, serving

from streamfluo import Block, SourceError, Spec, WireError, open_source
from streamfluo.client import FrameSender
from streamfluo.core import wire
from streamfluo.core.plane import Plane
from streamfluo.core.source import Gap
from streamfluo.network import consumers, sender, server, shared_memory, slabs
from streamfluo.network.slabs import Slabs, SlabWriter

# The same bits

KINDS = [((1, 1), "u1"), ((8, 9), "u2"), ((131, 257), "i2"), ((64, 1000), "f4"), ((33, 7), "u4")]


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
            # once it is open its name is gone: nothing can be left, but what other tests have open for a moment
            until(lambda: names() <= before)
            assert source.refused == {}
            source.finished()
    assert list(got) == list(through_tcp) == list(range(40))
    assert all(np.array_equal(got[n], through_tcp[n]) and got[n].dtype == np.dtype(dtype) for n in got)
    assert read == list(range(40))


@pytest.mark.parametrize(("shape", "dtype"), KINDS)
def test_an_ingest_endpoint_has_the_bits_that_were_pushed(shape, dtype, read):
    movie, before = pictures(shape, dtype), names()
    got = received(free_port(), Spec(shape, dtype), movie)
    assert list(got) == list(range(40))
    assert all(np.array_equal(got[n], movie[n]) for n in got)
    assert read
    until(lambda: names() <= before)


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
