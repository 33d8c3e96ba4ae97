"""The window's pictures, offscreen: turned, held, levelled, read, drawn on, saved."""

import tomllib
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import tifffile
from wire_bytes import GIVES, HELLO, SHAPE, frame, hello, result

pytest.importorskip("PySide6")
from PySide6.QtCore import QPointF, QSettings, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QMenu
from windows import PIXELS, look, panel, text_of

from streamfluo.pixels.region_masks import region_masks
from streamfluo.viewer import theme
from streamfluo.viewer.image_keys import act_on_image
from streamfluo.viewer.image_menu import fill_menu
from streamfluo.viewer.main import _scale_kept_letters
from streamfluo.viewer.overlay_items import VECTOR_ZOOM, contour_at, contour_lines, spot_lines, vector_lines
from streamfluo.viewer.saving import save_data, save_picture
from streamfluo.viewer.theme import LETTERS_PT, scale_letters


def test_large_frames_are_asked_for_binned_unless_told_otherwise(open_window):
    window, watch = open_window(hello(frames={"source": ((2048, 1500), "<u2", None, 0.01)}))
    assert ("source", 2) in watch.previews
    panel(window, "frames/source").set_binning(4)
    look(window)
    assert ("source", 4) in watch.previews


def test_the_picture_on_screen_is_the_frame(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    assert np.array_equal(image.image, PIXELS)
    assert image.canvas.image.image.shape == SHAPE
    drawn = image.canvas.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    dark, bright = (image.canvas.mapFromScene(image.canvas.over.mapToScene(*xy)) for xy in ((0, 0), (7, 5)))
    assert drawn.pixelColor(dark).lightness() < 30
    assert drawn.pixelColor(bright).lightness() > 225


@pytest.mark.parametrize(
    ("does", "corner"),
    [
        (lambda c: None, "top left"),
        (lambda c: c.rotate(), "top right"),
        (lambda c: (c.rotate(), c.rotate()), "bottom right"),
        (lambda c: c.flip(1), "top right"),
        (lambda c: c.flip(0), "bottom left"),
        (lambda c: (c.rotate(), c.flip(1)), "top left"),
        (lambda c: (c.rotate(), c.flip(0)), "bottom right"),
    ],
)
def test_turns_and_flips_are_as_seen(open_window, does, corner):
    window, _ = open_window(frame(3, PIXELS))
    canvas = panel(window, "frames/source").canvas
    does(canvas)
    first, last = (canvas.over.mapToScene(*xy) for xy in ((0, 0), (7, 5)))
    where = f"{'top' if first.y() < last.y() else 'bottom'} {'left' if first.x() < last.x() else 'right'}"
    assert where == corner


def test_pausing_holds_the_picture_while_frames_go_on(open_window):
    window, watch = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    window.set_paused(True)
    watch.hand(frame(4, PIXELS + 1))
    look(window)
    assert image.shown_index == 3
    assert window.model.pictures["frames/source"].index == 4
    assert "paused, the acquisition goes on" in text_of(window)
    window.set_paused(False)
    look(window)
    assert image.shown_index == 4


def test_levels_can_be_locked_and_follow_again(open_window):
    window, watch = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    before = window.model.pictures["frames/source"].levels
    image.lock_levels(True)
    watch.hand(frame(4, PIXELS * 10))
    look(window)
    assert window.model.pictures["frames/source"].levels == before
    image.lock_levels(False)
    look(window)
    assert window.model.pictures["frames/source"].levels[1] > 5 * before[1]


def test_dragging_the_histogram_locks_the_levels(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    image._bar.levels.setChecked(True)
    look(window)
    levels = image.canvas._levels
    assert levels.region.getRegion() == pytest.approx(window.model.pictures["frames/source"].levels)
    levels.region.setRegion((100, 200))
    picture = window.model.pictures["frames/source"]
    assert (picture.locked, picture.levels) == (True, (100, 200))


def test_the_mouse_reads_pixels(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    image._hover(2.2, 4.9)
    assert image._readout.text() == f"y 2, x 5 px · 1.1, 2.5 µm · {PIXELS[2, 5]} ADU"


def test_every_colour_map_can_be_drawn(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    for name in theme.COLOUR_MAPS:
        image._colours.setCurrentText(name)
        look(window, 1)
    image.next_colours()
    assert image._colours.currentText() == "grey"


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_a_region_drawn_follows_its_mean(open_window, kind):
    window, watch = open_window(frame(3, np.full(SHAPE, 7, "u2")))
    image = panel(window, "frames/source")
    image.regions.add(kind)
    watch.hand(frame(4, np.full(SHAPE, 9, "u2")))
    look(window)
    assert image.regions.trace.since()[1][-1].tolist() == [9.0]
    assert not window.docks["regions/frames/source"].isHidden()
    image.regions.remove(image.regions._items[0][1])
    assert window.docks["regions/frames/source"].isHidden()


def test_a_region_encloses_what_is_drawn_round(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    image.regions.add("rectangle")
    item = image.regions._items[0][1]
    item.setPos((1.6, 0.7))
    item.setSize((2.8, 3.6))
    (region,) = image.regions.regions()
    assert np.array_equal(region.mask(SHAPE), np.pad(np.ones((4, 3), bool), ((1, 1), (2, 3))))


def test_regions_become_a_step_of_a_config_or_are_measured_by_the_run(open_window, qapp, monkeypatch):
    asked = []
    monkeypatch.setattr("streamfluo.viewer.steering.Steering.ask", lambda self, what, does: asked.append(does))
    steps = [*HELLO.steps, ("cells", "regions", "motion")]
    window, _ = open_window(
        hello(steps=steps, endpoints={**HELLO.endpoints, "control": "tcp://127.0.0.1:3"}), frame(3, PIXELS)
    )
    image = panel(window, "frames/source")
    image.regions.add("rectangle")
    image.regions.add("ellipse")
    image.regions._items[0][1].setPos((1.5, 0.5))
    image.regions._items[0][1].setSize((3.0, 4.0))
    menu = QMenu()
    fill_menu(menu, image)
    actions = {action.text(): action for action in menu.actions()}
    actions["Copy the regions as a step"].trigger()
    (step,) = tomllib.loads(qapp.clipboard().text())["step"]
    rectangle, ellipse = step["params"]["regions"]
    assert rectangle == [[0.5, 1.5], [0.5, 4.5], [4.5, 4.5], [4.5, 1.5]]
    assert np.array_equal(region_masks([rectangle], SHAPE)[0], np.pad(np.ones((4, 3), bool), ((1, 1), (2, 3))))
    assert len(ellipse) == 16
    actions["Measure these regions in the run"].trigger()
    control = Mock()
    asked.pop()(control)
    control.set.assert_called_once_with("cells", "regions", [rectangle, ellipse])


def test_pictures_and_data_are_saved(open_window, tmp_path):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    save_picture(image, tmp_path / "a.png")
    save_data(image, tmp_path / "a.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), PIXELS)
    assert QImage(str(tmp_path / "a.png")).width() > 100
    save_picture(image, tmp_path / "b.png", "0:00.3 · frame 3")
    plain, stamped = (
        QImage(str(tmp_path / name)).convertToFormat(QImage.Format.Format_RGB32) for name in ("a.png", "b.png")
    )
    apart = [
        (y, x) for y in range(plain.height()) for x in range(plain.width()) if plain.pixel(x, y) != stamped.pixel(x, y)
    ]
    assert len(apart) > 50
    assert min(y for y, _ in apart) > plain.height() / 2
    assert max(x for _, x in apart) < plain.width() / 2
    with pytest.raises(OSError, match="could not be written"):
        save_picture(image, tmp_path / "nowhere" / "a.png")


def test_keys_act_on_the_image_under_the_mouse(open_window, qtbot):
    window, _ = open_window(frame(3, PIXELS), frame(3, PIXELS / np.float32(1), step="motion"))
    raw, corrected = panel(window, "frames/source"), panel(window, "frames/motion/frames")
    window._activate(corrected)
    for key in "LCRHVF":
        act_on_image(window, key)
    assert window.model.pictures["frames/motion/frames"].locked
    assert not window.model.pictures["frames/source"].locked
    assert corrected._colours.currentText() != raw._colours.currentText()


def test_overlays_are_drawn_where_they_belong(open_window):
    outlines = np.array([[[1, 1], [1, 3], [3, 3], [np.nan, np.nan]]])
    columns = {"frame": [5], "y_px": [2.0], "x_px": [4.0], "photons": [7.0]}
    window, watch = open_window(
        result("motion", 5, shift_px=[[0.1, -0.2]]),
        result("extract", 5, kind="snapshot", contours=outlines),
        result("spots", 5, **{f"spots__{n}": c for n, c in columns.items()}),
        frame(5, PIXELS),
        frame(5, PIXELS / np.float32(1), step="motion"),
    )
    raw, corrected = panel(window, "frames/source"), panel(window, "frames/motion/frames")
    assert set(raw.overlays.items) == {"motion/shift_px"}
    assert set(corrected.overlays.items) == {"extract/contours", "spots/spots"}
    assert {"values/motion/", "values/spots/", "snapshot/extract/contours/"} <= watch.topics
    x, y = corrected.overlays.items["spots/spots"].getData()
    assert (np.nanmean(y[:24]), np.nanmean(x[:24])) == (pytest.approx(2), pytest.approx(4))
    corrected.overlays.toggle("spots/spots", False)
    look(window)
    assert set(corrected.overlays.items) == {"extract/contours"}


def test_outlines_lie_over_every_picture_of_the_field_that_they_were_found_in(open_window):
    outlines = np.array([[[1, 1], [1, 3], [3, 3], [3, 1]]])
    average = ("average", "snapshot", ("y", "x"), "ADU", "the mean of corrected frames")
    window, _ = open_window(
        hello(gives={**GIVES, "motion": [*GIVES["motion"], average]}),
        result("extract", 5, kind="snapshot", contours=outlines),
        result("extract", 5, ids=np.array([3]), trace=np.ones((1, 1))),
        result("motion", 5, kind="snapshot", average=PIXELS / np.float32(1)),
    )
    window._open("snapshot/motion/average")
    look(window)
    mean = panel(window, "snapshot/motion/average")
    assert set(mean.overlays.items) == {"extract/contours", "spots/spots"}, "it is of the frames that motion gives"
    mean.pick(2.0, 2.0)
    assert window.model.pointed["extract"] == [3]


def test_a_click_on_a_cell_points_out_its_trace(open_window):
    square = np.array([[0, 0], [0, 3], [3, 3], [3, 0]])
    window, _ = open_window(
        result("extract", 5, kind="snapshot", contours=np.stack([square, square + 4])),
        result("extract", 5, ids=np.array([3, 8]), trace=np.ones((1, 2))),
        frame(5, PIXELS / np.float32(1), step="motion"),
    )
    traces, image = panel(window, "by_id/extract/trace"), panel(window, "frames/motion/frames")
    image.pick(2.0, 2.0)
    look(window)
    assert traces.pointed == 3
    outlines = image.overlays.items["extract/contours"]._lines
    assert outlines[-1].getData()[1][:4].tolist() == [0, 0, 3, 3], "the outline that was clicked does not light up"
    assert outlines[3].getData()[0] is not None
    assert outlines[3].opts["pen"].color() == traces._curves[0].opts["pen"].color()
    image.pick(6.0, 5.0)
    assert traces.pointed == 8
    image.pick(3.5, 0.1)
    assert traces.pointed == 8


def test_keys_go_from_cell_to_cell(open_window):
    square = np.array([[0, 0], [0, 3], [3, 3], [3, 0]])
    window, _ = open_window(
        result("extract", 5, kind="snapshot", contours=np.stack([square, square + 4])),
        result("extract", 5, ids=np.array([3, 8]), trace=np.ones((1, 2))),
        frame(5, PIXELS / np.float32(1), step="motion"),
    )
    traces = panel(window, "by_id/extract/trace")
    seen = []
    for by in (1, 1, 1, -1):
        window.step_component(by)
        seen.append(traces.pointed)
    assert seen == [3, 8, 3, 8]


def test_a_right_click_opens_what_can_be_done_with_an_image(open_window):
    window, _ = open_window(frame(5, PIXELS / np.float32(1), step="motion"))
    image = panel(window, "frames/motion/frames")
    image._click(SimpleNamespace(button=lambda: Qt.MouseButton.RightButton, scenePos=lambda: QPointF(0, 0)))
    menus = [menu for menu in image.findChildren(QMenu) if menu.isVisible()]
    assert len(menus) == 1
    assert "Zoom to fit\tF" in [action.text() for action in menus[0].actions()]
    menus[0].close()


def test_letters_grow_within_bounds(open_window, qapp):
    before = qapp.font()
    window, _ = open_window()
    scale_letters(1)
    assert qapp.font().pointSize() == before.pointSize() + 1
    scale_letters(60)
    assert qapp.font().pointSize() == LETTERS_PT[1]
    assert window.font().pointSize() == LETTERS_PT[1]
    qapp.setFont(before)


@pytest.mark.parametrize(("kept", "more"), [("13", 13), (None, 0), ("[]", 0), ("900", LETTERS_PT[1])])
def test_letters_are_as_large_as_they_were_left(open_window, qapp, tmp_path, kept, more):
    before = qapp.font()
    open_window()
    settings = QSettings(str(tmp_path / "viewer.ini"), QSettings.Format.IniFormat)
    if kept is not None:
        settings.setValue("letters", kept)
    _scale_kept_letters(qapp, settings)
    assert qapp.font().pointSize() == (more or before.pointSize())
    qapp.setFont(before)


def test_of_cells_in_each_other_the_smaller_one_is_meant():
    square = np.array([[0, 0], [0, 4], [4, 4], [4, 0], [np.nan, np.nan]])
    assert contour_at(np.stack([square * 3, square + 2]), 3, 3) == 1
    assert contour_at(np.stack([square * 3, square + 2]), 9, 9) == 0
    assert contour_at(np.stack([square * 3, square + 2]), 13, 1) is None


def test_lines_of_overlays():
    assert contour_lines(np.array([[[1, 2], [3, 4], [np.nan, np.nan]]]))[:3].tolist() == [[1, 2], [3, 4], [1, 2]]
    assert contour_lines(np.empty(0)).shape == (0, 2)
    circle = spot_lines({"y_px": np.array([5.0]), "x_px": np.array([9.0]), "sigma_px": np.array([1.5])})
    assert np.allclose(np.hypot(*(circle[:-1] - (5, 9)).T), 3.0)
    from PySide6.QtCore import QRectF

    arrow = vector_lines(np.array([0.5, -1.0]), QRectF(-0.5, -0.5, 8, 6))
    assert arrow[0].tolist() == [2.5, 3.5]
    assert (arrow[1] - arrow[0]).tolist() == [0.5 * VECTOR_ZOOM, -1.0 * VECTOR_ZOOM]
    assert len(vector_lines(np.zeros((3, 4, 2)), QRectF(0, 0, 8, 6))) == 12 * 6


def test_a_stack_shows_one_plane_and_asks_which(open_window):
    gives = {"sofi": [("pairs", "snapshot", ("pair", "y", "x"), "", "cross cumulants")]}
    stack = np.arange(3.0)[:, None, None] * np.ones(SHAPE)
    window, _ = open_window(
        hello(steps=[("sofi", "sofi", "source")], gives=gives), result("sofi", 5, kind="snapshot", pairs=stack)
    )
    image = panel(window, "snapshot/sofi/pairs")
    assert image._plane.maximum() == 2
    image._plane.setValue(2)
    look(window)
    assert np.array_equal(image.image, stack[2])


def test_an_outline_round_pixels_has_no_steps_and_stays_where_it_is():
    steps = [(0, 0), (0, 1), (-1, 1), (-1, 2), (0, 2), (0, 3), (1, 3), (1, 4), (2, 4), (2, 3), (3, 3), (3, 0), (1, 0)]
    outlines = np.full((2, 20, 2), np.nan)
    outlines[0, : len(steps)], outlines[1, :4] = steps, [(0, 0), (0, 5), (5, 5), (5, 0)]
    lines = contour_lines(outlines)
    ends = np.flatnonzero(np.isnan(lines[:, 0]))
    smooth, square = lines[: ends[0]], lines[ends[0] + 1 : ends[1]]
    assert square.tolist() == [[0, 0], [0, 5], [5, 5], [5, 0], [0, 0]]  # of few corners: drawn as they are
    assert np.array_equal(smooth[0], smooth[-1])
    assert smooth[:-1].mean(0) == pytest.approx(np.mean(steps, 0))
    longest = np.hypot(*np.diff(smooth, axis=0).T).max()
    assert longest < np.hypot(*np.diff([*steps, steps[0]], axis=0).T).max()
    assert np.abs(smooth[:-1] - steps).max() <= 1.0
