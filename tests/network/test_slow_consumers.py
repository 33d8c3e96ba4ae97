"""Consumers that do not read: what waits for them is bounded, and who reads is served as before."""

import threading
import time
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import zmq
from stranger import GREEDY, hung_up, pack, say, until, zmtp
from toy_server import SPEC, Movie, frames, same, serving

from streamfluo.core import wire
from streamfluo.network import consumers
from streamfluo.network import server as server_module
from streamfluo.network.client import ask
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.consumers import Consumer, fair_share, places
from streamfluo.network.frames import JournalFrames
from streamfluo.network.server import DataServer


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

        def release(self):
            """Nothing was opened."""

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


@pytest.fixture
def soon(monkeypatch):
    """Who is silent is hung up on after a third of a second."""
    monkeypatch.setattr(server_module, "SILENT_S", 0.3)
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.1)


def test_who_neither_reads_nor_speaks_is_hung_up_on_and_may_come_back(monkeypatch, soon):
    monkeypatch.setattr(consumers, "IN_FLIGHT_BYTES", 1 << 10)
    with serving(loop=True) as served, zmtp(served.uri, "DEALER", 4096) as idle:
        say(idle, GREEDY)
        until(lambda: served.server.refused["unread"], within_s=20)
        assert hung_up(idle)
        with NetworkSource(served.uri) as source:
            blocks = source.blocks()
            assert [next(blocks).index for _ in range(20)] == list(range(20))


@pytest.mark.slow
def test_each_of_many_who_neither_read_nor_speak_is_hung_up_on(monkeypatch, soon):
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
