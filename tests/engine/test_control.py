"""Control of a run: what is asked takes effect at a frame, stands in the session, and a rerun gives the same bits."""

import errno
import json
import subprocess
import sys
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from systems import needs_signals
from toys import BINNED, DOUBLE, FRAMES, LEVEL, SQUARED, Movie, a, block, chain, config, means, toys  # noqa: F401
from turnstile import Turnstile, events, let, ones, running

from streamfluo import SourceError, open_session, open_source
from streamfluo.client import ask
from streamfluo.core import wire
from streamfluo.core.control import Answer, Change, request_words
from streamfluo.core.errors import WireError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.run_control import done
from streamfluo.network import control as control_module
from streamfluo.network.control import ControlServer
from streamfluo.network.socket import new_context
from streamfluo.session import files as files_module

BEHIND = a("level", id="'behind'")
TABLES = (LEVEL, DOUBLE, SQUARED, BINNED, BEHIND)


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


def test_regions_are_drawn_anew_while_frames_flow(tmp_path):
    square = [[[0, 0], [0, 3], [3, 3], [3, 0]]]
    step = 'kind = "regions"\nparams = { regions = [[[0, 0], [0, 4], [4, 4], [4, 0]]], neuropil_factor = 0.0 }'
    with running(Turnstile(ones()), tmp_path / "s", step) as (engine, control):
        let(engine, 20)
        words = request_words("set", ["regions.regions=[[[0, 0], [0, 3],", "[3, 3], [3, 0]]]"])
        assert control.set(words["step"], words["param"], words["value"]).frame == 20
        with pytest.raises(SourceError, match="refused: regions: region 0 is a list of three corners"):
            control.set("regions", "regions", [[[0, 0]]])
        let(engine, 10)
    mean = open_session(tmp_path / "s").values("regions")["mean"][:, 0]
    means_of = np.concatenate([means(0, 20), FRAMES[20:30, :3, :3].mean((1, 2))])
    np.testing.assert_allclose(mean[:30], means_of, rtol=1e-6)
    assert [event["value"] for event in events(tmp_path / "s", "set")] == [square]


def assert_same(one, other):
    one, other = open_session(one), open_session(other)
    for step in one.steps:
        for name, array in one.values(step).items():
            np.testing.assert_array_equal(array, other.values(step)[name])
        for name, array in one.snapshot(step).items():
            np.testing.assert_array_equal(array, other.snapshot(step)[name])


# Killed, and refused


KILLED = """
import os, sys, time
sys.path.insert(0, {tests!r})
import toys
from toys import DOUBLE, LEVEL, Movie, block, parse_config, register
from streamfluo.engine.engine import Engine
from streamfluo.core.control import Set
from pathlib import Path
for toy in toys.TOYS:
    register("toy-" + toy.__name__.lower())(toy)
text = parse_config("[record]\\ncheckpoint_s = {checkpoint_s}\\n[[step]]\\n" + LEVEL + "\\n[[step]]\\n" + DOUBLE)
engine = Engine(Movie([block(n, n + 1) for n in range(150)], wait=0.002), text, Path({out!r}))
engine.start()
while engine.health().frames < 60:
    time.sleep(0.001)
engine.control.ask(Set(nonce="1", step="level", param="factor", value=3.5)).result(20)
engine.control.ask(Set(nonce="2", step="level", param="factor", value=0.3)).result(20)
while engine.health().frames < 120 or {checkpoint_s} < 1 and not any(Path({out!r}).glob("checkpoint*.npz")):
    time.sleep(0.001)
os.kill(os.getpid(), 9)
"""


@needs_signals
@pytest.mark.parametrize("checkpoints", [True, False], ids=["from a checkpoint", "from the journal's start"])
def test_killed_after_a_change_it_goes_on_under_the_changed_parameter(tmp_path, checkpoints):
    tests = str(Path(__file__).parents[1])
    program = KILLED.format(tests=tests, out=str(tmp_path / "s"), checkpoint_s=1e-6 if checkpoints else 1e6)
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -9
    [first, second] = events(tmp_path / "s", "set")
    assert any((tmp_path / "s").glob("checkpoint*.npz")) == checkpoints  # killed amid renaming, that before remains
    engine = Engine(Movie(ones()), config(LEVEL, DOUBLE), tmp_path / "s", resume=True)
    engine.start()
    assert engine.wait(20)
    factor = np.ones(200)
    factor[first["frame"] :], factor[second["frame"] :] = 3.5, 0.3
    session = open_session(tmp_path / "s")
    np.testing.assert_array_equal(session.values("level")["level"], means(0, 200) * factor)
    assert len(events(tmp_path / "s", "set")) == 2
    assert session.steps["level"].params["factor"] == 1.0


