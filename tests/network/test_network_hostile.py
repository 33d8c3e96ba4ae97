"""Whatever a peer sends, it is dropped and counted, and nobody else loses a frame."""

import random
import threading
import time
import zlib
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest
import zmq
from toy_server import FRAMES, SPEC, Movie, frames, same, serving

from streamfluo import Block, SourceError
from streamfluo.core import wire
from streamfluo.core.source import Gap
from streamfluo.network import consumer as consumer_module
from streamfluo.network import server as server_module
from streamfluo.network.consumer import NetworkSource

pack = msgspec.msgpack.encode


@contextmanager
def peer(uri):
    """A raw DEALER, to say to a server what no consumer of ours would."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 500)
        socket.connect(uri)
        yield socket


def answer(socket, *parts):
    """What the server says to this, heartbeats aside; None if nothing within 0.3 s."""
    socket.send_multipart(parts)
    while socket.poll(300):
        message = wire.decode(socket.recv_multipart()[0])
        if not isinstance(message, wire.Heartbeat):
            return message
    return None


BYE, START = pack({"type": "bye"}), pack({"type": "start", "series_uid": "x", "dtype": "<u2", "shape": [1, 1]})
SUBSCRIBE = {"type": "subscribe", "credit": 0}
GARBAGE = [
    ("header_syntax", [b""]),
    ("header_syntax", [b"\xc1garbage"]),
    ("header_syntax", [b"{not json"]),
    ("parts", [BYE, b"more"]),
    ("parts", [b""] * 500),
    ("type", [pack({"type": "reboot"})]),
    ("fields", [pack({"type": "credit", "n": "many"})]),
    ("nesting", [b"\x81\xa1x" + b"\x91" * 300 + b"\xc0"]),
    ("version", [pack({**SUBSCRIBE, "version": 2})]),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(server_module, "GRACE_S", 1.0)
    monkeypatch.setattr(server_module, "SILENT_S", 0.1)


@pytest.mark.parametrize(("kind", "parts"), GARBAGE)
def test_garbage_is_counted_by_the_rule_it_breaks_and_a_consumer_beside_loses_nothing(kind, parts):
    with serving(wait=True) as served, peer(served.uri) as bad, NetworkSource(served.uri) as source:
        reply = answer(bad, *parts)
        assert served.server.refused == {kind: 1}
        assert (reply is not None) == (kind == "version")
        assert same(frames(source.blocks()))


def test_another_version_is_told_which_are_spoken():
    with serving(wait=True) as served, peer(served.uri) as bad:
        reply = answer(bad, pack({**SUBSCRIBE, "version": 9}))
        assert isinstance(reply, wire.Error)
        assert reply.supported == (1,)
        assert "supported: 1" in reply.reason


REFUSED = [
    ({"type": "credit", "n": 3}, "unknown consumer; subscribe first"),
    ({"type": "ack", "seq": 3}, "unknown consumer; subscribe first"),
    ({**SUBSCRIBE, "series": "other"}, "series other is not here; there is movie"),
    ({**SUBSCRIBE, "from_seq": -1}, "from_seq -1 is outside 0 to 300"),
    ({**SUBSCRIBE, "from_seq": 301}, "from_seq 301 is outside 0 to 300"),
    ({**SUBSCRIBE, "from_seq": 2**63}, "is outside 0 to 300"),
]


@pytest.mark.parametrize(("header", "reason"), REFUSED)
def test_a_request_that_cannot_be_met_is_answered_with_the_reason(header, reason):
    with serving(wait=True) as served, peer(served.uri) as bad:
        reply = answer(bad, pack(header))
        assert isinstance(reply, wire.Error)
        assert reason in reply.reason


def test_what_only_a_server_says_is_refused_from_a_consumer():
    with serving(wait=True) as served, peer(served.uri) as bad:
        assert isinstance(answer(bad, pack(SUBSCRIBE)), wire.Start)
        assert answer(bad, START) is None
        assert served.server.refused == {"type": 1}


EXTREMES = [
    {"type": "credit", "n": -(2**62)},
    {"type": "credit", "n": 2**63},
    {"type": "ack", "seq": -5},
    {"type": "ack", "seq": 2**63},
    {**SUBSCRIBE, "credit": -7},
    {**SUBSCRIBE, "from_seq": "live", "credit": 2**63},
]


@pytest.mark.parametrize("header", EXTREMES, ids=str)
def test_numbers_past_all_sense_do_no_harm(header):
    with serving(wait=True) as served, peer(served.uri) as bad, NetworkSource(served.uri) as source:
        answer(bad, pack(SUBSCRIBE))
        answer(bad, pack(header))
        assert same(frames(source.blocks()))


@pytest.mark.parametrize("from_seq", [2**60, 2**63, 2**64 - 1])
def test_a_seq_no_series_reaches_does_not_stop_a_loop_for_the_others(monkeypatch, from_seq):
    monkeypatch.setattr(consumer_module, "PATIENCE_S", 1)
    with serving(Movie(40), loop=True, wait=True) as served, peer(served.uri) as bad:
        with NetworkSource(served.uri) as source:
            answer(bad, pack({**SUBSCRIBE, "from_seq": from_seq, "credit": 5}))
            time.sleep(0.1)
            blocks = source.blocks()
            assert [next(blocks).index for _ in range(80)] == list(range(80))
        assert served.failure is None


def test_a_flood_of_random_messages_costs_a_consumer_nothing():
    chance = random.Random(6)

    def flood(uri, stop):
        with peer(uri) as bad:
            while not stop.is_set():
                parts = [chance.randbytes(chance.randrange(60)) for _ in range(chance.randrange(1, 6))]
                bad.send_multipart(parts)
                time.sleep(0.0005)

    with serving(fps=400, wait=True) as served, NetworkSource(served.uri) as source:
        stop = threading.Event()
        thread = threading.Thread(target=flood, args=(served.uri, stop), daemon=True)
        thread.start()
        assert same(frames(source.blocks()))
        stop.set()
        thread.join(5)
        assert sum(served.server.refused.values()) > 50


def test_a_header_past_64_kib_closes_its_senders_connection_only():
    with serving(wait=True) as served, peer(served.uri) as bad, NetworkSource(served.uri) as source:
        bad.send(bytes(200_000))
        assert same(frames(source.blocks()))


def test_a_consumer_that_takes_credit_and_reads_nothing_holds_nobody_up():
    with serving(wait=True) as served, peer(served.uri) as idle, NetworkSource(served.uri) as source:
        idle.setsockopt(zmq.RCVHWM, 1)
        idle.send(pack({**SUBSCRIBE, "credit": 10**6}))
        assert same(frames(source.blocks()))


# A server that misbehaves


def image(seq, index=None, **changes):
    index = seq if index is None else index
    facts = dict(type="image", series_uid="movie", dtype="<u2", shape=[8, 9], nbytes=144)
    header = {**facts, "seq": seq, "index": index, "t_ns": 10**7 * (seq % 300)}
    return [pack({**header, **changes}), FRAMES[seq % 300].astype("<u2").tobytes()]


END = [pack({"type": "end", "series_uid": "movie", "seq": 10, "frames": 10})]


def told(*messages, **start):
    """The items and the counters of a consumer whose server says exactly this."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 500)
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def speak():
            identity, _ = router.recv_multipart()
            facts = {k: v for k, v in SPEC.to_header().items() if k != "camera"}
            router.send_multipart([identity, pack({"type": "start", "series_uid": "movie", **facts, **start})])
            for parts in messages:
                router.send_multipart([identity, *parts])

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        with NetworkSource(f"tcp://127.0.0.1:{port}") as source:
            items = list(source.blocks())
        thread.join(5)
        return items, source.refused


