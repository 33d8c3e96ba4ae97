"""Housekeeping: one export at a time; it waits when it is told to, tries again what failed, puts off what kills it."""

import errno
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from systems import needs_proc, needs_signals
from toys import Movie, block

from streamfluo.engine import housekeeping
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.housekeeping import TRIES, Housekeeping
from streamfluo.session.exported import differences, note_of
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


def test_beside_a_series_that_takes_all_it_works_for_a_share_of_the_time(rig, monkeypatch):
    one, now = Housekeeping(rig / "rig.toml", lambda _: None), 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(housekeeping, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    one._worked_since_s = now
    one._listen(["share"])
    one._stopping = False  # as if the orders went on
    for work_s in (0.3, 0.1, 2.0):
        now += work_s
        one._pause(1)
    assert now == pytest.approx(2.4 / housekeeping.SHARE_OF_TIME)


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
        until(lambda: one.status()["exported"] == 1)
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


def test_an_export_that_does_not_come_back_is_said(rig, monkeypatch):
    go, export = threading.Event(), housekeeping.export_verified
    monkeypatch.setattr(housekeeping, "STILL_S", 0.2)
    monkeypatch.setattr(housekeeping, "export_verified", lambda *of: go.wait() and export(*of))
    with running(rig) as (one, order):
        until(lambda: one.status()["blocked"])
        assert one.status()["blocked"].startswith(f"exporting {rig / 'sessions' / 'a'} has not moved for")
        order("pause")
        until(lambda: not one.status()["blocked"])  # it waits because it was told to
        order("go")
        go.set()
        until(lambda: exported(rig) == ["a", "b"])


def test_a_session_whose_export_ended_the_process_again_and_again_comes_after_the_others(rig, monkeypatch):
    facts = housekeeping._facts_of(housekeeping.Kept(rig / "sessions" / "a", "a"))
    (rig / "sessions" / TRIES).write_text(json.dumps({"a": [4, facts]}))
    monkeypatch.setattr(housekeeping, "AGAIN_S", (1.0, 2.0))
    with running(rig) as (one, _):
        until(lambda: exported(rig) == ["b"])
        until(lambda: one.status()["refused_exports"] == 1)
        until(lambda: exported(rig) == ["a", "b"])
        until(lambda: one.status()["refused_exports"] == 0)
    assert json.loads((rig / "sessions" / TRIES).read_text()) == {}


@needs_signals
@needs_proc
def test_killed_at_random_each_session_is_exported_once_and_bit_by_bit(rig):
    for n in range(6):
        shutil.copytree(rig / "sessions" / "a", rig / "sessions" / f"c{n}")
    code = """
import os, random, signal, sys, time
from pathlib import Path
from streamfluo.engine import housekeeping
from streamfluo.session.exported import differences, note_of

housekeeping.step_back, housekeeping.IDLE_S, housekeeping.AGAIN_S = lambda: None, 0.05, (0.01, 0.01)
housekeeping.LAST_AGAIN_S = 0.01
chance, kills, sessions = random.Random(3), 0, [Path("sessions", name) for name in os.listdir("sessions")]
while not all(note_of(path) for path in sessions if path.is_dir()):
    if not (child := os.fork()):
        housekeeping.Housekeeping(Path("rig.toml"), lambda said: None).run(iter(lambda: time.sleep(60) or "go", ""))
        os._exit(0)
    time.sleep(chance.uniform(0, 0.006 * (1 + kills)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
print(kills)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=rig, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    names = {"a", "b", *(f"c{n}" for n in range(6))}
    for name in names:
        assert differences(rig / "sessions" / name, lambda nbytes: None) == ""
    assert {path.name for path in (rig / "exported").iterdir()} - {".unfinished"} == names


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 3}', '{"a": [1, "x"]}'])
def test_what_was_tried_may_be_damaged(rig, text):
    (rig / "sessions" / TRIES).write_text(text)
    with running(rig):
        until(lambda: exported(rig) == ["a", "b"])
    assert [differences(rig / "sessions" / name, lambda nbytes: None) for name in "ab"] == ["", ""]
