"""Frames that are sent through shared memory however small they are, and how they are followed."""

import threading
import time

import numpy as np
import pytest
from toy_server import Movie, frames

from streamfluo import Block, Spec, open_source
from streamfluo.client import FrameSender
from streamfluo.core import wire
from streamfluo.network import consumers, sender, shared_memory
from streamfluo.network.shared_memory import FOLDER
from streamfluo.network.slabs import Slabs

needs_folder = pytest.mark.skipif(not shared_memory._has_folder(), reason="shared memory is no file here")


@pytest.fixture(autouse=True)
def small_frames_too(monkeypatch):
    monkeypatch.setattr(consumers, "LEAST_FRAME_BYTES", 1)
    monkeypatch.setattr(sender, "LEAST_FRAME_BYTES", 1)


@pytest.fixture(name="read")
def frames_read(monkeypatch):
    """The frames that were read from slabs."""
    found, pixels = [], Slabs.pixels
    monkeypatch.setattr(Slabs, "pixels", lambda self, image: found.append(image.index) or pixels(self, image))
    return found


class Odd(Movie):
    def __init__(self, shape, dtype):
        super().__init__(40, spec=Spec(shape, dtype, interval_s=0.01))
        self.frames = pictures(shape, dtype)

    def blocks(self, max_frames=32):
        for item in super().blocks(max_frames):
            yield Block(item.index, item.times_ns, item.pixels)


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


def attach(source):
    """Take the offer before any frame is asked for."""
    until(lambda: [list(source._items(parts)) for parts in [source._receive()] if parts] and source._slabs._ring)


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


def open_source_later(port, thread):
    thread.start()
    time.sleep(0.05)
    return open_source(f"ingest+tcp://127.0.0.1:{port}")
