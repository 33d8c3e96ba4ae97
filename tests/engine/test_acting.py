"""Acting: decisions of a run reach their actions in time, and none that is late, doubled or of the past."""

import threading
import time

import numpy as np
import pytest
from toys import Movie, bright_above

from streamfluo import Block, ConfigError, Spec, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

SHAPE = (6, 8)
CHAIN = "[record]\nraw = true" + bright_above(1000)
did = []
hold = threading.Event()


def act(decision):
    did.append((decision, time.time_ns()))


def hang(decision):
    hold.wait(20)


def fail(decision):
    raise OSError("unplugged")


@pytest.fixture(autouse=True)
def fresh():
    did.clear()
    hold.clear()
    yield
    hold.set()


def bright(n):
    """Every tenth frame is bright."""
    pixels = np.full((1, *SHAPE), 100 if n % 10 == 9 else 1, np.uint16)
    return Block(n, [n * 10_000_000], pixels)


def run(tmp_path, actions, frames=60, wait=0.0, seekable=False, name="S", **more):
    source = Movie([bright(n) for n in range(frames)], seekable=seekable, wait=wait)
    source.spec = Spec(SHAPE, "uint16", interval_s=0.01)
    engine = Engine(source, parse_config(CHAIN + actions, "c.toml"), tmp_path / name, **more)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(tmp_path / name)


def to(function, more="deadline_ms = 20_000"):
    return f'[[action]]\non = "bright"\nto = "python:{__name__}:{function}"\n{more}\n'


def counts(session, function="act"):
    return session.health["actions"][f"bright: python:{__name__}:{function}"]


def test_each_decision_is_acted_on_and_stands_in_the_session(tmp_path):
    session = run(tmp_path, to("act"))
    assert [decision.frame for decision, _ in did] == [9, 19, 29, 39, 49, 59]
    assert [decision.t_ns for decision, _ in did] == [n * 10_000_000 for n in range(9, 60, 10)]
    assert all(d.arrived_ns <= d.taken_ns <= d.decided_ns <= done_ns for d, done_ns in did)
    assert counts(session)["done"] == 6
    assert [(a["step"], a["frame"], a["became"]) for a in session.actions] == [
        ("bright", n, "done") for n in range(9, 60, 10)
    ]
    assert all(a["arrived_ns"] <= a["decided_ns"] <= a["done_ns"] for a in session.actions)
    assert set(session.health["latency_ms"]) == {"arrival to chain", "arrival to end of chain"}
    assert not session.damaged


def test_a_device_that_hangs_delays_nobody(tmp_path):
    began = time.monotonic()

    def comes_back():
        while time.monotonic() < began + 1.5 or (len(did) < 90 and time.monotonic() < began + 15):
            time.sleep(0.01)
        time.sleep(0.2)  # what waits is late then, however close behind each other the frames came
        hold.set()

    threading.Thread(target=comes_back).start()
    session = run(tmp_path, to("hang", "deadline_ms = 100") + to("act"), frames=900)
    assert [decision.frame for decision, _ in did] == list(range(9, 900, 10))
    assert max(done_ns - decision.arrived_ns for decision, done_ns in did) < 1.4e9  # none waited for the other
    assert time.monotonic() - began < 20
    hung = counts(session, "hang")
    assert hung["crowded"] >= 90 - 64 - 2  # the rest found the queue full
    assert hung["done"] <= 1
    assert hung["done"] + hung["late"] + hung["crowded"] == 90


def test_a_device_that_comes_back_after_the_end_changes_nothing(tmp_path):
    began = time.monotonic()
    session = run(tmp_path, to("hang"), frames=12)
    assert time.monotonic() - began < 15  # it is waited for, and then no more
    hold.set()
    time.sleep(0.3)
    assert not (session.path / "actions.jsonl").exists()
    assert not open_session(session.path).damaged


def test_a_device_that_fails_is_counted_and_named(tmp_path):
    session = run(tmp_path, to("fail"))
    assert counts(session, "fail")["failed"] == 6
    assert {a["error"] for a in session.actions} == {"OSError: unplugged"}


def test_a_decision_that_is_late_is_not_done(tmp_path):
    session = run(tmp_path, to("act", "deadline_ms = 1e-6"))
    assert not did
    assert counts(session)["late"] == 6
    assert {a["became"] for a in session.actions} == {"late"}


def test_frames_that_are_read_again_move_nothing_unless_asked(tmp_path):
    assert counts(run(tmp_path, to("act"), seekable=True))["again"] == 6
    assert not did
    run(tmp_path, to("act", "replayed = true\ndeadline_ms = 20_000"), seekable=True, name="T")
    assert len(did) == 6


def test_what_was_acted_on_before_a_kill_is_not_again(tmp_path):
    source = Movie([bright(n) for n in range(35)])
    source.spec = Spec(SHAPE, "uint16", interval_s=0.01)
    engine = Engine(source, parse_config(CHAIN + to("act"), "c.toml"), tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    (tmp_path / "S" / "checkpoint.npz").unlink(missing_ok=True)  # so that the journal is read from its start
    did.clear()
    session = run(tmp_path, to("act"), resume=True)
    assert [decision.frame for decision, _ in did] == [39, 49, 59]
    assert counts(session)["again"] == 3
    assert session.values("bright")["fired"].nonzero()[0].tolist() == list(range(9, 60, 10))


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ('[[action]]\non = "brigth"\nto = "python:os:getpid"', "no step 'brigth' that decides; did you mean 'bright'?"),
        ('[[action]]\non = "moments"\nto = "python:os:getpid"', "no step 'moments' that decides"),
        ('[[action]]\non = "bright"', "action number 1: parameter 'to' is missing"),
        ('[[action]]\non = "bright"\nto = "osc:x"\ndeadline_ms = -1', "deadline_ms"),
        ('[action]\non = "bright"', "actions are tables [[action]], with double brackets"),
    ],
)
def test_what_is_wrong_with_an_action_is_said_before_frames_flow(tmp_path, action, says):
    with pytest.raises(ConfigError) as error:
        run(tmp_path, action)
    assert says in str(error.value)
    assert not (tmp_path / "S").exists()
