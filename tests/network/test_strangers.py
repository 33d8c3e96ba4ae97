"""What strangers cost: connections, memory, previews and subscriptions of theirs are bounded, and nobody else pays."""

import socket as sockets
import sys
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
import zmq
from stranger import GREEDY, hung_up, raw, say, size_mb, until, zmtp
from systems import needs_limits
from toy_server import SPEC, frames, same, serving

from streamfluo import Block
from streamfluo.core import wire
from streamfluo.network import connections, publishing
from streamfluo.network import server as server_module
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask
from streamfluo.network.connections import Connections
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.publishing import PreviewServer, ResultsServer
from streamfluo.network.socket import new_context


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
