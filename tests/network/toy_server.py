"""A data server in a thread, serving frames in memory, and what the network's tests check of frames."""

import threading
from contextlib import contextmanager

import numpy as np

from streamfluo import Block, Source, Spec
from streamfluo.core.source import Series
from streamfluo.network.frames import Frames, ReplayedFrames
from streamfluo.network.server import DataServer

SPEC = Spec((8, 9), "u2", interval_s=0.01, pixel_um=0.1, channel="green")
FRAMES = np.random.default_rng(4).integers(0, 2**16, (300, 8, 9)).astype(np.uint16)


class Movie(Source):
    """Frames in memory that can be sought, as a file can."""

    def __init__(self, frames=len(FRAMES), uid="movie", spec=SPEC):
        self.spec, self.series = spec, Series(uid, "toy:movie", t0_ns=7, frames=frames, user={"who": "me"})
        self.frames = FRAMES[:frames].astype(spec.dtype)
        self.next = 0

    def blocks(self, max_frames=32):
        while self.next < len(self.frames):
            start, self.next = self.next, min(self.next + max_frames, len(self.frames))
            yield Block(start, np.arange(start, self.next) * 10_000_000, self.frames[start : self.next], "green")

    def seek(self, index):
        self.next = index


class Serving:
    """A server of a source, or of Frames, that runs in a thread; `kill` is a server that dies without a word."""

    def __init__(self, movie=None, uri="tcp://127.0.0.1:0", fps=None, loop=False, **options):
        frames = movie if isinstance(movie, Frames) else ReplayedFrames(movie or Movie(), fps, loop)
        self.server = DataServer(frames, uri, **options)
        self.uri = self.server.endpoint
        self.halt = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.server.run(self.halt.is_set)
        except BaseException as error:
            self.failure = error
        finally:
            self.server.close()

    def ended(self, within_s=5.0):
        self.thread.join(within_s)
        assert self.failure is None
        return not self.thread.is_alive()

    def stop(self):
        self.halt.set()
        assert self.ended()

    def kill(self):
        self.server.end = lambda reason: None
        self.stop()


@contextmanager
def serving(*args, **options):
    served = Serving(*args, **options)
    try:
        yield served
    finally:
        served.stop()


def frames(items):
    """index → pixels, checked to come in order."""
    got = {}
    for item in items:
        if isinstance(item, Block):
            for n, pixels in enumerate(item.pixels):
                assert item.index + n > max(got, default=-1)
                got[item.index + n] = pixels.copy()
    return got


def same(got, start=0, stop=len(FRAMES)):
    assert list(got) == list(range(start, stop))
    return all(np.array_equal(pixels, FRAMES[index % len(FRAMES)]) for index, pixels in got.items())