def indices(items):
    return [("gap", i.first, i.count, i.reason) if isinstance(i, Gap) else i.index for i in items]


GOOD = {seq: image(seq) for seq in range(10)}
BAD_IMAGES = [
    ("parts", [GOOD[4][0]]),
    ("parts", [*GOOD[4], b"more"]),
    ("nbytes", [GOOD[4][0], b"short"]),
    ("nbytes", image(4, nbytes=143)),
    ("shape", image(4, shape=[0, 9], nbytes=0)),
    ("dtype", image(4, dtype="|O")),
    ("spec", image(4, shape=[9, 8])),
    ("spec", image(4, dtype="<i2")),
    ("index", image(4, index=2)),
    ("index", image(4, index=2**60)),
    ("jump", image(2**60)),
    ("jump", image(4 + 2**20 + 1)),
    ("jump", [pack({"type": "end", "series_uid": "movie", "seq": 2**60, "frames": 2**60})]),
    ("damaged", image(4, crc32=7)),
    ("series", image(4, series_uid="another")),
    ("series", [pack({"type": "end", "series_uid": "another", "seq": 10, "frames": 10})]),
    ("series", [pack({"type": "gap", "series_uid": "another", "first": 0, "last": 9})]),
    ("header_syntax", [b"\xc1", GOOD[4][1]]),
    ("version", image(4, version=2)),
    ("type", [pack({"type": "picture"}), GOOD[4][1]]),
]


