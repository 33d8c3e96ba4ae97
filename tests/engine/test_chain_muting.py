"""A step that fails fails alone; frames that cannot be are refused; gaps reach every step once."""

import numpy as np
import pytest
from toys import BINNED, DOUBLE, FRAMES, LEVEL, SQUARED, Level, Toy, a, block, chain, means, run, toys  # noqa: F401

from streamfluo import Block, FrameError, Output
from streamfluo.core.registry import register

FRAGILE = a("fragile", id="'fragile'", params="{ at = 10 }")


def kinds(events):
    return [(event["event"], event["step"], event["frame"]) for event in events]


def test_a_step_that_raises_is_muted_with_its_dependants_the_others_go_on():
    c = chain(
        a("level", id="'before'"),
        FRAGILE,
        a("double", id="'behind'"),
        a("level", id="'beside'", after="'source'"),
        a("double", id="'of-beside'", after="'source'", inputs="{ level = 'beside.level' }"),
        a("double", id="'of-fragile'", after="'source'", inputs="{ level = 'fragile.level' }"),
    )
    got = run(c, [(0, 8), (8, 16), (16, 24)])
    assert {step: len(next(iter(values.values()))) for step, values in got.items()} == {
        "before": 24, "fragile": 8, "behind": 8, "beside": 24, "of-beside": 24, "of-fragile": 8,
    }  # fmt: skip
    assert c.step("fragile").muted == "frame 8: ZeroDivisionError: a toy that breaks"
    assert c.step("behind").muted == "needs fragile, which is muted"
    assert c.step("of-fragile").muted == "needs fragile, which is muted"
    assert not c.step("beside").muted


def test_the_event_of_a_muted_step_says_step_frame_error_and_traceback():
    c = chain(FRAGILE)
    run(c, [(0, 8), (8, 16), (16, 24)])
    (event,) = c.events
    assert kinds([event]) == [("muted", "fragile", 8)]
    assert event["error"] == "ZeroDivisionError: a toy that breaks"
    assert "in update" in event["traceback"]


def test_the_last_state_of_a_muted_step_stays_readable_and_is_part_of_the_chains_state():
    c = chain(FRAGILE)
    run(c, [(0, 8), (8, 16), (16, 24)])
    assert np.isclose(c.read("fragile")["sum"], means(0, 8).sum())
    assert np.isclose(c.state()["fragile"]["state"]["sum"], means(0, 8).sum())


def test_a_snapshot_step_of_a_muted_one_reads_its_last_state():
    c = chain(FRAGILE, SQUARED)
    run(c, [(0, 8), (8, 16)])
    assert np.isclose(c.read("squared")["squared"], means(0, 8).sum() ** 2)


class BadEnd(Toy):
    """Raises at the end."""

    def finish(self):
        raise RuntimeError("no end")


class BadGap(Toy):
    """Raises at a gap."""

    def gap(self, first, count):
        raise RuntimeError("no gap")


class Silent(Level):
    """Declares a level and gives none."""

    def update(self, block, inputs={}):
        return Output(block.index)


class Doubting(Toy):
    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.at = 0

    def update(self, block, inputs={}):
        self.at = block.index
        return Output(block.index)

    def doubt(self):
        return f"dim at frame {self.at}" if self.at in (8, 16, 32) else ""


class Wordless(Toy):
    def doubt(self):
        return {"dim": True}


@pytest.fixture(autouse=True, scope="module")
def more_toys(toys):  # noqa: F811
    for toy in (BadEnd, BadGap, Doubting, Silent, Wordless):
        register(f"toy-{toy.__name__.lower()}")(toy)


def test_a_step_that_raises_at_the_end_is_muted_and_the_others_end_well():
    c = chain(a("badend", id="'bad'"), a("level", id="'level'", after="'source'"))
    assert len(run(c, [(0, 8)])["level"]["level"]) == 8
    assert kinds(c.events) == [("muted", "bad", 8)]


def test_doubts_are_told_when_they_begin_and_held_while_they_last():
    c = chain(a("doubting", id="'d'"), a("wordless", id="'w'", after="'source'"))
    held = []
    for start in range(0, 40, 8):
        c.push(block(start, start + 8))
        held.append(c.step("d").doubt)
    assert held == ["", "dim at frame 8", "dim at frame 16", "", "dim at frame 32"]
    assert [(e["frame"], e["doubt"]) for e in c.events if e["event"] == "doubtful"] == [
        (8, "dim at frame 8"), (32, "dim at frame 32")
    ]  # fmt: skip
    assert c.step("w").muted == "frame 0: FrameError: doubt() must return a sentence, found dict"


