"""The window, offscreen: docks, pictures, keys and menus, fed through a watch that gives what the test hands it."""

from collections import Counter

import numpy as np
import pytest
import tifffile
from wire_bytes import GIVES, SHAPE, frame, hello, result, status

pytest.importorskip("PySide6")
from PySide6.QtCore import QEvent, QPoint, QSettings, Qt
from PySide6.QtGui import QImage

from streamfluo.core import wire
from streamfluo.core.records import decode_frame
from streamfluo.core.results import decode_result
from streamfluo.viewer import theme
from streamfluo.viewer.model import Model
from streamfluo.viewer.overlay_items import VECTOR_ZOOM, contour_at, contour_lines, spot_lines, vector_lines
from streamfluo.viewer.window import EVENTS, Window

PIXELS = np.arange(48, dtype=np.uint16).reshape(SHAPE) * 100


class Watch:
    """Stands in for the network: gives what it was handed, once, and remembers what was asked for."""

    def __init__(self):
        self.connected, self.denied, self.refused = True, "", Counter()
        self.topics, self.previews = set(), set()
        self._messages = []

    def hand(self, *pieces):
        for piece in pieces:
            if isinstance(piece, bytearray):
                self._messages.append(decode_frame(piece))
            else:
                self._messages.append(decode_result(piece) if isinstance(piece, list) else (wire.decode(piece), None))

    def turn(self):
        messages, self._messages = self._messages, []
        yield from messages

    def want(self, topics, previews):
        self.topics, self.previews = set(topics), set(previews)


@pytest.fixture(scope="module", autouse=True)
def light(qapp):
    theme.apply(qapp, "light")


@pytest.fixture
def open_window(qtbot, qapp):
    windows = []

    def opened(*pieces, settings=None):
        watch = Watch()
        watch.hand(hello(), status(), *pieces)
        window = Window(watch, Model("tcp://127.0.0.1:9"), settings)
        window._timer.stop()
        windows.append(window)
        window.show()
        look(window)
        return window, watch

    yield opened
    for window in windows:
        window.close()
        window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def look(window, times=3):
    """Let the clock tick, and Qt lay out what it made."""
    from PySide6.QtWidgets import QApplication

    for _ in range(times):
        window.tick()
        QApplication.processEvents()


def panel(window, name):
    window.docks[name].show()
    window.docks[name].raise_()
    look(window)
    return window._content(name)


def text_of(window):
    labels = [window._strip._state, *window._strip._figures.values(), window._strip._trouble]
    window._strip_at = 0.0
    look(window)
    return " ".join(label.text() for label in labels if not label.isHidden())


def test_there_is_a_dock_for_everything_the_run_gives(open_window):
    window, _ = open_window()
    assert set(window.docks) == {*window.model.panels, EVENTS}
    assert not window.docks["frames/source"].isHidden()
    assert not window.docks["frames/motion/frames"].isHidden()
    assert window.docks["numbers/extract"].isHidden()


def test_only_what_is_seen_is_asked_for(open_window):
    window, watch = open_window()
    assert ("source", 1) in watch.previews
    assert "snapshot/extract/noise/" in watch.topics
    for dock in window.docks.values():
        dock.hide()
    look(window)
    assert (watch.topics, watch.previews) == (set(), set())


def test_a_dock_closed_and_opened_again_shows_what_is_new(open_window):
    window, watch = open_window(frame(1, PIXELS))
    image = panel(window, "frames/source")
    window.docks["frames/source"].hide()
    look(window)
    watch.hand(frame(2, PIXELS + 1))
    look(window)
    assert image.shown_index == 1
    panel(window, "frames/source")
    assert image.shown_index == 2


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
    image.canvas._levels.setLevels(100, 200)
    image.canvas._levels.sigLevelChangeFinished.emit(image.canvas._levels)
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


