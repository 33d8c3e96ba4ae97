"""The viewer's model, fed with bytes: what a message changes, and what makes no sense changes nothing."""

import time

import numpy as np
import pytest
from wire_bytes import GIVES, HELLO, SHAPE, fed, frame, hello, result, status

from streamfluo.core import wire
from streamfluo.viewer.model import Model
from streamfluo.viewer.overlay_items import rectangle_lines
from streamfluo.viewer.panels import frames_seen_by, layout_key, overlays_of, panels_of
from streamfluo.viewer.traces import MAX_MARKS, Marks


def test_panels_come_from_what_the_steps_give():
    assert {p.id: p.kind for p in panels_of(HELLO)} == {
        "frames/source": "image",
        "frames/motion/frames": "image",
        "per_frame/motion/shift_px": "trace",
        "by_id/extract/trace": "trace",
        "snapshot/extract/mean": "image",
        "snapshot/extract/noise": "curve",
        "numbers/extract": "numbers",
        "table/spots/spots": "table",
    }


def test_overlays_come_from_the_axes_and_belong_to_the_frames_their_step_saw():
    assert [(o.id, o.kind, o.on) for o in overlays_of(HELLO)] == [
        ("motion/shift_px", "vectors", "source"),
        ("extract/contours", "contours", "motion"),
        ("spots/spots", "spots", "motion"),
    ]


def test_figures_of_components_are_left_to_their_table():
    given = {"extract": [("quality_now", "snapshot", ("id", "measure"), "", "figures")]}
    assert all("quality_now" not in panel.id for panel in panels_of(wire.decode(hello(gives=given))))


def test_a_step_sees_the_frames_of_the_nearest_step_that_hands_on_others():
    after = {"motion": "source", "bin": "motion", "extract": "bin", "count": "extract"}
    assert frames_seen_by("count", {"source": None, "bin": None}, after) == "bin"
    assert frames_seen_by("motion", {"source": None}, after) == "source"


def test_an_arrangement_is_known_by_the_steps_alone():
    assert layout_key(HELLO) == layout_key(wire.decode(hello(series={"series_uid": "two"})))
    assert layout_key(HELLO) != layout_key(wire.decode(hello(steps=[("motion", "motion", "source")])))


def test_a_preview_becomes_the_picture_of_its_step():
    pixels = np.arange(48, dtype=np.uint16).reshape(SHAPE)
    model = fed(hello(), frame(7, pixels), frame(5, pixels / np.float32(2), step="motion", bin_px=2))
    raw, corrected = model.pictures["frames/source"], model.pictures["frames/motion/frames"]
    assert np.array_equal(raw.shown(), pixels)
    assert (raw.index, raw.bin_px, raw.pixel_um) == (7, 1, 0.5)
    assert (corrected.index, corrected.bin_px) == (5, 2)


def test_values_of_a_frame_become_a_trace_and_a_hole_breaks_it():
    model = fed(
        hello(),
        result("motion", 0, 2, shift_px=np.array([[0.5, 1], [2, 3]], "f4")),
        result("motion", 5, shift_px=np.array([[4, 5]], "f4")),
    )
    index, rows = model.traces["per_frame/motion/shift_px"].since()
    assert index.tolist() == [0, 1, 5]
    assert rows.tolist() == [[0.5, 1], [2, 3], [4, 5]]


def test_curves_with_ids_keep_their_place_when_others_are_born():
    model = fed(
        hello(),
        result("extract", 0, ids=[7, 9], trace=[[1.0, 2.0]]),
        result("extract", 1, ids=[7, 9, 4], trace=[[3.0, 4.0, 5.0]]),
        result("extract", 2, ids=[9, 4], trace=[[6.0, 7.0]]),
    )
    trace = model.traces["by_id/extract/trace"]
    assert trace.ids == [7, 9, 4]
    assert np.array_equal(trace.since()[1], [[1, 2, np.nan], [3, 4, 5], [np.nan, 6, 7]], equal_nan=True)


def test_snapshots_become_pictures_curves_numbers_and_outlines():
    mean, noise = np.full(SHAPE, 3.0), np.arange(5.0)
    outlines = np.ones((2, 4, 2))
    model = fed(
        hello(),
        result("extract", 9, kind="snapshot", mean=mean),
        result("extract", 9, kind="snapshot", noise=noise),
        result("extract", 9, kind="snapshot", neurons=12),
        result("extract", 9, kind="snapshot", contours=outlines),
    )
    assert np.array_equal(model.pictures["snapshot/extract/mean"].shown(), mean)
    assert np.array_equal(model.curves["snapshot/extract/noise"], noise)
    assert model.numbers["numbers/extract"] == {"neurons": "12"}
    assert np.array_equal(model.contours["extract/contours"], outlines)


