"""A call to the disk that does not come back: it is said, and frames wait, are skipped, or the run ends."""

import threading
import time

import numpy as np
import pytest
from toys import LEVEL, Movie, toys  # noqa: F401

from streamfluo import Block, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.watchdog import Watchdog
from streamfluo.session.record_file import RecordFile

COUNT = 4000
FRAMES = np.random.default_rng(3).integers(0, 1000, (COUNT, 4, 4)).astype(np.uint16)


class Blocking:
    """The disk does not come back from the `nth` write of a file before `go` is set."""

    def __init__(self, monkeypatch, of="000000.sfj", nth=5):
        self.go, self.calls, self.blocked = threading.Event(), 0, threading.Event()
        write = RecordFile._write

        def _write(file, buffer):
            if file.path.name == of:
                self.calls += 1
                if self.calls == nth:
                    self.blocked.set()
                    self.go.wait()
            return write(file, buffer)

        monkeypatch.setattr(RecordFile, "_write", _write)


@pytest.fixture
def disk(monkeypatch):
    blocking = Blocking(monkeypatch)
    yield blocking
    blocking.go.set()


def movie(size):
    return Movie([Block(n, np.arange(n, n + size) * 100, FRAMES[n : n + size]) for n in range(0, COUNT, size)])


def started(folder, when_full, size, checkpoint_s=30):
    record = f"raw = true\nblocked_s = 0.2\nwhen_full = '{when_full}'\ncheckpoint_s = {checkpoint_s}"
    text = f"[record]\n{record}\n[[step]]\n{LEVEL}"
    engine = Engine(movie(size), parse_config(text), folder, ring_bytes=1)
    engine.start()
    return engine


def until(true, within_s=20):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("size", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_write_that_does_not_come_back_is_said_and_frames_wait(tmp_path, disk, size):
    engine = started(tmp_path / "S", "wait", size)
    watchdog = Watchdog(engine, 0.3)
    until(lambda: engine.health().blocked)
    (sentence,) = engine.health().blocked.values()
    assert sentence.startswith("journal write has not come back for")
    time.sleep(1.2)
    watchdog.hung()
    time.sleep(0.5)
    assert watchdog.hung() == []  # it waits for the disk: killing it helps nobody
    assert engine.health().frames < COUNT
    disk.go.set()
    assert engine.wait(30)
    assert engine.error is None
    session = open_session(tmp_path / "S")
    np.testing.assert_array_equal(session.read_frames(0, COUNT), FRAMES)
    events = [event["event"] for event in session.events]
    assert "disk call hangs" in events
    assert "disk call came back" in events


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("size", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_chain_goes_on_beside_a_disk_that_does_not_answer_and_every_frame_is_accounted_for(tmp_path, disk, size):
    engine = started(tmp_path / "S", "skip", size)
    until(lambda: engine.health().frames == COUNT)
    assert not disk.go.is_set()
    assert engine.health().unrecorded > 0
    disk.go.set()
    assert engine.wait(30)
    assert engine.error is None
    session = open_session(tmp_path / "S")
    missing = [(e["first"], e["count"]) for e in session.events if e["event"] == "unrecorded"]
    skipped = np.concatenate([np.arange(first, first + count) for first, count in missing])
    assert len(np.unique(skipped)) == len(skipped) == engine.health().unrecorded
    kept = np.setdiff1d(np.arange(COUNT), skipped)
    np.testing.assert_array_equal(session.journal.indices, kept)
    np.testing.assert_array_equal(session.read_frames(0, COUNT), FRAMES[kept])
    np.testing.assert_array_equal(session.values("level")["level"], FRAMES.mean((1, 2)))
    assert session.damaged == ()


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("size", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_that_shall_stop_ends_without_its_disk_and_can_be_resumed(tmp_path, disk, size):
    engine = started(tmp_path / "S", "stop", size)
    began = time.monotonic()
    assert engine.wait(20)
    assert time.monotonic() - began < 15
    assert "journal write has not come back" in engine.error
    assert engine.gave_up
    disk.go.set()
    until(lambda: not any(thread.name == "journal" for thread in threading.enumerate()))
    engine.session.abandon()  # as the end of the process does
    again = Engine(movie(size), parse_config(f"[record]\nraw = true\n[[step]]\n{LEVEL}"), tmp_path / "S", resume=True)
    again.start()
    assert again.wait(30)
    assert again.error is None
    np.testing.assert_array_equal(open_session(tmp_path / "S").read_frames(0, COUNT), FRAMES)


@pytest.mark.usefixtures("toys")
def test_values_that_cannot_be_written_are_said(tmp_path, monkeypatch):
    disk = Blocking(monkeypatch, "level.sfv", 1)
    engine = started(tmp_path / "S", "wait", 10, checkpoint_s=0.01)  # values are written before it, and at the end
    try:
        until(lambda: "values write" in engine.health().blocked)
    finally:
        disk.go.set()
    assert engine.wait(30)
    np.testing.assert_array_equal(open_session(tmp_path / "S").values("level")["level"], FRAMES.mean((1, 2)))
