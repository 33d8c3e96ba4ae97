"""Housekeeping: one export at a time, waiting when it is told to, trying again what failed, giving up what kills it."""

import errno
import json
import queue
import threading
import time
from contextlib import contextmanager

import pytest
from toys import Movie, block

from streamfluo.engine import housekeeping
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.housekeeping import TRIES, Housekeeping
from streamfluo.session.exported import note_of
from streamfluo.session.lock import take

CONFIG = """
[daemon]
folder = "sessions"
name = "{uid}"
[[source]]
name = "scope"
uri = "tcp://127.0.0.1:5555"
[export]
folder = "exported"
format = "npy"
"""


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.setattr(housekeeping, "step_back", lambda: None)
    monkeypatch.setattr(housekeeping, "IDLE_S", 0.1)
    monkeypatch.setattr(housekeeping, "AGAIN_S", (0.2, 0.4))
    (tmp_path / "rig.toml").write_text(CONFIG)
    for name in ("a", "b"):
        engine = Engine(Movie([block(0, 40)], name), parse_config("[record]\nraw = true"), tmp_path / "sessions" / name)
        engine.start()
        assert engine.wait(30)
    return tmp_path


@contextmanager
def running(folder, *first):
    orders = queue.Queue()
    for order in first:
        orders.put(order)
    one = Housekeeping(folder / "rig.toml", lambda said: None)
    thread = threading.Thread(target=one.run, args=[iter(orders.get, "gone")])
    thread.start()
    try:
        yield one, orders.put
    finally:
        orders.put("gone")  # as the end of its input, when the daemon is
        thread.join(30)
        assert not thread.is_alive()


def until(true, within_s=30):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def exported(folder):
    return [name for name in ("a", "b") if note_of(folder / "sessions" / name) is not None]


def test_it_waits_while_it_is_told_to_and_ends_with_the_daemon(rig):
    with running(rig, "pause") as (one, order):
        time.sleep(0.5)
        assert exported(rig) == []
        order("go")
        until(lambda: exported(rig) == ["a", "b"])
        until(lambda: one.status()["state"] == "idle")
        assert one.status().items() >= {"exported": 2, "to_export": 0, "refused_exports": 0, "blocked": ""}.items()
    assert not (rig / "exported" / ".unfinished").exists()


def test_a_session_that_runs_is_left_alone_and_one_that_was_interrupted_waits(rig, monkeypatch):
    facts = rig / "sessions" / "b" / "session.json"
    held = take(rig / "sessions" / "a")
    from streamfluo.session.schema import sealed, unsealed

    for path in (rig / "sessions" / "a" / "session.json", facts):
        path.write_text(json.dumps(sealed({**unsealed(path.read_text(), 2), "state": "running"})))
    with running(rig) as (one, _):
        time.sleep(0.6)
        assert exported(rig) == []
        monkeypatch.setattr(housekeeping, "RESUMED_S", 0.0)
        until(lambda: exported(rig) == ["b"])
        assert one.status()["exported"] == 1
        held.release()
        until(lambda: exported(rig) == ["a", "b"])


def test_an_export_that_fails_is_tried_again_and_holds_up_no_other(rig, monkeypatch):
    export = housekeeping.export_verified
    full = True

    def failing(session, *rest):
        if full and session.path.name == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return export(session, *rest)

    monkeypatch.setattr(housekeeping, "export_verified", failing)
    with running(rig) as (one, _):
        until(lambda: exported(rig) == ["b"])
        assert one.status()["refused_exports"] == 1
        full = False
        until(lambda: exported(rig) == ["a", "b"])
        until(lambda: one.status()["refused_exports"] == 0)


def test_a_session_whose_export_ended_the_process_three_times_is_given_up(rig):
    with running(rig, "pause") as (one, order):
        facts = housekeeping._facts_of(housekeeping.Kept(rig / "sessions" / "a", "a"))
        one._tries["a"] = (3, facts)
        order("go")
        until(lambda: exported(rig) == ["b"])
        until(lambda: one.status()["refused_exports"] == 1)
    (rig / "sessions" / TRIES).write_text(json.dumps({"a": [2, facts]}))
    with running(rig):
        until(lambda: exported(rig) == ["a", "b"])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 3}', '{"a": [1, "x"]}'])
def test_what_was_tried_may_be_damaged(rig, text):
    (rig / "sessions" / TRIES).write_text(text)
    with running(rig):
        until(lambda: exported(rig) == ["a", "b"])
