"""The window, offscreen: docks, values, the strip and menus, fed through a watch that gives what the test hands it."""

import numpy as np
import pytest
from wire_bytes import GIVES, HELLO, frame, hello, result, status

pytest.importorskip("PySide6")
from PySide6.QtCore import QPoint, QSettings, Qt
from windows import PIXELS, Watch, look, panel, text_of

from streamfluo.core import wire
from streamfluo.viewer import theme
from streamfluo.viewer.arrangement import EVENTS, OWN
from streamfluo.viewer.image_menu import fill_menu
from streamfluo.viewer.menus import list_docks
from streamfluo.viewer.model import Model
from streamfluo.viewer.screens import bring_back
from streamfluo.viewer.trace_heat import thinned
from streamfluo.viewer.window import Window


def test_there_is_a_dock_for_everything_the_run_gives(open_window):
    window, _ = open_window()
    assert set(window.docks) == {*window.model.panels, *OWN}
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
    assert trace._newest.text() == "y 4   x 5 px"
    assert [name in trace._told.text() for name in ("━ y", "━ x")] == [True, True]
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
    neurons.setFixedHeight(400)
    neurons.redraw()
    neurons.refresh()
    assert len(neurons._curves) == 16
    neurons._page.setValue(3)
    neurons.refresh()
    assert len(neurons._curves) == 8


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
        "run: motion failed and was taken out; recording goes on: ValueError: no template",
        "waiting <b>20</b> frames",
        "lost <b>12</b>",
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


def test_before_anybody_answers_the_window_says_whom_it_waits_for(qtbot, light):
    watch = Watch()
    watch.connected = False
    window = Window(watch, Model("tcp://127.0.0.1:9"))
    qtbot.addWidget(window)
    assert "waiting for tcp://127.0.0.1:9" in text_of(window)


def test_a_key_that_is_not_allowed_is_told(qtbot, light):
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
    assert set(window.docks) == {"frames/source", "table/spots/spots", *OWN}


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
    list_docks(window, docks)
    assert len(docks.actions()) == len(window.docks)
    from PySide6.QtWidgets import QMenu

    menu = QMenu()
    fill_menu(menu, image)
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


LOOP = {
    "steps": [*HELLO.steps, ("speed", "input", "motion"), ("fires", "trigger", "extract")],
    "gives": {
        **GIVES,
        "speed": [("value", "per_frame", ("t", "column"), "", "the newest sample")],
        "fires": [
            ("fired", "per_frame", ("t",), "", "whether it decided to act"),
            ("holds", "per_frame", ("t",), "", "whether the condition holds"),
        ],
    },
}


def test_behaviour_runs_beneath_the_traces_and_decisions_are_lines_over_them(open_window):
    window, watch = open_window(hello(**LOOP))
    traces = panel(window, "by_id/extract/trace")
    assert {"values/extract/", "values/speed/", "values/fires/"} <= watch.topics
    assert "per_frame/fires/fired" not in window.docks
    assert "per_frame/fires/holds" in window.docks
    watch.hand(
        result("extract", 10, count=4, trace=np.arange(8.0).reshape(4, 2), ids=[3, 5]),
        result("speed", 10, count=4, value=[[0.0], [5.0], [2.0], [1.0]]),
        result("fires", 10, count=4, fired=[False, True, False, True], holds=[0.0, 1.0, 0.0, 1.0]),
    )
    traces.redraw()
    look(window)
    ticks = traces._plot.getAxis("left")._tickLevels[0]
    assert [name for _, name in ticks] == ["3  ↕6", "5  ↕6", "speed"]
    assert ticks[2][0] < 0, "the signal is not beneath the traces"
    x, _ = traces._lines["fires"].getData()
    assert np.array_equal(x, np.repeat([11, 13], 2) * 0.1)
    assert "fires × 2" in traces._told.text()
    shifts = panel(window, "per_frame/motion/shift_px")
    assert shifts._beside.signals == {}
    assert list(shifts._beside.marks) == ["fires"]


