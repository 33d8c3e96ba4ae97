"""Values of before a viewer came: they stand before those that are here, and what makes no sense changes nothing."""

import numpy as np
import pytest
from wire_bytes import GIVES, fed, hello, result

from streamfluo.core import wire
from streamfluo.viewer.tables import MAX_ROWS, Rows
from streamfluo.viewer.trace_heat import PLACE, in_order
from streamfluo.viewer.traces import Marks, Trace


def rows_of(trace):
    indices, rows = trace.since()
    return dict(zip(indices.tolist(), rows.tolist(), strict=True))


def test_values_of_before_stand_before_those_that_are_here():
    trace = Trace()
    trace.take(100, np.arange(100.0, 110), None)
    for index in (90, 75, 20):
        assert trace.take_earlier(index, np.arange(index, index + 15.0))
    trace.take(110, np.array([110.0]))
    assert rows_of(trace) == {n: [n] for n in [*range(20, 35), *range(75, 111)]}


def test_those_that_are_here_stay_and_a_hole_is_filled():
    trace = Trace()
    trace.take(0, np.zeros(10))
    trace.take(30, np.zeros(10))
    assert trace.take_earlier(5, np.ones(30))
    assert rows_of(trace) == {n: [float(10 <= n < 30)] for n in range(40)}
    assert not trace.take_earlier(5, np.ones(30)), "all of it is here"


def test_of_components_of_before_each_has_its_column():
    trace = Trace()
    trace.take(2, np.array([[1.0, 2.0]]), [7, 9])
    assert trace.take_earlier(0, np.array([[3.0, 4.0], [5.0, 6.0]]), [9, 4])
    assert trace.ids == [7, 9, 4]
    assert trace.newest_ids == [7, 9]
    assert np.array_equal(trace.since()[1], [[np.nan, 3, 4], [np.nan, 5, 6], [1, 2, np.nan]], equal_nan=True)


def test_a_full_trace_takes_no_more_of_before_and_of_a_hole_what_is_newer():
    trace = Trace(capacity=20)
    trace.take(0, np.arange(5.0))
    trace.take(30, np.arange(30.0, 45))
    assert trace.is_full
    assert not trace.take_earlier(-8, np.zeros(8))
    assert trace.take_earlier(5, np.arange(5.0, 30))
    assert rows_of(trace) == {n: [n] for n in range(25, 45)}


def test_values_that_were_on_their_way_begin_no_new_series():
    trace, marks = Trace(), Marks()
    trace.take_earlier(0, np.arange(20.0))
    trace.take(15, np.arange(15.0, 25))
    trace.take(3, np.arange(3.0, 9))
    marks.take_earlier([4, 9, 15])
    marks.take([9, 15, 22])
    assert marks.since(0).tolist() == [4, 9, 15, 22]
    assert rows_of(trace) == {n: [n] for n in range(3, 9)}, "what goes back behind what is new does"
    trace.clear()
    trace.take_earlier(0, np.arange(20.0))
    trace.take(15, np.arange(15.0, 25))
    assert rows_of(trace) == {n: [n] for n in range(25)}


def past(step, index, count, before, **arrays):
    header, *parts = result(step, index, count, **arrays)[1:]
    message = wire.decode(header)
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return [b"", wire.encode(wire.Result(**{**fields, "before": before})), *parts]


def test_values_of_before_do_not_move_the_newest_frame():
    model = fed(hello(), past("extract", 90, 2, 99, ids=[7], trace=[[1.0], [2.0]]))
    assert rows_of(model.traces["by_id/extract/trace"]) == {90: [1.0], 91: [2.0]}
    assert model.timeline.stop == 0
    assert model.past[-1].index == 90


@pytest.mark.parametrize(
    "answer",
    [
        past("extract", 90, 2, 99, ids=[7, 8], trace=[[1.0], [2.0]]),
        past("extract", 90, 3, 99, ids=[7], trace=[[1.0], [2.0]]),
        past("extract", 90, 2, 99, ids=[0.5], trace=[[1.0], [2.0]]),
        past("extract", 90, 2, 99, ids=[7], trace=np.zeros((2, 1, 3))),
        past("extract", 90, 2, 99, ids=[7], trace=[["a"], ["b"]]),
        past("extract", 90, 2, 99, trace=[[1.0], [2.0]]),
        past("extract", 2**63, 2, 99, ids=[7], trace=[[1.0], [2.0]]),
        past("extract", -9, 2, 99, ids=[7], trace=[[1.0], [2.0]]),
        past("nobody", 9, 2, 99, ids=[7], trace=[[1.0], [2.0]]),
        past("motion", 9, 2, 99, shift_px=np.zeros((2, 3, 2))),
    ],
)
def test_values_of_before_that_make_no_sense_change_nothing(answer):
    model = fed(hello(), answer)
    assert not any(len(trace) for trace in model.traces.values())


def test_an_index_that_no_frame_can_have_is_refused():
    model = fed(hello(), result("motion", 2**64 - 1, 1, shift_px=np.array([[4, 5]], "f4")))
    assert model.refused["index"] == 1


