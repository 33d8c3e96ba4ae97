"""A pause, snapshots and the end, asked for from elsewhere."""

import time

import numpy as np
import pytest
from toys import FRAMES, LEVEL, SQUARED, means, toys  # noqa: F401
from turnstile import Turnstile, events, let, ones, running, until

from streamfluo import SourceError, open_session
from streamfluo.core.control import Mark
from streamfluo.core.source import Gap


def test_what_a_stream_sends_while_it_pauses_is_a_gap_and_not_lost(tmp_path):
    source = Turnstile(ones())
    with running(source, tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 10)
        assert control.pause().frame == 10
        assert control.pause().said == "it pauses already"
        assert engine.state == "paused"
        until(lambda: engine._parts.position.written == {"": 10})  # what passes by sooner is acknowledged with the next
        source.free.release(20)
        until(lambda: engine.next_index == 30)
        until(lambda: source.acknowledged[-1] == 30)  # the sender need not keep them
        assert control.mark("meanwhile").frame == 30
        assert control.resume().frame == 30
        let(engine, 5)
    session = open_session(tmp_path / "s")
    assert (session.frames, session.lost, session.gaps) == (15, 0, (Gap(10, 20, "paused"),))
    assert (session.health["paused"], session.health["lost"]) == (20, 0)
    np.testing.assert_array_equal(session.read_frames(0, 99), FRAMES[[*range(10), *range(30, 35)]])
    assert session.damaged == ()


def test_a_pause_that_lasts_to_the_end_is_in_the_session_and_the_run_ends(tmp_path):
    source = Turnstile(ones(40))
    with running(source, tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 10)
        control.pause()
        source.free.release(30)
        until(lambda: engine.wait(0.1))
    assert open_session(tmp_path / "s").gaps == (Gap(10, 30, "paused"),)
    assert open_session(tmp_path / "s").state == "finished"


def test_a_file_waits_while_it_pauses_and_no_frame_is_missing(tmp_path):
    source = Turnstile(ones(), seekable=True)
    with running(source, tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 10)
        assert control.pause().said == "the source waits"
        source.free.release(30)
        time.sleep(0.3)
        assert engine.health().frames == 10
        control.resume()
        until(lambda: engine.health().frames == 40)
    assert open_session(tmp_path / "s").gaps == ()


def test_a_snapshot_is_written_as_of_its_frame(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL, SQUARED) as (engine, control):
        let(engine, 10)
        assert control.snapshot("level", "sum").said == "snapshots/level/0000000010-sum.npz"
        let(engine, 10)
        assert control.snapshot("squared").frame == 20
    at = {path.name: dict(np.load(path)) for path in (tmp_path / "s" / "snapshots").rglob("*-*.npz")}
    assert at["0000000010-sum.npz"]["sum"] == pytest.approx(means(0, 10).sum())
    assert at["0000000020-squared.npz"]["squared"] == pytest.approx(means(0, 20).sum() ** 2)
    assert [event["frame"] for event in events(tmp_path / "s", "snapshot")] == [10, 20]


def test_stopped_from_elsewhere_it_leaves_a_whole_session_and_says_no_more(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", LEVEL) as (engine, control):
        let(engine, 10)
        [line] = control.sessions()
        assert (line["session"], line["state"], line["frames"]) == (str(tmp_path / "s"), "running", 10)
        assert control.stop().frame == 10
        until(lambda: engine.wait(0.1))
    session = open_session(tmp_path / "s")
    assert (session.state, session.frames, session.damaged) == ("aborted", 10, ())
    with pytest.raises(SourceError, match="the series is over"):
        engine.control.ask(Mark(nonce="1", text="late"))
