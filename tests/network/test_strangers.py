"""What strangers cost: connections, memory, previews and subscriptions of theirs are bounded, and nobody else pays."""

import socket as sockets
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
import zmq
from systems import needs_limits
from toy_server import SPEC, Movie, frames, same, serving

from streamfluo import Block
from streamfluo.core import wire
from streamfluo.network import connections, consumers, publishing
from streamfluo.network import server as server_module
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask
from streamfluo.network.connections import Connections
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.consumers import Consumer, fair_share, places
from streamfluo.network.frames import JournalFrames
from streamfluo.network.publishing import PreviewServer, ResultsServer
from streamfluo.network.server import DataServer
from streamfluo.network.socket import new_context

pack = msgspec.msgpack.encode


def raw(uri):
    parts = urlsplit(uri)
    return sockets.create_connection((parts.hostname, parts.port), 5)


def zmtp(uri, kind, receive_bytes=1 << 16):
    """A connection that has shaken hands as a socket of this kind, and whose every byte is ours from then on."""
    parts, connection = urlsplit(uri), sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
    connection.settimeout(5)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind.encode()
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    came = b""
    while b"READY" not in came:
        came += connection.recv(4096)
    return connection


def say(connection, *messages):
    connection.sendall(b"".join(b"\x00" + bytes([len(message)]) + message for message in messages))


