"""Strangers at the control endpoint: nothing of what they send is done, kept, or felt by who has something to say."""

import json
import random
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from toys import FRAMES, LEVEL, Movie, block, means, toys  # noqa: F401

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.core.control import VERBS, Answer
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network import control as control_module
from streamfluo.network.client import ask
from streamfluo.network.control import ControlServer
from streamfluo.network.socket import new_context

MESSAGES = 10_000


def size_mb():
    [line] = [n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def rubbish(rng):
    """A message of a stranger: bytes, a map of nonsense, a request cut or with a byte changed, nests, many parts."""
    kind = rng.randrange(6)
    if kind == 0:
        return [rng.randbytes(rng.randrange(300))]
    if kind == 1:
        return [rng.randbytes(rng.randrange(60_000))]
    if kind == 2:
        return [b"[" * 2000, b"", b"{" * 500][: rng.randrange(1, 4)]
    request = {"verb": rng.choice([*VERBS, "set", "x" * 99]), "nonce": str(rng.random()), "surprise": rng.random()}
    request |= {
        rng.choice(["step", "param", "value", "text", "version"]): rng.choice([None, 7, "y" * 2000, [[[]]], {}])
    }
    data = json.dumps(request).encode() if kind == 3 else msgspec.msgpack.encode(request)
    if kind == 5:
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.randrange(256)]) + data[at + rng.randrange(3) :]
    return [data] * rng.choice([1, 1, 1, 30])


def read(stranger):
    """The next answer in JSON, None for one in msgpack."""
    data = stranger.recv_multipart()[-1]
    return json.loads(data) if data[:1] == b"{" else None


def done(request):
    future = control_module.Future()
    future.set_result(Answer(ok=True, frame=7))
    return future


@pytest.fixture
def server():
    with new_context() as context:
        asked = []
        serving = ControlServer(context, "tcp://127.0.0.1:0", lambda request: (asked.append(request), done(request))[1])
        serving.asked = asked
        serving.start()
        yield serving
        serving.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory where Linux tells it")
def test_ten_thousand_messages_of_strangers_change_nothing_and_cost_no_memory(server):
    rng, told = random.Random(4), []
    with zmq.Context() as context:
        for round_ in range(5):
            with context.socket(zmq.DEALER) as stranger:
                stranger.setsockopt(zmq.LINGER, 0)
                stranger.connect(server.endpoint)
                for _ in range(MESSAGES // 5):
                    stranger.send_multipart([b"", *rubbish(rng)] if rng.random() < 0.8 else rubbish(rng))
                    while stranger.poll(0):
                        stranger.recv_multipart()
                stranger.send_multipart([b"", b'{"verb":"pause","nonce":"%d"}' % round_])
                while read(stranger) != {"ok": True, "nonce": str(round_), "frame": 7}:
                    pass
            told.append(size_mb())
    assert [request.nonce for request in server.asked if len(request.nonce) < 3] == list("01234")
    assert all(type(request).__name__.lower() in VERBS for request in server.asked)
    assert sum(server.refused.values()) + len(server.asked) > 0.9 * MESSAGES
    assert len(server._nonces) <= control_module.MAX_NONCES
    assert told[-1] - told[0] < 10, told


def test_a_recording_is_untouched_by_messages_of_strangers(tmp_path):
    rng = random.Random(7)
    plain = parse_config('[publish]\nuri = "tcp://127.0.0.1:0"\n[[step]]\n' + LEVEL, "run.toml")
    engine = Engine(Movie([block(n, n + 1) for n in range(400)], wait=0.003), plain, tmp_path / "s")
    engine.start()
    endpoint = ask(engine.publisher.endpoint, wire.Hello()).endpoints["control"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(endpoint)
        sent = 0
        while engine.state == "running":
            parts = [part.replace(b"stop", b"step").replace(b"pause", b"pose") for part in rubbish(rng)]
            stranger.send_multipart([b"", *parts])
            sent += 1
            while stranger.poll(0):
                stranger.recv_multipart()
    assert engine.wait(60)
    session = open_session(tmp_path / "s")
    assert sent > 500
    assert (session.state, session.frames, session.lost, session.damaged) == ("finished", 400, 0, ())
    np.testing.assert_array_equal(session.read_frames(0, 400), FRAMES)
    np.testing.assert_array_equal(session.values("level")["level"], means(0, 400))
    assert {event["event"] for event in session.events} <= {"closed", "mark", "resumed"}


def test_who_does_not_read_answers_and_who_asks_for_much_at_once_holds_up_nobody(server):
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf, context.socket(zmq.REQ) as socket:
        for one in (deaf, socket):
            one.setsockopt(zmq.LINGER, 0)
            one.connect(server.endpoint)
        deaf.setsockopt(zmq.RCVHWM, 1)
        for n in range(3000):
            deaf.send_multipart([b"", b'{"verb":"pause","nonce":"d%d"}' % n])
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        began = time.monotonic()
        socket.send(b'{"verb":"resume","nonce":"mine"}')
        assert json.loads(socket.recv())["ok"]
        assert time.monotonic() - began < 5


def test_no_more_requests_wait_than_are_kept(server):
    never = [control_module.Future() for _ in range(200)]
    waiting = iter(never)
    server._handle = lambda request: next(waiting)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        for n in range(control_module.MAX_WAITING + 10):
            socket.send_multipart([b"", b'{"verb":"pause","nonce":"%d"}' % n])
        refused = [json.loads(socket.recv_multipart()[1]) for _ in range(10)]
        assert all("64 requests wait for their answers" in answer["said"] for answer in refused)
        never[3].set_result(Answer(ok=True, frame=1))
        assert json.loads(socket.recv_multipart()[1]) == {"ok": True, "nonce": "3", "frame": 1}
