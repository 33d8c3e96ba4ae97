"""What a page is sent of a run that was told with bytes."""

import io

import numpy as np
import pytest
from web_pages import OUTLINES, PIXELS, PRESENTS, by_kind, running, told, unpacked, values
from wire_bytes import GIVES, frame, hello, result, status

pytest.importorskip("PIL")
from PIL import Image

from streamfluo.viewer.traces import Trace
from streamfluo.web.columns import MAX_COLUMNS, columns_since, frames_each
from streamfluo.web.messages import packed
from streamfluo.web.run_view import RunView
from streamfluo.web.visitor import IN_FLIGHT, SLOW_S, Visitor


def drawn(visitor):
    """Say that all was drawn that was sent."""
    visitor.take(f'{{"seen": {visitor.turns}}}')


def test_a_message_is_a_header_and_arrays_that_a_page_can_lay_over_it():
    header, arrays = unpacked(
        packed("k", {"x": np.nan, "µ": np.int64(3)}, {"a": np.arange(3, dtype="<i2"), "b": b"jpeg!"})
    )
    assert (header["kind"], header["x"], header["µ"]) == ("k", None, 3)
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["b"].tobytes() == b"jpeg!"


def test_the_first_turn_has_all_there_is():
    turn = by_kind(Visitor(running()).turn(0.0))
    assert list(turn) == ["run", "health", "picture", "outlines", "curves", "turn"]
    offers = turn["run"][0]
    assert [p["name"] for p in offers["pictures"] if p["main"]] == ["frames", "mean"]
    assert [d["id"] for d in offers["details"]] == ["by_id/extract/trace", "per_frame/motion/shift_px"]
    facts, arrays = turn["picture"]
    assert (facts["index"], facts["shape"], facts["unit"]) == (9, [6, 8], "ADU")
    image = np.asarray(Image.open(io.BytesIO(arrays["jpeg"].tobytes())))
    assert image.shape == PIXELS.shape
    assert image[0, 0] < 20 < 230 < image[-1, -1]


def test_outlines_have_the_ids_of_their_traces():
    header, arrays = by_kind(Visitor(running()).turn(0.0))["outlines"]
    assert arrays["ids"].tolist() == [4, 7]
    assert arrays["counts"].tolist() == [3, 4]
    finite = OUTLINES[np.isfinite(OUTLINES).all(2)]
    assert arrays["points"] / header["per_px"] == pytest.approx(finite, abs=0.001)


def test_curves_follow_without_a_frame_twice():
    run = running()
    visitor = Visitor(run)
    header, arrays = by_kind(visitor.turn(0.0))["curves"]
    assert (header["anew"], header["first"], header["ids"]) == (True, 0, [4, 7])
    assert arrays["low"][:, 1].tolist() == list(range(10, 20))
    drawn(visitor)
    told(run, values(12, 2))
    header, arrays = by_kind(visitor.turn(0.1))["curves"]
    assert (header["anew"], header["first"]) == (False, 10)
    assert np.array_equal(arrays["low"], [[np.nan] * 2, [np.nan] * 2, [0, 10], [1, 11]], equal_nan=True)


def test_a_cell_that_is_born_brings_all_curves_anew():
    run = running()
    visitor = Visitor(run)
    visitor.turn(0.0)
    drawn(visitor)
    told(run, values(10, 1, ids=(4, 7, 9)))
    header, arrays = by_kind(visitor.turn(0.1))["curves"]
    assert (header["anew"], header["ids"], arrays["low"].shape) == (True, [4, 7, 9], (11, 3))


def test_the_page_with_a_component_is_turned_to():
    run = running()
    told(run, values(10, 1, ids=range(40)))
    visitor = Visitor(run)
    visitor.take('{"want": {"curves": 8, "component": 17}}')
    header, _ = by_kind(visitor.turn(0.0))["curves"]
    assert (header["page"], header["pages"], header["ids"]) == (2, 5, list(range(16, 24)))


def test_a_page_that_has_not_drawn_gets_nothing_and_then_the_newest_alone():
    run = running()
    visitor = Visitor(run)
    for index in range(20, 30):
        told(run, frame(index, PIXELS, step="motion"))
        sent = visitor.turn(index / 10)
        assert bool(sent) == (index < 20 + IN_FLIGHT)
    drawn(visitor)
    assert by_kind(visitor.turn(4.0))["picture"][0]["index"] == 29
    assert visitor.turn(4.0) == []


