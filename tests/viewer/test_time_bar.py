"""The bar of a run's time: what happened when, looking back at what was recorded, playing it, and the live edge."""

import numpy as np
import pytest
from wire_bytes import SHAPE, frame, hello, result

pytest.importorskip("PySide6")
from PySide6.QtCore import QPoint, Qt
from windows import PIXELS, look, panel, text_of

from streamfluo.core import wire
from streamfluo.viewer import time_bar
from streamfluo.viewer.timeline import Moment, Timeline, spelled_time


def event(name, **fields):
    return wire.encode(wire.Event(event=name, utc="2026-11-21T03:00:00Z", fields=fields))


def looked(index, asked, pixels=PIXELS, step="source"):
    """What comes of asking for a recorded frame."""
    image = wire.Image(
        series_uid="", seq=0, index=index, t_ns=0, dtype="<u2", shape=SHAPE, nbytes=pixels.nbytes,
        user={"step": step, "bin_px": 1, "asked": asked},
    )  # fmt: skip
    return image, pixels


@pytest.fixture
def running(open_window):
    """A window on a run at frame 999, which lost frames 100 to 119 and was marked at 400."""
    lost, marked = event("gap", first=100, count=20, reason="camera"), event("mark", text="drug on", frame=400)
    traces = result("extract", 900, 100, ids=np.array([7]), trace=np.arange(100.0)[:, None])
    return open_window(lost, marked, traces, frame(999, PIXELS), frame(999, PIXELS, step="motion"))


def test_what_happened_stands_at_its_frame():
    timeline = Timeline()
    for name, fields in (
        ("gap", {"first": 10, "count": 5, "reason": "camera"}),
        ("set", {"step": "extract", "param": "min_snr", "value": 3.0, "frame": 40}),
        ("mark", {"text": "drug on", "frame": 90}),
        ("disk full", {"path": "/x"}),
        ("mark", {"text": "drug on", "frame": 90}),
    ):
        timeline.take(wire.Event(event=name, fields=fields))
    assert [(m.frame, m.lost, m.text) for m in timeline.moments] == [
        (10, 5, "5 frames lost (camera)"),
        (40, 0, "extract.min_snr = 3.0"),
        (90, 0, "mark: drug on"),
    ]
    assert timeline.near(13, 0).kind == "gap"
    assert timeline.near(38, 1) is None
    assert timeline.near(38, 2).kind == "set"
    assert (timeline.before(90).frame, timeline.behind(10).frame, timeline.behind(90)) == (40, 40, None)


@pytest.mark.parametrize("fields", [{"frame": "9"}, {"frame": -1}, {"frame": None}, {"first": 3, "count": "many"}])
def test_an_event_that_makes_no_sense_stands_nowhere(fields):
    timeline = Timeline()
    timeline.take(wire.Event(event="gap", fields=fields))
    assert not timeline.moments


def test_times_are_spelled_as_people_write_them():
    spelled = [spelled_time(frame, s) for frame, s in ((0, 0.1), (754, 0.1), (36_000, 0.5), (12, None))]
    assert spelled == ["0:00.0", "1:15.4", "5:00:00.0", "frame 12"]


