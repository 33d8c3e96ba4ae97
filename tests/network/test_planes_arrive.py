"""Images of several planes as they arrive: what is missing is told of its plane, what does not fit is refused."""

import json
import random
import threading
from collections import Counter
from socket import socket as tcp_socket

import numpy as np
import pytest
import zmq

from streamfluo import Block, Plane, Spec, WireError, open_session, open_source
from streamfluo.core import wire
from streamfluo.core.source import Gap, Series, Source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.arrivals import Arrivals
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

SPEC = Spec((2, 3), "uint16", 0.1, planes=(Plane("red"), Plane("red", 1), Plane("green")))
NAMES = SPEC.plane_names


def pixels(name, index):
    return np.full((2, 3), 8 * index + NAMES.index(name), np.uint16)


def message(name, seq, index, **changes):
    channel, _, z = name.rpartition("/")
    block = Block(index, [index * 10**8], pixels(name, index)[None], channel, int(z))
    image = wire.image_of("a", block, 0, seq)
    return wire.Image(**{**{f: getattr(image, f) for f in image.__struct_fields__}, **changes}), block.pixels[0]


def take(arrivals, name, seq, index, **changes):
    image, array = message(name, seq, index, **changes)
    return list(arrivals.image(image, [zmq.Frame(wire.encode(image)), zmq.Frame(array.tobytes())]))


def end(seq):
    return wire.End(series_uid="a", seq=seq, frames=seq)


def gaps(items):
    return [item for item in items if isinstance(item, Gap)]


def test_each_plane_has_an_index_of_its_own():
    arrivals, seq = Arrivals(SPEC, "a"), 0
    for index in range(5):
        for name in NAMES:
            (block,) = take(arrivals, name, seq, index)
            assert (block.plane, block.index) == (name, index)
            seq += 1
    assert list(arrivals.end(end(seq))) == []
    assert [arrivals.seq_before(n) for n in range(6)] == [-1, 2, 5, 8, 11, 14]


def test_what_the_transport_lost_is_told_of_the_planes_that_lack_it():
    arrivals = Arrivals(SPEC, "a")
    take(arrivals, "red/0", 0, 0)
    assert gaps(take(arrivals, "green/0", 2, 0)) == []  # red/1 lost its first: that shows when it comes
    assert gaps(take(arrivals, "red/0", 3, 1)) == []
    assert gaps(take(arrivals, "red/1", 4, 1)) == [Gap(0, 1, "transport", "red/1")]


def test_what_the_camera_dropped_is_told_of_its_plane():
    arrivals = Arrivals(SPEC, "a")
    for seq, name in enumerate(NAMES):
        take(arrivals, name, seq, 0)
    assert gaps(take(arrivals, "red/0", 3, 3)) == [Gap(1, 2, "camera", "red/0")]
    assert gaps(take(arrivals, "red/1", 4, 1)) == []


def test_a_time_point_that_is_not_whole_at_the_end_is_missing_of_the_other_planes():
    arrivals = Arrivals(SPEC, "a")
    for seq, name in enumerate([*NAMES, "red/0"]):
        take(arrivals, name, seq, seq // 3)
    told = list(arrivals.end(end(6)))
    assert told == [Gap(1, 1, "transport", "red/1"), Gap(1, 1, "transport", "green/0")]


def test_a_plane_that_stopped_is_missing_to_the_end():
    arrivals, seq = Arrivals(SPEC, "a"), 0
    for index in range(10):
        for name in NAMES[: 3 if index < 4 else 2]:
            take(arrivals, name, seq, index)
            seq += 1
    assert list(arrivals.end(end(seq))) == [Gap(4, 6, "camera", "green/0")]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_goes_missing_every_frame_comes_or_is_told_missing_once(seed):
    random.seed(seed)
    arrivals, seq, came, told, lost = Arrivals(SPEC, "a"), 0, Counter(), Counter(), Counter()
    for index in range(200):
        for name in NAMES:
            if random.random() < 0.05:
                lost["camera"] += 1
                continue
            seq += 1
            if random.random() < 0.1:
                lost["transport"] += 1
                continue
            for item in take(arrivals, name, seq - 1, index):
                if isinstance(item, Gap):
                    told[item.reason] += item.count
                    came.update((item.plane, n) for n in range(item.first, item.first + item.count))
                else:
                    came[name, item.index] += 1
    for item in arrivals.end(end(seq)):
        told[item.reason] += item.count
        came.update((item.plane, n) for n in range(item.first, item.first + item.count))
    missing = {(name, n) for name in NAMES for n in range(200)} - set(came)
    assert max(came.values()) == 1
    assert all(n >= 197 for _, n in missing)  # what the camera dropped at the very end nobody can know
    assert sum(told.values()) + len(missing) == sum(lost.values()), (told, lost)
    assert abs(told["transport"] - lost["transport"]) <= len(missing) + 3


def test_a_receiver_that_comes_back_in_the_middle_of_a_time_point_misses_nothing():
    arrivals = Arrivals(SPEC, "a")
    arrivals.resume(40, 121, {"red/0": 41, "red/1": 40, "green/0": 40})
    assert arrivals.next_seq == 121
    assert arrivals.seq_before(40) is None
    assert arrivals.seq_before(41) == 122  # red/1 and green/0 of 40 have to come yet
    items = [
        take(arrivals, name, 121 + n, i) for n, (name, i) in enumerate([("red/1", 40), ("green/0", 40), ("red/0", 41)])
    ]
    assert [len(found) for found in items] == [1, 1, 1]
    assert arrivals.seq_before(42) == 125


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("blue/0", {}, "plane"),
        ("green/7", {}, "plane"),
        ("green/0", {"channel": "Green"}, "plane"),
        ("green/0", {"channel": ""}, "plane"),
        ("green/0", {"shape": (3, 2)}, "spec"),
        ("green/0", {"dtype": "<i2"}, "spec"),
        ("red/0", {"index": 0}, "index"),
        ("green/0", {"index": 1 << 40}, "index"),
    ],
)
def test_an_image_that_does_not_fit_the_planes_is_refused(name, changes, kind):
    arrivals = Arrivals(SPEC, "a")
    take(arrivals, "red/0", 0, 0)
    image, array = message("green/0" if kind == "plane" else name, 1, 1)
    channel, _, z = name.rpartition("/")
    fields = {f: getattr(image, f) for f in image.__struct_fields__}
    image = wire.Image(**{**fields, "channel": channel, "z": int(z), **changes})
    parts = [zmq.Frame(b""), zmq.Frame(array.tobytes())]
    with pytest.raises(WireError) as caught:
        list(arrivals.image(image, parts))
    assert caught.value.kind == kind
    assert len(take(arrivals, "green/0", 1, 0)) == 1  # the stream goes on