def test_through_a_slow_line_one_turn_is_on_its_way_at_a_time():
    run = running()
    visitor = Visitor(run)

    def turns(now_s):
        before = visitor.turns
        for index in range(5):
            told(run, frame(int(100 * now_s) + index, PIXELS, step="motion"))
            visitor.turn(now_s)
        return visitor.turns - before

    assert turns(1.0) == IN_FLIGHT
    visitor.take(f'{{"seen": {visitor.turns}}}', 1.0 + 2 * SLOW_S)
    assert turns(3.0) == 1
    visitor.take(f'{{"seen": {visitor.turns}}}', 3.0 + SLOW_S / 2)
    assert turns(5.0) == IN_FLIGHT


def test_pages_of_one_size_share_a_picture_and_none_is_enlarged():
    run = running()
    told(run, frame(30, np.tile(PIXELS, (50, 50)), step="motion"))
    panel = Visitor(run).picture()
    small = run.shot(panel, 200)
    assert run.shot(panel, 230) is small
    assert Image.open(io.BytesIO(small.jpeg)).size == (240, 180)
    assert Image.open(io.BytesIO(run.shot(panel, 9000).jpeg)).size == (400, 300)


def test_what_nobody_shows_is_not_asked_for_but_values_are():
    run = running()
    topics, previews = run.needs([], [])
    assert (topics, previews) == ({"values/extract/", "values/motion/"}, set())
    visitor = Visitor(run)
    topics, previews = run.needs([visitor.picture()], [panel for _, panel in visitor.details()])
    assert previews == {("motion", 1)}
    assert "snapshot/extract/contours/" in topics
    assert "snapshot/extract/mean/" not in topics


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", b"{}", '{"stop": 1}', '{"want": {"picture": 3}}', '{"want": {"steps": 1}}', '{"seen": "1"}',
     '{"want": {"side_px": 1e400}}', '{"verb": "stop", "nonce": "1"}'],
)  # fmt: skip
def test_a_page_may_say_what_it_wants_and_nothing_else(text):
    with pytest.raises(ValueError, match=r".+"):
        Visitor(running()).take(text)


@pytest.mark.parametrize(
    "want",
    ['"picture": "no/such"', '"plane": "blue/7"', '"side_px": -5', '"page": -1', '"page": 99999999', '"curves": 0',
     '"curves": 100000', '"component": -3'],
)  # fmt: skip
def test_an_odd_wish_is_answered_with_what_there_is(want):
    visitor = Visitor(running())
    visitor.take(f'{{"want": {{{want}}}}}')
    assert {"picture", "curves"} <= by_kind(visitor.turn(0.0)).keys()


def test_seen_counts_no_turn_that_was_not_sent():
    run = running()
    visitor = Visitor(run)
    visitor.take('{"seen": 1000000}')
    for index in range(20, 20 + IN_FLIGHT):
        told(run, frame(index, PIXELS, step="motion"))
        visitor.turn(0.0)
    assert visitor.behind


@pytest.mark.parametrize(
    "pixels",
    [np.full((6, 8), np.nan, "f4"), np.full((1, 3000), 7, "u1"), np.full((6, 8), 3e9, "f4"),
     np.array([[np.inf, 1], [0, 1]], "f4")],
    ids=["nan", "one line", "huge", "inf"],
)  # fmt: skip
def test_odd_frames_are_pictures_all_the_same(pixels):
    run = running()
    told(run, frame(40, pixels, step="motion"))
    shot = run.shot(Visitor(run).picture(), 640)
    assert shot.facts["shape"] == list(pixels.shape)
    assert max(Image.open(io.BytesIO(shot.jpeg)).size) <= 640


WORDS = np.array(["<b>", "x"])


@pytest.mark.parametrize(
    "message",
    [
        result("extract", 11, kind="snapshot", contours=np.full((2, 3, 2), "<b>")),
        result("extract", 11, kind="snapshot", contours=np.float64(1)),
        result("extract", 11, kind="snapshot", noise=WORDS),
        result("extract", 11, ids=WORDS, trace=[[1.0, 2.0]]),
        result("extract", 11, trace=np.float64(3)),
        result("extract", 2**40, ids=[4, 7], trace=[[1e300, np.inf]]),
        result("motion", 11, shift_px=WORDS[:1]),
    ],
    ids=[
        "contours of words",
        "contour of one number",
        "curve of words",
        "ids of words",
        "no axis",
        "far",
        "shift of words",
    ],
)
def test_what_makes_no_sense_ends_no_page(message):
    run = running()
    visitor = Visitor(run)
    told(run, message)
    assert "picture" in by_kind(visitor.turn(0.0))
    drawn(visitor)
    told(run, frame(50, PIXELS, step="motion"))
    assert "picture" in by_kind(visitor.turn(5.0))


