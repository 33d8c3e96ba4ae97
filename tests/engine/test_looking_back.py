"""Looking back: a frame that was recorded is read again for a viewer while the run goes on, and of what it left."""

import time

import numpy as np
import pytest
from test_publisher import Held, ones, running, until
from toys import FRAMES, block

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.core.source import Gap
from streamfluo.engine.session_view import SessionView
from streamfluo.network.publishing import preview_frame
from streamfluo.network.watching import Watch

PATIENCE_S = 10.0
MEANS = "kind = 'moments'"


def looked(endpoint, *asked):
    """What comes of asking for frames (step, index, binning), one after the other."""
    answers = []
    with Watch(endpoint) as watch:
        for step, index, bin_px in asked:
            watch.look(step, index, bin_px)
            until_s, found = time.monotonic() + PATIENCE_S, None
            while found is None and time.monotonic() < until_s:
                told = watch.turn()
                found = next(((m, p) for m, p in told if isinstance(m, wire.Error | wire.Image)), None)
                time.sleep(0.01)
            answers.append(found)
    return answers


@pytest.mark.parametrize("session", [False, True], ids=["while it runs", "of its session"])
def test_any_recorded_frame_is_shown_again(tmp_path, session):
    source = Held([*ones(40), Gap(40, 5), block(45, 60)], hold=(42,))
    asked = [("source", 7, 1), ("source", 41, 1), ("source", 3, 2)]
    with running(source, MEANS, out=tmp_path / "S") as (engine, _):
        until(lambda: engine.session.journal.frames == 55)
        answers = [] if session else looked(engine.publisher.endpoint, *asked)
    if session:
        with SessionView(open_session(tmp_path / "S")) as shown:
            answers = looked(shown.endpoint, *asked)
    (seventh, behind_a_gap, binned) = answers
    assert np.array_equal(seventh[1], FRAMES[7])
    assert seventh[0].user == {"step": "source", "bin_px": 1, "asked": 7}
    assert behind_a_gap[0].index == 45, "what is missing is passed over"
    assert np.array_equal(behind_a_gap[1], FRAMES[45])
    assert np.array_equal(binned[1], preview_frame(block(3, 4), 2).pixels[0])


def test_a_frame_that_is_not_there_is_said(tmp_path):
    with running(Held(ones(5), hold=(5,)), MEANS, out=tmp_path / "S") as (engine, _):
        for step in ("source", "red/3/source"):
            ((error, _),) = looked(engine.publisher.endpoint, (step, 99, 1))
            assert f"no recorded frame of '{step}' from 99 on can be read here" in error.reason


def test_of_several_that_were_asked_for_the_last_is_shown(tmp_path):
    source = Held([block(0, 100)], hold=(1,))
    with running(source, MEANS, out=tmp_path / "S") as (engine, _), Watch(engine.publisher.endpoint) as watch:
        source.go.release()
        until(lambda: engine.session.journal.frames == 100)
        for index in range(90):
            watch.look("source", index, 1)
        shown, until_s = [], time.monotonic() + PATIENCE_S
        while 89 not in shown and time.monotonic() < until_s:
            shown += [m.index for m, _ in watch.turn() if isinstance(m, wire.Image)]
        assert shown[-1] == 89
        assert len(shown) < 10, "each was read"