REFUSED = [
    (("set", {"step": "level", "param": "factor", "value": -3}), "> 0.0, found -3; it is above 0, at most 1000"),
    (("set", {"step": "level", "param": "factor", "value": 1e9}), "it is above 0, at most 1000"),
    (("set", {"step": "level", "param": "factor", "value": "much"}), "factor: expected a number, not a text"),
    (("set", {"step": "level", "param": "factor", "value": [1]}), "factor: expected a number"),
    (("set", {"step": "level", "param": "fator", "value": 2}), "no parameter 'fator'; did you mean 'factor'?"),
    (("set", {"step": "brittle", "param": "at", "value": 2}), "'at' cannot be changed while frames flow; live are"),
    (("set", {"step": "leven", "param": "factor", "value": 2}), "no step 'leven'; did you mean 'level'?"),
    (("set", {"step": "double", "param": "x", "value": 2}), "no parameter 'x'"),
    (("snapshot", {"step": "level", "name": "sums"}), "no snapshot 'sums'; did you mean 'sum'?"),
    (("snapshot", {"step": "double"}), "gives no snapshots"),
    (("snapshot", {"step": "../level"}), "no step '../level'"),
    (("start", {}), "this run has started"),
    (("reload", {}), "a run keeps its config"),
    (("pause", {"source": "scope"}), "this is one run; sources are a daemon's"),
]  # fmt: skip


def test_what_cannot_be_done_is_refused_in_one_line_and_changes_nothing(tmp_path):
    brittle = a("fragile", id="'brittle'", params="{ at = 1000 }")
    with running(Turnstile(ones()), tmp_path / "s", LEVEL, DOUBLE, brittle) as (engine, control):
        let(engine, 9)
        for (verb, words), reason in REFUSED:
            with pytest.raises(SourceError) as told:
                control.ask(verb, **words)
            assert reason in str(told.value)
            assert "\n" not in str(told.value)
        let(engine, 9)
    session = open_session(tmp_path / "s")
    np.testing.assert_array_equal(session.values("level")["level"], means(0, 18))
    assert {event["event"] for event in session.events} == {"closed"}


MALFORMED = [
    (b'{"verb":"mark","nonce":"1"}', "text"),
    (b'{"verb":"mark","nonce":"1","text":""}', "text: expected a text of length >= 1"),
    (b'{"verb":"mark","nonce":"1","text":"%s"}' % (b"x" * 1001), "length <= 1000"),
    (b'{"verb":"mark","text":"x"}', "nonce"),
    (b'{"verb":"mark","nonce":7,"text":"x"}', "nonce: expected a text"),
    (b'{"verb":"mark","nonce":"%s","text":"x"}' % (b"n" * 65), "length <= 64"),
    (b'{"verb":"sett","nonce":"1"}', "no verb 'sett'; did you mean 'set'?"),
    (b'{"nonce":"1"}', "no verb 'None'"),
    (b'{"verb":"pause","nonce":"1","surprise":1}', "unknown field `surprise`"),
    (b'{"verb":"pause","nonce":"1","version":2}', "version 2 is not spoken here; supported: 1"),
    (b'{"verb":"set","nonce":"1","step":"level","param":"factor","value":{"a":1}}', "value: expected"),
    (b'{"verb":"set","nonce":"1","step":"level","param":"factor"}', "value"),
    (b'{"verb":"set","nonce":"1","step":"level","param":"factor","value":NaN}', "neither msgpack nor JSON"),
    (msgspec.msgpack.encode(dict(verb="set", nonce="1", step="s", param="p", value=float("nan"))), "a finite number"),
    (b'{"verb":"set","nonce":"1","step":"s","param":"p","value":1%s}' % (b"0" * 400), "a finite number"),
    (b'{"verb":"pause","nonce":"1","source":"%s"}' % (b" " * 4096), "at most 4096 bytes"),
    (b"[1,2]", "header"),
    (b"", "header"),
    (b"\xff\xfe\x00", "header"),
]  # fmt: skip


def test_a_message_that_is_none_is_refused_with_the_rule_that_it_breaks(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL) as (engine, _), req(engine) as socket:
        for message, reason in MALFORMED:
            socket.send(message)
            answer = msgspec.convert(decoded(socket.recv()), dict)
            assert answer["ok"] is False
            assert reason in answer["said"]
        refused = ask(engine.publisher.endpoint, wire.Status()).counters["refused"]
        assert sum(refused.values()) == len(MALFORMED), refused
        socket.send(b'{"verb":"mark","nonce":"1","text":"at last"}')
        assert json.loads(socket.recv()) == {"ok": True, "nonce": "1", "frame": 0}


@contextmanager
def req(engine):
    endpoint = ask(engine.publisher.endpoint, wire.Hello()).endpoints["control"]
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(endpoint)
        yield socket


def decoded(answer):
    return json.loads(answer) if answer[:1] == b"{" else msgspec.msgpack.decode(answer)


