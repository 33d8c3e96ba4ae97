"""A dock on the recording: how fast frames come, when some were lost, which sessions there are beside this one."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHeaderView, QLabel, QSplitter, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from .model import Model
from .plot_panels import empty_plot
from .sessions import SessionLine, Sessions, open_in_window
from .theme import curve_colour, signal_colours

REDRAW_S = 0.5
MAX_RATES = 7200  # an hour of them
LONG_S = 600.0  # then minutes say it better
UNITS = {1e9: "GB", 1e6: "MB"}
BINS = 120  # of the run, for losses
COLUMNS = ("session", "began (UTC)", "state", "frames", "lost", "size")
FEW_LOST = 5
WHOLE = [[(float(n), str(n)) for n in range(FEW_LOST + 1)]]
NUMBERS = ("frames", "lost", "size")


class RecordingPanel(QWidget):
    """Frames a second since the window came, frames lost along the run, and the sessions of the folder."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._model, self.sessions = model, Sessions(model.uri)
        self._series, self._drawn_at, self._listed = -1, 0.0, -1
        self._rates: deque[tuple[float, float]] = deque(maxlen=MAX_RATES)
        self._rate, self._lost = empty_plot(), empty_plot()
        self._rate.setLabel("left", "frames/s")
        self._lost.setLabel("left", "lost")
        self._lost.setXLink(self._rate)
        self._curve = self._rate.plot(antialias=False, pen=pg.mkPen(curve_colour(0), width=1.5))
        self._bars = self._lost.plot(antialias=False, pen=None)
        self._bars.setFillBrush(pg.mkColor(signal_colours()[0]))
        self._told, self._count = QLabel(wordWrap=True), QLabel(wordWrap=True)
        self.table = _table()
        self.table.itemDoubleClicked.connect(lambda item: self._open(item.row()))
        self._folders: list[str] = []
        whole = QSplitter(Qt.Orientation.Vertical)
        for widget in (self._rate, _under(self._told, self._lost), _under(self._count, self.table)):
            whole.addWidget(widget)
        whole.setSizes([100, 110, 260])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.addWidget(whole)

    def refresh(self) -> None:
        """Show what is new, twice a second at most."""
        now_s = time.monotonic()
        if self.paused or now_s - self._drawn_at < REDRAW_S:
            return
        self._drawn_at = now_s
        if self._model.series != self._series:
            self._series = self._model.series
            self._rates.clear()
        self._draw_rate()
        self._draw_losses()
        self._list_sessions()

    @property
    def _stop(self) -> int:
        """One past the newest frame there is."""
        health = self._model.health
        return max(self._model.timeline.stop, health.frames_in + health.lost)

    @property
    def _axis(self) -> tuple[str, float]:
        """What the axes across are called, and how many of that a frame is."""
        interval_s = self._model.interval_s
        if not interval_s:
            return "frame", 1.0
        return ("time [min]", interval_s / 60) if self._stop * interval_s > LONG_S else ("time [s]", interval_s)

    def _draw_rate(self) -> None:
        rate, _ = self._model.health.rates()
        if rate and self._model.link == "live":
            self._rates.append((self._stop, rate))
        frames, rates = np.array(self._rates, float).reshape(-1, 2).T
        scale = self._axis[1]
        self._curve.setData(frames * scale, rates)
        self._rate.setYRange(0, 1.1 * max(rates.max(initial=0.0), 1.0), padding=0)
        self._rate.setXRange(0, max(self._stop * scale, 1e-3), padding=0)

    def _draw_losses(self) -> None:
        model = self._model
        edges = np.linspace(0, max(self._stop, 1), BINS + 1)
        gaps = np.array([(m.frame, m.lost) for m in model.timeline.moments if m.lost], float).reshape(-1, 2)
        lost = np.histogram(gaps[:, 0], edges, weights=gaps[:, 1])[0]
        name, scale = self._axis
        self._bars.setData(edges * scale, lost, stepMode="center", fillLevel=0)
        self._lost.setYRange(0, max(1.1 * lost.max(initial=0), 1), padding=0)
        self._lost.getAxis("left").setTicks(None if lost.max(initial=0) > FEW_LOST else WHOLE)  # no half frames
        self._lost.setLabel("bottom", name)
        earlier = model.health.lost - int(gaps[:, 1].sum())
        told = f"lost: {model.health.lost:,} of {model.health.frames_in + model.health.lost:,} frames"
        told += f" ({model.health.lost_split()})" if model.health.lost else ""
        self._told.setText(told + (f"; {earlier:,} before this window came are not drawn" if earlier > 0 else ""))

    def _list_sessions(self) -> None:
        hello = self._model.hello
        if hello is None or "control" not in hello.endpoints:
            self._count.setText("sessions: this program does not tell of them")
            return
        self.sessions.ask_if_due()
        if self.sessions.revision == self._listed:
            return
        self._listed = self.sessions.revision
        if self.sessions.why:
            self._count.setText(f"sessions: {self.sessions.why}")
            return
        lines = self.sessions.lines
        self._count.setText(f"sessions in this folder: {len(lines)} (a double click opens one)")
        self._folders = [line.folder for line in lines]
        self.table.setRowCount(len(lines))
        for row, line in enumerate(lines):
            for column, text in enumerate(_spelled(line)):
                item = QTableWidgetItem(text)
                item.setToolTip(line.folder if column == 0 else line.state)
                if COLUMNS[column] in NUMBERS:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()

    def _open(self, row: int) -> None:
        """Look at a session in a window of its own."""
        if row < len(self._folders) and (why := open_in_window(self._model.uri, self._folders[row])):
            self._count.setText(why)


def _spelled(line: SessionLine) -> tuple[str, ...]:
    """What stands in the columns."""
    counts = [f"{n:,}" if n is not None else "" for n in (line.frames, line.lost)]
    size = "" if line.nbytes is None else f"{line.nbytes / (n := 1e9 if line.nbytes >= 1e9 else 1e6):.3g} {UNITS[n]}"
    return line.name, line.started[:16].replace("T", " "), line.state.partition(":")[0], *counts, size


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(list(COLUMNS))
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    table.setAlternatingRowColors(True)
    return table


def _under(label: QLabel, below: QWidget) -> QWidget:
    """A line of words with what it is about beneath it."""
    both = QWidget()
    layout = QVBoxLayout(both)
    layout.setContentsMargins(0, 2, 0, 0)
    layout.addWidget(label)
    layout.addWidget(below, 1)
    return both