def test_rows_of_a_table_are_found_by_their_frame():
    columns = {"frame": [3, 3, 4], "y_px": [1.0, 2, 3], "x_px": [4.0, 5, 6], "photons": [7.0, 8, 9]}
    model = fed(hello(), result("spots", 4, 2, **{f"spots__{n}": c for n, c in columns.items()}))
    overlay = next(o for o in model.overlays if o.kind == "spots")
    assert model.rows_near(overlay, 3)["y_px"].tolist() == [1, 2]
    assert model.rows_near(overlay, 9)["y_px"].tolist() == [3]
    assert model.rows_near(overlay, 99) == model.rows_near(overlay, 2) == {}
    assert model.tables["table/spots/spots"].total == 3


def test_the_vector_of_the_frame_shown_is_drawn():
    model = fed(hello(), result("motion", 10, 3, shift_px=np.arange(6.0).reshape(3, 2)))
    overlay = next(o for o in model.overlays if o.kind == "vectors")
    assert [model.vector_near(overlay, index).tolist() for index in (0, 11, 60)] == [[0, 1], [2, 3], [4, 5]]
    assert model.vector_near(overlay, 99) is None


def test_rates_come_from_two_statuses():
    model = fed(hello())
    for at_s, arrived, done in ((0.0, 0, 0), (1.0, 100, 90), (2.0, 200, 180)):
        edges = {"ingest": {"frames": arrived}, "chain": {"frames": done}}
        model.take(wire.decode(status(edges=edges, lost=3, lost_camera=1, lost_transport=2)), now_s=at_s)
    assert model.health.rates() == (100, 90)
    assert (model.health.waiting, model.health.lost) == (20, 3)
    assert model.health.lost_split() == "1 by the camera, 2 on the way"


def test_statuses_that_come_all_at_once_tell_of_no_fast_frames():
    model = fed(hello())
    for at_s, frames in ((0.0, 0), (10.0, 300), (10.001, 330), (10.002, 360)):
        edges = {"ingest": {"frames": frames}, "chain": {"frames": frames}}
        model.take(wire.decode(status(edges=edges)), now_s=at_s)
    assert model.health.rates() == pytest.approx((36, 36), rel=0.01)


def test_a_replay_and_a_camera_have_health_too():
    model = fed(status(emitted=50, dropped_camera=4))
    assert (model.health.frames_in, model.health.lost) == (50, 4)


def test_a_link_is_connecting_live_lost_and_ended():
    model = Model("tcp://127.0.0.1:9")
    assert model.link == "connecting"
    fed(hello(), status(), model=model)
    model.connection(True, now_s=10)
    assert model.link == "live"
    model.connection(False, now_s=12)
    assert (model.link, model.lost_for_s(now_s=15)) == ("lost", 3)
    model.connection(True, now_s=16)
    fed(wire.encode(wire.End(series_uid="one", seq=4, frames=4)), model=model)
    assert (model.link, model.ended) == ("ended", "finished")


def test_a_program_started_again_is_told_and_its_pictures_stay_until_new_ones_come():
    model = fed(hello(), frame(7, np.ones(SHAPE, "u2")), wire.encode(wire.End(series_uid="one", seq=8, frames=8)))
    fed(hello(endpoints={"results": "tcp://127.0.0.1:3", "preview": "tcp://127.0.0.1:4"}), model=model)
    assert model.events[-1] == "the program was started again"
    assert model.ended == ""
    assert model.pictures["frames/source"].index == 7


def test_another_series_is_told():
    model = fed(hello(), hello(series={"series_uid": "two"}))
    assert model.events[-1] == "another series began"


def test_other_steps_are_another_arrangement():
    model = fed(hello())
    before = model.arrangement
    fed(hello(steps=[("spots", "spots", "source")], gives={"spots": GIVES["spots"]}), model=model)
    assert model.arrangement != before
    assert set(model.panels) == {"frames/source", "table/spots/spots"}


def test_values_that_begin_anew_clear_the_trace():
    model = fed(hello(), result("motion", 50, shift_px=[[1.0, 1]]), result("motion", 0, shift_px=[[2.0, 2]]))
    assert model.traces["per_frame/motion/shift_px"].since()[0].tolist() == [0]


