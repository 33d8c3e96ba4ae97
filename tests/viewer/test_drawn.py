"""What operators say of how results are drawn: finer pictures, a choice, curves over time, a gauge, spots by value."""

import numpy as np
import pytest
from declared_steps import declares, snapshot
from windows import PIXELS, look, panel
from wire_bytes import SHAPE, frame, result

from streamfluo.viewer.picture import grid_of
from streamfluo.viewer.place_items import circles


@pytest.fixture
def drawn_window(open_window):
    greeting = declares("chosen", "share", "number", "resolution")
    return lambda *more: open_window(greeting, frame(3, PIXELS), *more)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((48, 64), (1 / 8, -0.5)),
        ((11, 15), (0.5, -0.25)),
        ((16, 22), (1 / 3, -0.5 / 3)),
        ((41, 57), (1 / 8, -1 / 16)),
        ((6, 8), (1, -0.5)),
        ((7, 8), (1, -0.5)),
        ((12, 24), (1, -0.5)),
        ((1, 1), (1, -0.5)),
    ],
)
def test_a_finer_picture_of_the_whole_frame_is_known_by_its_sides(shape, grid):
    assert grid_of(shape, SHAPE) == grid


def test_a_finer_picture_lies_over_the_frame_in_its_own_colours(drawn_window):
    window, _ = drawn_window(snapshot(3, fine=np.ones((48, 64))))
    image = panel(window, "snapshot/count/fine")
    assert (image.canvas.frame_rect.width(), image.canvas.frame_rect.height()) == (8, 6)
    assert image._colours.currentText() == "inferno"


def test_a_slider_brings_another_picture_to_the_front_and_only_that_is_watched(drawn_window):
    window, watch = drawn_window()
    window._open("snapshot/count/k2")
    look(window)
    assert "snapshot/count/k3/" not in watch.topics
    window._show_other(panel(window, "snapshot/count/k2"), "snapshot/count/k3")
    look(window)
    assert "snapshot/count/k3/" in watch.topics
    assert "snapshot/count/k2/" not in watch.topics


def test_a_snapshot_is_drawn_as_frames_go_by(drawn_window):
    window, _ = drawn_window(*(snapshot(i, resolution=np.array([200.0 + i, 160.0])) for i in (3, 9, 9)))
    frames, rows = window.model.traces["snapshot/count/resolution"].since()
    assert (frames.tolist(), rows[:, 0].tolist()) == ([3, 9], [203, 209])


@pytest.mark.parametrize(("share", "said"), [(0.02, "2 %: fine"), (0.2, "20 %: worth a look"), (0.4, "40 %: too much")])
def test_a_gauge_says_in_a_word_what_a_number_means(drawn_window, share, said):
    window, _ = drawn_window(snapshot(3, share=np.array(share)))
    assert panel(window, "gauge/count/share").verdict.startswith(said)


def test_spots_have_values_and_one_is_chosen_by_click_and_key(drawn_window):
    table = {"spots/frame": np.array([3, 3]), "spots/spot": np.array([0, 1])}
    rows = result("spots", 3, **table, **{"spots/y_px": np.array([1.0, 4.0]), "spots/x_px": np.array([1.0, 90.0])})
    window, _ = drawn_window(rows, snapshot(3, number=np.array([2, 5]), flat=np.array([0, 1]), posterior=np.eye(6)[:2]))
    places = window.model.places(window.model.drawn.places["count"])
    assert places.doubtful.tolist() == [False, True]
    window._open("frames/source")
    look(window)
    image = panel(window, "frames/source")
    image.pick(4.0, 90.0)
    assert window.model.chosen_place("count") == 1
    panel(window, "chosen/count").refresh()
    assert "spot 1</b> of 2 · number 5 · doubtful" in panel(window, "chosen/count")._told.text()
    window.step_component(1)
    assert window.model.chosen_place("count") == 0


def test_doubtful_places_are_dashes_and_unknown_ones_are_not_drawn():
    whole, dashed, nowhere = (
        circles(np.array([[5.0, place]]), np.array([broken]))
        for place, broken in ((5.0, False), (5.0, True), (np.nan, True))
    )
    assert np.isnan(whole[:, 0]).sum() == 1, "its end alone"
    assert np.isnan(dashed[:, 0]).sum() > 5
    assert not len(nowhere)


def test_the_chosen_spots_trace_is_asked_for_from_before_as_others_are(drawn_window):
    window, watch = drawn_window()
    beside = window.model.beside(window.model.panels["chosen/count"])
    assert [one.id for one in beside] == ["by_id/spots/photons", "by_id/spots/rates"]
    assert "values/spots/" in watch.topics


def test_before_anything_is_counted_nothing_is_drawn(drawn_window):
    window, _ = drawn_window(snapshot(3, number=np.empty(0, int), posterior=np.empty((0, 6))))
    panel(window, "chosen/count").refresh()
    assert panel(window, "chosen/count")._told.text() == "nothing is known yet"


def test_rates_stand_beneath_their_traces_as_ticks_as_high_as_they_are(drawn_window):
    photons, rates = np.arange(12.0).reshape(4, 3), np.zeros((4, 2))
    rates[1] = 2.0, 4.0
    rates[3] = 0.1, 1.0  # the first stands out too little
    ids = np.array([7, 8, 9]), np.array([9, 8])  # the rates name their own curves
    window, _ = drawn_window(
        result("spots", 3, 4, ids=ids[0], photons=photons), result("spots", 3, 4, ids=ids[1], rates=rates)
    )
    window._open("by_id/spots/photons")
    look(window)
    shown = panel(window, "by_id/spots/photons")
    shown.refresh()
    x, y = shown._ticks.getData()
    ticks = sorted(zip(x[::2].tolist(), y[::2].tolist(), (y[1::2] - y[::2]).round(2).tolist(), strict=True))
    interval_s = shown._interval_s or 1.0
    assert [(round(when / interval_s), lane, high) for when, lane, high in ticks] == [
        (4, 1.0, 0.35), (4, 2.0, 0.35), (6, 1.0, 0.09),
    ]  # fmt: skip
