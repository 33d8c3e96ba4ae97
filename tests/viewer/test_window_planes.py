"""The window on a stream of planes, offscreen: one choice for all docks, modes, what is asked for and drawn."""

import numpy as np
import pytest
import tifffile
from plane_bytes import hello_of_planes, plane_frame, with_volume
from wire_bytes import HELLO, SHAPE, frame, result

pytest.importorskip("PySide6")
import pyqtgraph as pg
from PySide6.QtCore import QSettings
from PySide6.QtGui import QImage
from windows import PIXELS, look, panel

from streamfluo.core import wire
from streamfluo.viewer.arrangement import OWN
from streamfluo.viewer.image_keys import act_on_image
from streamfluo.viewer.image_menu import set_gamma
from streamfluo.viewer.saving import save_data
from streamfluo.viewer.theme import COLOUR_MAPS

ALL = ("red/0", "green/0", "red/1", "green/1")


def sources(watch):
    return {step for step, _ in watch.previews if step.endswith("/source")}


def frames_of(index=5, planes=ALL):
    return [plane_frame(p, index, PIXELS + 10 * ALL.index(p)) for p in planes]


@pytest.fixture
def planes_window(open_window):
    window, watch = open_window(hello_of_planes(), *frames_of())
    return window, watch, panel(window, "frames/source")


def test_there_is_a_dock_for_each_thing_not_for_each_plane(planes_window):
    window, _, _ = planes_window
    assert set(window.docks) == {*window.model.panels, *OWN}
    assert len(window.docks) == 12
    assert window._choice.isVisible()
    window.docks["per_frame/motion/shift_px"].show()
    assert window.docks["per_frame/motion/shift_px"].windowTitle() == "motion: shift (red · 0 µm)"


