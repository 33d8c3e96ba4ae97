"""How docks stand at first: as the last step says whose results a run is for."""

import numpy as np
import pytest
from wire_bytes import fed, frame, hello, result

from streamfluo.calcium.summary import IMAGES
from streamfluo.core.registry import find_operator, operators
from streamfluo.viewer.words import figure, labelled, named

PRESENTS = {"extract": (["frames", "mean", "no_such"], ["trace", "spots", "shift_px", "noise"])}


def test_pictures_and_details_are_found_in_the_step_or_those_before_it():
    layout = fed(hello(presents=PRESENTS)).layout()
    assert layout.pictures == ("frames/motion/frames", "snapshot/extract/mean")
    assert layout.details == ("by_id/extract/trace", "per_frame/motion/shift_px", "snapshot/extract/noise")


def test_of_several_steps_the_last_that_says_counts():
    both = {**PRESENTS, "spots": (["frames"], ["spots"]), "motion": (["frames"], [])}
    assert fed(hello(presents=both)).layout().details == ("table/spots/spots",)


@pytest.mark.parametrize("presents", [{}, {"extract": (["no_such"], ["trace"])}, {"sofi": (["frames"], [])}])
def test_without_a_picture_there_is_no_layout(presents):
    assert fed(hello(presents=presents)).layout() is None


def test_one_large_picture_stands_beside_its_details(request):
    pytest.importorskip("PySide6")
    open_window = request.getfixturevalue("open_window")
    window, watch = open_window(
        hello(presents=PRESENTS), result("extract", 5, ids=np.array([3]), trace=np.ones((1, 1)))
    )
    shown = {name for name, dock in window.docks.items() if not dock.isHidden()}
    assert shown == {
        "frames/motion/frames", "snapshot/extract/mean", "by_id/extract/trace", "per_frame/motion/shift_px",
        "snapshot/extract/noise",
    }  # fmt: skip
    picture, traces = window.docks["frames/motion/frames"], window.docks["by_id/extract/trace"]
    assert picture.width() > traces.width()
    assert picture.height() > 0.7 * window.height()
    assert traces.height() > window.docks["per_frame/motion/shift_px"].height()
    assert "snapshot/extract/mean/" not in watch.topics, "what stands behind another picture costs nothing"


@pytest.mark.parametrize(("sides", "share"), [((512, 512), 590 / 1280), ((512, 2048), 0.66), ((900, 300), 0.42)])
def test_a_picture_gets_the_width_that_it_can_fill(request, sides, share):
    pytest.importorskip("PySide6")
    from streamfluo.viewer.arrangement import BARS_PX, _share

    window, _ = request.getfixturevalue("open_window")(
        hello(presents=PRESENTS, frames={"source": (sides, "<u2", 0.5, 0.1), "motion": (sides, "<f4", 0.5, 0.1)})
    )
    window.resize(1280, 590 + BARS_PX)
    assert _share(window, window.model, window.model.layout()) == pytest.approx(share)


@pytest.mark.parametrize("kind", operators())
def test_what_an_operator_presents_is_given_by_it_or_by_another(kind):
    presents = find_operator(kind).presents
    if presents is None:
        return
    known = {given.name for one in operators() for given in find_operator(one).gives} | {"frames", "numbers"}
    known |= {"resolution"}  # of sofi with `cross`
    known |= {"chosen"} if presents.places is not None else set()
    assert set((*presents.pictures, *presents.details)) <= known
    assert presents.pictures


@pytest.mark.parametrize("last", ["extract", "summary", "events"])
def test_summary_images_stand_behind_the_outlines_one_at_a_time(last):
    steps = [("motion", "motion", "source"), ("summary", "summary", "motion"), ("extract", "extract", "summary")]
    steps += [("events", "events", "extract")] if last == "events" else []
    steps = (
        steps if last != "summary" else [steps[0], ("extract", "extract", "motion"), ("summary", "summary", "extract")]
    )
    operators_ = {kind: find_operator(kind) for _, kind, _ in steps}
    gives = {k: [(g.name, g.kind, g.dims, g.unit, g.meaning) for g in op.gives] for k, op in operators_.items()}
    shown = {kind: op.presents for kind, op in operators_.items() if op.presents is not None}
    said = hello(
        steps=steps, gives=gives,
        presents={kind: (list(p.pictures), list(p.details)) for kind, p in shown.items()},
        drawn={kind: p.drawn() for kind, p in shown.items()},
    )  # fmt: skip
    model = fed(said)
    called, pictures = model.layout().choice
    assert called == "summary"
    assert [name.rpartition("/")[2] for name in pictures] == list(IMAGES)
    assert set(pictures) <= set(model.layout().pictures)
    over = model.overlays_over(model.panels[pictures[0]])
    assert "extract/contours" in {overlay.id for overlay in over}


def test_names_are_spelled_with_their_units():
    assert [named(n) for n in ("shift_px", "photons_bins", "exposure_s", "s")] == [
        "shift",
        "photons",
        "exposure",
        "s",
    ]
    assert labelled("area_px") == "area [px]"
    assert labelled("gain_e_per_adu") == "gain [e/ADU]"
    assert labelled("traces", "σ") == "traces [σ]"
    assert [figure(v) for v in (np.bool_(True), np.float32(0.12345), np.nan, 7, "born")] == [
        "✓",
        "0.1235",
        "–",
        "7",
        "born",
    ]


def test_the_first_picture_stands_beside_what_it_is_compared_with(request):
    pytest.importorskip("PySide6")
    from windows import PIXELS, look, panel

    open_window = request.getfixturevalue("open_window")
    presents = {"extract": (["frames", "mean"], ["trace"])}
    window, watch = open_window(hello(presents=presents, compares={"extract": "mean"}))
    image = panel(window, "frames/motion/frames")
    assert image.compared_with is window.model.panels["snapshot/extract/mean"]
    watch.hand(frame(3, PIXELS, step="motion"), result("extract", 3, kind="snapshot", mean=np.full((12, 16), 900.0)))
    look(window)
    assert image.canvas.divider.isVisible()
    assert panel(window, "frames/source").compared_with is None


@pytest.mark.parametrize("compares", [{"extract": "no_such"}, {"motion": "mean"}, {}])
def test_what_is_not_there_is_compared_with_nothing(request, compares):
    pytest.importorskip("PySide6")
    from windows import panel

    open_window = request.getfixturevalue("open_window")
    window, _ = open_window(hello(presents={"extract": (["frames"], ["trace"])}, compares=compares))
    assert panel(window, "frames/motion/frames").compared_with is None
