"""The engine: what arrives is processed and written, whether the run ends, is stopped, or something breaks."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from toys import DOUBLE, FRAMES, LATE, LEVEL, ONES, Movie, a, block, config, means, toys  # noqa: F401

from streamfluo import SourceError, open_session
from streamfluo.edges import journal as journal_module
from streamfluo.edges.source import Gap
from streamfluo.pipeline.config import parse_config
from streamfluo.pipeline.engine import Engine


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


# Counters


def test_the_counters_add_up(tmp_path):
    items = [block(0, 50), Gap(50, 3, "camera"), block(53, 60), Gap(60, 2, "transport"), block(62, 100)]
    engine = finished(Movie(items), (LEVEL,), tmp_path / "s")
    health = engine.health()
    assert health.frames == 95
    assert (health.lost_camera, health.lost_transport, health.lost) == (3, 2, 5)
    assert {health.edges[name].frames for name in ("ingest", "journal", "chain")} == {95}
    assert {health.edges[name].bytes for name in ("ingest", "journal", "chain")} == {95 * 32}
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
    real = engine.chain.push
    engine.chain.push = lambda b: (time.sleep(0.02), real(b))[1]
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


@pytest.mark.parametrize("step", ["journal", "values"])
def test_a_full_disk_ends_the_run_with_its_reason_and_what_was_written_is_readable(tmp_path, monkeypatch, step):
    real, count = journal_module.RecordFile._write, [0]
    target = {"journal": ".sfj", "values": ".sfv"}[step]

    def write(self, buffer):
        if self.path.suffix == target:
            count[0] += 1
            if count[0] > (120 if step == "journal" else 1):
                raise OSError(28, "No space left on device")
        return real(self, buffer)

    monkeypatch.setattr(journal_module.RecordFile, "_write", write)
    source = Movie(ONES, wait=0.003)
    engine = finished(source, (LEVEL,), tmp_path / "s")
    session = open_session(tmp_path / "s")
    assert engine.state.startswith("failed: ")
    assert "No space left on device" in engine.state
    assert session.state == engine.state
    assert session.health["frames"] > 0
    assert not source.told
    assert source.stopped
    frames = session.frames
    assert 0 < frames < 200
    assert intact(session, frames)


def test_a_disk_that_really_fills_up_leaves_a_readable_session(tmp_path):
    script = f"""
    import resource, signal, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    from toys import ONES, Movie, config
    from streamfluo.pipeline.engine import Engine
    engine = Engine(Movie(ONES, wait=0.001), config('kind = "moments"'), Path({str(tmp_path / "s")!r}))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    engine.start()
    assert engine.wait(30)
    print(engine.state)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("failed: journal: File too large; everything written before is readable")
    session = open_session(tmp_path / "s")
    assert 20 < session.frames < 200
    assert intact(session, session.frames)
