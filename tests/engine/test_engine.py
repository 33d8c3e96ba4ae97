"""The engine: what arrives is processed and written, whether the run ends, is stopped, or something breaks."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from systems import needs_limits
from toys import DOUBLE, FRAMES, LATE, LEVEL, ONES, Movie, a, block, config, means, toys  # noqa: F401

from streamfluo import SourceError, open_session
from streamfluo.core.source import Gap
from streamfluo.engine import ring_buffer as ring_module
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session import journal as journal_module
from streamfluo.session import recording as recording_module

ONES_LATER = [block(n, n + 1) for n in range(200, 400)]


def finished(source, tables=(LEVEL,), out=None, **options):
    engine = Engine(source, config(*tables), out, **options)
    engine.start()
    assert engine.wait(20)
    return engine


def intact(session, stop):
    got = session.read_frames(0, 10**9)
    return len(got) == stop and np.array_equal(got, FRAMES[:stop])


def test_a_run_to_its_end_is_finished_and_tells_the_source(tmp_path):
    source = Movie(ONES)
    engine = finished(source, (LEVEL, DOUBLE), tmp_path / "s")
    session = open_session(tmp_path / "s")
    assert engine.state == session.state == "finished"
    assert source.told
    assert intact(session, 200)
    assert np.allclose(session.values("double")["twice"], means(0, 200) * 2)


def test_without_a_session_nothing_is_written_and_the_results_are_there(tmp_path):
    engine = finished(Movie(ONES), (LATE, LEVEL))
    assert engine.session is None
    assert np.isclose(engine.chain.read("level")["sum"], means(0, 200).sum())
    assert list(tmp_path.iterdir()) == []


def test_the_interval_of_the_config_is_used_only_where_the_stream_has_none():
    text = parse_config("[source]\ninterval_s = 0.5")
    silent = Movie(ONES)
    silent.spec = silent.spec.with_(interval_s=None)
    assert Engine(silent, text, None).chain.spec.interval_s == 0.5
    assert Engine(Movie(ONES), text, None).chain.spec.interval_s == 0.1
    said = parse_config("[source]\ninterval_s = 0.5", changes=["source.interval_s=0.2"])
    assert Engine(Movie(ONES), said, None).chain.spec.interval_s == 0.2


# Counters


def test_the_counters_add_up(tmp_path):
    items = [block(0, 50), Gap(50, 3, "camera"), block(53, 60), Gap(60, 2, "transport"), block(62, 100)]
    engine = finished(Movie(items), (LEVEL,), tmp_path / "s")
    health = engine.health()
    assert health.frames == 95
    assert (health.lost_camera, health.lost_transport, health.lost) == (3, 2, 5)
    assert {health.edges[name].frames for name in ("ingest", "journal", "chain")} == {95}
    assert {health.edges[name].bytes for name in ("ingest", "journal", "chain")} == {95 * 32}
    assert health.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert health.edges["ingest"].backlog == health.edges["values"].backlog == 0
    assert health.muted == {}
    assert set(health.steps_ms["level"]) == {"p50", "p99", "max"}
    assert 0 < health.elapsed_s < 20
    saved = open_session(tmp_path / "s").health
    assert saved["frames"] == 95
    assert saved["lost"] == 5


def test_a_fast_source_waits_for_a_slow_chain_within_the_bytes_of_the_ring():
    source = Movie([block(n, n + 32) for n in range(0, 384, 32)])
    engine = Engine(source, config(LEVEL), None, ring_bytes=4096)  # four cells of the grid
    real = engine.chain.run
    engine.chain.run = lambda b: (time.sleep(0.02), real(b))[1]
    engine.start()
    assert engine.wait(20)
    health = engine.health()
    assert health.frames == 384
    assert 1024 < health.edges["ingest"].peak_backlog <= 4096


def test_what_is_written_is_acknowledged_and_nothing_before(tmp_path):
    source = Movie(ONES, wait=0.001)
    finished(source, (LEVEL,), tmp_path / "s")
    assert source.acknowledged == sorted(source.acknowledged)
    assert 0 < source.acknowledged[-1] <= 200


# Stopped, or broken


def test_stopped_in_the_middle_everything_that_arrived_is_written(tmp_path):
    source = Movie(ONES, wait=0.005)
    engine = Engine(source, config(LEVEL, LATE, a("level", id="'late-level'")), tmp_path / "s")
    engine.start()
    while engine.health().frames < 20:
        time.sleep(0.005)
    assert engine.state == "running"
    assert not engine.wait(0)
    engine.stop()
    assert engine.wait(20)
    session = open_session(tmp_path / "s")
    assert engine.state == session.state == "aborted"
    assert 20 <= session.frames < 200
    assert intact(session, session.frames)
    assert len(session.values("level")["level"]) == session.frames
    assert len(session.values("late-level")["level"]) == session.frames
    assert session.health["frames"] == session.frames
    assert source.told


def test_one_that_will_go_on_with_its_series_is_waited_for_by_who_serves_it(tmp_path):
    source = Movie(ONES, wait=0.005)
    engine = Engine(source, config(LEVEL), tmp_path / "s")
    engine.start()
    while engine.health().frames < 20:
        time.sleep(0.005)
    engine.stop(leave=False)
    assert engine.wait(20)
    assert not source.told
    assert open_session(tmp_path / "s").state == "aborted"


FAILURES = [
    (SourceError("toy: the file ends here"), "failed: toy: the file ends here"),
    (OSError(5, "Input/output error"), "failed: ingest: Input/output error; everything written before is readable"),
    (ZeroDivisionError("oops"), "failed: ingest: ZeroDivisionError: oops"),
]


@pytest.mark.parametrize(("failure", "state"), FAILURES)
def test_a_source_that_breaks_gives_its_reason_and_what_came_is_readable(tmp_path, failure, state):
    source = Movie(ONES[:60], fails=failure)
    engine = finished(source, (LEVEL,), tmp_path / "s")
    session = open_session(tmp_path / "s")
    assert engine.state == session.state == state
    assert not source.told
    assert intact(session, 60)
    assert len(session.values("level")["level"]) == 60
    assert np.isclose(session.snapshot("level")["sum"], means(0, 60).sum())


def test_a_source_that_ends_as_aborted_is_an_aborted_run(tmp_path):
    source = Movie(ONES[:60])
    source.ended = "aborted"
    assert finished(source, (LEVEL,), tmp_path / "s").state == "aborted"


def test_a_muted_step_ends_neither_the_run_nor_the_recording(tmp_path):
    tables = (a("fragile", id="'fragile'", params="{ at = 40 }"), a("level", id="'beside'", after="'source'"))
    engine = finished(Movie(ONES), tables, tmp_path / "s")
    session = open_session(tmp_path / "s")
    assert engine.state == "finished"
    assert "ZeroDivisionError" in session.health["muted"]["fragile"]
    assert intact(session, 200)
    assert len(session.values("beside")["level"]) == 200
    assert len(session.values("fragile").get("level", ())) <= 40
    (event,) = [e for e in session.events if e["event"] == "muted"]
    assert (event["step"], "traceback" in event) == ("fragile", True)


class Disk:
    """A disk that refuses files of one kind from the n-th write on, until it is told to take them."""

    def __init__(self, monkeypatch, suffix, after=0, error=28):
        self.full, self.writes, self.suffix, self.error = True, 0, suffix, error
        self.after, self.real = after, journal_module.RecordFile._write
        disk = self
        monkeypatch.setattr(recording_module, "RETRY_S", 0.02)
        monkeypatch.setattr(journal_module.RecordFile, "_write", lambda file, buffer: disk.write(file, buffer))

    def write(self, file, buffer):
        if file.path.suffix == self.suffix:
            self.writes += 1
            if self.full and self.writes > self.after:
                raise OSError(self.error, os.strerror(self.error))
        return self.real(file, buffer)


def stalled(engine, job):
    deadline = time.monotonic() + 10
    while job not in engine.health().stalled:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return engine.health().stalled[job]


def noted(session):
    return [event["event"] for event in session.events]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.ENFILE], ids=os.strerror)
@pytest.mark.parametrize(("job", "suffix", "after"), [("journal", ".sfj", 120), ("values", ".sfv", 0)])
def test_what_passes_is_said_and_waited_for_and_nothing_is_lost(tmp_path, monkeypatch, job, suffix, after, error):
    disk = Disk(monkeypatch, suffix, after, error)
    source = Movie(ONES, wait=0.003)
    engine = Engine(source, config(LEVEL), tmp_path / "s")
    engine.start()
    assert stalled(engine, job) == os.strerror(error)
    time.sleep(0.3)
    assert engine.state == "running"
    if job == "journal":
        written = open_session(tmp_path / "s").frames  # of a batch refused in part frames stand there unacknowledged
        assert 0 < source.acknowledged[-1] <= written < 120
    disk.full = False
    assert engine.wait(20)
    session = open_session(tmp_path / "s")
    assert engine.state == session.state == "finished"
    assert source.told
    assert intact(session, 200)
    assert np.allclose(session.values("level")["level"], means(0, 200))
    assert noted(session) == ["disk refuses", "disk takes data again", "closed"]
    assert engine.health().stalled == {}


def test_stopped_while_the_disk_is_full_a_run_fails_with_the_reason_and_what_was_written_is_readable(
    tmp_path, monkeypatch
):
    Disk(monkeypatch, ".sfj", 120)
    source = Movie(ONES, wait=0.003)
    engine = Engine(source, config(LEVEL), tmp_path / "s")
    engine.start()
    stalled(engine, "journal")
    engine.stop()
    assert engine.wait(20)
    session = open_session(tmp_path / "s")
    assert engine.state == session.state
    assert engine.state.startswith("failed: journal: No space left on device")
    assert not source.told
    assert 0 < session.frames < 200
    assert intact(session, session.frames)


def test_an_error_that_does_not_pass_ends_the_run_at_once(tmp_path, monkeypatch):
    Disk(monkeypatch, ".sfj", 120, error=9)
    engine = finished(Movie(ONES), (LEVEL,), tmp_path / "s")
    assert engine.state.startswith("failed: journal: Bad file descriptor")


def test_with_skip_the_chain_goes_on_while_the_disk_is_full_and_what_is_not_recorded_is_noted(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, ".sfj", 30)
    settings = parse_config(f"[record]\nwhen_full = 'skip'\n[[step]]\n{LEVEL}")
    engine = Engine(Movie([*ONES, *ONES_LATER], wait=0.002), settings, tmp_path / "s", ring_bytes=4096)
    engine.start()
    while engine.health().frames < 200:
        time.sleep(0.005)
    disk.full = False
    assert engine.wait(20)
    session = open_session(tmp_path / "s")
    assert engine.state == "finished"
    assert len(session.values("level")["level"]) == 400
    unrecorded = [e for e in session.events if e["event"] == "unrecorded"]
    assert sum(e["count"] for e in unrecorded) == engine.health().unrecorded > 0
    assert session.frames == 400 - engine.health().unrecorded
    assert session.lost == 0
    got = session.read_frames(0, 400)
    assert np.array_equal(got, FRAMES[session.journal.indices])


@needs_limits
def test_a_disk_that_really_fills_up_and_has_room_again(tmp_path):
    script = f"""
    import resource, signal, sys, time
    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from pathlib import Path
    from toys import ONES, Movie, config
    from streamfluo import open_session
    from streamfluo.engine.engine import Engine
    folder = Path({str(tmp_path / "s")!r})
    engine = Engine(Movie(ONES, wait=0.001), config('kind = "moments"'), folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    engine.start()
    while "journal" not in engine.health().stalled:
        time.sleep(0.01)
    print(engine.health().stalled["journal"], 20 < open_session(folder).frames < 200)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert engine.wait(30)
    print(engine.state)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["File too large True", "finished"]
    session = open_session(tmp_path / "s")
    assert intact(session, 200)
    assert session.frames == 200


def test_a_source_held_up_by_a_full_disk_hears_that_we_are_still_here(tmp_path, monkeypatch):
    monkeypatch.setattr(ring_module, "WAITING_S", 0.02)
    disk = Disk(monkeypatch, ".sfj", 30)
    source = Movie([*ONES, *ONES_LATER], wait=0.0005)
    alive = []
    source.keep_alive = lambda: alive.append(time.monotonic())
    engine = Engine(source, config(LEVEL), tmp_path / "s", ring_bytes=4096)
    engine.start()
    stalled(engine, "journal")
    time.sleep(0.5)
    assert len(alive) > 5
    disk.full = False
    assert engine.wait(20)
    assert open_session(tmp_path / "s").frames == 400