def test_looking_back_shows_the_recorded_frame_while_the_run_goes_on(running):
    window, watch = running
    image = panel(window, "frames/source")
    window.look_back(400)
    look(window)
    assert watch.looked == [("source", 400, 1)]
    watch._messages.append(looked(400, 400, PIXELS // 2))
    watch.hand(frame(1000, PIXELS))
    look(window)
    assert image.shown_index == 400
    assert np.array_equal(image.image, PIXELS // 2)
    assert "frame 400 as it was recorded" in image._facts.text()
    corrected = panel(window, "frames/motion/frames")
    assert "frame 400 as it was recorded, before motion" in corrected._facts.text()
    assert window.model.timeline.stop == 1001, "the live edge stood still"
    assert "looking back at frame 400, run goes on" in text_of(window)
    assert len(watch.looked) == 1, "one frame was asked for twice"
    window.time_bar.live()
    watch.hand(frame(1001, PIXELS))
    look(window)
    assert image.shown_index == 1001
    assert "recorded" not in image._facts.text()


def test_traces_turn_to_the_frame_and_say_what_is_not_kept(running):
    window, _ = running
    traces = panel(window, "by_id/extract/trace")
    traces.point_out(7)
    window.look_back(950)
    look(window)
    assert traces._newest.text() == "7: 50 ADU"
    assert traces._cursor.isVisible()
    assert traces._cursor.value() == pytest.approx(95.0)
    window.look_back(300)
    look(window)
    assert traces._newest.text() == "values from 1:30.0 on are here"
    window.look_back(-1)
    look(window)
    assert traces._newest.text() == "7: 99 ADU"
    assert not traces._cursor.isVisible()


def test_the_handle_is_dragged_and_keys_step_and_jump(running, qtbot):
    window, _ = running
    track = window.time_bar._track
    track.resize(1000, 24)
    at = QPoint(round(track.x_of(500)), 12)
    qtbot.mousePress(track, Qt.MouseButton.LeftButton, pos=at)
    assert abs(window.model.looking_at - 500) <= 1
    bar = window.time_bar
    steps = [(bar.jump, -1, 400), (bar.step, 1, 401), (bar.jump, -1, 400), (bar.jump, -1, 100), (bar.jump, 1, 400)]
    for does, way, frame_ in [*steps, (bar.step, -500, 0)]:
        does(way)
        assert window.model.looking_at == frame_
    bar.refresh()
    assert bar._where.text() == "<b>0:00.0</b> of 1:39.9"


def test_it_plays_at_a_speed_and_again_and_again(running, monkeypatch):
    window, _ = running
    bar, now = window.time_bar, [100.0]
    monkeypatch.setattr(time_bar.time, "monotonic", lambda: now[0])
    window.look_back(200)
    bar._speed.setCurrentText("4 ×")
    bar.toggle()
    now[0] += 5.0
    bar.refresh()
    assert window.model.looking_at == 400
    bar._loop.setChecked(True)
    now[0] += 0.1
    bar.refresh()
    assert window.model.looking_at == 200, "more than ten seconds were played"
    bar._loop.setChecked(False)
    now[0] += 1000.0
    bar.refresh()
    assert window.model.looking_at == 999
    assert not bar._play.isChecked()


def test_after_the_end_the_last_frame_is_shown_instead_of_a_live_one(running):
    window, watch = running
    watch.hand(wire.encode(wire.End(series_uid="one", seq=1000, frames=1000)))
    look(window)
    window.look_back(10)
    window.time_bar.live()
    look(window)
    assert watch.looked[-1] == ("source", 999, 1)


def test_another_series_is_not_looked_back_at(running):
    window, watch = running
    window.look_back(10)
    watch.hand(hello(series={"series_uid": "two"}))
    look(window)
    assert window.model.looking_at is None
    assert window.model.timeline.moments == type(window.model.timeline.moments)()


@pytest.mark.parametrize("step", ["nothing", "motion", 7, None])
def test_a_recorded_frame_of_nowhere_is_refused(running, step):
    window, watch = running
    before = window.model.refused.total()
    watch._messages.append(looked(3, 3, step=step))
    look(window)
    assert window.model.refused.total() == before + (step != "motion")


def test_gaps_are_red_and_what_is_under_the_mouse_is_told(running, qtbot):
    window, _ = running
    track = window.time_bar._track
    track.resize(1000, 24)
    picture = track.grab().toImage()
    red = picture.pixelColor(round(track.x_of(110)), 12)
    assert red.red() > 2 * red.blue()
    assert window.model.timeline.near(track.frame_at(track.x_of(402)), 4) == Moment(400, 0, "mark", "mark: drug on")


def test_frames_that_a_step_binned_in_time_stand_for_several_of_the_source(open_window):
    facts = {"source": (SHAPE, "<u2", 0.5, 0.01), "bin": (SHAPE, "<f4", 1.0, 0.05)}
    steps = [("bin", "bin", "source"), ("binned", "moments", "bin"), ("moments", "moments", "source")]
    gives = {step: [("total_signal", "per_frame", ("t",), "ADU", "")] for step in ("binned", "moments")}
    greeting = hello(steps=steps, frames=facts, gives={"bin": [("frames", "frames", ("y", "x"), "ADU", "")], **gives})
    window, watch = open_window(greeting, frame(3, PIXELS))
    assert window.model.timeline.stop == 4
    watch.hand(frame(19, PIXELS, step="bin"))
    look(window)
    assert window.model.timeline.stop == 100
    watch.hand(result("binned", 20, 2, total_signal=np.ones(2)))
    look(window)
    assert window.model.timeline.stop == 110
    watch.hand(result("moments", 110, 2, total_signal=np.ones(2)))
    look(window)
    assert window.model.timeline.stop == 112