class Movie(Source):
    """Three planes of 90 frames, green without its frames 20 to 39."""

    def __init__(self):
        self.spec, self.series, self._next = SPEC, Series("several", "movie", 0, 270), 0

    def blocks(self, max_frames=32):
        for start in range(self._next, 90, max_frames):
            for name in NAMES:
                there = [n for n in range(start, min(start + max_frames, 90)) if name != "green/0" or not 20 <= n < 40]
                channel, _, z = name.rpartition("/")
                for part in np.split(there, np.flatnonzero(np.diff(there) != 1) + 1):
                    if len(part):
                        stack = np.stack([pixels(name, n) for n in part])
                        yield Block(int(part[0]), part * 10**8, stack, channel, int(z))

    def seek(self, index):
        self._next = index


def served(frames):
    server = DataServer(frames, "tcp://127.0.0.1:0")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    return server, thread


def test_a_replay_sends_the_planes_in_turn_and_a_hole_is_a_gap_of_its_plane():
    server, thread = served(ReplayedFrames(Movie()))
    with open_source(server.endpoint) as source:
        assert source.spec.planes == SPEC.planes
        order, told = [], []
        for item in source.blocks():
            if isinstance(item, Gap):
                told.append(item)
                continue
            order.append((item.index, NAMES.index(item.plane)))
            np.testing.assert_array_equal(item.pixels[0], pixels(item.plane, item.index))
        source.finished()
    thread.join(10)
    server.close()
    assert order == sorted(order)
    assert len(order) == 250
    assert [(gap.plane, gap.first, gap.count) for gap in told] == [("green/0", 20, 20)]


def test_a_looped_replay_goes_on_counting():
    frames = ReplayedFrames(Movie(), fps=1000.0, loop=True)
    frames.begin()

    def read(seq):
        return next(block for _ in range(500) if (block := frames.block(seq)) is not None)

    for seq, name, index in ((0, "red/0", 0), (271, "red/1", 90), (272, "green/0", 90), (540 + 1, "red/1", 180)):
        block = read(seq)
        assert (block.plane, block.index, block.times_ns[0]) == (name, index, index * 10**8)
        np.testing.assert_array_equal(block.pixels[0], pixels(name, index % 90))
    assert isinstance(read(270 + 3 * 25 + 2), wire.Gap)
    frames.close()


def test_a_plane_that_falls_silent_is_told_once_and_the_others_go_on(tmp_path):
    class Stops(Source):
        seekable = False

        def __init__(self):
            self.spec, self.series = SPEC, Series("stops", "stops")

        def blocks(self, max_frames=32):
            for index in range(200):
                for name in NAMES:
                    if name == "green/0" and 10 <= index < 150:
                        continue
                    channel, _, z = name.rpartition("/")
                    yield Block(index, [index], pixels(name, index)[None], channel, int(z))

        def seek(self, index):
            raise AssertionError

    engine = Engine(Stops(), parse_config('[[step]]\nkind = "moments"\n', "c"), tmp_path / "S")
    engine.start()
    assert engine.wait(30)
    events = [e for e in engine.session.folder.joinpath("events.jsonl").read_text().splitlines() if "plane" in e]
    assert sum("plane silent" in e for e in events) == sum("came back" in e for e in events) == 1
    health = engine.health()
    assert {name: plane.frames for name, plane in health.planes.items()} == {"red/0": 200, "red/1": 200, "green/0": 60}