def test_words_from_the_wire_come_as_text_and_numbers_as_numbers():
    run = running()
    steps, gives = [("<b>", "x", "source")], {"<b>": [("<script>", "snapshot", (), "", "<i>")]}
    told(run, hello(steps=steps, gives=gives, series={"series_uid": "two"}))
    told(run, result("<b>", 1, kind="snapshot", **{"<script>": float("nan")}))
    turn = by_kind(Visitor(run).turn(0.0))
    assert [p["title"] for p in turn["run"][0]["pictures"]] == ["frames"]


def test_health_is_a_line_in_words():
    run = RunView("tcp://127.0.0.1:9?ssh=anna@rig")
    assert run.fares.tell(0.0)["line"] == "nobody answers yet at tcp://127.0.0.1:9"
    told(run, hello(), status(edges={name: {"frames": 10} for name in ("ingest", "chain")}))
    for lost, second in ((0, 1.0), (3, 2.0), (3, 100.0)):
        run.model.take(_status(lost, frames=30 * second), now_s=second)
        run.look(second)
        said = run.fares.tell(second)
        expected = {
            1.0: ("green", "none lost"),
            2.0: ("red", "3 frames lost in the last minute"),
            100.0: ("amber", "3 frames lost"),
        }
        assert (said["tone"], expected[second][1] in said["line"]) == (expected[second][0], True)
    run.model.connection(False, now_s=100.0)
    assert run.fares.tell(104.0)["line"].startswith("for 4 s; what you see is old")


def test_a_step_that_failed_is_told():
    run = running()
    told(run, status(edges={"ingest": {"frames": 10}}, muted={"extract": "division by zero"}))
    said = run.fares.tell(1.0)
    assert (said["tone"], said["troubles"]) == ("red", ["the step extract failed and was taken out: division by zero"])


def test_columns_hold_the_extremes_of_their_frames_however_they_are_asked():
    trace, rng = Trace(), np.random.default_rng(4302)
    rows = rng.normal(size=(100, 2))
    for first in range(0, 100, 7):
        if first not in (42, 49):  # 42 to 55 never came
            trace.take(first, rows[first : first + 7])
    whole = columns_since(trace, 0, 5, [1, 0])
    parts = [columns_since(trace, first, 5, [1, 0]) for first in (0, 4, 13)]
    assert (whole.first, len(whole.low)) == (0, 20)
    assert all(np.array_equal(part.low, whole.low[part.first :], equal_nan=True) for part in parts)
    assert whole.high[0] == pytest.approx(rows[:5, ::-1].max(0))
    assert np.isnan(whole.low[9:11]).all()  # frames 45 to 54
    assert whole.low[8] == pytest.approx(rows[40:42, ::-1].min(0))


def test_values_are_held_for_a_window_and_hardly_where_no_page_shows_them():
    run = running()
    for first in range(0, 20_000, 500):
        told(run, values(first, 500), result("motion", first, 500, shift_px=np.zeros((500, 2))))
    traces = run.model.traces
    assert (len(traces["by_id/extract/trace"]), len(traces["per_frame/motion/shift_px"])) == (961, 961)
    gives = {"extract": [*GIVES["extract"], ("raw", "by_id", ("t", "id"), "", "not shown")]}
    told(run, hello(presents=PRESENTS, gives=gives, steps=[("extract", "extract", "source")]))
    told(run, result("extract", 30_000, 500, ids=[1], trace=np.zeros((500, 1)), raw=np.zeros((500, 1))))
    assert (len(traces["by_id/extract/trace"]), len(traces["by_id/extract/raw"])) == (500, 16)


def test_decisions_are_marked_over_the_traces_within_the_window():
    run = running()
    gives = GIVES | {"stimulus": [("fired", "per_frame", ("t",), "", "whether it decided")]}
    steps = [("motion", "motion", "source"), ("extract", "extract", "motion"), ("stimulus", "trigger", "extract")]
    told(run, hello(presents=PRESENTS, gives=gives, steps=steps), values(0, 1000))
    told(run, result("stimulus", 0, 1000, fired=np.isin(np.arange(1000), [3, 950])))
    header, _ = by_kind(Visitor(run).turn(0.0))["curves"]
    assert header["marks"] == {"stimulus": [950]}


def test_a_window_has_so_many_columns_at_most():
    assert [frames_each(interval) for interval in (1.0, 1 / 20, 1 / 500, None, 1e-9)] == [1, 1, 16, 1, 1041667]
    trace = Trace()
    trace.take(0, np.zeros(5000))
    assert len(columns_since(trace, 0, 2, [0]).low) == MAX_COLUMNS
    assert columns_since(trace, 2500, 2, [0]) is None
    assert columns_since(Trace(), 0, 2, [0]) is None


def _status(lost, frames):
    from streamfluo.core import wire

    edges = {name: {"frames": int(frames)} for name in ("ingest", "chain")}
    return wire.decode(status(edges=edges, lost=lost, lost_camera=lost))
