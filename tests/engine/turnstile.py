"""A run whose source hands on frames as it is let, and what its session notes."""

import threading
import time
from contextlib import contextmanager

from toys import Movie, block

from streamfluo import open_session
from streamfluo.client import Control
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

PUBLISH = '[publish]\nuri = "tcp://127.0.0.1:0"\n'


class Turnstile(Movie):
    """A source whose frames come when they are let through."""

    def __init__(self, items, **options):
        super().__init__(items, **options)
        self.free = threading.Semaphore(0)

    def blocks(self, max_frames=32):
        for item in super().blocks(max_frames):
            self.free.acquire()
            yield item

    def interrupt(self):
        super().interrupt()
        self.free.release()


def published(*tables):
    return parse_config(PUBLISH + "".join(f"[[step]]\n{table}\n" for table in tables), "run.toml")


def until(true, within_s=20):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def running(source, out, *tables, **options):
    engine = Engine(source, published(*tables), out, **options)
    engine.start()
    try:
        with Control(engine.publisher.endpoint) as control:
            yield engine, control
    finally:
        engine.stop()
        assert engine.wait(60)


def let(engine, frames):
    """Let so many frames through, and wait until the chain has them."""
    before = engine.health().frames
    engine.source.free.release(frames)
    until(lambda: engine.health().frames == before + frames)


def events(folder, kind):
    told = [event for event in open_session(folder).events if event["event"] == kind]
    return [{name: value for name, value in event.items() if name not in ("event", "utc")} for event in told]


def ones(stop=200):
    return [block(n, n + 1) for n in range(stop)]