def test_a_stream_of_one_plane_has_no_choice(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    assert not window._choice.isVisible()
    assert not image._modes.isVisible()
    assert image.canvas.labels == []
    before = image._colours.currentText()
    act_on_image(window, "C")
    assert image._colours.currentText() != before
    window.step_z(1)
    act_on_image(window, "M")
    assert image.mode == "one"


def test_the_choice_changes_what_is_asked_for_and_shown(planes_window):
    window, watch, image = planes_window
    panel(window, "snapshot/extract/mean")
    assert sources(watch) == {"red/0/source"}
    assert "snapshot/green/0/extract/mean/" in watch.topics
    act_on_image(window, "C")
    window.step_z(1)
    look(window)
    assert sources(watch) == {"green/1/source"}
    assert "snapshot/green/1/extract/mean/" in watch.topics
    assert not any("/0/" in topic for topic in watch.topics)
    assert np.array_equal(image.image, PIXELS + 30)
    assert [label.lines[0][0] for label in image.canvas.labels] == ["green · 12 µm"]


def test_the_bar_chooses_and_follows(planes_window):
    window, _, _ = planes_window
    bar = window._plane_bar
    bar._slices.setValue(1)
    bar._channels.activated.emit(1)
    assert window.model.planes.chosen == "green/1"
    window.step_z(-1)
    look(window)
    assert (bar._slices.value(), bar._depth.text(), bar._channels.currentText()) == (0, "1 of 2 · 0 µm", "green")


def test_a_grid_draws_every_plane_at_its_place_and_a_click_chooses_one(planes_window):
    window, watch, image = planes_window
    image.set_mode("grid")
    look(window)
    assert sources(watch) == {f"{p}/source" for p in ALL}
    painted = image.canvas._painted.image
    assert painted.shape == (2 * SHAPE[0] + 1, 2 * SHAPE[1] + 1, 4)
    assert not painted[SHAPE[0], :, 3].any()
    assert painted[: SHAPE[0], : SHAPE[1], 3].all()
    image.pick(SHAPE[0] + 3, 2)
    assert window.model.planes.chosen == "green/0"
    look(window)
    (framed,) = (label for label in image.canvas.labels if label.chosen)
    assert framed.lines[0][0] == "green · 0 µm"


def test_a_composite_is_seen_in_the_colours_of_its_channels(planes_window):
    window, watch, image = planes_window
    image.set_mode("composite")
    watch.hand(*frames_of(6))
    look(window)
    assert sources(watch) == {"red/0/source", "green/0/source"}
    drawn = image.canvas.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    dark, bright = (
        drawn.pixelColor(image.canvas.mapFromScene(image.canvas.over.mapToScene(*xy))) for xy in ((0, 3), (7, 5))
    )
    assert (bright.red(), bright.green(), bright.blue()) == (255, 255, 255), "told apart by everyone"
    assert dark.red() == dark.blue()
    assert image.canvas._painted.image.shape == (*SHAPE, 3)
    image.use_safe_colours(False)
    look(window)
    assert image.canvas._painted.image[5, 7].tolist() == [255, 255, 0]


def test_channels_have_levels_of_their_own(planes_window):
    window, watch, image = planes_window
    image.set_mode("composite")
    watch.hand(plane_frame("red/0", 6, PIXELS), plane_frame("green/0", 6, PIXELS * 5))
    look(window)
    image._drag_levels(10, 20)
    pictures = window.model.pictures
    assert pictures["frames/red/0/source"].levels == pictures["frames/red/1/source"].levels == (10, 20)
    assert pictures["frames/green/0/source"].levels != (10, 20)
    assert pictures["frames/green/0/source"].locked
    image.lock_levels(False)
    look(window)
    assert pictures["frames/red/0/source"].levels[1] > 1000


def test_keys_change_the_mode_in_turn(planes_window):
    window, _, image = planes_window
    window._activate(image)
    modes = []
    for _ in range(3):
        act_on_image(window, "M")
        look(window)
        modes.append((image.mode, image._modes.currentText()))
    assert modes == [("grid", "side by side"), ("composite", "composite"), ("one", "one plane")]


def test_contours_of_green_are_drawn_over_red_and_in_each_place_of_a_grid(planes_window):
    window, watch, _ = planes_window
    corrected = panel(window, "frames/motion/frames")
    square = np.array([[[1, 1], [1, 3], [3, 3]]])
    watch.hand(
        result("green/0/extract", 5, kind="snapshot", contours=square),
        plane_frame("red/0", 5, PIXELS / np.float32(1), "motion"),
        plane_frame("green/0", 5, PIXELS / np.float32(1), "apply"),
    )
    look(window)
    assert window.model.planes.chosen == "red/0"
    assert set(corrected.overlays.items) == {"green/0/extract/contours"}
    assert "snapshot/green/0/extract/contours/" in watch.topics
    assert corrected.overlays.items["green/0/extract/contours"]._lines[0].getData()[1][:3].tolist() == [1, 1, 3]
    corrected.set_mode("grid")
    look(window)
    places = {name: (item.pos().y(), item.pos().x()) for name, item in corrected.overlays.items.items()}
    assert places == {
        "red/0: green/0/extract/contours": (0, 0),
        "green/0: green/0/extract/contours": (SHAPE[0] + 1, 0),
    }
    corrected.overlays.toggle("extract/contours", False)
    look(window)
    assert corrected.overlays.items == {}


def test_traces_tables_and_numbers_turn_to_the_slice(planes_window):
    window, watch, _ = planes_window
    trace, table = panel(window, "by_id/extract/trace"), panel(window, "table/extract/cells")
    numbers, curve = panel(window, "numbers/extract"), panel(window, "snapshot/extract/noise")
    for z in (0, 1):
        watch.hand(
            result(f"green/{z}/extract", 0, 2, ids=[3, 5], trace=np.full((2, 2), z)),
            result(f"green/{z}/extract", 1, 1, cells__frame=[1], cells__area_px=[float(z)]),
            result(f"green/{z}/extract", 1, kind="snapshot", neurons=z),
            result(f"green/{z}/extract", 1, kind="snapshot", noise=np.full(4, z)),
        )
    window.step_z(1)
    look(window)
    for shown in (trace, table):
        shown.redraw()
    for name, shown in (
        ("by_id/extract/trace", trace), ("table/extract/cells", table), ("numbers/extract", numbers),
        ("snapshot/extract/noise", curve),
    ):  # fmt: skip
        panel(window, name)
        shown.refresh()
    assert trace._trace is window.model.traces["by_id/green/1/extract/trace"]
    assert table._table.item(0, 1).text() == "1"
    assert numbers._table.item(0, 1).text() == "1"
    assert curve._curve.getData()[1].tolist() == [1] * 4


def test_what_a_slice_does_not_have_is_not_shown(open_window):
    window, watch = open_window(hello_of_planes(extracted=[1]), *frames_of())
    mean, curve = panel(window, "snapshot/extract/mean"), panel(window, "snapshot/extract/noise")
    assert mean._facts.text() == "not in slice 1 of 2 · 0 µm"
    assert not curve.isVisible()
    assert "not in this slice" in window.docks["snapshot/extract/noise"].windowTitle()
    window.step_z(1)
    watch.hand(result("green/1/extract", 9, kind="snapshot", mean=PIXELS))
    look(window)
    assert "snapshot/green/1/extract/noise/" in watch.topics
    assert curve.isVisibleTo(window)
    assert np.array_equal(panel(window, "snapshot/extract/mean").image, PIXELS)


def test_a_click_on_a_cell_over_red_points_out_its_trace_in_green(planes_window):
    window, watch, _ = planes_window
    traces, image = panel(window, "by_id/extract/trace"), panel(window, "frames/motion/frames")
    square = np.array([[[0, 0], [0, 3], [3, 3], [3, 0]]])
    watch.hand(
        result("green/0/extract", 5, kind="snapshot", contours=square),
        result("green/0/extract", 5, ids=np.array([8]), trace=np.ones((1, 1))),
        plane_frame("red/0", 5, PIXELS / np.float32(1), "motion"),
    )
    look(window)
    image.pick(2.0, 2.0)
    assert traces.pointed == 8


def test_outlines_of_cells_hide_those_of_their_sections_until_somebody_wants_them(open_window):
    window, watch = open_window(with_volume(hello_of_planes()))
    square = np.array([[[0, 0], [0, 3], [3, 3], [3, 0]]], float)
    watch.hand(
        result("green/1/extract", 5, kind="snapshot", contours=square),
        result("green/0/volume", 5, kind="snapshot", contours=np.stack([np.full_like(square, np.nan), square])),
        result("green/0/volume", 5, ids=np.array([4]), traces=np.ones((1, 1))),
        plane_frame("green/1", 5, PIXELS / np.float32(1), "apply"),
    )
    window.model.planes.choose_plane("green/1")
    look(window)
    image = panel(window, "frames/motion/frames")
    overlays = image.overlays
    assert overlays.shown["volume/contours"]
    assert not overlays.shown["extract/contours"]
    assert "green/0/volume/contours/1" in overlays.items
    image.pick(2.0, 2.0)
    assert window.model.pointed == {"green/0/volume": [4]}
    overlays.toggle("extract/contours", True)
    look(window)
    assert {"green/1/extract/contours", "green/0/volume/contours/1"} <= overlays.items.keys()


def test_while_the_display_is_held_the_choice_waits(planes_window):
    window, _, image = planes_window
    window.set_paused(True)
    window.step_z(1)
    look(window)
    assert np.array_equal(image.image, PIXELS)
    window.set_paused(False)
    look(window)
    assert np.array_equal(image.image, PIXELS + 20)


def test_the_mean_forgets_planes_that_are_not_shown(planes_window):
    window, watch, image = planes_window
    image._average.setValue(3)
    look(window)
    watch.hand(plane_frame("red/0", 6, PIXELS + 2))
    look(window)
    assert np.array_equal(image.image, PIXELS + 1)
    window.step_z(1)
    look(window)
    assert window.model.pictures["frames/red/0/source"].averaged == 1
    watch.hand(plane_frame("red/0", 7, PIXELS + 8))
    window.step_z(-1)
    look(window)
    assert np.array_equal(image.image, PIXELS + 8)


def test_all_planes_shown_are_saved(planes_window, tmp_path):
    _, _, image = planes_window
    image.set_mode("grid")
    image.refresh()
    save_data(image, tmp_path / "a.tif")
    order = ("red/0", "red/1", "green/0", "green/1")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), [PIXELS + 10 * ALL.index(p) for p in order])


