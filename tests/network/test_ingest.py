"""Frames that another program pushes: simple senders, JSON headers, and whatever else may come to that socket."""

import json
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from pushing import END, SERIES, START, free_port, image, pushed
from stranger import zmtp
from toy_server import FRAMES, same
from toy_server import frames as frames_of

from streamfluo import SourceError, Spec, open_source
from streamfluo.core.source import Gap
from streamfluo.network import ingest as ingest_module
from streamfluo.network import ingest_socket
from streamfluo.network.ingest import IngestSource

EXAMPLE = Path(__file__).parents[2] / "examples" / "send_frames.py"


@pytest.mark.parametrize("encode", [msgspec.msgpack.encode, lambda m: json.dumps(m).encode()], ids=["msgpack", "JSON"])
def test_pushed_frames_arrive_with_the_facts_of_the_start(encode):
    with pushed(START, *[image(n) for n in range(20)], END, encode=encode) as source:
        assert source.spec == Spec((8, 9), "u2", interval_s=0.02)
        assert (source.series.uid, source.series.source) == ("pushed", "their camera")
        assert same(frames_of(source.blocks()), 0, 20)
        assert source.ended == "finished"
        assert source.refused == {}


def test_a_series_may_begin_with_its_first_image_wherever_that_stands():
    with pushed(*[image(n) for n in range(7, 20)], END) as source:
        assert source.spec == Spec((8, 9), "u2")
        items = list(source.blocks())
        assert same(frames_of(items), 7, 20)
        assert not any(isinstance(item, Gap) for item in items)


def test_a_jump_of_seq_is_a_transport_gap_one_of_the_index_alone_a_camera_gap():
    messages = [image(n, n + (3 if n >= 9 else 0)) for n in (0, 1, 2, 6, 7, 8, 9, 10)]
    with pushed(START, *messages, [dict(type="end", **SERIES, seq=11, frames=11)]) as source:
        gaps = [(i.first, i.count, i.reason) for i in source.blocks() if isinstance(i, Gap)]
    assert gaps == [(3, 3, "transport"), (9, 3, "camera")]


BAD = [
    ("header_syntax", [b"\xc1"]),
    ("header_syntax", [b"", b"", b"", b""]),
    ("type", [{"type": "subscribe"}]),
    ("type", [{"type": "reboot"}]),
    ("version", [dict(image(5)[0], version=2), b""]),
    ("series", image(5, series_uid="another")),
    ("parts", [image(5)[0]]),
    ("parts", [*image(5), b"more"]),
    ("nbytes", [image(5)[0], b"short"]),
    ("dtype", image(5, dtype="|O")),
    ("spec", image(5, shape=[9, 8])),
    ("fields", [dict(image(5)[0], seq=-1), b""]),
    ("damaged", image(5, crc32=7)),
    ("parts", [image(5)[0], *[b"x"] * 3000]),
]


@pytest.mark.parametrize(("kind", "bad"), BAD)
def test_what_breaks_a_rule_is_dropped_and_counted_before_and_after_the_start(kind, bad):
    with pushed(START, *[image(n) for n in range(5)], bad, *[image(n) for n in range(5, 20)], END) as source:
        assert same(frames_of(source.blocks()), 0, 20)
        assert source.refused == {kind: 1}
    if kind not in ("series", "spec"):  # those two would begin a series of their own
        with pushed(bad, START, *[image(n) for n in range(20)], END) as source:
            assert same(frames_of(source.blocks()), 0, 20)
            assert sum(source.refused.values()) == 1


@pytest.mark.parametrize("start", [dict(shape=[0, 9]), dict(dtype="|O"), dict(pixel_um=-1.0)], ids=str)
def test_a_start_that_cannot_be_is_passed_over(start):
    with pushed([{**START[0], **start}], START, image(0), END) as source:
        assert source.spec.shape == (8, 9)
        assert sum(source.refused.values()) == 1


def test_a_stream_of_pushed_frames_can_be_interrupted():
    with pushed(START, image(0)) as source:
        blocks = source.blocks()
        assert next(blocks).index == 0
        source.interrupt()
        assert list(blocks) == []


def test_the_example_sender_is_short_imports_nothing_of_ours_and_drives_a_source():
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 40
    assert "import streamfluo" not in text
    uri = f"tcp://127.0.0.1:{free_port()}"
    sender = subprocess.Popen([sys.executable, EXAMPLE, uri, "25"])
    try:
        with IngestSource(f"ingest+{uri}") as source:
            items = list(source.blocks())
        assert [b.index for b in items] == list(range(25))
        assert source.spec == Spec((256, 256), "u2", interval_s=0.01)
        assert np.array_equal(items[3].pixels[0], np.random.default_rng(3).poisson(100, (256, 256)))
        assert sender.wait(10) == 0
    finally:
        sender.kill()
        sender.wait()


# Counters and clocks of senders

COUNTERS = {
    "seq stays 0": ([(0, n) for n in range(20)], 1, 19),
    "seq restarts": ([(n % 10, n % 10) for n in range(20)], 10, 10),
    "a frame sent twice": ([(n, n) for n in (0, 1, 1, 2, 3, 3, 4)], 5, 2),
}


