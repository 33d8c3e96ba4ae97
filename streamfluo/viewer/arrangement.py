"""How the docks of a window stand at first: as the run's last step says, else all of them."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow

from .layouts import APART, Layout
from .model import Model
from .panels import open_at_first

EVENTS, STEERING, RECORDING = "events", "steering", "recording"
OWN = (EVENTS, STEERING, RECORDING)  # docks of every run
PLOTS = ("trace", "curve", "scatter", "interval", "table")
PLOTS_APART = 3  # side by side; more stand behind one another
STEERING_PX = 340  # wide
LARGE = 0.42, 0.66  # of the width for the pictures: at least, at most
BARS_PX = 130  # of the height have no picture
_ACROSS, _DOWN = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
_TOP, _BOTTOM = Qt.DockWidgetArea.TopDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea

Docks = Mapping[str, QDockWidget]


def arrange(window: QMainWindow, docks: Docks, model: Model) -> None:
    """Arrange the docks of a window anew; whatever floats comes back."""
    for dock in docks.values():
        dock.setFloating(False)
        window.removeDockWidget(dock)
    window.addDockWidget(_BOTTOM, docks[EVENTS])
    for name in (STEERING, RECORDING):
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, docks[name])
    layout = model.layout()
    if layout is not None:
        _large_and_details(window, docks, layout, model)
    elif model.only_records:
        _large_and_details(window, docks, Layout(tuple(model.panels), (RECORDING,)), model)
    else:
        _everything(window, docks, model)


def open_beside_pictures(window: QMainWindow, dock: QDockWidget, docks: Docks) -> None:
    """Open a dock between pictures and details; the pictures give it room, the details keep their width."""
    right = Qt.DockWidgetArea.RightDockWidgetArea
    kept = [d for d in docks.values() if d is not dock and not d.isHidden() and window.dockWidgetArea(d) == right]
    widths = [other.width() for other in kept]
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock, _ACROSS)
    dock.show()
    window.resizeDocks([dock, *kept], [STEERING_PX, *widths], _ACROSS)


def _large_and_details(window: QMainWindow, docks: Docks, layout: Layout, model: Model) -> None:
    """One large picture, details beside it; the other docks wait in the menu."""
    pictures, details = ([docks[name] for name in names] for names in (layout.pictures, layout.details))
    for name, dock in docks.items():
        if dock not in (*pictures, *details) and name not in OWN:
            window.addDockWidget(_BOTTOM, dock)
            dock.hide()
    _stack(window, pictures, Qt.DockWidgetArea.LeftDockWidgetArea, 1)
    _stack(window, details, Qt.DockWidgetArea.RightDockWidgetArea, APART)
    for dock in (*pictures, *details):
        dock.show()
    pictures[0].raise_()
    if details:
        apart = details[:APART]
        apart[-1].raise_()
        large = _share(window, model, layout)
        widths = [int(share * window.width()) for share in (large, 1 - large)]
        window.resizeDocks([pictures[0], apart[0]], widths, _ACROSS)
        window.resizeDocks(apart, [100 * _detail_weight(dock, len(details) <= APART) for dock in apart], _DOWN)


def _share(window: QMainWindow, model: Model, layout: Layout) -> float:
    """The share of the width that the first picture can fill at the height there is; the rest is for the details."""
    panel = model.panels[layout.pictures[0]]
    facts = model.facts_of(panel) if panel.kind == "image" else None
    if facts is None or min(facts[0]) < 1:
        return LARGE[1]
    height, width = facts[0]
    filled = (window.height() - BARS_PX) * width / height / max(1, window.width())
    return min(max(filled, LARGE[0]), LARGE[1])


def _stack(window: QMainWindow, docks: list[QDockWidget], area: Qt.DockWidgetArea, apart: int) -> None:
    """Docks one below the other; more than `apart` stand behind the last of them."""
    for n, dock in enumerate(docks):
        window.addDockWidget(area, dock, _DOWN)
        if n >= apart:
            window.tabifyDockWidget(docks[apart - 1], dock)


def _everything(window: QMainWindow, docks: Docks, model: Model) -> None:
    """Frames on the left, snapshots beside them, values below."""
    panels = list(model.panels.values())
    opens = open_at_first(panels)
    images, plots = ([p for p in panels if (p.kind in PLOTS) == plotted] for plotted in (False, True))
    _row(window, [docks[p.id] for p in images if p.frames], [docks[p.id] for p in images if not p.frames], _TOP)
    apart = [p for p in plots if p.id in opens][:PLOTS_APART]
    _row(window, [docks[p.id] for p in apart], [docks[p.id] for p in plots if p not in apart], _BOTTOM)
    for panel in panels:
        docks[panel.id].setVisible(panel.id in opens)
    for panel in reversed(images + plots):
        if panel.id in opens and not panel.frames:
            docks[panel.id].raise_()
    shown, below = ([docks[p.id] for p in part if p.id in opens] for part in (images, plots))
    for row in (shown, below):
        window.resizeDocks(row, [100 * _weight(dock) for dock in row], _ACROSS)
    if shown and below:
        tenths = 4 if any(_weight(dock) > 1 for dock in below) else 3
        heights = [window.height() * part // 10 for part in (10 - tenths, tenths)]
        window.resizeDocks([shown[0], below[0]], heights, _DOWN)


def _row(window: QMainWindow, apart: list[QDockWidget], tabbed: list[QDockWidget], area: Qt.DockWidgetArea) -> None:
    """Docks side by side, those in `tabbed` behind one another at the right."""
    for dock in (*apart, *tabbed[:1]):
        window.addDockWidget(area, dock, _ACROSS)
    for dock in tabbed[1:]:
        window.addDockWidget(area, dock)
        window.tabifyDockWidget(tabbed[0], dock)


def _weight(dock: QDockWidget) -> int:
    """How much room a dock takes beside others, as at first: traces of many components need it."""
    return 3 if dock.objectName().startswith("by_id/") else 1


def _detail_weight(dock: QDockWidget, apart: bool) -> int:
    """How much height a detail takes; frames and what is known of one spot need it, a gauge hardly any, nor numbers,
    unless others stand behind them (not `apart`)."""
    kind = dock.objectName().partition("/")[0]
    return {"by_id": 6, "chosen": 6, "frames": 3, "gauge": 1, "numbers": 1 if apart else 2}.get(kind, 2)
