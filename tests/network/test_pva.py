"""NTNDArray over pvAccess: a source that hears what p4p's own server posts."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("p4p", reason="needs p4p: the extra [epics]")

from p4p.nt import NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from streamfluo import Block, SourceError, open_source
from streamfluo.core.source import Gap
from streamfluo.network import pva as pva_module
from streamfluo.network.counted import FrameCounter

EPOCH_NS = 1_700_000_000 * 10**9
FRAMES = np.random.default_rng(1).integers(0, 60000, (64, 8, 9)).astype(np.uint16)


def value(pixels, index, t_ns=None, **changes):
    """An NTNDArray as areaDetector posts it: x before y."""
    v = NTNDArray().wrap(pixels)
    v["uniqueId"] = index
    stamp_ns = EPOCH_NS + (index * 10**7 if t_ns is None else t_ns)
    v["timeStamp.secondsPastEpoch"], v["timeStamp.nanoseconds"] = divmod(stamp_ns, 10**9)
    for name, given in {"codec__name": "", **changes}.items():  # told each time: what is not stays as it was
        v[name.replace("__", ".")] = given
    return v


class Camera:
    """A server with one PV; `post` waits a little, so that a monitor need not squash anything."""

    def __init__(self, monkeypatch, initial):
        self.pv = SharedPV(initial=initial)
        self.server = Server(providers=[{"cam:image": self.pv}], isolate=True)
        for name, told in self.server.conf().items():
            if name.startswith("EPICS_PVA_"):
                monkeypatch.setenv(name, told)

    def post(self, *values, every_s=0.003):
        for v in values:
            self.pv.post(v)
            time.sleep(every_s)

    def later(self, *values, delay_s=0.5, every_s=0.003):
        def post():
            time.sleep(delay_s)
            self.post(*values, every_s=every_s)

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def camera(monkeypatch):
    made = []

    def make(initial=None):
        made.append(Camera(monkeypatch, value(FRAMES[0], 0) if initial is None else initial))
        return made[-1]

    yield make
    for each in made:
        each.server.stop()


@contextmanager
def hearing(camera, *values, **how):
    camera.later(*values, **how)
    with open_source("pva://cam:image") as source:
        yield source


def taken(source, upto):
    """Items up to the frame with that index."""
    threading.Timer(10, source.interrupt).start()
    items = []
    for item in source.blocks():
        items.append(item)
        if isinstance(item, Block) and item.stop > upto:
            return items
    raise AssertionError(f"frame {upto} never came; {len(items)} items, refused {source.refused}")


def frames(items):
    return {b.index: b.pixels[0] for b in items if isinstance(b, Block)}


def gaps(items):
    return [(i.first, i.count, i.reason) for i in items if isinstance(i, Gap)]


def test_what_is_posted_arrives_with_its_id_and_time_and_what_was_there_before_does_not(camera):
    made = camera(value(np.zeros((3, 3), "u1"), 700))
    with hearing(made, *[value(FRAMES[n], n) for n in range(5, 40)]) as source:
        assert (source.spec.shape, source.spec.dtype, source.seekable) == ((8, 9), "uint16", False)
        assert source.series.t0_ns == EPOCH_NS + 5 * 10**7
        items = taken(source, 39)
    assert not gaps(items)
    assert sorted(frames(items)) == list(range(5, 40))
    assert all(np.array_equal(pixels, FRAMES[n]) for n, pixels in frames(items).items())
    assert [int(b.times_ns[0]) for b in items] == [(n - 5) * 10**7 for n in range(5, 40)]
    assert source.refused == {}


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8"])
def test_every_type_that_frames_may_have_arrives(dtype, camera):
    pixels = FRAMES[:3].astype(dtype)
    with hearing(camera(), *[value(pixels[n], n) for n in range(3)]) as source:
        assert source.spec.dtype == np.dtype(dtype).name
        assert all(np.array_equal(found, pixels[n]) for n, found in frames(taken(source, 2)).items())


def test_jumps_of_the_id_are_gaps_of_the_camera(camera):
    with hearing(camera(), *[value(FRAMES[n], n) for n in (1, 2, 5, 6, 20)]) as source:
        assert gaps(taken(source, 20)) == [(3, 2, "camera"), (7, 13, "camera")]


BAD = {
    "codec": value(FRAMES[7], 7, codec__name="bslz4"),
    "dtype": value(FRAMES[7].astype(np.int64), 7),
    "shape": value(np.zeros((4, 5, 3), "u2"), 7),
    "nbytes": value(FRAMES[7], 7, dimension=[{"size": 9}, {"size": 9}]),
    "spec": value(FRAMES[7][:-1], 7),
    "index": value(FRAMES[7], 3),
}


@pytest.mark.parametrize("rule", BAD)
def test_what_is_no_frame_is_dropped_counted_and_the_stream_goes_on(rule, camera):
    good = [value(FRAMES[n], n) for n in range(1, 12)]
    good[6] = BAD[rule]
    with hearing(camera(), *good) as source:
        items = taken(source, 11)
    assert source.refused == {rule: 1}
    assert gaps(items) == [(7, 1, "camera")]


def test_before_the_first_frame_what_is_none_is_counted_too(camera):
    empty = NTNDArray.buildType()()
    with hearing(camera(empty), BAD["codec"], empty, value(FRAMES[8], 8)) as source:
        assert sorted(frames(taken(source, 8))) == [8]
        assert source.refused["codec"] == 1


def test_a_time_that_goes_back_costs_nothing_but_itself(camera):
    values = [value(FRAMES[n], n) for n in range(8)]
    values[3], values[5] = value(FRAMES[3], 3, t_ns=-(10**12)), value(FRAMES[5], 5, t_ns=-EPOCH_NS)
    with hearing(camera(), *values) as source:
        times = [int(b.times_ns[0]) for b in taken(source, 7) if isinstance(b, Block)]
    assert (np.diff(times) > 0).all()
    assert [times[n] for n in (1, 2, 7)] == [n * 10**7 for n in (1, 2, 7)]


def test_a_reader_that_is_slow_loses_frames_that_are_counted(camera, monkeypatch):
    monkeypatch.setattr(pva_module, "QUEUE_BYTES", 5 * FRAMES[0].nbytes)
    made = camera()
    with hearing(made, *[value(FRAMES[n], n) for n in range(40)]) as source:
        time.sleep(0.8)
        heard = source.blocks()
        items = [next(heard) for _ in range(5)]
        made.later(*[value(FRAMES[n], n) for n in range(40, 44)], delay_s=0)
        items += [next(heard) for _ in range(5)]
    assert gaps(items) == [(5, 35, "transport")]
    assert sorted(frames(items)) == [0, 1, 2, 3, 4, 40, 41, 42, 43]


def test_a_counter_that_begins_anew_ends_the_series(camera):
    with (
        hearing(camera(), *[value(FRAMES[n], n) for n in (10, 11, 12, 1, 2, 3, 4)]) as source,
        pytest.raises(SourceError, match=r"its counter went from 12 to 1, .* start a new run"),
    ):
        taken(source, 100)
    assert source.refused == {"index": 2}
    assert source.ended == "error"


def test_a_server_that_comes_back_goes_on_and_what_it_lost_is_a_gap(monkeypatch):
    first = Camera(monkeypatch, value(FRAMES[0], 0))
    port = {k: v for k, v in first.server.conf().items()}
    with hearing(first, *[value(FRAMES[n], n) for n in range(1, 5)]) as source:
        heard = source.blocks()
        assert [next(heard).index for _ in range(4)] == [1, 2, 3, 4]
        first.server.stop()
        pv = SharedPV(initial=value(FRAMES[4], 4))
        again = Server(providers=[{"cam:image": pv}], conf=port, useenv=False)
        try:
            threading.Timer(10, source.interrupt).start()
            deadline = time.monotonic() + 8
            index, item = 9, None
            poster = threading.Thread(
                target=lambda: [(time.sleep(0.2), pv.post(value(FRAMES[n], n))) for n in range(9, 40)], daemon=True
            )
            poster.start()
            item = next(heard)
            assert isinstance(item, Gap)
            assert item.first == 5
            assert item.reason == "camera"
            assert next(heard).index == item.first + item.count >= index
            assert time.monotonic() < deadline
        finally:
            again.stop()


def test_a_pv_that_is_not_there_or_no_camera_is_one_line(camera, monkeypatch):
    monkeypatch.setattr(pva_module, "FOUND_S", 0.5)
    camera(NTScalar("d").wrap(3.0))
    with pytest.raises(SourceError, match=r"is of type 'epics:nt/NTScalar:1.0', no NTNDArray; name the PV of"):
        open_source("pva://cam:image")
    with pytest.raises(SourceError, match="no server told of this PV for 0 s; check its name and EPICS_PVA_ADDR_LIST"):
        open_source("pva://cam:other")
    for uri in ("pva://", "pva:cam", "pva://a b"):
        with pytest.raises(SourceError, match="names no PV; write pva://PV:NAME"):
            open_source(uri)


def test_a_source_is_interrupted_and_cannot_be_sought(camera):
    with hearing(camera(), value(FRAMES[1], 1)) as source:
        threading.Timer(0.3, source.interrupt).start()
        assert len(list(source.blocks())) == 1
        with pytest.raises(SourceError, match="cannot be sought"):
            source.seek(1)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "p4p.client.thread", None)
    with pytest.raises(SourceError, match=r'needs p4p; install it with pip install "streamfluo\[epics\]"'):
        open_source("pva://cam:image")


def test_what_a_full_queue_dropped_is_told_apart_from_what_the_camera_dropped():
    counter = FrameCounter("feed", ("a/0", "b/0"))
    assert list(counter.missing(3)) == []
    assert list(counter.missing(9, lost=2)) == [
        Gap(4, 3, "camera", "a/0"),
        Gap(7, 2, "transport", "a/0"),
        Gap(4, 3, "camera", "b/0"),
        Gap(7, 2, "transport", "b/0"),
    ]
