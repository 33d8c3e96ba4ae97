"""What a page is sent of what operators say: places by value, an order to choose, ticks, gauges, courses, bars."""

import numpy as np
import pytest
from declared_steps import DRAWN, GIVES, declares, snapshot
from web_pages import PIXELS, by_kind, told
from wire_bytes import frame, hello, result, status

from streamfluo.web.run_view import RunView
from streamfluo.web.visitor import Visitor

TABLE = {"spots__frame": [9, 9, 9], "spots__spot": [0, 1, 2], "spots__y_px": [1.0, 2, 3], "spots__x_px": [4.0, 5, 6]}


def declared(*details):
    """A run whose last step says how its results are drawn, with a frame, three spots and what is known of them."""
    known = snapshot(9, number=[3.0, 1.0, np.nan], flat=[0, 1, 0], posterior=[[0.1, 0.7, 0.2]] * 3)
    pieces = [declares(*details), status(), frame(9, PIXELS), result("spots", 9, **TABLE), known]
    return told(RunView("tcp://127.0.0.1:9"), *pieces, snapshot(9, fine=np.ones((11, 15))))


def sent(run, want="{}", **more):
    visitor = Visitor(run)
    visitor.take(f'{{"want": {want}}}')
    return by_kind(visitor.turn(0.0))


def test_spots_have_their_values_and_doubts_and_no_second_circle():
    facts, arrays = sent(declared())["picture"]
    assert facts["known"] == {"value": "number", "most": 3.0}
    known = [[1, 4, 3, 0], [2, 5, 1, 1], [3, 6, np.nan, 0]]
    assert np.array_equal(arrays["places"], known, equal_nan=True)
    assert "spots" not in arrays


def test_before_anything_is_known_spots_are_circles():
    greeting = hello(steps=[("spots", "theirs", "source")], gives=GIVES, drawn={"theirs": DRAWN})
    run = told(RunView("tcp://127.0.0.1:9"), greeting, status(), frame(9, PIXELS), result("spots", 9, **TABLE))
    facts, arrays = sent(run)["picture"]
    assert "known" not in facts
    assert arrays["spots"][:, :2].tolist() == [[1, 4], [2, 5], [3, 6]]


def test_a_fine_picture_comes_with_where_it_begins_and_its_colours():
    turn = sent(declared())
    assert (turn["picture"][0]["bin_px"], turn["picture"][0]["edge_px"]) == (0.5, -0.25)
    colours = {told["name"]: told["colours"] for told in turn["run"][0]["pictures"]}
    assert (colours["fine"], colours["k2"]) == ("inferno", "")


def test_an_order_is_chosen_by_a_slider():
    run = declared()
    told(run, snapshot(9, k3=np.full((6, 8), 7.0)))
    choice = sent(run)["run"][0]["choice"]
    assert (choice["called"], choice["names"]) == ("order", ["k2", "k3"])
    facts, _ = sent(run, f'{{"picture": "{choice["pictures"][1]}"}}')["picture"]
    assert facts["picture"] == "snapshot/count/k3"
    topics, _ = run.needs([run.model.panels["snapshot/count/k3"]], [])
    assert "snapshot/count/k3/" in topics
    assert "snapshot/count/k2/" not in topics


def test_a_gauge_has_its_limits():
    run = declared("share")
    assert "gauge" not in sent(run)
    told(run, snapshot(9, share=0.2))
    header, _ = sent(run)["gauge"]
    assert (header["value"], header["look"], header["much"]) == (0.2, 0.1, 0.25)


def test_a_course_has_every_look_and_a_name_for_each_curve():
    run = declared("resolution")
    for index, values in ((9, [200.0, 160]), (19, [190.0, 150]), (29, [np.nan, 140])):
        told(run, snapshot(index, resolution=values))
    header, arrays = sent(run)["courses"]
    assert header["names"] == ["order 2", "order 3"]
    assert arrays["x"].tolist() == [9, 19, 29]
    assert np.array_equal(arrays["y"], [[200, 160], [190, 150], [np.nan, 140]], equal_nan=True)