@pytest.mark.parametrize(
    ("times_ms", "told"),
    [
        ([0, 100, 200, 300], [0, 100, 200, 300]),
        ([0, 0, 0, 0], [0, 100, 200, 300]),
        ([0, 100, 10, 20], [0, 100, 200, 300]),
        ([50, 49, 151, 400], [50, 150, 151, 400]),
        ([None, None, None, None], [0, 100, 200, 300]),
    ],
)
def test_a_clock_that_stands_still_or_goes_back_is_replaced_by_the_interval_and_counted(times_ms, told):
    counted = Counter()
    arrivals = Arrivals(Spec((2, 3), "uint16", 0.1), "a", refused=counted)
    found = []
    for index, ms in enumerate(times_ms):
        (block,) = take(arrivals, "red/0", index, index, t_ns=None if ms is None else ms * 10**6)
        found.append(int(block.times_ns[0]) // 10**6)
    assert found == told
    assert counted["time"] == sum(ms is not None and ms != t for ms, t in zip(times_ms, told, strict=True))


@pytest.mark.parametrize("repeated", [(0,), (3,), (2, 3), (3, 3)])
def test_a_frame_that_comes_twice_is_dropped_and_leaves_no_gap(repeated):
    arrivals, seq, found = Arrivals(Spec((2, 3), "uint16", 0.1), "a"), 0, []
    for index in range(5):
        found += take(arrivals, "red/0", seq, index)
        seq += 1
        for _ in range(repeated.count(index)):
            with pytest.raises(WireError, match=f"frame {index} after frame {index}"):
                take(arrivals, "red/0", seq, index)
            seq += 1
    assert [block.index for block in found] == [0, 1, 2, 3, 4]
    assert list(arrivals.end(end(seq))) == []


def test_each_plane_has_a_clock_of_its_own():
    counted = Counter()
    arrivals = Arrivals(SPEC, "a", refused=counted)
    for seq, (name, index, ms) in enumerate([("red/0", 0, 5), ("red/1", 0, 2), ("green/0", 0, 9), ("red/0", 1, 105)]):
        (block,) = take(arrivals, name, seq, index, t_ns=ms * 10**6)
        assert block.times_ns[0] == ms * 10**6
    assert not counted


def test_a_foreign_program_pushes_several_planes(tmp_path):
    with tcp_socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 2000)
    socket.connect(f"tcp://127.0.0.1:{port}")
    series = {"series_uid": "pushed", "dtype": "<u2", "shape": [2, 3]}
    listed = [{"channel": "red", "z": 0, "more": 1}, {"channel": "red", "z": 1, "z_um": 4}, {"channel": "green"}]
    messages = [[json.dumps({"type": "start", **series, "planes": listed, "interval_s": 0.1}).encode()]]
    seq = 0
    for index in range(40):
        for name, plane in zip(NAMES, listed, strict=True):
            image = {"type": "image", **series, "seq": seq, "index": index, "nbytes": 12, **plane}
            seq += 1
            if seq != 50:  # one is lost on the way: red/1 of time point 16
                messages.append([json.dumps(image).encode(), pixels(name, index).tobytes()])
    strange = {"type": "image", **series, "seq": seq, "index": 40, "nbytes": 12, "channel": "blue"}
    messages += [[json.dumps(strange).encode(), bytes(12)]]
    messages += [[json.dumps({"type": "end", "series_uid": "pushed", "seq": seq, "frames": seq}).encode()]]
    thread = threading.Thread(target=lambda: [socket.send_multipart(parts) for parts in messages], daemon=True)
    thread.start()
    with open_source(f"ingest+tcp://127.0.0.1:{port}") as source:
        assert source.spec.planes == (Plane("red"), Plane("red", 1, 4.0), Plane("green"))
        engine = Engine(source, parse_config('[[step]]\nkind = "moments"\n', "c"), tmp_path / "S")
        engine.start()
        assert engine.wait(30)
    socket.close()
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost) == (119, 1)
    assert session.gaps == (Gap(16, 1, "transport", "red/1"),)
    assert session.health["refused"] == {"plane": 1}
    for name in NAMES:
        there = [n for n in range(40) if (name, n) != ("red/1", 16)]
        expected = np.stack([pixels(name, n) for n in there])
        np.testing.assert_array_equal(session.read_frames(0, 40, plane=name), expected)
