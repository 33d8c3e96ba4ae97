"""Whoever of two that share memory is killed: nothing that was sent is lost, and no name is left."""

import stat
import subprocess
import sys
import threading

import numpy as np
from pushing import free_port
from slab_frames import (  # noqa: F401 - fixtures
    Odd,
    block,
    frames_read,
    names,
    needs_folder,
    small_frames_too,
    until,
)
from toy_server import frames, serving

from streamfluo import Spec, open_source
from streamfluo.client import FrameSender
from streamfluo.network import sender, shared_memory
from streamfluo.network.shared_memory import FOLDER
from streamfluo.network.slabs import SlabWriter

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
    time.sleep(0.5)  # the notes of the last frames are with the socket's own thread, which a busy machine lets wait
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
