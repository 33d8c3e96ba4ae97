"""Beyond this machine only keys that are allowed come in, each for what its roles say."""

import contextlib
import socket as sockets
import threading
from concurrent.futures import Future

import msgspec
import numpy as np
import pytest
import zmq
from people import PATIENCE_S, may, pushed_to, takes_frames
from toy_server import frames, same

from streamfluo import SourceError, open_source
from streamfluo.core import wire
from streamfluo.core.control import Answer, Curate
from streamfluo.network import access, keys
from streamfluo.network.arrivals import Refusals
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask
from streamfluo.network.control import ControlServer
from streamfluo.network.ingest_socket import IngestSocket
from streamfluo.network.publishing import ResultsServer
from streamfluo.network.socket import beside, connect, new_context

ROLE_SETS = [frozenset(), *(frozenset({role}) for role in keys.ROLES), frozenset(keys.ROLES)]


def sees_preview(uri):
    endpoint = ask(uri, wire.Preview(step="source"), PATIENCE_S).endpoint
    with PreviewSubscriber(beside(uri, endpoint)) as preview:
        assert preview.uri.endswith(uri.partition("?")[2])


QUESTIONS = {
    "hello": (set(keys.ROLES), lambda uri: ask(uri, wire.Hello(), PATIENCE_S)),
    "status": ({"view"}, lambda uri: ask(uri, wire.Status(), PATIENCE_S)),
    "preview": ({"view"}, sees_preview),
    "frames": ({"record"}, takes_frames),
}


@pytest.mark.parametrize("roles", ROLE_SETS, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_a_key_may_ask_a_data_endpoint_what_its_roles_say_and_nothing_else(people, served, roles):
    if roles:
        people.allow("anna", *roles)
    people.become("anna")
    for name, (needed, question) in QUESTIONS.items():
        assert may(lambda q=question: q(served.uri)) == bool(needed & roles), name


def results_reach(uri):
    """Whether results come to a subscriber within a second."""
    with ResultsSubscriber(uri) as results:
        return results.receive(1.0) is not None


@pytest.mark.parametrize("roles", ROLE_SETS, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_results_go_to_keys_that_may_view(people, roles):
    server = people.become("server")
    context, halt = new_context(), threading.Event()
    results = ResultsServer(context, "tcp://*:0", ["series/"], 100)
    results.send("series/", wire.End(series_uid="x", seq=0, frames=0, reason="finished"), keep=True)
    thread = threading.Thread(target=lambda: [results.turn() for _ in iter(lambda: halt.wait(0.02), True)])
    thread.start()
    if roles:
        people.allow("anna", *roles)
    people.become("anna")
    try:
        reached = beside(f"tcp://127.0.0.1:1?key={server.public}", results.endpoint)
        assert results_reach(reached) == ("view" in roles)
    finally:
        halt.set()
        thread.join()
        results.close()
        context.term()


@pytest.mark.parametrize("roles", ROLE_SETS, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_frames_are_taken_of_keys_that_may_send(people, roles):
    server = people.become("server")
    ingest = IngestSocket("ingest+tcp://*:0", Refusals("ingest"))
    if roles:
        people.allow("rig", *roles)
    people.become("rig")
    context, socket = pushed_to(beside(f"tcp://127.0.0.1:1?key={server.public}", ingest.endpoint), [b"frame"])
    try:
        came = any(ingest.receive() for _ in range(5))
        assert came == ("send" in roles)
    finally:
        socket.close(0)
        context.term()
        ingest.close()


REQUESTS = [
    {"verb": "mark", "text": "x"}, {"verb": "set", "step": "a", "param": "b", "value": 1}, {"verb": "pause"},
    {"verb": "snapshot", "step": "a"}, {"verb": "curate", "step": "a", "decision": "b", "author": "boss"},
    *({"verb": verb} for verb in ("start", "stop", "resume", "sessions", "reload")),
]  # fmt: skip


@pytest.mark.parametrize("roles", ROLE_SETS, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_a_program_is_steered_by_keys_that_may_control(people, roles):
    server, context, handled, authors = people.become("server"), new_context(), [], []

    def handle(request):
        handled.append(type(request).__name__.lower())
        authors.extend([request.author] if isinstance(request, Curate) else [])
        done = Future()
        done.set_result(Answer(ok=True))
        return done

    control = ControlServer(context, "tcp://*:0", handle)
    control.start()
    if roles:
        people.allow("anna", *roles)
    people.become("anna")
    try:
        with new_context() as theirs, theirs.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDTIMEO, 1000)
            connect(socket, beside(f"tcp://127.0.0.1:1?key={server.public}", control.endpoint))
            for n, request in enumerate(REQUESTS if "control" in roles else REQUESTS[:1]):
                socket.send(msgspec.json.encode({"nonce": str(n), **request}))
                assert bool(socket.poll(1000)) == ("control" in roles)
                if "control" in roles:
                    assert msgspec.json.decode(socket.recv())["ok"]
            people.allow("anna", "view")
            if "control" in roles:  # the next word is refused, and who says it hung up on
                with contextlib.suppress(zmq.Again):
                    socket.send(msgspec.json.encode({"nonce": "late", **REQUESTS[0]}))
                assert not socket.poll(300) or not msgspec.json.decode(socket.recv())["ok"]
    finally:
        control.close()
        context.term()
    assert handled == ([request["verb"] for request in REQUESTS] if "control" in roles else [])
    assert authors == (["boss (anna)"] if "control" in roles else [])  # whose the key is is not the asker's to say


def test_a_guard_that_fails_lets_nobody_in(people, served, monkeypatch):
    people.allow("anna", "view")
    monkeypatch.setattr(access.Guard, "_answer", lambda *_: 1 / 0)
    with pytest.raises(SourceError):
        ask(served.uri, wire.Hello(), 1.0)
    monkeypatch.undo()


def test_the_servers_own_account_may_all(people, served):
    here = "tcp://0.0.0.0:" + served.uri.partition("?")[0].rpartition(":")[2]
    assert ask(here, wire.Status(), PATIENCE_S).counters["refused"] == {}
    takes_frames(served.uri)


def test_strangers_at_the_door_cost_a_recorder_no_frame(people, served):
    """Handshakes that are begun and go on as nonsense, one after the other, while a recorder takes frames."""
    people.allow("anna", "record")
    host, port = served.uri.removeprefix("tcp://").partition("?")[0].split(":")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + b"\x00" + bytes(31)
    rng, came = np.random.default_rng(3), 0
    with open_source(served.uri) as source:
        got = []
        reader = threading.Thread(target=lambda: got.extend(source.blocks()))
        reader.start()
        for _ in range(300):
            with contextlib.suppress(OSError), sockets.create_connection((host, int(port)), 1) as raw:
                came += 1
                raw.sendall(greeting + rng.bytes(int(rng.integers(0, 3000))))
        reader.join(20)
    assert came >= 200
    assert same(frames(got))