def test_centres_of_components_are_where_their_outlines_are():
    square = [[1.0, 2], [1, 4], [3, 4], [3, 2], [np.nan, np.nan]]
    contours = np.array([square, np.array(square) + 10, np.full((5, 2), np.nan)])
    model = fed(
        hello(),
        result("extract", 0, ids=[7, 9, 4], trace=[[1.0, 2.0, 3.0]]),
        result("extract", 0, kind="snapshot", contours=contours[[2, 0, 1]]),
    )
    assert model.centres("extract") == {7: (2.0, 3.0), 9: (12.0, 13.0)}, "outlines stand in the order of ids"
    assert fed(result("extract", 0, kind="snapshot", contours=np.zeros((3, 2))), model=model).centres("extract") == {}


def test_by_place_neighbours_stand_close_together():
    y, x = (n.ravel() for n in np.mgrid[:8, :8])
    shuffled = np.random.default_rng(7621).permutation(64)
    order = in_order(np.zeros((3, 66)), PLACE, range(66), {n: (y[s], x[s]) for n, s in enumerate(shuffled)})
    walked = np.stack([y[shuffled], x[shuffled]], 1)[order[:64]]
    assert np.abs(np.diff(walked, axis=0)).sum(1).max() == 1, "one step from each to the next"
    assert order[64:] == [64, 65], "those of no place are on top"
    assert in_order(np.zeros((3, 2)), PLACE, [1, 2], {}) == [0, 1]
    assert in_order(np.zeros((3, 2)), PLACE, [1, 2], {1: (3.0, 3.0), 2: (3.0, 3.0)}) == [0, 1]


def test_outlines_belong_to_the_components_that_are_there_now():
    gives = {"extract": [*GIVES["extract"], ("present", "by_id", ("t", "id"), "", "whether it was accepted")]}
    model = fed(
        hello(gives=gives),
        result("extract", 0, 2, ids=[7, 9, 4], trace=np.ones((2, 3)), present=[[True] * 3, [True, False, True]]),
    )
    assert model.ids_of("extract") == [4, 7], "of a session, whose values have a column for everyone"


def test_marks_are_here_from_the_newest_hole_on():
    marks = Marks()
    for index, count, covered in ((50, 10, (50, 60)), (60, 5, (50, 65)), (40, 10, (40, 65)), (70, 5, (70, 75))):
        marks.cover(index, count)
        assert marks.covered == covered


def table(first, stop):
    at = np.arange(first, stop)
    return {"frame": at // 3, "snr": np.where(at % 5, at, np.nan), "name": at.astype(str)}


@pytest.mark.parametrize(
    ("earlier", "here"), [((0, 8), (8, 12)), ((0, 10), (6, 12)), ((0, 12), (3, 12)), ((9, 9), (2, 5))]
)
def test_rows_of_before_come_in_front_and_those_that_are_here_once(earlier, here):
    rows = Rows()
    rows.take(table(*here))
    assert rows.take_earlier(table(*earlier))
    first = min(earlier[0], here[0])
    assert rows.columns["name"].tolist() == [str(n) for n in range(first, here[1])]
    assert rows.total == here[1] - first


def test_rows_of_before_that_do_not_fit_change_nothing():
    rows = Rows()
    assert not rows.take_earlier({})
    assert rows.take_earlier(table(0, 3))
    for wrong in (
        {"frame": np.arange(3)},
        {**table(0, 3), "snr": np.zeros(2)},
        {**table(0, 3), "snr": np.zeros((3, 2))},
    ):
        assert not rows.take_earlier(wrong)
    assert len(rows) == 3
    rows.take_earlier({name: np.tile(column, 2000) for name, column in table(-5, 0).items()})
    assert len(rows) == MAX_ROWS
    assert rows.columns["name"][-1] == "2"


ORDERS = {"extract": [*GIVES["extract"], ("change", "snapshot", ("order",), "", "how much it changes")]}


def over_time():
    model = fed(hello(gives=ORDERS, drawn={"extract": {"over_time": ["change"]}}))
    return fed(result("extract", 50, kind="snapshot", change=[1.0, 2.0]), model=model)


def past_looks(frames, values, name="change"):
    header, *parts = result("extract", 9, len(frames), kind="snapshot", frames=frames, **{name: values})[1:]
    message = wire.decode(header)
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return [b"", wire.encode(wire.Result(**{**fields, "before": 99})), *parts]


def test_looks_of_before_stand_before_those_of_this_window():
    model = fed(past_looks([10, 30, 50], [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), model=over_time())
    fed(result("extract", 60, kind="snapshot", change=[9.0, 9.0]), model=model)
    assert rows_of(model.traces["snapshot/extract/change"]) == {10: [3, 4], 30: [5, 6], 50: [1, 2], 60: [9, 9]}


@pytest.mark.parametrize(
    "answer",
    [
        past_looks([10, 30], [[3.0, 4.0]]),
        past_looks([-10], [[3.0, 4.0]]),
        past_looks([2**62], [[3.0, 4.0]]),
        past_looks([10.0], [[3.0, 4.0]]),
        past_looks([10], [[3.0, 4.0, 5.0]]),
        past_looks([10], [["a", "b"]]),
        past_looks([10], [3.0]),
        past_looks([], np.zeros((0, 2))),
        past_looks([10], [[3.0, 4.0]], "mean"),
    ],
)
def test_looks_that_make_no_sense_change_nothing(answer):
    model = fed(answer, model=over_time())
    assert rows_of(model.traces["snapshot/extract/change"]) == {50: [1, 2]}