def test_events_are_lines_and_those_told_again_stand_once():
    event = wire.encode(wire.Event(event="muted", utc="2026-11-21T03:00:00Z", fields={"step": "motion", "n": 1}))
    model = fed(hello(), event, event)
    assert list(model.events) == ["03:00:00 muted: step motion"]


def test_values_without_an_axis_of_frames_are_no_trace():
    model = fed(
        hello(), result("motion", 0, shift_px=np.float64(1)), result("extract", 0, ids=[1], trace=np.float64(1))
    )
    assert not any(len(trace) for trace in model.traces.values())


@pytest.mark.parametrize(
    "nonsense",
    [
        frame(0, np.ones(SHAPE, "u2"), step="nobody"),
        frame(0, np.ones(SHAPE, "u2"), bin_px=0),
        frame(0, np.ones(SHAPE, "u2"), bin_px="two"),
        result("nobody", 0, shift_px=[[1.0, 2]]),
        result("extract", 0, kind="snapshot", unheard_of=np.ones(3)),
        result("extract", 0, kind="snapshot", mean=np.ones(3)),
        result("extract", 0, kind="snapshot", mean=np.ones((0, 5))),
        result("extract", 0, kind="snapshot", noise=np.array(["words"])),
        result("spots", 0, spots__frame=[1], spots__y_px=[1.0, 2.0]),
        result("spots", 0, spots__y_px=[1.0]),
    ],
)
def test_messages_that_make_no_sense_are_counted_and_change_nothing(nonsense):
    model = fed(hello(), nonsense)
    assert model.refused.total() == 1
    assert not len(model.tables["table/spots/spots"])
    assert all(picture.pixels is None for picture in model.pictures.values())


def test_wrong_shapes_in_values_are_passed_over():
    model = fed(
        hello(),
        result("extract", 0, 1, ids=[1, 2], trace=[[1.0, 2.0, 3.0]]),
        result("extract", 0, 3, ids=[1], trace=[[1.0]]),
        result("motion", 0, 1, shift_px=np.ones((1, 2, 3, 4))),
        status(edges="nonsense", muted=[1], lost="many"),
    )
    assert not len(model.traces["by_id/extract/trace"])
    assert not len(model.traces["per_frame/motion/shift_px"])
    assert (model.health.lost, model.health.waiting, model.health.muted) == (0, 0, {})


def test_the_age_is_that_of_the_newest_frame_seen():
    now = time.time_ns()
    model = fed(hello(), frame(0, np.ones(SHAPE, "u2"), arrived_ns=now - 50_000_000))
    assert 0.05 <= model.age_s() < 5
    assert fed(hello(), frame(0, np.ones(SHAPE, "u2"), arrived_ns=now + 10**12)).age_s() is None


def test_a_program_without_results_shows_its_frames():
    facts = {"source": (SHAPE, "<u2", None, None)}
    model = fed(wire.encode(wire.Hello(program="camera", frames=facts, endpoints={"preview": "tcp://127.0.0.1:2"})))
    assert list(model.panels) == ["frames/source"]


def test_marks_are_those_of_one_series_and_the_newest_of_many():
    marks = Marks()
    marks.take(list(range(0, 3 * MAX_MARKS, 2)))
    assert marks.count == 3 * MAX_MARKS // 2
    assert len(marks.since(0)) == MAX_MARKS
    marks.take([4])
    assert marks.count == 1
    assert marks.since(0).tolist() == [4]
    marks.take([])
    assert marks.count == 1


def test_a_status_that_waited_on_one_of_its_ways_changes_nothing():
    model = fed(hello())
    for at_s, frames in ((0.0, 0), (1.0, 60), (1.5, 90), (1.6, 60)):
        edges = {"ingest": {"frames": frames}, "chain": {"frames": frames}}
        model.take(wire.decode(status(edges=edges)), now_s=at_s)
    assert model.health.rates() == pytest.approx((60, 60))
    assert model.health.frames_in == 90


def test_a_rectangle_lies_over_the_frames_that_its_step_gives():
    gives = {**GIVES, "motion": [*GIVES["motion"], ("valid", "snapshot", ("edge",), "px", "top, bottom, left, right")]}
    model = fed(hello(gives=gives), result("motion", 1, kind="snapshot", valid=[1, 5, 2, 8]))
    overlay = next(o for o in model.overlays if o.kind == "rectangle")
    assert overlay.on == "motion"
    assert "snapshot/motion/valid" not in model.panels
    lines = rectangle_lines(model.contours[overlay.id])
    assert lines.min(0).tolist() == [0.5, 1.5]
    assert lines.max(0).tolist() == [4.5, 7.5]
