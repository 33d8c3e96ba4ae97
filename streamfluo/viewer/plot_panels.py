"""Docks that draw lines: values of every frame as they scroll, and snapshots of one axis."""

from __future__ import annotations

import time

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from .model import Model
from .panels import Panel
from .theme import curve_colour
from .traces import Trace, envelope

REDRAW_S = 0.1
CURVES_A_PAGE = 16
WINDOWS_S = {"10 s": 10.0, "1 min": 60.0, "5 min": 300.0, "all": np.inf}
WINDOWS_FRAMES = {"300 frames": 300.0, "2000 frames": 2000.0, "10000 frames": 10000.0, "all": np.inf}


class TracePanel(QWidget):
    """Scrolling curves of a trace against time, or frame where the interval is unknown.

    Curves with ids (neurons, spots) stand one above the other, each over its own range, 16 a page; sampled ones
    (regions) share the axis.
    """

    def __init__(self, trace: Trace, label: str, unit: str, interval_s: float | None) -> None:
        super().__init__()
        self.paused = False
        self._trace, self._interval_s = trace, interval_s
        self._drawn_revision, self._drawn_at = -1, 0.0
        self.pointed: int | None = None  # the id of the curve that is drawn thick
        self._plot = empty_plot()
        self._plot.setLabel("bottom", "time [s]" if interval_s else "frame")
        self._plot.setLabel("left", f"{label} [{unit}]" if unit else label)
        self._curves: list[pg.PlotDataItem] = []
        self._windows = WINDOWS_S if interval_s else WINDOWS_FRAMES
        self._window = QComboBox()
        self._window.addItems(list(self._windows))
        self._window.setCurrentIndex(1)
        self._window.currentIndexChanged.connect(lambda _: self.redraw())
        self._page = QSpinBox(prefix="curves ", minimum=1, maximum=1)
        self._page.valueChanged.connect(lambda _: self.redraw())
        self._page.setVisible(False)
        self._newest = QLabel()
        top = QHBoxLayout()
        for widget in (self._window, self._page):
            top.addWidget(widget)
        top.addStretch()
        top.addWidget(self._newest)
        _stack(self, top, self._plot)

    def refresh(self) -> None:
        """Draw what is new, ten times a second at most."""
        now = time.monotonic()
        if self.paused or self._trace.revision == self._drawn_revision or now - self._drawn_at < REDRAW_S:
            return
        self._drawn_revision, self._drawn_at = self._trace.revision, now
        if not len(self._trace):
            for curve in self._curves:
                curve.setData([], [])
            return
        scale = self._interval_s or 1.0
        last = int(self._trace.since()[0][-1])
        span = self._windows[self._window.currentText()] / scale
        indices, rows = self._trace.since(0 if np.isinf(span) else max(0, int(last - span)))
        ids = self._trace.ids or []
        stacked = bool(ids) and not self._trace.sampled
        shown = self._shown(rows.shape[1])
        self._match_curves(len(shown))
        ticks = []
        for n, column in enumerate(shown):
            x, y = envelope(indices, rows[:, column], sampled=self._trace.sampled)
            if stacked:
                ticks.append((float(n), str(ids[column])))
                y = _fitted(y) + n
            thick = bool(ids) and ids[column] == self.pointed
            self._curves[n].setPen(pg.mkPen(curve_colour(column), width=3.5 if thick else 1.5))
            self._curves[n].setData(x * scale, y, connect="finite")
        if stacked:
            self._plot.getAxis("left").setTicks([ticks])
        if not np.isinf(span):
            self._plot.setXRange(max(last - span, int(indices[0])) * scale, last * scale, padding=0)
        self._newest.setText("  ".join(f"{value:.5g}" for value in rows[-1, shown][:4]))

    def point_out(self, number: int) -> None:
        """Draw the curve thick whose id is that of the `number`-th component now, and turn to its page."""
        now, ids = sorted(self._trace.newest_ids), self._trace.ids or []
        if number < len(now):
            self.pointed = now[number]
            self._page.setValue(ids.index(self.pointed) // CURVES_A_PAGE + 1)
            self.redraw()

    def turn_to(self, trace: Trace) -> None:
        """Draw another trace from now on."""
        self._trace, self.pointed = trace, None
        self._newest.clear()
        self.redraw()

    def redraw(self) -> None:
        """Draw again at the next look."""
        self._drawn_revision, self._drawn_at = -1, 0.0

    def _shown(self, curves: int) -> list[int]:
        pages = max(1, -(-curves // CURVES_A_PAGE))
        self._page.setMaximum(pages)
        self._page.setSuffix(f" of {pages}")
        self._page.setVisible(pages > 1)
        first = (self._page.value() - 1) * CURVES_A_PAGE
        return list(range(first, min(curves, first + CURVES_A_PAGE)))

    def _match_curves(self, count: int) -> None:
        while len(self._curves) < count:
            # Smoothed, a noisy curve of 2000 points took 148 ms to paint; so it takes 2.
            self._curves.append(self._plot.plot(antialias=False))
        while len(self._curves) > count:
            self._plot.removeItem(self._curves.pop())


class CurvePanel(QWidget):
    """A snapshot of one axis against its place."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model, self._drawn = panel, model, np.empty(0)
        self._plot = empty_plot()
        self._plot.setLabel("bottom", panel.dims[0] if panel.dims else "")
        self._plot.setLabel("left", f"{panel.name} [{panel.unit}]" if panel.unit else panel.name)
        self._curve = self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(0), width=1.5))
        _stack(self, None, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same snapshot of another plane from now on."""
        self._panel, self._drawn = panel, np.empty(0)
        self._curve.setData([], [])

    def refresh(self) -> None:
        """Draw what is new."""
        curve = self._model.curves.get(self._panel.id)
        if not self.paused and curve is not None and curve is not self._drawn:
            self._drawn = curve
            self._curve.setData(np.arange(len(curve)), np.asarray(curve, float), connect="finite")


def empty_plot() -> pg.PlotWidget:
    """Return a plot with the look of all docks."""
    plot = pg.PlotWidget()
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.showGrid(y=True, alpha=0.15)
    plot.getAxis("left").enableAutoSIPrefix(False)
    plot.getAxis("bottom").enableAutoSIPrefix(False)
    plot.setMinimumSize(120, 60)
    return plot


def _stack(widget: QWidget, top: QHBoxLayout | None, plot: pg.PlotWidget) -> None:
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(4, 2, 4, 2)
    layout.setSpacing(2)
    if top is not None:
        layout.addLayout(top)
    layout.addWidget(plot)


def _fitted(curve: np.ndarray) -> np.ndarray:
    """A curve over its own range, 0 to 0.9."""
    finite = curve[np.isfinite(curve)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return 0.9 * (curve - low) / (high - low if high > low else 1.0)