def test_pictures_and_data_are_saved(open_window, tmp_path):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    image.save_picture(tmp_path / "a.png")
    image.save_data(tmp_path / "a.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), PIXELS)
    assert QImage(str(tmp_path / "a.png")).width() > 100
    with pytest.raises(OSError, match="could not be written"):
        image.save_picture(tmp_path / "nowhere" / "a.png")


def test_keys_act_on_the_image_under_the_mouse(open_window, qtbot):
    window, _ = open_window(frame(3, PIXELS), frame(3, PIXELS / np.float32(1), step="motion"))
    raw, corrected = panel(window, "frames/source"), panel(window, "frames/motion/frames")
    window._activate(corrected)
    for key in "LCRHVF":
        window._with_image(key)
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
    assert set(raw._items) == {"motion/shift_px"}
    assert set(corrected._items) == {"extract/contours", "spots/spots"}
    assert {"values/motion/", "values/spots/", "snapshot/extract/contours/"} <= watch.topics
    x, y = corrected._items["spots/spots"].getData()
    assert (np.nanmean(y[:24]), np.nanmean(x[:24])) == (pytest.approx(2), pytest.approx(4))
    corrected._toggle_overlay("spots/spots", False)
    look(window)
    assert set(corrected._items) == {"extract/contours"}


def test_a_click_on_a_cell_points_out_its_trace(open_window):
    square = np.array([[0, 0], [0, 3], [3, 3], [3, 0]])
    window, _ = open_window(
        result("extract", 5, kind="snapshot", contours=np.stack([square, square + 4])),
        result("extract", 5, ids=np.array([3, 8]), trace=np.ones((1, 2))),
        frame(5, PIXELS / np.float32(1), step="motion"),
    )
    traces, image = panel(window, "by_id/extract/trace"), panel(window, "frames/motion/frames")
    image.pick(2.0, 2.0)
    assert traces.pointed == 3
    image.pick(6.0, 5.0)
    assert traces.pointed == 8
    image.pick(3.5, 0.1)
    assert traces.pointed == 8


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


def test_values_scroll_tables_fill_numbers_and_curves_stand(open_window):
    columns = {"frame": [5, 6], "y_px": [2.0, 1.0], "x_px": [4.0, 3.0], "photons": [7.0, 8.0]}
    window, watch = open_window()
    trace = panel(window, "per_frame/motion/shift_px")
    neurons = panel(window, "by_id/extract/trace")
    table, numbers = panel(window, "table/spots/spots"), panel(window, "numbers/extract")
    curve = panel(window, "snapshot/extract/noise")
    watch.hand(
        result("motion", 0, 3, shift_px=np.arange(6.0).reshape(3, 2)),
        result("extract", 0, 2, ids=[3, 5], trace=np.arange(4.0).reshape(2, 2)),
        result("extract", 5, kind="snapshot", noise=np.arange(6.0)),
        result("extract", 5, kind="snapshot", neurons=12),
        result("spots", 5, 2, **{f"spots__{n}": c for n, c in columns.items()}),
    )
    look(window)
    for shown in (trace, neurons, table):
        shown.redraw()
        shown.refresh()
    numbers.refresh()
    curve.refresh()
    x, y = trace._curves[1].getData()
    assert np.allclose(x, [0, 0.1, 0.2])
    assert y.tolist() == [1, 3, 5]
    assert len(neurons._curves) == 2
    assert [table._table.item(0, c).text() for c in range(4)] == ["6", "1", "3", "8"]
    table._tabs.setCurrentIndex(1)
    table.refresh()
    assert table._scatter.getData()[0].tolist() == [4.0, 3.0]
    assert numbers._table.item(0, 1).text() == "12"
    assert curve._curve.getData()[1].tolist() == list(range(6))


def test_hundreds_of_curves_come_in_pages(open_window):
    window, watch = open_window()
    neurons = panel(window, "by_id/extract/trace")
    watch.hand(result("extract", 0, 2, ids=np.arange(40), trace=np.ones((2, 40))))
    look(window)
    neurons.redraw()
    neurons.refresh()
    assert len(neurons._curves) == 16
    neurons._page.setValue(3)
    neurons.refresh()
    assert len(neurons._curves) == 8


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


def test_the_strip_tells_rates_losses_and_muted_steps(open_window):
    window, watch = open_window()
    edges = {"ingest": {"frames": 300}, "chain": {"frames": 280}}
    muted, doubtful = {"motion": "ValueError: no template"}, {"spots": "the offset is too high"}
    watch.hand(
        status(
            edges=edges, lost=12, lost_camera=12, lost_transport=0, muted=muted, doubtful=doubtful, refused={"dtype": 3}
        )
    )
    told = text_of(window)
    for part in (
        "run: running",
        "waiting <b>20</b>",
        "lost <b>12</b>",
        "muted <b>motion</b>",
        "doubtful <b>spots</b>",
        "refused <b>3</b>",
    ):
        assert part in told
    assert "motion is muted: ValueError: no template" in told
    assert "spots is doubtful: the offset is too high" in told
    assert theme.RED in told


def test_a_lost_connection_is_told_and_the_window_stays(open_window):
    window, watch = open_window(frame(3, PIXELS))
    watch.connected = False
    told = text_of(window)
    assert "no answer for" in told
    assert "nobody answers at tcp://127.0.0.1:9; what you see is old" in told
    assert panel(window, "frames/source").shown_index == 3
    watch.connected = True
    assert "no answer" not in text_of(window)


def test_before_anybody_answers_the_window_says_whom_it_waits_for(qtbot, qapp):
    watch = Watch()
    watch.connected = False
    window = Window(watch, Model("tcp://127.0.0.1:9"))
    qtbot.addWidget(window)
    assert "waiting for tcp://127.0.0.1:9" in text_of(window)


def test_a_key_that_is_not_allowed_is_told(qtbot, qapp):
    watch = Watch()
    watch.connected, watch.denied = False, "the key of this account is not allowed to"
    window = Window(watch, Model("tcp://127.0.0.1:9"))
    qtbot.addWidget(window)
    look(window)
    assert "tcp://127.0.0.1:9: the key of this account is not allowed to" in text_of(window)


def test_other_steps_make_other_docks(open_window):
    window, watch = open_window(frame(3, PIXELS))
    panel(window, "frames/source")
    watch.hand(hello(steps=[("spots", "spots", "source")], gives={"spots": GIVES["spots"]}))
    look(window)
    assert set(window.docks) == {"frames/source", "table/spots/spots", EVENTS}


def test_an_arrangement_is_kept_for_its_steps_and_none_other(open_window, tmp_path):
    settings = QSettings(str(tmp_path / "viewer.ini"), QSettings.Format.IniFormat)
    window, _ = open_window(settings=settings)
    window.docks["frames/motion/frames"].hide()
    window.docks["numbers/extract"].show()
    look(window)
    window.close()
    again, _ = open_window(settings=QSettings(str(tmp_path / "viewer.ini"), QSettings.Format.IniFormat))
    assert again.docks["frames/motion/frames"].isHidden()
    assert not again.docks["numbers/extract"].isHidden()
    again.arrange()
    assert not again.docks["frames/motion/frames"].isHidden()


def test_events_are_listed(open_window):
    window, watch = open_window()
    events = panel(window, EVENTS)
    watch.hand(wire.encode(wire.Event(event="gap", utc="2026-11-21T03:00:00Z", fields={"first": 3, "count": 2})))
    look(window)
    assert "03:00:00 gap: first 3, count 2" in events.toPlainText()


def test_the_menus_list_docks_and_keys(open_window):
    window, _ = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    docks = window.menuBar().actions()[0].menu()
    window._list_docks(docks)
    assert len(docks.actions()) == len(window.docks)
    from PySide6.QtWidgets import QMenu

    menu = QMenu()
    image._fill_menu(menu)
    assert "Show motion: shift_px" in [a.text() for a in menu.actions()]
    assert not image.canvas.box.menuEnabled()
    assert image.mapToGlobal(QPoint(0, 0)) is not None
    assert window.isVisible()
    assert Qt.Key.Key_Space


def test_both_themes_are_legible(open_window, qapp):
    for name in ("light", "dark"):
        theme.apply(qapp, name)
        palette = qapp.palette()
        for front, back in ((palette.windowText(), palette.window()), (palette.text(), palette.base())):
            assert abs(front.color().lightness() - back.color().lightness()) > 150
        assert theme.is_dark() is (name == "dark")
        for colour in theme.signal_colours():
            assert contrast(colour, palette.window().color().name()) > 3
    theme.apply(qapp, "light")


def contrast(one, other):
    """WCAG 2 contrast ratio of two colours '#rrggbb'."""

    def luminance(colour):
        channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
