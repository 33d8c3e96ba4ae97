"""Who was let in and is no more, and who is not who he says."""

import contextlib
import socket as sockets
import threading
import time
from collections import deque

import pytest
import zmq
from people import PATIENCE_S, may, pushed_to, reachable, takes_frames
from toy_server import serving

from streamfluo import SourceError, open_source
from streamfluo.cli.keys import meet
from streamfluo.core import wire
from streamfluo.network import access, keys
from streamfluo.network.arrivals import Refusals
from streamfluo.network.client import ask
from streamfluo.network.ingest_socket import IngestSocket
from streamfluo.network.socket import beside, connect, new_context
from streamfluo.network.watching import Watch


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
