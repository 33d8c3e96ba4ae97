"""What went wrong while a run was running: stops, acknowledgements, a publisher that is held up."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from systems import needs_signals
from test_publisher import PUBLISH, Held, messages, ones, running, until, watch
from toys import FRAMES, LEVEL, Movie, a, block, config, means, toys  # noqa: F401

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.core.step_values import StepValues
from streamfluo.engine import publisher as publisher_module
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.client import ask
from streamfluo.network.frames import JournalFrames


def test_a_session_that_holds_as_many_frames_as_asked_for_is_finished(tmp_path):
    for _ in range(2):
        engine = Engine(
            Movie([block(0, 90)]), parse_config("[record]\nraw = true"), tmp_path / "S", resume=True, max_frames=40
        )
        engine.start()
        assert engine.wait(20)
        assert (engine.state, engine.error) == ("finished", None)
        session = open_session(tmp_path / "S")
        assert (session.frames, session.state) == (40, "finished")


def slowed(engine, seconds=0.05):
    run = engine.chain.run
    engine.chain.run = lambda b: (time.sleep(seconds), run(b))[1]


def test_stopped_twice_the_chain_leaves_what_waits_and_the_journal_holds_it(tmp_path):
    raw = parse_config(f"[record]\nraw = true\n[[step]]\n{LEVEL}", "run.toml")
    engine = Engine(Movie([block(n, n + 1) for n in range(400)]), raw, tmp_path / "S")
    slowed(engine, 0.2)
    engine.start()
    until(lambda: engine.health().edges["journal"].frames == 400)
    engine.stop()
    assert engine.stopping
    assert engine.waiting_frames > 100
    engine.stop()
    began = time.monotonic()
    assert engine.wait(20)
    assert time.monotonic() - began < 1.5
    session = open_session(tmp_path / "S")
    assert (engine.state, session.state, session.frames) == ("aborted", "aborted", 400)
    assert len(session.values("level")["level"]) < 300
    again = Engine(Movie([block(n, n + 1) for n in range(400)]), raw, tmp_path / "S", resume=True)
    again.start()
    assert again.wait(30)
    session = open_session(tmp_path / "S")
    assert session.state == "finished"
    assert np.allclose(session.values("level")["level"], means(0, 400))
    assert np.isclose(session.snapshot("level")["sum"], means(0, 400).sum())


SLOW = """
    import time
    from streamfluo import Gives, Operator, Output, register
    from streamfluo.cli.cli import main

    @register("slow")
    class Slow(Operator):
        def update(self, block, inputs={}):
            time.sleep(0.5)
            return Output(block.index)
        def state(self):
            return {}
        def restore(self, state):
            pass

    main()