@pytest.mark.parametrize(("kind", "bad"), BAD_IMAGES)
def test_a_bad_image_is_dropped_counted_and_leaves_a_transport_gap(kind, bad):
    items, refused = told(*[bad if seq == 4 else GOOD[seq] for seq in range(10)], END)
    assert indices(items) == [0, 1, 2, 3, ("gap", 4, 1, "transport"), 5, 6, 7, 8, 9]
    assert refused == {kind: 1}
    assert all(np.array_equal(i.pixels[0], FRAMES[i.index]) for i in items if isinstance(i, Block))


def test_frames_whose_crc_is_theirs_are_taken():
    items, refused = told(*[image(n, crc32=zlib.crc32(FRAMES[n].tobytes())) for n in range(10)], END)
    assert indices(items) == list(range(10))
    assert refused == {}


def test_the_last_frame_damaged_is_a_gap_before_the_end():
    items, refused = told(*[GOOD[seq] for seq in range(9)], image(9, crc32=7), END)
    assert indices(items) == [*range(9), ("gap", 9, 1, "transport")]
    assert refused == {"damaged": 1}


def gap(first, last):
    return [pack({"type": "gap", "series_uid": "movie", "first": first, "last": last})]


def test_a_gap_that_is_told_may_be_of_any_size():
    last = [pack({"type": "end", "series_uid": "movie", "seq": 2**30 + 1, "frames": 2**30 + 1})]
    items, refused = told(*[GOOD[seq] for seq in range(4)], gap(4, 2**30 - 1), image(2**30), last)
    assert indices(items) == [*range(4), ("gap", 4, 2**30 - 4, "transport"), 2**30]
    assert refused == {}


def test_a_gap_that_is_told_but_is_not_loses_no_frame():
    items, refused = told(*[GOOD[seq] for seq in range(4)], gap(4, 2**60), *[GOOD[seq] for seq in range(4, 10)], END)
    assert indices(items) == list(range(10))
    assert refused == {}