@pytest.mark.parametrize(("sent", "taken", "refused"), COUNTERS.values(), ids=COUNTERS)
def test_frames_whose_seq_does_not_count_up_are_dropped_and_counted(sent, taken, refused):
    with pushed(START, *[image(seq, index) for seq, index in sent], END) as source:
        frames = sum(len(item) for item in source.blocks() if not hasattr(item, "reason"))
        assert frames == taken
        assert source.refused == {"seq": refused}


JUMPS = {
    "a frame": ("jump", image(2**60)),
    "a frame just too far": ("jump", image(5 + 2**20 + 1)),
    "an index": ("index", image(5, index=2**60)),
    "an end": ("jump", [dict(type="end", **SERIES, seq=2**60, frames=2**60)]),
    "an end of another series": ("series", [dict(type="end", series_uid="another", seq=9, frames=9)]),
}


@pytest.mark.parametrize(("rule", "absurd"), JUMPS.values(), ids=JUMPS)
def test_what_is_out_of_all_reach_is_refused_and_the_frames_behind_it_are_taken(rule, absurd):
    with pushed(START, *[image(n) for n in range(5)], absurd, *[image(n) for n in range(5, 20)], END) as source:
        assert same(frames_of(source.blocks()), 0, 20)
        assert source.refused == {rule: 1}


def test_a_resumed_series_goes_on_wherever_its_sender_has_come_to():
    with pushed(START, image(2**30), [dict(type="end", **SERIES, seq=2**30 + 1, frames=9)]) as source:
        source.resume(20, 20)
        gap, block = source.blocks()
        assert (gap.first, gap.count, gap.reason, block.index) == (20, 2**30 - 20, "transport", 2**30)


def test_frames_whose_crc_is_theirs_are_taken():
    whole = [image(n, crc32=zlib.crc32(FRAMES[n].tobytes())) for n in range(20)]
    with pushed(START, *whole, END) as source:
        assert same(frames_of(source.blocks()), 0, 20)
        assert source.refused == {}


# Whose series it is


@contextmanager
def two_senders():
    """A source whose series one of two senders began; five frames of it are taken."""
    uri = f"tcp://127.0.0.1:{free_port()}"
    with zmq.Context() as context, context.socket(zmq.PUSH) as own, context.socket(zmq.PUSH) as other:
        own.connect(uri)
        push(own, START, *[image(n) for n in range(5)])
        with IngestSource(f"ingest+{uri}") as source:
            blocks = source.blocks()
            taken = [next(blocks) for _ in range(5)]
            other.connect(uri)
            yield source, taken, blocks, own, other


def push(socket, *messages):
    for head, *parts in messages:
        socket.send_multipart([msgspec.msgpack.encode(head), *parts])


@contextmanager
def later(socket, *messages, after_s=0.4):
    """Push them while the source listens."""
    timer = threading.Timer(after_s, push, (socket, *messages))
    timer.start()
    yield
    timer.join()


ANOTHER = [dict(START[0], series_uid="another")]
FORGED = {
    "an end": ("sender", [END]),
    "a start": ("sender", [START]),
    "frames": ("sender", [image(n, crc32=zlib.crc32(FRAMES[n].tobytes())) for n in range(5, 9)]),
    "the start of another series": ("series", [ANOTHER]),
}


@pytest.mark.parametrize(("rule", "forged"), FORGED.values(), ids=FORGED)
def test_what_another_sender_says_of_a_series_is_refused_and_counted(rule, forged):
    with two_senders() as (source, taken, blocks, own, other):
        push(other, *forged)
        with later(own, *[image(n) for n in range(5, 20)], END):
            assert same(frames_of([*taken, *blocks]), 0, 20)
        assert source.refused == {rule: len(forged)}


@pytest.mark.parametrize("why", ["its sender is gone", "its sender is silent"])
def test_another_sender_goes_on_with_a_series(why, monkeypatch):
    with two_senders() as (source, taken, blocks, own, other):
        if why == "its sender is gone":
            own.close()
        else:
            monkeypatch.setattr(ingest_module, "SILENT_S", 0.1)
        with later(other, *[image(n) for n in range(5, 20)], END):
            assert same(frames_of([*taken, *blocks]), 0, 20)
        assert source.refused == {}


def test_a_sender_is_not_silent_while_we_are_held_up(monkeypatch):
    monkeypatch.setattr(ingest_module, "SILENT_S", 0.5)
    with two_senders() as (source, taken, blocks, own, other):
        push(own, image(5))
        taken.append(next(blocks))
        push(other, END)
        time.sleep(0.8)  # a full ring
        with later(own, *[image(n) for n in range(6, 20)], END, after_s=0.2):
            assert same(frames_of([*taken, *blocks]), 0, 20)
        assert source.refused == {"sender": 1}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how much a connection has sent")
