"""Five steps through the window for who opens it for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from .window import Window

WIDTH_PX, GAP_PX, MARGIN_PX = 340, 12, 14
TEXTS = (
    "<b>How the run is doing</b>, in one line: green, amber or red. Click it for what happened.",
    "<b>The picture.</b> The wheel zooms, drag moves. Click an outline for its trace; a right click shows all that can "
    "be done: measure, compare, regions, colours.",
    "<b>Traces</b> in the colours of the outlines. Up and Down go from one to the next; A accepts a component, X "
    "rejects it, Ctrl+Z takes that back.",
    "<b>Time.</b> Drag back into what was recorded; the acquisition goes on. Red is lost, ticks are what happened. End "
    "follows the newest frame again.",
    "<b>Everything else</b> is in the menus: other panels, steering the run (Ctrl+T), and all keys (?).",
)  # of the strip, the picture, the traces, the bar of time, the menus


def begin_tour(window: Window) -> Tour:
    """Show in five steps what there is in a window; what it does not have is passed over."""
    traces = (dock for name, dock in window.docks.items() if name.startswith("by_id/") and not dock.isHidden())
    parts = (window.strip, window.active, next(traces, None), window.time_bar, window.menuBar())
    return Tour(window, [Stop(part, text) for part, text in zip(parts, TEXTS, strict=True) if part is not None])


class Stop(NamedTuple):
    """One step: what is shown, and what is said of it."""

    widget: QWidget
    text: str


class Tour(QFrame):
    """A note that goes from one part of the window to the next; everything in the window goes on."""

    def __init__(self, window: QWidget, stops: Sequence[Stop]) -> None:
        super().__init__(window, Qt.WindowType.Tool | Qt.WindowType.FramelessWindowHint)
        self._window, self._stops, self._at = window, stops, 0
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setFixedWidth(WIDTH_PX)
        self.setObjectName("tour")
        self.setStyleSheet("#tour { background: palette(window); border: 2px solid palette(highlight); }")
        self.text, self._count = QLabel(), QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.next, skip = QPushButton("Next"), QPushButton("Skip")
        self.next.setDefault(True)
        self.next.clicked.connect(self.step)
        skip.clicked.connect(self.close)
        row = QHBoxLayout()
        row.addWidget(self._count)
        row.addStretch()
        row.addWidget(skip)
        row.addWidget(self.next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self._show()

    def step(self) -> None:
        """Go on to the next step, or end."""
        self._at += 1
        if self._at >= len(self._stops):
            self.close()
        else:
            self._show()

    def _show(self) -> None:
        stop = self._stops[self._at]
        self.text.setText(stop.text)
        self._count.setText(f"{self._at + 1} of {len(self._stops)}")
        self.next.setText("Next" if self._at + 1 < len(self._stops) else "Done")
        self.text.setMinimumHeight(self.text.heightForWidth(WIDTH_PX - 2 * MARGIN_PX))
        self.adjustSize()
        self.move(self._place(stop.widget))
        self.show()
        self.raise_()

    def _place(self, widget: QWidget) -> QPoint:
        """Beside a part of the window, below it where there is room, always within the window."""
        window = self._window
        corner = widget.mapTo(window, QPoint(0, 0))
        below = corner.y() + widget.height() + GAP_PX
        y = below if below + self.height() < window.height() else max(GAP_PX, corner.y() - self.height() - GAP_PX)
        if widget.height() > window.height() // 3:  # a large one: within it
            y = corner.y() + GAP_PX
        x = min(max(GAP_PX, corner.x() + GAP_PX), window.width() - self.width() - GAP_PX)
        return window.mapToGlobal(QPoint(x, y))