def hung_up(connection, within_s=5.0):
    """Whether the other side closes."""
    connection.settimeout(within_s)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def size_mb():
    (line,) = [n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def until(condition, turn=lambda: None, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        turn()
        time.sleep(0.005)
    return found


@contextmanager
def results():
    with zmq.Context() as context:
        server = ResultsServer(context, "tcp://127.0.0.1:0", ["values/a/", "series/"], 100)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def previews():
    with zmq.Context() as context:
        server = PreviewServer(context, "tcp://127.0.0.1:0", "movie", ["source", "motion"])
        try:
            yield server
        finally:
            server.close()


# Connections


def test_connections_past_their_number_are_hung_up_on_and_those_that_leave_make_room(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 4)
    with serving(wait=True) as served, NetworkSource(served.uri) as source, ExitStack() as stack:
        strangers = [stack.enter_context(raw(served.uri)) for _ in range(6)]
        until(lambda: served.server.refused["connections"] >= 3)
        assert sum(hung_up(stranger, 0.3) for stranger in strangers) == 3
        stack.close()
        until(lambda: len(served.server._connections) == 1)
        assert ask(served.uri, wire.Status()).counters["refused"]["connections"] == 3
        assert same(frames(source.blocks()))


@needs_limits
def test_a_process_may_open_as_many_files_as_the_system_lets_it():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        connections.reserve_descriptors.cache_clear()
        connections.reserve_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how much a connection has sent")
@pytest.mark.parametrize(("bound", "kind"), [(zmq.ROUTER, "DEALER"), (zmq.PULL, "PUSH"), (zmq.XPUB, "SUB")])
def test_a_message_without_end_is_cut_off(bound, kind):
    refused = Counter()
    with zmq.Context() as context, context.socket(bound) as socket:
        guard = Connections(socket, 8, refused)
        guard.unheard_bytes = 1 << 20
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with zmtp(f"tcp://127.0.0.1:{port}", kind) as stranger:
            part, sent = b"\x03" + (1000).to_bytes(8, "big") + bytes(1000), 0  # long, and more follows
            with suppress(OSError):
                while sent < 200 << 20:
                    stranger.sendall(100 * part)
                    sent += 100 * len(part)
                    guard.turn()
                    time.sleep(0.001)
        assert refused["endless"] >= 1
        assert sent < 100 << 20
        guard.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how large the process is")
def test_many_small_parts_of_a_message_that_is_not_whole_take_about_what_they_have():
    part, parts = b"\x01\x28" + bytes(40), 4000
    with new_context() as context, context.socket(zmq.ROUTER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with zmtp(f"tcp://127.0.0.1:{port}", "DEALER") as stranger:
            stranger.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            before = size_mb()
            for _ in range(parts):  # each arrives by itself
                stranger.sendall(part)
                time.sleep(0.0001)
            time.sleep(0.1)
            assert size_mb() - before < 8  # 30 with the buffers that they came in
        socket.close(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only of glibc")
def test_what_connections_took_is_given_back_when_they_are_gone(monkeypatch):
    trimmed = []
    monkeypatch.setattr(connections, "_malloc_trim", lambda: trimmed.append)
    monkeypatch.setattr(connections, "_trimmed", [-10.0])
    with serving(wait=True) as served:
        for _ in range(3):
            raw(served.uri).close()
        until(lambda: trimmed == [0])
        ask(served.uri, wire.Status())
    assert trimmed == [0]  # once in ten seconds


@pytest.mark.parametrize("how", ["hung up on", "too many"])
def test_a_connection_whose_number_another_socket_has_by_now_leaves_that_one_alone(monkeypatch, how):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket, ExitStack() as stack:
        guard = Connections(socket, 0 if how == "too many" else 8, Counter())
        socket.bind("tcp://127.0.0.1:0")
        listening = stack.enter_context(sockets.create_server(("127.0.0.1", 0)))
        ours = stack.enter_context(sockets.create_connection(listening.getsockname()))
        theirs = stack.enter_context(listening.accept()[0])
        for other in (listening, ours, theirs):
            if how == "too many":
                came = [(zmq.EVENT_ACCEPTED, other.fileno())]
                monkeypatch.setattr(guard, "_events", lambda came=came: came)
                guard.turn()
            else:
                guard._open[other.fileno()] = 0
                guard.hang_up(other.fileno())
        ours.sendall(b"still here")
        assert theirs.recv(100) == b"still here"
        stack.enter_context(sockets.create_connection(listening.getsockname()))
        stack.enter_context(listening.accept()[0])  # of one that was shut down: EINVAL, at which libzmq aborts
        monkeypatch.undo()
        guard.close()


# Subscriptions

TOPICS = {
    "a topic that another viewer watches": b"\x00values/a/",
    "all of them": b"\x00",
    "one that nobody watches": b"\x00series/",
}


@pytest.mark.parametrize("forged", TOPICS.values(), ids=TOPICS)
def test_a_hundred_ends_of_subscriptions_leave_those_of_other_viewers(forged):
    with results() as server, zmtp(server.endpoint, "SUB") as stranger:
        with ResultsSubscriber(server.endpoint, ["values/a/"]) as viewer:
            until(server.watched, server.turn)
            say(stranger, *[forged] * 100)
            until(lambda: server.refused["subscription"] == 100, server.turn)
            assert server.watched() == {"values/a/"}
            server.send("values/a/", wire.Heartbeat())
            assert viewer.receive(5)[0] == "values/a/"
        until(lambda: not server.watched(), server.turn)


def test_a_hundred_ends_of_subscriptions_leave_the_preview_of_another_viewer():
    block = Block(3, np.array([0]), np.zeros((1, *SPEC.shape), np.uint16))
    with previews() as server, zmtp(endpoint := server.endpoint("motion", 2), "SUB") as stranger:
        with PreviewSubscriber(endpoint) as viewer:
            until(server.watched, server.turn)
            say(stranger, *[b"\x00"] * 100, b"\x01topic")
            until(lambda: server.refused["topic"], server.turn)
            assert server.watched() == {"motion"}
            server.send("motion", block, 0)
            assert viewer.receive(5)[0].index == 3
        until(lambda: not server.watched(), server.turn)


def test_who_goes_on_subscribing_to_what_is_not_there_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(publishing, "MAX_REFUSED", 50)
    with results() as server, zmtp(server.endpoint, "SUB") as stranger:
        say(stranger, *[b"\x01nothing %d" % n for n in range(60)])
        until(lambda: server.refused["topic"] >= 50, server.turn)
        assert hung_up(stranger)


# Previews


def test_previews_that_take_their_time_to_open_hold_up_neither_answers_nor_frames(monkeypatch):
    monkeypatch.setattr(publishing, "ASKED_PATIENCE_S", 3.0)
    with (
        serving(wait=True, preview=lambda step, bin_px: Future()) as served,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.connect(served.uri)
        began = time.monotonic()
        for n in range(100):
            socket.send(wire.encode(wire.Preview(bin_px=n % 64 + 1)))
        told = [wire.decode(socket.recv()).reason for _ in range(36)]
        assert set(told) == {"64 previews are asked for already; ask again"}
        with NetworkSource(served.uri) as source:
            assert same(frames(source.blocks()))
            assert time.monotonic() - began < 2.5
            assert wire.decode(socket.recv()).reason == "no preview could be opened; ask again"
            source.finished()


def test_previews_that_nobody_watches_any_more_make_room_for_others(monkeypatch):
    monkeypatch.setattr(publishing, "IDLE_S", 0.2)
    with previews() as server:
        named = server.endpoint("source", 1)
        watched = server.endpoint("motion", 1)
        with PreviewSubscriber(watched):
            until(server.watched, server.turn)
            for bin_px in range(2, publishing.MAX_PREVIEWS):
                server.endpoint("motion", bin_px)
            with pytest.raises(publishing.SourceError, match="16 previews are running already"):
                server.endpoint("source", 2)
            until(lambda: len(server._shown) == 2, server.turn)
            assert server.endpoint("source", 1) == named
            assert server.endpoint("motion", 1) == watched
            assert server.endpoint("source", 2)


def test_who_turns_from_plane_to_plane_closes_what_nobody_watches(monkeypatch):
    monkeypatch.setattr(publishing, "SUBSCRIBING_S", 0.05)
    with previews() as server:
        named, watched = server.endpoint("source", 1), server.endpoint("motion", 1)
        with PreviewSubscriber(watched):
            until(server.watched, server.turn)
            for bin_px in range(2, 4 * publishing.MAX_PREVIEWS):
                server.turn()
                time.sleep(0.06)
                assert server.endpoint("motion", bin_px)
            assert len(server._shown) == publishing.MAX_PREVIEWS
            assert (server.endpoint("source", 1), server.endpoint("motion", 1)) == (named, watched)
            assert ("motion", 4 * publishing.MAX_PREVIEWS - 1) in server._shown


# Consumers that do not read

GREEDY = pack({"type": "subscribe", "credit": 10**6})


@pytest.mark.parametrize("count", [1, 2, 4, 30, 256])
@pytest.mark.parametrize("frame_nbytes", [144, 1 << 20, 8 << 20])
def test_consumers_share_one_budget_and_one_alone_does_not_get_it_all(count, frame_nbytes):
    count = min(count, places(frame_nbytes, 256))
    everyone = [Consumer(0, 1, 0.0) for _ in range(count)]
    share = fair_share(everyone, frame_nbytes)
    assert consumers.LEAST_FRAMES <= share <= 1000
    assert share * frame_nbytes <= consumers.IN_FLIGHT_BYTES
    assert share * frame_nbytes * count <= consumers.BUDGET_BYTES
    everyone += [Consumer(0, 0, 0.0, gone=True), Consumer(0, 0, 0.0, left=True)]
    assert fair_share(everyone, frame_nbytes) == share


@pytest.mark.parametrize(("side", "at_once"), [(8, 8192), (256, 8), (1024, 1), (2048, 1)])
def test_of_a_journal_no_more_is_read_at_once_than_a_consumer_may_keep(side, at_once):
    asked = []

    class Journal:
        frames = 9

        def block(self, n, max_frames):
            asked.append(max_frames)

    recorded = JournalFrames(SPEC.with_(shape=(side, side)), Movie().series, Journal())
    recorded.block(3)
    recorded.close()
    assert asked == [at_once]


def test_thirty_consumers_that_never_read_leave_status_and_a_consumer_that_does_as_they_were(monkeypatch):
    monkeypatch.setattr(consumers, "BUDGET_BYTES", 8 << 20)
    monkeypatch.setattr(consumers, "IN_FLIGHT_BYTES", 2 << 20)
    side = SPEC.with_(shape=(256, 256))
    movie = Movie(60, spec=SPEC)
    movie.spec, movie.frames = side, np.random.default_rng(1).integers(0, 999, (60, 256, 256)).astype(np.uint16)
    with serving(movie, wait=True, loop=True) as served, ExitStack() as stack:
        for _ in range(30):
            say(stack.enter_context(zmtp(served.uri, "DEALER", 4096)), GREEDY)
        until(lambda: len(served.server._consumers) == 30)
        until(lambda: all(c.full for c in served.server._consumers.values()), within_s=20)
        kept = sum(c.cursor for c in served.server._consumers.values()) * side.frame_nbytes
        assert kept < 30 * (5 << 20) + 8 * (8 << 20)  # 4 MB each in the kernel; ours, the first ones' share included
        began = time.monotonic()
        ask(served.uri, wire.Status())
        assert time.monotonic() - began < 5  # 8 s and more without a budget
        with NetworkSource(served.uri) as source:
            blocks = source.blocks()
            assert [next(blocks).index for _ in range(200)] == list(range(200))


def test_who_neither_reads_nor_speaks_is_hung_up_on_and_may_come_back(monkeypatch):
    monkeypatch.setattr(server_module, "SILENT_S", 0.3)
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(consumers, "IN_FLIGHT_BYTES", 1 << 10)
    with serving(loop=True) as served, zmtp(served.uri, "DEALER", 4096) as idle:
        say(idle, GREEDY)
        until(lambda: served.server.refused["unread"], within_s=20)
        assert hung_up(idle)
        with NetworkSource(served.uri) as source:
            blocks = source.blocks()
            assert [next(blocks).index for _ in range(20)] == list(range(20))


def test_each_of_many_who_neither_read_nor_speak_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(server_module, "SILENT_S", 0.3)
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(consumers, "IN_FLIGHT_BYTES", 2 << 20)
    monkeypatch.setattr(consumers, "BUDGET_BYTES", 2 << 20)  # less for each than a socket's queue has room for
    with serving(loop=True) as served, ExitStack() as stack:
        idle = [stack.enter_context(zmtp(served.uri, "DEALER", 4096)) for _ in range(8)]
        for one in idle:
            say(one, GREEDY)
        until(lambda: served.server.refused["unread"] >= 8, within_s=20)
        assert all(hung_up(one) for one in idle)


def test_the_next_round_begins_with_who_waited_longest(monkeypatch):
    monkeypatch.setattr(server_module, "_ROUND_S", 0.0)  # nobody has a turn
    with serving(wait=True) as served, NetworkSource(served.uri) as one:
        got = []
        taking = threading.Thread(target=lambda: got.extend(one.blocks()), daemon=True)
        taking.start()
        time.sleep(0.2)
        assert ask(served.uri, wire.Status()).counters["emitted"] == 0
        monkeypatch.setattr(server_module, "_ROUND_S", 0.001)
        with NetworkSource(served.uri) as two:
            assert same(frames(two.blocks()))
        taking.join(10)
        assert same(frames(got))


def test_questions_that_wait_to_be_taken_are_few_however_large():
    server = DataServer(None, "tcp://127.0.0.1:0")
    try:
        with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            asking.setsockopt(zmq.SNDHWM, 1)
            asking.setsockopt(zmq.SNDTIMEO, 300)
            asking.connect(server.endpoint)
            hello, sent = pack({"type": "hello", "program": "x" * 60_000}), 0
            with suppress(zmq.Again):
                while sent < 2000:
                    asking.send(hello)
                    sent += 1
            assert 16 <= sent < 300  # besides ours the kernel's buffers, 6 MB
    finally:
        server.close()


def test_a_flood_of_questions_leaves_frames_their_turn():
    with (
        serving(wait=True, status=lambda: time.sleep(0.005) or {}) as served,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as asking,
    ):
        asking.setsockopt(zmq.LINGER, 0)
        asking.connect(served.uri)
        for _ in range(1500):  # 7.5 s of answers
            asking.send(wire.encode(wire.Status()))
        with NetworkSource(served.uri) as source:
            began = time.monotonic()
            assert same(frames(source.blocks()))
            assert time.monotonic() - began < 3
            source.finished()


def test_the_share_of_a_consumer_is_what_waits_for_it_and_what_went_out_makes_room():
    with zmq.Context() as context, context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
        here.bind("inproc://frames")
        there.connect("inproc://frames")
        consumer, sent = Consumer(0, 100, 0.0), 0
        while consumer.room(16, 1.0):
            header = consumer.header(b"header", 16)
            here.send_multipart([header, b"pixels"], zmq.DONTWAIT, copy=False)
            consumer.sent(header)
            del header
            sent += 1
        assert sent == 16
        assert consumer.full
        assert consumer.rests_until > 1.0
        for _ in range(8):
            assert there.recv_multipart() == [b"header", b"pixels"]
        until(lambda: consumer.room(16, 1.0) == 8)
        assert consumer.room(4, 1.0) == 0  # others came: its share is smaller, and what waits is not taken back


def test_no_option_of_a_socket_with_connections_is_set(monkeypatch):
    with serving(loop=True) as served:
        options = []
        monkeypatch.setattr(zmq.Socket, "setsockopt", lambda socket, *option: options.append((socket, option)))
        socket = served.server._socket
        with ExitStack() as stack:
            for _ in range(3):
                say(stack.enter_context(zmtp(served.uri, "DEALER")), GREEDY)
            until(lambda: len(served.server._consumers) == 3)
            served.server._beat = 0.0
            until(lambda: served.server._beat)
        assert [option for where, option in options if where is socket] == []
