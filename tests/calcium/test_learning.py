"""Learning beside the frames: no frame waits for it, and what comes of it depends on the frames alone."""

import gc
import threading
import time

import numpy as np
import pytest
from msgspec.structs import replace

from streamfluo import Block, create, open_source
from streamfluo.calcium.extract import live as live_module
from streamfluo.calcium.extract.extraction import Extraction

INIT, DELAY = 100, 40


@pytest.fixture(scope="module")
def movie():
    with open_source("sim:calcium?shape=64x64&frames=260&seed=3") as source:
        return source.spec, np.concatenate([block.pixels for block in source.blocks()])


def extract(spec, **params):
    return create("extract", spec, init_frames=INIT, init_delay_frames=DELAY, **params)


def feed(operator, pixels, start=0, stop=None, cut=1):
    outputs = []
    for n in range(start, stop or len(pixels), cut):
        part = pixels[n : min(n + cut, stop or len(pixels))]
        outputs.append(operator.update(Block(n, (n + np.arange(len(part))) * 33_000_000, part)))
    return outputs


def threads():
    gc.collect()  # those of operators that tests dropped end with them
    return still_there()


def still_there():
    return {thread.ident for thread in threading.enumerate() if thread.name == "learning"}


@pytest.fixture
def slow(monkeypatch):
    """Learning that takes half a second longer."""
    begin = live_module.Live.begin

    def slowly(self, seeds):
        time.sleep(0.5)
        begin(self, seeds)

    monkeypatch.setattr(live_module.Live, "begin", slowly)


def test_no_frame_waits_while_it_learns(movie, slow):
    spec, pixels = movie
    operator, before = extract(spec), threads()
    feed(operator, pixels, 0, INIT - 1)
    took = []
    for n in range(INIT - 1, INIT + DELAY + 1):
        began = time.perf_counter()
        feed(operator, pixels, n, n + 1)
        took.append(time.perf_counter() - began)
    assert max(took[:-1]) < 0.4  # and the next frame waits for what is not learned yet
    assert sum(took) > 0.4
    assert threads() <= before


def test_the_thread_of_one_that_is_dropped_ends(movie):
    spec, pixels = movie
    before, operator = threads(), extract(spec)
    feed(operator, pixels, 0, INIT + 5)
    assert len(threads() - before) == 1
    del operator
    threads()
    until = time.monotonic() + 20
    while not still_there() <= before and time.monotonic() < until:
        time.sleep(0.02)
    assert still_there() <= before


@pytest.mark.parametrize("cut", [1, 32])
def test_components_come_so_many_frames_later_whatever_learning_takes(movie, cut, request):
    spec, pixels = movie
    quick = feed(extract(spec), pixels, cut=cut)
    request.getfixturevalue("slow")
    slowly = feed(extract(spec), pixels, cut=cut)
    assert not any(output.values["ids"].size for output in quick if output.index + cut <= INIT + DELAY)
    for one, other in zip(quick, slowly, strict=True):
        for name in ("ids", "traces", "raw", "spikes", "dff"):
            np.testing.assert_array_equal(one.values[name], other.values[name])
    assert any(output.values["ids"].size for output in quick)


def test_a_state_in_the_middle_goes_on_to_the_same_bits(movie):
    spec, pixels = movie
    whole = feed(extract(spec), pixels)
    first = extract(spec)
    feed(first, pixels, 0, INIT + DELAY // 2)
    second = extract(spec)
    second.restore(first.state())
    rest = feed(second, pixels, INIT + DELAY // 2)
    for one, other in zip(whole[INIT + DELAY // 2 :], rest, strict=True):
        np.testing.assert_array_equal(one.values["traces"], other.values["traces"])


def test_a_change_meanwhile_is_one_from_the_start_of_learning(movie):
    spec, pixels = movie
    changed = extract(spec)
    feed(changed, pixels, 0, INIT + 5)
    changed.change(replace(changed.params, min_snr=3.5))
    built = extract(spec, min_snr=3.5)
    feed(built, pixels, 0, INIT + 5)
    for one, other in zip(feed(changed, pixels, INIT + 5), feed(built, pixels, INIT + 5), strict=True):
        np.testing.assert_array_equal(one.values["ids"], other.values["ids"])
        np.testing.assert_array_equal(one.values["traces"], other.values["traces"])


def test_an_end_meanwhile_waits_for_it(movie):
    spec, pixels = movie
    operator = extract(spec)
    feed(operator, pixels, 0, INIT + 10)
    final = operator.finish()
    assert operator.read(["footprints"])["footprints"].shape[0] > 0
    assert final.values["settled"].rows >= 0


def test_what_fails_there_is_told_where_it_takes_over(movie, monkeypatch):
    spec, pixels = movie

    def broken(self, seeds):
        raise ArithmeticError("no light")

    monkeypatch.setattr(live_module.Live, "begin", broken)
    operator = extract(spec)
    feed(operator, pixels, 0, INIT + DELAY)
    with pytest.raises(ArithmeticError, match="no light"):
        feed(operator, pixels, INIT + DELAY, INIT + DELAY + 1)


@pytest.fixture
def begun(movie):
    """An operator some frames after it has begun, and the index of its next frame."""
    operator, n = extract(movie[0]), INIT + DELAY + 7
    feed(operator, movie[1], 0, n)
    operator.read(["background"])  # waits
    return operator, n


def test_values_come_before_the_rest_of_a_frame_is_done(movie, begun, monkeypatch):
    (operator, n), began, may, work = begun, threading.Event(), threading.Event(), Extraction._work

    def waiting(self):
        began.set()
        assert may.wait(20)
        work(self)

    monkeypatch.setattr(Extraction, "_work", waiting)
    values = feed(operator, movie[1], n, n + 1)[0].values
    assert began.wait(20)
    assert isinstance(operator.doubt(), str)  # a chain asks after each frame, before the steps behind it
    assert not may.is_set()
    assert np.isfinite(values["traces"]).all()
    may.set()
    assert operator.state()["buffer_count"] == n + 1


def test_what_goes_wrong_in_the_rest_of_a_frame_is_raised_by_the_next(movie, begun, monkeypatch):
    operator, n = begun

    def wrong(self):
        raise ZeroDivisionError("in the rest")

    monkeypatch.setattr(Extraction, "_work", wrong)
    feed(operator, movie[1], n, n + 1)
    with pytest.raises(ZeroDivisionError, match="in the rest"):
        feed(operator, movie[1], n + 1, n + 2)