def test_a_request_is_answered_once_and_the_same_one_again_is_refused_and_counted(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL) as (engine, _), req(engine) as socket:
        request = b'{"verb":"mark","nonce":"mine","text":"once"}'
        socket.send(request)
        assert json.loads(socket.recv())["ok"]
        for _ in range(3):
            socket.send(request)
            assert "nonce 'mine' was answered already" in json.loads(socket.recv())["said"]
        assert ask(engine.publisher.endpoint, wire.Status()).counters["refused"] == {"replayed": 3}
    assert len(events(tmp_path / "s", "mark")) == 1


def test_the_memory_of_nonces_is_bounded(monkeypatch):
    monkeypatch.setattr(control_module, "MAX_NONCES", 10)
    with new_context() as context:
        server = ControlServer(context, "tcp://127.0.0.1:0", lambda request: done(Answer(ok=True)))
        for n in range(1000):
            server._remember(str(n))
        assert len(server._nonces) == 10
        with pytest.raises(WireError, match="answered already"):
            server._remember("999")
        server.close()


def test_what_nobody_does_in_time_is_said_and_left_undone(monkeypatch):
    monkeypatch.setattr(control_module, "PATIENCE_S", 0.2)
    never = Future()
    with new_context() as context, context.socket(zmq.REQ) as socket:
        server = ControlServer(context, "tcp://127.0.0.1:0", lambda request: never)
        server.start()
        socket.connect(server.endpoint)
        socket.send(b'{"verb":"pause","nonce":"1"}')
        assert json.loads(socket.recv())["said"] == "nothing came of it within 0.2 s; it was left undone"
        assert never.cancelled()
        server.close()


def test_a_disk_that_does_not_take_the_event_keeps_the_parameter_as_it_is(tmp_path, monkeypatch):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 5)
        monkeypatch.setattr(files_module.os, "fsync", full)
        with pytest.raises(SourceError, match="No space left"):
            control.set("level", "factor", 5)
        monkeypatch.undo()
        let(engine, 5)
        assert control.set("level", "factor", 7).frame == 10
        let(engine, 5)
    session = open_session(tmp_path / "s")
    np.testing.assert_array_equal(session.values("level")["level"], means(0, 15) * np.repeat([1, 1, 7], 5))
    assert [event["value"] for event in events(tmp_path / "s", "set")] == [7]


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


# Changes that were recorded


def test_what_set_states_is_not_changed_again_and_what_the_chain_lacks_is_left_out(tmp_path, caplog):
    changes = [Change(5, "level", "factor", 9.0), Change(7, "other", "x", 1), Change(8, "level", "factor", -1)]
    for text, expected in (((), means(0, 20) * np.repeat([1, 9], [5, 15])), (("level.factor=2",), means(0, 20) * 2)):
        plain = parse_config("[[step]]\n" + LEVEL, "run.toml", text)
        engine = Engine(Movie(ones(20)), plain, tmp_path / f"s{len(text)}", changes=changes)
        engine.start()
        assert engine.wait(20)
        np.testing.assert_array_equal(open_session(tmp_path / f"s{len(text)}").values("level")["level"], expected)
    assert "frame 7: a recorded change is left out: no step 'other'" in caplog.text
    assert "frame 8: a recorded change is left out" in caplog.text


def test_changes_take_effect_at_their_frames_however_they_come_in_blocks():
    def levels(cuts):
        one = chain(LEVEL, DOUBLE)
        for change in (Change(5, "level", "factor", 9.0), Change(64, "level", "factor", 2.0)):
            one.changes.plan_recorded(change, told=False)
        made = [one.push(block(start, stop)) for start, stop in cuts]
        assert [event["frame"] for event in one.events] == [5, 64]
        return np.concatenate([out.values["twice"] for out in chain_values(made, "double")])

    expected = 2 * means(0, 100) * np.repeat([1, 9, 2], [5, 59, 36])
    for cuts in ([(0, 100)], [(0, 5), (5, 64), (64, 100)], [(n, n + 1) for n in range(100)], [(0, 70), (70, 100)]):
        np.testing.assert_array_equal(levels(cuts), expected)


def chain_values(made, step):
    return [out for results in made for name, out in results if name == step]


def test_a_run_tells_of_its_session_first_and_of_those_beside_it(tmp_path):
    for name in ("one", "two"):
        with running(Turnstile(ones()), tmp_path / name, LEVEL) as (engine, _):
            let(engine, 3)
    (tmp_path / "no session").mkdir()
    with running(Turnstile(ones()), tmp_path / "three", LEVEL) as (engine, control):
        let(engine, 7)
        own, *others = control.sessions()
    assert (Path(own["session"]).name, own["state"], own["frames"]) == ("three", "running", 7)
    assert {Path(one["session"]).name for one in others} == {"one", "two"}
    assert all(one["nbytes"] > 1000 for one in (own, *others))
