"""Docks for snapshots that belong together: one against another with its fit, and a number with its interval."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from .model import Model
from .panels import Panel
from .plot_panels import empty_plot
from .theme import curve_colour
from .traces import Trace
from .words import labelled, with_interval

POINT_PX = 6
BAND_OPACITY = 60


class ScatterPanel(QWidget):
    """Points of a snapshot against the one its axis is named after, and the fit through them."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model = panel, model
        self._drawn: tuple[object, ...] = ()
        self._plot = empty_plot()
        self._plot.showGrid(x=True, y=True, alpha=0.15)
        across, unit = panel.dims[0], model.unit(panel.step, panel.dims[0])
        self._plot.setLabel("bottom", labelled(across, unit))
        self._plot.setLabel("left", labelled(panel.name, panel.unit))
        self._points = pg.ScatterPlotItem(size=POINT_PX, pen=None, brush=curve_colour(0))
        self._plot.addItem(self._points)
        self._line = self._plot.plot(antialias=True, pen=pg.mkPen(curve_colour(1), width=2))
        _only(self, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same snapshots of another plane from now on."""
        self._panel, self._drawn = panel, ()
        self._points.setData([], [])
        self._line.setData([], [])

    def refresh(self) -> None:
        """Draw what is new."""
        step, name = self._panel.step, self._panel.name
        y, x, fit = (self._model.curves.get(f"snapshot/{step}/{n}") for n in (name, *self._panel.dims, f"{name}_fit"))
        if self.paused or x is None or y is None or x.shape != y.shape or self._is_drawn(x, y, fit):
            return
        self._drawn = (x, y, fit)
        known = np.isfinite(x) & np.isfinite(y)
        self._points.setData(x[known].astype(float), y[known].astype(float))
        fitted = fit is not None and fit.shape == x.shape and bool(np.isfinite(fit).any())
        self._line.setData(*((x, fit) if fitted else ([], [])), connect="finite")

    def _is_drawn(self, *curves: object) -> bool:
        return len(self._drawn) == len(curves) and all(a is b for a, b in zip(self._drawn, curves, strict=True))


class IntervalPanel(QWidget):
    """A number as frames go by, in the band of its interval."""

    def __init__(self, panel: Panel, trace: Trace) -> None:
        super().__init__()
        self.paused = False
        self._trace, self._drawn_revision, self._unit = trace, -1, panel.unit
        self._plot = empty_plot()
        self._plot.setLabel("bottom", "frame")
        self._plot.setLabel("left", labelled(panel.dims[0], panel.unit))
        edges = [self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(0), width=1)) for _ in range(2)]
        band = QColor(curve_colour(0))
        band.setAlpha(BAND_OPACITY)
        self._low, self._high = edges
        self._plot.addItem(pg.FillBetweenItem(*edges, brush=band))
        self._value = self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(1), width=2))
        self._newest = QLabel()
        _only(self, self._newest, self._plot)

    def turn_to(self, trace: Trace) -> None:
        """Draw another trace from now on."""
        self._trace, self._drawn_revision = trace, -1
        for curve in (self._low, self._high, self._value):
            curve.setData([], [])

    def refresh(self) -> None:
        """Draw what is new."""
        if self.paused or self._trace.revision == self._drawn_revision:
            return
        self._drawn_revision = self._trace.revision
        frames, rows = self._trace.since()
        known = np.isfinite(rows).all(axis=1) if rows.shape[1] == 3 else np.zeros(len(rows), bool)
        if not known.any():
            self._newest.setText("not determined yet")
            return
        low, value, high = rows[known].T
        for curve, y in ((self._low, low), (self._high, high), (self._value, value)):
            curve.setData(frames[known].astype(float), y)
        # The first intervals are wide; what it narrows down to is to be seen.
        middle, span = value[-1], max(2.0 * np.median(high - low), 2.0 * (high[-1] - low[-1]))
        self._plot.setYRange(middle - span, middle + span, padding=0)
        number, least, most = with_interval(middle, low[-1], high[-1])
        self._newest.setText(f"{number} {self._unit} ({least} to {most})")


def _only(widget: QWidget, *contents: QWidget) -> None:
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(4, 2, 4, 2)
    layout.setSpacing(2)
    for content in contents:
        layout.addWidget(content)