def test_docks_share_what_a_program_sends(open_window):
    window, watch = open_window(hello_of_planes(slices=6))
    for name in ("frames/source", "frames/motion/frames"):
        panel(window, name).set_mode("grid")
    look(window, 5)
    assert len(watch.previews) <= 14
    window.docks["frames/motion/frames"].hide()
    look(window)
    assert len(watch.previews) == 12


def test_modes_are_kept_with_the_arrangement(open_window, tmp_path):
    def settings():
        return QSettings(str(tmp_path / "viewer.ini"), QSettings.Format.IniFormat)

    window, watch = open_window(settings=settings())
    watch.hand(hello_of_planes())
    look(window)
    panel(window, "frames/source").set_mode("composite")
    window.docks["frames/motion/frames"].hide()
    window.close()
    again, watch = open_window(settings=settings())
    watch.hand(hello_of_planes())
    look(again)
    assert panel(again, "frames/source").mode == "composite"
    assert again.docks["frames/motion/frames"].isHidden()
    assert again._choice.isVisible()


def test_a_stream_of_planes_after_one_of_one_plane_and_back(open_window):
    window, watch = open_window(frame(3, PIXELS))
    watch.hand(hello_of_planes(), *frames_of())
    look(window)
    assert window._choice.isVisible()
    watch.hand(wire.encode(HELLO), frame(4, PIXELS))
    look(window)
    assert not window._choice.isVisible()
    assert np.array_equal(panel(window, "frames/source").image, PIXELS)