@pytest.mark.parametrize("announced", [True, False])
def test_a_step_that_raises_at_a_gap_is_muted_and_sees_no_more_frames(announced):
    c = chain(a("badgap", id="'bad'"), a("level", id="'level'", after="'source'"))
    c.push(block(0, 8))
    if announced:
        c.gap(8, 2)
    assert [s for s, _ in c.push(block(10, 20))] == ["level"]
    assert kinds(c.events) == [("muted", "bad", 8 if announced else 10)]


def test_a_step_that_does_not_give_what_it_declares_does_not_stop_the_others():
    c = chain(a("silent", id="'silent'"), DOUBLE, a("level", id="'level'", after="'source'"))
    assert len(run(c, [(0, 8), (8, 16)])["level"]["level"]) == 16
    assert c.step("double").muted


# Gaps


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "seen as a jump"])
def test_every_step_hears_of_a_gap_once(announced):
    c = chain(LEVEL, a("level", id="'behind'"))
    c.push(block(0, 8))
    if announced:
        c.gap(8, 2)
    c.push(block(10, 20))
    assert c.step("level").operator.gaps == [(8, 2)]
    assert c.step("behind").operator.gaps == [(8, 2)]


def test_gaps_that_follow_each_other_are_heard_one_by_one():
    c = chain(LEVEL)
    c.push(block(0, 8))
    c.gap(8, 2), c.gap(10, 5)
    c.push(block(15, 20))
    assert c.step("level").operator.gaps == [(8, 2), (10, 5)]


def test_behind_a_bin_in_time_a_gap_is_counted_in_its_frames():
    c = chain(BINNED, LEVEL)
    c.push(block(0, 8))
    c.gap(8, 4)
    c.push(block(12, 20))
    assert c.step("level").operator.gaps == [(4, 2)]


def test_a_stream_may_begin_anywhere():
    c = chain(LEVEL)
    c.push(block(17, 20))
    assert c.step("level").operator.gaps == []


# Frames that cannot be

REFUSED = [
    (np.zeros((1, 4, 5), "u2"), r"frame 8: expected \(4, 4\) uint16, found \(4, 5\) uint16"),
    (np.zeros((1, 4, 4), "u1"), r"frame 8: expected \(4, 4\) uint16, found \(4, 4\) uint8"),
    (np.zeros((1, 4, 4), "i2"), r"frame 8: expected \(4, 4\) uint16, found \(4, 4\) int16"),
]


@pytest.mark.parametrize(("pixels", "message"), REFUSED)
def test_a_block_of_another_spec_is_refused(pixels, message):
    c = chain(LEVEL)
    c.push(block(0, 8))
    with pytest.raises(FrameError, match=message):
        c.push(Block(8, [0], pixels))
    assert [s for s, _ in c.push(block(8, 9))] == ["level"]


def test_a_frame_that_came_before_is_refused_and_changes_nothing():
    c = chain(LEVEL, a("level", id="'beside'", after="'source'"))
    c.push(block(0, 8))
    before = c.state()
    for start, stop in [(7, 9), (0, 8), (3, 5)]:
        with pytest.raises(FrameError, match=f"frame {start} after frame 7; frames come in order"):
            c.push(block(start, stop))
    assert c.state() == before
    c.push(block(8, 12))
    assert np.isclose(c.read("beside")["sum"], means(0, 12).sum())


def test_a_big_endian_block_is_as_good_as_a_native_one():
    c = chain(LEVEL)
    ((_, out),) = c.push(Block(0, np.arange(4), FRAMES[:4].astype(">u2")))
    assert np.allclose(out.values["level"], means(0, 4))


def test_no_step_can_write_into_the_frames_of_another():
    class Vandal(Toy):
        def update(self, block, inputs={}):
            block.pixels[...] = 0

    register("toy-vandal")(Vandal)
    c = chain("kind = 'toy-vandal'\nid = 'vandal'", a("level", id="'level'", after="'source'"))
    mine = block(0, 4)
    assert np.allclose(run(c, [(0, 4)])["level"]["level"], means(0, 4))
    assert "read-only" in c.step("vandal").muted
    assert np.array_equal(mine.pixels, FRAMES[:4])