def test_a_histogram_stands_over_its_bins():
    run = declared("width_histogram")
    told(run, snapshot(9, width_bins=[100.0, 110, 120], width_histogram=[1.0, 5, 2]))
    header, arrays = sent(run)["points"]
    assert header["across"] == "width [nm]"
    assert (arrays["x"].tolist(), arrays["y"].tolist()) == ([100, 110, 120], [1, 5, 2])


def test_counts_and_the_chosen_spot_are_bars():
    header, arrays = sent(declared("number"))["bars"]
    assert (arrays["y"].tolist(), arrays["doubtful"].tolist()) == ([0, 0, 0, 1, 0], [0, 1, 0, 0, 0])
    assert header["told"] == "3 spots, 1 doubtful"
    header, arrays = sent(declared("chosen"), '{"component": 1}')["bars"]
    assert arrays["y"] == pytest.approx([0.1, 0.7, 0.2])
    assert (header["begins"], header["marked"]) == (1, 1.0)
    assert header["told"] == "spot 1 of 3, number 1, doubtful or not determined"


def test_the_chosen_spot_comes_with_its_trace_and_what_was_fitted_to_it():
    run = declared("chosen")
    assert "trace" not in sent(run, '{"component": 1}')["bars"][1]
    photons, fitted = np.arange(20.0).reshape(10, 2), np.ones((10, 2))
    told(run, result("spots", 0, 10, ids=[0, 1], photons=photons, rates=fitted))
    header, arrays = sent(run, '{"component": 1}')["bars"]
    assert header["along"] == "photons"
    assert (arrays["trace_x"].tolist(), arrays["trace"].tolist()) == (list(range(10)), photons[:, 1].tolist())
    assert arrays["fitted"].tolist() == [1] * 10
    told(run, result("spots", 10, 600, ids=[0, 1], photons=np.ones((600, 2)), rates=np.ones((600, 2))))
    assert len(sent(run, '{"component": 1}')["bars"][1]["trace"]) == 401
    assert "trace" not in sent(run, '{"component": 2}')["bars"][1], "nothing is told of it"


def test_ticks_stand_beneath_their_own_curves_and_come_once():
    run = declared("photons")
    rows = {"photons": np.ones((10, 2)), "rates": np.zeros((10, 2))}
    rows["rates"][3, 1], rows["rates"][7, 0], rows["rates"][8, 0] = 5.0, 2.0, np.nan
    told(run, result("spots", 0, 10, ids=[4, 7], **rows))
    visitor = Visitor(run)
    header, arrays = by_kind(visitor.turn(0.0))["curves"]
    assert header["ids"] == [4, 7]
    assert arrays["ticks"].tolist() == [[1, 3, 5], [0, 7, 2]]
    visitor.take(f'{{"seen": {visitor.turns}}}')
    later = {"photons": np.ones((2, 2)), "rates": np.array([[0, 0], [0, 9.0]])}
    told(run, result("spots", 10, 2, ids=[4, 7], **later))
    _, arrays = by_kind(visitor.turn(1.0))["curves"]
    assert arrays["ticks"].tolist() == [[1, 11, 9]]


@pytest.mark.parametrize(
    "hostile",
    [
        {"posterior": np.array(["a", "b", "c"])}, {"posterior": np.zeros(3)}, {"number": np.array(["a"] * 3)},
        {"number": np.full(3, np.inf)}, {"number": np.full(3, 1e300)}, {"number": np.full(3, -5.0)},
        {"share": np.nan}, {"resolution": np.zeros(0)}, {"width_bins": np.zeros(2), "width_histogram": np.zeros(3)},
    ],
)  # fmt: skip
def test_what_makes_no_sense_stops_no_page(hostile):
    run = declared("chosen", "number", "share", "resolution", "width_histogram")
    told(run, snapshot(19, **hostile))
    assert "turn" in sent(run)