def test_a_key_brightens_what_is_dim_in_the_chosen_channel_and_it_is_said(planes_window):
    window, _, image = planes_window
    image.set_mode("composite")
    look(window)
    before = image.canvas._painted.image.copy()
    window._active = image
    act_on_image(window, "G")
    look(window)
    channel = window.model.planes.split(image._tiles[0].panel.step)[0].partition("/")[0]
    assert image.scale.gamma == 0.7
    assert f"γ 0.7 {channel}" in image._facts.text()
    assert not np.array_equal(image.canvas._painted.image, before)
    assert [t.picture.scale.gamma for t in image._tiles[1:]] == [1.0] * (len(image._tiles) - 1), "its own alone"
    set_gamma(image, 1.0)
    look(window)
    assert np.array_equal(image.canvas._painted.image, before)
    assert "γ" not in image._facts.text()


def test_one_plane_is_drawn_through_colours_of_its_gamma(planes_window):
    window, _, image = planes_window
    image.set_mode("one")
    image._colours.setCurrentText("inferno")
    straight = pg.colormap.get(COLOUR_MAPS["inferno"]).getLookupTable(nPts=256, alpha=False).astype(int)
    set_gamma(image, 0.5)
    look(window)
    at = np.rint(255 * (np.arange(256) / 255) ** 0.5).astype(int)
    assert np.abs(image.canvas.colour_table - straight[at]).max() <= 4, "between two colours of the map"
    assert np.abs(image.canvas.colour_table - straight).max() > 50
    set_gamma(image, 1.0)
    look(window)
    assert np.array_equal(image.canvas.colour_table, straight)
