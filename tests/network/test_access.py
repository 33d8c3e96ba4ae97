"""Beyond this machine only keys that are allowed come in, each for what its roles say."""

import contextlib
import socket as sockets
import threading
import time
from collections import deque
from concurrent.futures import Future

import msgspec
import numpy as np
import pytest
import zmq
from toy_server import Serving, frames, same, serving

from streamfluo import SourceError, open_source
from streamfluo.cli.keys import meet
from streamfluo.core import wire
from streamfluo.core.control import Answer
from streamfluo.core.errors import ConfigError
from streamfluo.network import access, keys
from streamfluo.network.arrivals import Refusals
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask
from streamfluo.network.control import ControlServer
from streamfluo.network.ingest_socket import IngestSocket
from streamfluo.network.publishing import ResultsServer
from streamfluo.network.socket import beside, connect, new_context
from streamfluo.network.watching import Watch

PATIENCE_S = 2.0
ROLE_SETS = [frozenset(), *(frozenset({role}) for role in keys.ROLES), frozenset(keys.ROLES)]


class People:
    """Accounts, each with a folder of keys: `become` one before connecting."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self.pairs = {}

    def become(self, name):
        self._monkeypatch.setenv(keys.FOLDER_VARIABLE, str(self._folder / name))
        if name not in self.pairs:
            self.pairs[name] = keys.new_identity(name)
        return self.pairs[name]

    def allow(self, name, *roles):
        """The server lets somebody in."""
        self.become(name)
        keys.allow(self.pairs[name].public, roles, name, self._folder / "server")
        time.sleep(access.LOOK_S)

    def revoke(self, name):
        keys.revoke(name, self._folder / "server")


@pytest.fixture
def people(tmp_path, monkeypatch):
    return People(tmp_path, monkeypatch)


@contextlib.contextmanager
def reachable(people, **options):
    """A server of frames with previews, as other machines see it; `uri` has its key."""
    server = people.become("server")
    with serving(uri="tcp://*:0", **options) as served:
        served.uri = beside(f"tcp://127.0.0.1:1?key={server.public}", served.uri)
        yield served


@pytest.fixture
def served(people):
    with reachable(people) as served:
        yield served


def may(question):
    """Whether a question is answered, not refused; any other error is one."""
    refused = None
    try:
        question()
    except SourceError as error:
        refused = str(error)
    assert refused is None or "not allowed" in refused or "has not the role" in refused
    return refused is None


def takes_frames(uri):
    with open_source(uri) as source:
        assert same(frames(source.blocks()))


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


def pushed_to(endpoint, messages):
    """A sender that has pushed."""
    context = new_context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 500)
    connect(socket, endpoint)
    for message in messages:
        with contextlib.suppress(zmq.Again):
            socket.setsockopt(zmq.SNDTIMEO, 500)
            socket.send(message)
    return context, socket


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
    {"verb": "snapshot", "step": "a"}, *({"verb": verb} for verb in ("start", "stop", "resume", "sessions", "reload")),
]  # fmt: skip


@pytest.mark.parametrize("roles", ROLE_SETS, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_a_program_is_steered_by_keys_that_may_control(people, roles):
    server, context, handled = people.become("server"), new_context(), []

    def handle(request):
        handled.append(type(request).__name__.lower())
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


def test_who_is_revoked_is_hung_up_on_and_comes_in_no_more(people):
    with reachable(people, fps=50) as served:
        people.allow("anna", "view", "record")
        with open_source(served.uri) as source:
            blocks = source.blocks()
            next(blocks)
            people.revoke("anna")
            with pytest.raises(SourceError, match="the key of this account is not allowed"):
                deque(blocks, maxlen=0)
        assert not may(lambda: ask(served.uri, wire.Hello(), PATIENCE_S))


def test_a_role_taken_away_is_gone_within_a_second_the_others_stay(people, served):
    people.allow("anna", "view", "record")
    ask(served.uri, wire.Status(), PATIENCE_S)
    people.allow("anna", "record")
    with pytest.raises(SourceError, match="your key has not the role view here"):
        ask(served.uri, wire.Status(), PATIENCE_S)
    takes_frames(served.uri)


def test_frames_of_a_sender_that_is_revoked_are_refused_at_once(people):
    server = people.become("server")
    refused = Refusals("ingest")
    ingest = IngestSocket("ingest+tcp://*:0", refused)
    people.allow("rig", "send")
    context, socket = pushed_to(beside(f"tcp://127.0.0.1:1?key={server.public}", ingest.endpoint), [b"1", b"2"])
    try:
        assert any(ingest.receive() for _ in range(20))
        people.revoke("rig")
        time.sleep(access.LOOK_S)
        assert ingest.receive() is None
        assert refused["role"] == 1
    finally:
        socket.close(0)
        context.term()
        ingest.close()


def test_nobody_goes_on_with_anothers_place_under_its_name(people, served):
    people.allow("anna", "record")
    people.allow("ben", "record")
    here, key = served.uri, people.pairs

    def socket_of(name, context):
        people.become(name)
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTING_ID, b"anna's place")
        connect(socket, here)
        return socket

    with new_context() as context:
        anna = socket_of("anna", context)
        anna.send(wire.encode(wire.Subscribe(credit=1)))
        assert anna.poll(2000)
        anna.close()
        time.sleep(0.3)
        ben = socket_of("ben", context)
        ben.send(wire.encode(wire.Credit(n=5)))
        assert ben.poll(2000)
        answer = wire.decode(ben.recv_multipart()[0])
        while isinstance(answer, wire.Heartbeat):
            answer = wire.decode(ben.recv_multipart()[0])
        assert answer == wire.Error(reason="unknown consumer; subscribe first")
        ben.close()
    assert key["anna"] != key["ben"]


def test_a_key_that_is_given_is_remembered_once_its_owner_has_answered(people, served):
    place = served.uri.removeprefix("tcp://").partition("?")[0]
    people.allow("anna", "view")
    meet("tcp://127.0.0.1:1?key=" + "ab" * 32)  # nobody is there
    meet(served.uri)
    assert keys.known_server("127.0.0.1:1") is None
    assert keys.known_server(place) == people.pairs["server"].public
    with pytest.raises(SourceError, match=r"its key is known as .*, not abab"):
        ask(f"tcp://{place}?key={'ab' * 32}", wire.Hello())


def test_who_speaks_without_keys_is_told_to_give_one(people, served):
    people.become("anna")
    with pytest.raises(SourceError, match=r"asks for a key.*\?key=KEY"):
        ask(served.uri.partition("?")[0], wire.Hello(), 1.0)
    assert served.server.refused["mechanism"] + served.server.refused["handshake"] >= 1


def test_a_server_that_has_not_the_key_is_not_spoken_with(people, served):
    people.allow("anna", "view")
    other = people.become("other").public
    people.become("anna")
    with pytest.raises(SourceError, match="who is there has not the key that is given or known"):
        ask(f"{served.uri.partition('?')[0]}?key={other}", wire.Hello(), 1.0)


def test_a_server_without_keys_is_not_spoken_with_by_who_expects_one(people):
    mine = people.become("anna").public
    with serving() as served, pytest.raises(SourceError, match=r"speaks without keys|cut off"):
        ask(f"{served.uri}?key={mine}", wire.Hello(), 1.0)


def test_a_tunnel_with_nobody_behind_it_is_nobody(people):
    people.become("anna")
    with sockets.create_server(("127.0.0.1", 0)) as tunnel:
        tunnel.settimeout(0.05)

        def close_at_once():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    tunnel.accept()[0].close()

        over = threading.Event()
        thread = threading.Thread(target=close_at_once)
        thread.start()
        with pytest.raises(SourceError, match="cut off: it leads to nobody, or asks for a key"):
            ask(f"tcp://127.0.0.1:{tunnel.getsockname()[1]}", wire.Hello(), 0.7)
        over.set()
        thread.join()


def test_a_viewer_is_told_why_and_comes_in_once_its_key_is_allowed(people, served):
    people.become("anna")
    with Watch(served.uri) as watch:

        def seen(true):
            until = time.monotonic() + 8
            while time.monotonic() < until and not true():
                list(watch.turn())
                time.sleep(0.02)
            return true()

        assert seen(lambda: "not allowed" in watch.denied)
        assert not watch.connected
        people.allow("anna", "view")
        assert seen(lambda: watch.connected)
        assert watch.denied == ""


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


LINES = [
    ("", []),
    ("nonsense", []),
    ("{key}", []),
    ("{key} view", ["view"]),
    ("  {key}   view,record   Anna's laptop", ["view", "record"]),
    ("{key} view,owner anna", []),
    ("# {key} view", []),
    ("{key}00 view", []),
]


@pytest.mark.parametrize(("line", "roles"), LINES)
def test_a_line_of_the_list_that_is_none_lets_nobody_in(tmp_path, line, roles):
    (tmp_path / "allowed").write_text(line.format(key="ab" * 32) + "\n")
    assert [a.roles for a in keys.read_allowed(tmp_path / "allowed")] == ([frozenset(roles)] if roles else [])


def test_keys_are_for_their_owner_alone(people, tmp_path):
    people.become("anna")
    file = tmp_path / "anna" / "identity"
    if hasattr(sockets, "AF_UNIX"):
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="others may read this secret key; chmod 600"):
            keys.identity()
    assert people.pairs["anna"].secret not in repr(people.pairs["anna"])


WRONG = [
    (lambda: keys.parse_key("abc"), "a key is 64 hexadecimal digits"),
    (lambda: keys.allow("ab" * 32, ["owner"], "x"), "no role 'owner'; there is"),
    (lambda: keys.allow("ab" * 32, [], "x"), "a key without a role may do nothing"),
    (lambda: keys.allow("ab" * 32, ["view"], "a\nb"), "a name has 1 to 64 printable characters"),
    (lambda: keys.revoke("anna"), "no key or name 'anna'"),
    (lambda: keys.new_identity("again"), "this account has a key already"),
    (lambda: keys.know_server("rig:5555", "cd" * 32), "its key is known as abab"),
    (lambda: ask("tcp://10.0.0.1:5555", wire.Hello()), "no key is known of this server; give it once"),
    (lambda: ask(f"tcp://rig:5555?key={'cd' * 32}", wire.Hello()), "its key is known as abab"),
    (lambda: ask("tcp://rig:5555?key=short", wire.Hello()), "a key is 64 hexadecimal digits"),
    (lambda: Serving(uri=f"tcp://*:0?key={'ab' * 32}"), "leave \\?key= away"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_is_wrong_with_a_key_is_said_in_one_line(people, call, message):
    people.become("anna")
    keys.know_server("rig:5555", "ab" * 32)
    with pytest.raises((ConfigError, SourceError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_no_key_pair_is_said(people, tmp_path):
    people.become("anna")
    for text in ("", "name = 1", "not toml [", 'name = "a"\npublic = "x"\nsecret = "y"'):
        (tmp_path / "anna" / "identity").write_text(text)
        with pytest.raises(ConfigError, match="no key pair"):
            keys.identity()
