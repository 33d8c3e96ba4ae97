"""Control of a run: what is asked takes effect at a frame, stands in the session, and a rerun gives the same bits."""

import threading
import time
from contextlib import contextmanager

import numpy as np
from toys import BINNED, DOUBLE, FRAMES, LEVEL, SPEC, SQUARED, Movie, a, block, chain, config, means, toys  # noqa: F401

from streamfluo import open_session, open_source
from streamfluo.client import Control
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

BEHIND = a("level", id="'behind'")
TABLES = (LEVEL, DOUBLE, SQUARED, BINNED, BEHIND)
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


def test_a_text_is_noted_at_the_frame_that_comes_next(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 7)
        assert control.mark("drug in").frame == 7
        let(engine, 1)
        assert control.mark("out").frame == 8
    assert events(tmp_path / "s", "mark") == [{"text": "drug in", "frame": 7}, {"text": "out", "frame": 8}]


def test_a_parameter_changes_at_a_frame_and_a_rerun_gives_the_same_bits(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", *TABLES) as (engine, control):
        let(engine, 7)
        assert control.set("level", "factor", 3.5).frame == 7
        let(engine, 40)
        assert control.set("level", "factor", 0.1).frame == 47
        assert control.set("behind", "factor", 7).frame == 47
        let(engine, 53)
        assert control.set("level", "factor", 9).frame == 100  # no frame comes after it
    session = open_session(tmp_path / "s")
    expected = np.concatenate([means(0, 7), means(7, 47) * 3.5, means(47, 100) * 0.1])
    np.testing.assert_array_equal(session.values("level")["level"], expected)
    pairs = means(0, 100).reshape(-1, 2).mean(1)  # frames 46 and 47 are one of its own, which comes after the change
    np.testing.assert_allclose(session.values("behind")["level"], np.where(np.arange(50) < 23, pairs, pairs * 7), 1e-6)
    assert [e["frame"] for e in events(tmp_path / "s", "set")] == [7, 47, 47, 100]
    with open_source(str(tmp_path / "s")) as source:
        again = Engine(source, parse_config((tmp_path / "s" / "config.toml").read_text()), tmp_path / "again")
        again.start()
        assert again.wait(20)
    assert_same(tmp_path / "s", tmp_path / "again")
    assert sorted(map(str, events(tmp_path / "again", "set"))) == sorted(map(str, events(tmp_path / "s", "set")))


def assert_same(one, other):
    one, other = open_session(one), open_session(other)
    for step in one.steps:
        for name, array in one.values(step).items():
            np.testing.assert_array_equal(array, other.values(step)[name])
        for name, array in one.snapshot(step).items():
            np.testing.assert_array_equal(array, other.snapshot(step)[name])