"""


@needs_signals
def test_told_to_stop_twice_a_run_says_how_much_waits_and_closes_cleanly(tmp_path):
    import textwrap

    (tmp_path / "run.toml").write_text("[[step]]\nkind = 'slow'\n[record]\nraw = true\n")
    command = ["run", "run.toml", "--source", "sim:spots?shape=16x16&frames=3000", "--out", "S"]
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), *command],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = tmp_path / "S" / "journal" / "000000.sfj"
    until(lambda: journal.exists() and journal.stat().st_size > 10_000, 30)
    time.sleep(1)
    run.send_signal(signal.SIGTERM)
    time.sleep(1)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 0, err
    assert "frames wait; stop again to leave them in the journal" in out
    session = open_session(tmp_path / "S")
    assert session.state == "aborted"
    assert session.frames > int(session.health["frames"])


def test_without_a_journal_nothing_is_acknowledged_before_its_values_are_on_disk(tmp_path):
    source = Movie(ones(200), wait=0.002)
    engine = Engine(source, parse_config(f"[record]\nraw = false\n[[step]]\n{LEVEL}", "run.toml"), tmp_path / "S")
    written, acknowledge = engine.session.values["level"], source.acknowledge
    seen = []

    def note(index):
        on_disk = open_session(tmp_path / "S").values("level").get("level", np.empty(0))
        seen.append((index, len(on_disk)))
        acknowledge(index)

    source.acknowledge = note
    engine.start()
    assert engine.wait(30)
    assert written.nbytes > 0
    assert max(index for index, _ in seen) > 0
    assert all(index <= on_disk for index, on_disk in seen)


# The publisher


def values(step, index, frames=100):
    arrays = {"level": np.zeros(frames)}
    return StepValues(step, index, frames, arrays, sum(x.nbytes for x in arrays.values()))


def test_values_that_nobody_sends_are_bounded_and_counted_while_the_publisher_is_held_up(monkeypatch):
    monkeypatch.setattr(publisher_module, "VALUES_BYTES", 8_000)
    with running(Held(ones(3)), LEVEL, a("level", id="'two'")) as (engine, hello), watch(engine, hello, "values/"):
        with engine.publisher._lock:  # what sends takes the lock first
            held = engine.publisher._values
        monkeypatch.setattr(engine.publisher, "_send_what_waits", lambda: None)
        for n in range(50):
            for step in ("level", "two"):
                engine.publisher.put_values(values(step, n * 100))
        assert sum(g.nbytes for g in engine.publisher._values.values()) <= 8_000
        assert held is engine.publisher._values or engine.publisher._values
        dropped = ask(engine.publisher.endpoint, wire.Status()).counters["values_dropped"]
        assert dropped == 2 * 5000 - 1000
        monkeypatch.undo()


def test_an_error_in_the_publishers_loop_does_not_end_it(monkeypatch):
    with (
        running(Held(ones(20), hold=(0, 10)), LEVEL) as (engine, hello),
        watch(engine, hello, "values/level/") as viewer,
    ):
        send = engine.publisher._send_what_waits
        broken = iter([True])

        def once():
            if next(broken, False):
                raise ValueError("one bad message")
            send()

        monkeypatch.setattr(engine.publisher, "_send_what_waits", once)
        engine.source.go.release()
        engine.source.go.release()
        got = messages(viewer, "values/", 2)
        assert sum(m.count for _, m, _ in got) == 20
        lately = ask(engine.publisher.endpoint, wire.Status()).counters["lately"]
        assert any("publisher failed: error ValueError: one bad message" in line for line in lately)


def test_a_consumer_whose_frames_are_read_slowly_holds_up_no_snapshot(tmp_path, monkeypatch):
    """The data endpoint has a thread of its own."""
    monkeypatch.setattr(JournalFrames, "block", lambda self, seq: (time.sleep(1.0), self._journal.block(seq, 32))[1])
    raw = f"{PUBLISH}[record]\nraw = true\n"
    source = Held(ones(200), hold=(100,), wait=0.002)
    with (
        running(source, LEVEL, out=tmp_path / "S", publish=raw) as (engine, hello),
        watch(engine, hello, "snapshot/") as viewer,
    ):
        import zmq

        slow = zmq.Context.instance().socket(zmq.DEALER)
        slow.connect(engine.publisher.endpoint)
        slow.send(wire.encode(wire.Subscribe(credit=50)))
        time.sleep(0.5)
        threading.Timer(0.1, source.go.release).start()
        began = time.monotonic()
        arrived = []
        while time.monotonic() - began < 2:
            if viewer.receive(0.5) is not None:
                arrived.append(time.monotonic() - began)
        slow.send(wire.encode(wire.Bye()))
        slow.close()
        assert len(arrived) >= 2
        assert arrived[0] < 0.8


@pytest.mark.parametrize("bin_px", [1, 2])
def test_a_preview_is_opened_by_the_thread_that_sends_it(bin_px):
    with running(Held(ones(3)), LEVEL) as (engine, _):
        answer = ask(engine.publisher.endpoint, wire.Preview(step="source", bin_px=bin_px))
        assert answer.endpoint.startswith("tcp://127.0.0.1:")
