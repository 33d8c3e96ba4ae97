"""Docks that draw a snapshot of one axis, and how every plot looks."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from .axis import axes
from .model import Model
from .panels import Panel
from .theme import curve_colour
from .words import labelled

COUNTED = ("order", "spot", "id", "emitters", "column", "label")  # axes whose places are things, not a scale
FIRST = {"order": 2}  # what the first bar is called where that is not 0
MAX_BARS, MAX_NAMED = 500, 12


class CurvePanel(QWidget):
    """A snapshot of one axis against its place; of things that are counted a bar for each."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model, self._drawn = panel, model, np.empty(0)
        self._plot = empty_plot()
        self._plot.setLabel("bottom", panel.dims[0] if panel.dims else "")
        self._plot.setLabel("left", labelled(panel.name, panel.unit))
        shade = curve_colour(0)
        shade.setAlpha(90)
        self._curve = self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(0), width=1.5))
        self._curve.setFillBrush(shade)
        stacked(self, None, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same snapshot of another plane from now on."""
        self._panel, self._drawn = panel, np.empty(0)
        self._curve.setData([], [])

    def refresh(self) -> None:
        """Draw what is new."""
        curve = self._model.curves.get(self._panel.id)
        if not self.paused and curve is not None and curve is not self._drawn:
            self._drawn = curve
            heights = np.nan_to_num(np.asarray(curve, float)) if self._is_counted(len(curve)) else None
            if heights is not None:
                self._curve.setData(np.arange(len(curve) + 1) - 0.5, heights, stepMode="center", fillLevel=0)
                self._name_bars(len(curve))
            else:
                self._curve.setData(np.arange(len(curve)), np.asarray(curve, float), stepMode=None, connect="finite")

    def _name_bars(self, count: int) -> None:
        """Whole numbers under the bars; where there are many, under some."""
        first, each = FIRST.get(self._panel.dims[0], 0), -(-count // MAX_NAMED)
        self._plot.getAxis("bottom").setTicks([[(n, str(n + first)) for n in range(0, count, each)]])

    def _is_counted(self, count: int) -> bool:
        return 0 < count <= MAX_BARS and self._panel.dims[0] in COUNTED


def empty_plot() -> pg.PlotWidget:
    """Return a plot with the look of all docks."""
    plot = pg.PlotWidget(axisItems=axes())
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.showGrid(y=True, alpha=0.15)
    plot.getAxis("left").enableAutoSIPrefix(False)
    plot.getAxis("bottom").enableAutoSIPrefix(False)
    plot.setMinimumSize(120, 60)
    return plot


def told_above(widget: QWidget, told: QLabel, drawn: QWidget) -> None:
    """Lay out a dock: a line of words, and below it what is drawn."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(4, 2, 4, 2)
    layout.setSpacing(0)
    layout.addWidget(told)
    layout.addWidget(drawn)


def stacked(widget: QWidget, top: QHBoxLayout | None, plot: pg.PlotWidget) -> None:
    """Lay out a dock: a row of controls, where there is one, and its plot."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(4, 2, 4, 2)
    layout.setSpacing(2)
    if top is not None:
        layout.addLayout(top)
    layout.addWidget(plot)