def test_a_message_without_end_is_cut_off_while_a_full_ring_holds_us_up(monkeypatch):
    monkeypatch.setattr(ingest_socket, "STRANGER_BYTES", 1 << 20)
    with two_senders() as (source, taken, blocks, own, _), zmtp(source.endpoint, "PUSH") as stranger:
        part = b"\x03" + (1000).to_bytes(8, "big") + bytes(1000)
        with suppress(OSError):
            for _ in range(300):
                stranger.sendall(100 * part)
                source.keep_alive()
        deadline = time.monotonic() + 10  # who goes on without end is looked for ten times a second
        while not source.refused and time.monotonic() < deadline:
            source.keep_alive()
        assert source.refused["endless"] == 1
        push(own, *[image(n) for n in range(5, 20)], END)
        assert same(frames_of([*taken, *blocks]), 0, 20)


def test_a_sender_that_begins_another_series_ends_the_run_in_one_line():
    with two_senders() as (_, _, blocks, own, _):
        push(own, ANOTHER)
        with pytest.raises(SourceError, match=r"another series began \(their camera\); start a new run for it"):
            list(blocks)


@pytest.mark.parametrize("strays", [1, 9, 10])
def test_images_of_another_series_whose_start_was_lost_begin_it_where_they_go_on(strays):
    with two_senders() as (source, _, blocks, own, _):
        push(own, *[image(n, series_uid="another") for n in range(50, 50 + strays)])
        if strays < 10:  # a mistake or two are none
            push(own, *[image(n) for n in range(5, 20)], END)
            assert len(frames_of(list(blocks))) == 15
            assert source.refused["series"] == strays
            return
        with pytest.raises(SourceError, match=r"another series began \(another\)"):
            list(blocks)
        following = source.following()
        push(own, image(60, series_uid="another"), [dict(END[0], series_uid="another", seq=61, frames=61)])
        assert sorted(frames_of(list(following.blocks()))) == [59, 60]
        following.close()


def times_of(start, *images):
    with pushed(start, *images, END) as source:
        return [int(item.times_ns[0]) for item in source.blocks() if not hasattr(item, "reason")]


def test_frames_without_a_time_come_at_the_interval_where_it_is_known():
    assert times_of(START, *[image(n) for n in (0, 1, 2, 5)]) == [0, 20_000_000, 40_000_000, 100_000_000]


def test_frames_without_a_time_or_an_interval_have_none():
    assert times_of([dict(type="start", **SERIES)], *[image(n) for n in range(3)]) == [0, 0, 0]


def test_a_time_that_is_sent_is_kept():
    assert times_of(START, *[image(n, t_ns=7 * n) for n in range(4)]) == [0, 7, 14, 21]


@pytest.mark.parametrize("forged", ["an image", "an end", "a start"])
def test_what_waits_of_a_sender_that_has_closed_is_its_own_whatever_strangers_say_meanwhile(forged):
    facts = dict(SERIES, shape=[128, 128])
    start = [dict(type="start", **facts)]
    large = [[dict(type="image", **facts, seq=n, index=n, nbytes=32768), bytes(32768)] for n in range(100)]
    end = [dict(END[0], seq=100, frames=100)]
    words = {
        "an image": [dict(large[0][0], seq=10**6), bytes(32768)],
        "an end": [dict(end[0], seq=3)],
        "a start": start,
    }
    uri, over = f"tcp://127.0.0.1:{free_port()}", threading.Event()

    def say(socket, message):
        socket.send_multipart([msgspec.msgpack.encode(message[0]), *message[1:]], zmq.DONTWAIT)

    def forge():
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(uri)
            while not over.wait(0.0005):
                with suppress(zmq.Again):
                    say(socket, words[forged])

    def send():
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:  # closed with most of it under way
            socket.connect(uri)
            socket.poll(5000, zmq.POLLOUT)
            for message in [start, *large, end]:
                say(socket, message)

    genuine, stranger = (threading.Thread(target=work, daemon=True) for work in (send, forge))
    genuine.start()
    with open_source(f"ingest+{uri}") as source:
        stranger.start()
        timer = threading.Timer(20, source.interrupt)
        timer.start()
        got = []
        for item in source.blocks():
            got.append(item.index)
            time.sleep(0.01)
        timer.cancel()
    over.set()
    assert source.ended == "finished"
    assert got == list(range(100))
    stranger.join(5)
    genuine.join(5)


def test_one_series_follows_the_other_on_the_same_socket():
    first = [image(n) for n in range(5)]
    late = image(4)  # of the series that is over: begins nothing
    ended = {**END[0], "seq": 5, "frames": 5}
    second = [[{**header, "series_uid": "second"}, pixels] for header, pixels in first]
    third = [{**START[0], "series_uid": "third"}]
    with pushed(START, *first, [ended], late, [{**START[0], "series_uid": "second"}], *second, third) as source:
        assert np.array_equal([block.pixels[0] for block in source.blocks()], FRAMES[:5])
        assert source.ended == "finished"
        following = source.following()
        source.close()  # gives nothing back: the socket belongs to who follows
        with following:
            assert following.series.uid == "second"
            taken = []
            with pytest.raises(SourceError, match="another series began"):
                taken.extend(block.pixels[0] for block in following.blocks())
            assert np.array_equal(taken, FRAMES[:5])
            last = following.following()  # its start came already
            assert last.series.uid == "third"
            last.close()