def test_all_curves_are_rows_of_colour_in_the_order_of_the_stack(open_window):
    window, watch = open_window()
    neurons = panel(window, "by_id/extract/trace")
    values = np.stack([np.sin(np.arange(60.0)) * size for size in (5, 1, 3)], 1)
    values[:, 1] = np.nan
    watch.hand(result("extract", 0, 60, ids=[3, 5, 8], trace=values))
    look(window)
    neurons._sorting.setCurrentText("most active above")
    neurons.refresh()
    assert neurons._shown(3) == [1, 2, 0]
    neurons._all.setChecked(True)
    neurons.point_out(8)
    neurons.refresh()
    rows = neurons._heat._picture.image
    assert rows.shape == (3, 60)
    assert np.isnan(rows[0]).all()  # of which nothing is known
    assert np.allclose(rows[1], rows[2], atol=1e-5)  # each over its own range, in float32
    assert neurons._curves == []
    ticks = [name for _, name in neurons._plot.getAxis("left")._tickLevels[0]]
    assert ticks == ["5", "3", "▸ 8"]
    neurons._all.setChecked(False)
    neurons.refresh()
    assert not neurons._heat._picture.isVisible()
    assert len(neurons._curves) == 3


def test_rows_of_5000_cells_are_thinned_and_frames_that_never_came_stay_empty():
    indices = np.r_[0:400, 900:2000]
    rows = thinned(indices, np.repeat(indices[:, None].astype(float), 5000, 1))
    assert rows.shape == (200, 5000)
    assert rows[0, 0] == 9
    assert np.isnan(rows[40:90]).all()


def test_numbers_stand_as_the_step_gives_them_and_words_first(open_window):
    gives = [
        ("gain", "snapshot", (), "e/ADU", ""),
        ("offset", "snapshot", (), "ADU", ""),
        ("status", "snapshot", (), "", ""),
    ]
    window, watch = open_window(hello(gives={**GIVES, "extract": gives}))
    numbers = panel(window, "numbers/extract")
    watch.hand(
        *(
            result("extract", 5, kind="snapshot", **{n: v})
            for n, v in (("offset", np.nan), ("gain", 0.5), ("status", "determined"))
        )
    )
    look(window)
    numbers.refresh()
    rows = [tuple(numbers._table.item(r, c).text() for c in range(2)) for r in range(3)]
    assert rows == [("status", "determined"), ("gain", "0.5 e/ADU"), ("offset", "not known")]


def test_what_inputs_said_stands_beneath_traces_as_far_as_there_is_room(open_window):
    gives = {**GIVES, "texts": [("texts", "table", ("frame", "input", "text"), "", "what inputs said")]}
    steps = [("motion", "motion", "source"), ("extract", "extract", "motion"), ("texts", "input", "source")]
    window, watch = open_window(hello(gives=gives, steps=steps))
    shown = panel(window, "by_id/extract/trace")
    watch.hand(
        result("extract", 0, 400, ids=[7, 9], trace=np.random.default_rng(7622).normal(size=(400, 2))),
        result("texts", 0, 0, texts__frame=[3, 100, 101, 300], texts__input=["s"] * 4, texts__text=[*"abc", "µ"]),
    )
    look(window)
    shown.redraw()
    shown.refresh()
    drawn = {item.textItem.toPlainText(): item.pos() for item in shown._texts._items if item.isVisible()}
    assert drawn.keys() == {"▏a", "▏c", "▏µ"}, "b would lie under c"
    assert drawn["▏c"].x() == pytest.approx(10.1)
    low, high = shown._plot.viewRange()[1]
    assert low < drawn["▏c"].y() < 0 < high
    assert panel(window, "table/texts/texts").toPlainText().splitlines()[-1] == "0:30.0  µ"
    shown._all.setChecked(True)
    shown.refresh()
    assert not any(item.isVisible() for item in shown._texts._items)


@pytest.mark.parametrize(
    "written", ["docks=hello\nmodes=3", "docks=1, 2, 3\nmodes=@Invalid()", "docks=@ByteArray(\\xff)"]
)
def test_a_layout_that_something_else_wrote_is_let_go(tmp_path, open_window, written):
    arrangement = open_window()[0].model.arrangement
    file = tmp_path / "viewer.ini"
    file.write_text(f"[{arrangement}]\n{written}\n")
    window, _ = open_window(settings=QSettings(str(file), QSettings.Format.IniFormat))
    assert "frames/source" in window.docks
    window.close()
    again, _ = open_window(settings=QSettings(str(file), QSettings.Format.IniFormat))
    assert "frames/source" in again.docks


def test_a_window_whose_screen_is_gone_comes_back(qapp, open_window):
    window, _ = open_window()
    room = window.screen().availableGeometry()
    window.resize(room.width() + 300, room.height() // 2)
    window.move(room.right() - 60, room.bottom() - 60)
    bring_back(qapp)
    assert room.contains(window.frameGeometry())
    before = window.frameGeometry()
    bring_back(qapp)
    assert window.frameGeometry() == before