IMPOSSIBLE = {
    "negative index": image(0, index=-1),
    "time past 64 bits": image(0, t_ns=2**63),
    "index past 64 bits": image(0, index=2**63),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_image_with_impossible_numbers_is_dropped_and_counted(name):
    items, refused = told(IMPOSSIBLE[name], *[GOOD[seq] for seq in range(1, 10)], END)
    assert indices(items) == [("gap", 0, 1, "transport"), *range(1, 10)]
    assert sum(refused.values()) == 1


def test_frames_that_never_came_before_the_end_are_a_gap():
    items, _ = told(*[GOOD[seq] for seq in range(7)], END)
    assert indices(items) == [*range(7), ("gap", 7, 3, "transport")]


def test_a_frame_that_comes_twice_is_taken_once():
    items, refused = told(*[GOOD[seq] for seq in (0, 1, 1, 0, 2, *range(3, 10))], END)
    assert indices(items) == list(range(10))
    assert refused == {"seq": 2}


def test_jumps_of_the_cameras_index_are_gaps_of_the_camera():
    jumped = [image(seq, index=seq + (3 if seq >= 2 else 0) + (5 if seq >= 6 else 0)) for seq in range(10)]
    items, _ = told(*jumped, END)
    assert indices(items) == [
        0, 1, ("gap", 2, 3, "camera"), 5, 6, 7, 8, ("gap", 9, 5, "camera"), 14, 15, 16, 17,
    ]  # fmt: skip


def test_a_loss_on_the_way_and_one_in_the_camera_are_told_apart():
    jumped = [image(seq, index=seq + (3 if seq >= 5 else 0)) for seq in range(10) if seq not in (3, 4)]
    items, _ = told(*jumped, END)
    assert indices(items) == [0, 1, 2, ("gap", 3, 2, "transport"), ("gap", 5, 3, "camera"), *range(8, 13)]


def test_big_endian_images_arrive_native():
    items, refused = told(*[[image(s, dtype=">u2")[0], FRAMES[s].astype(">u2").tobytes()] for s in range(10)], END)
    assert all(np.array_equal(i.pixels[0], FRAMES[i.index]) for i in items)
    assert len(items) == 10
    assert not refused


BAD_STARTS = [
    dict(shape=[0, 9]),
    dict(shape=[70000, 9]),
    dict(dtype="|O"),
    dict(pixel_um=-1.0),
    dict(camera={"qe": "x"}),
]


@pytest.mark.parametrize("start", BAD_STARTS, ids=str)
def test_a_series_that_cannot_be_is_refused_at_its_start(start):
    with pytest.raises(SourceError, match="the series' start cannot be used"):
        told(**start)


def test_a_server_that_refuses_is_quoted():
    with pytest.raises(SourceError, match="the server refused: no more seats"):
        told([pack({"type": "error", "reason": "no more seats"})])


def test_rubbish_before_the_start_is_no_start(monkeypatch):
    monkeypatch.setattr(consumer_module, "PATIENCE_S", 0.5)
    with pytest.raises(SourceError, match="nobody serves frames here"):
        told(type="begin")


def test_a_part_larger_than_any_frame_ends_the_connection_before_it_is_taken(monkeypatch):
    """Memory is not the sender's to fill: a server that announces a small frame and sends a huge one is cut off."""
    monkeypatch.setattr(consumer_module, "MAX_FRAME_BYTES", 100_000)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        port = server.bind_to_random_port("tcp://127.0.0.1")

        def serve():
            identity, _ = server.recv_multipart()
            start = wire.Start(series_uid="s", source="toy", **SPEC.to_header())
            server.send_multipart([identity, wire.encode(start)])
            while server.poll(2000):
                identity, header = server.recv_multipart()
                if isinstance(wire.decode(header), wire.Credit):
                    server.send_multipart([identity, wire.encode(wire.Heartbeat()), bytes(1_000_000)])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setattr(consumer_module, "PATIENCE_S", 1.0)
        with NetworkSource(f"tcp://127.0.0.1:{port}") as source:
            sizes = []
            receive = source._receive
            source._receive = lambda: ((parts := receive()) and sizes.extend(map(len, parts))) or parts
            with pytest.raises(SourceError, match="the source vanished"):
                list(source.blocks())
        thread.join(5)
        assert max(sizes, default=0) < 100_000
