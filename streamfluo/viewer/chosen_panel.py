"""What is known of the place that is chosen: how likely each value is, and its trace with what was fitted to it."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QBrush
from PySide6.QtWidgets import QLabel, QSplitter, QWidget

from .drawn import NamedThing
from .model import Model
from .panels import Panel
from .plot_panels import empty_plot, told_above
from .theme import curve_colour, text_colour
from .traces import Trace, envelope
from .words import labelled, named

SHOWN_FRAMES = 400  # more would be a solid block


class ChosenPanel(QWidget):
    """Bars and a trace of the place that a click or an arrow key chose; of none, the first."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model = panel, model
        self._drawn: object = None
        self._told = QLabel(wordWrap=True)
        self._bars_plot, self._trace_plot = empty_plot(), empty_plot()
        self._bars = pg.BarGraphItem(x=[], height=[], width=0.8)
        self._bars_plot.addItem(self._bars)
        self._bars_plot.setYRange(0, 1, padding=0.02)
        self._line = self._trace_plot.plot(antialias=False, pen=pg.mkPen(text_colour(), width=1))
        self._fitted = self._trace_plot.plot(antialias=False, pen=pg.mkPen(curve_colour(1), width=1.5))
        self._trace_plot.setLabel("bottom", "frame")
        both = QSplitter(Qt.Orientation.Vertical)
        both.addWidget(self._bars_plot)
        both.addWidget(self._trace_plot)
        told_above(self, self._told, both)
        self._name_axes()

    def turn_to(self, panel: Panel) -> None:
        """Show what is known in another plane from now on."""
        self._panel, self._drawn = panel, None
        self._name_axes()

    def _name_axes(self) -> None:
        of, model = self._model.drawn.places[self._panel.step], self._model
        self._bars_plot.setLabel("bottom", named(of.value[1]))
        self._bars_plot.setLabel("left", "probability")
        self._bars_plot.setYRange(0, 1, padding=0.02)
        if of.trace is not None:
            self._trace_plot.setLabel("left", labelled(of.trace[1], model.unit(*of.trace)))
        self._bars_plot.setVisible(of.chances is not None)
        self._trace_plot.setVisible(of.trace is not None)

    def refresh(self) -> None:
        """Draw what is new."""
        of = self._model.drawn.places.get(self._panel.step)
        if self.paused or of is None:
            return
        places = self._model.places(of)
        chosen = self._model.chosen_place(self._panel.step)
        trace, fitted = self._trace_of(of.trace), self._trace_of(of.fitted)
        chances = self._model.curves.get(f"snapshot/{of.chances[0]}/{of.chances[1]}") if of.chances else None
        state = (chosen, id(chances), places.value.tobytes(), trace and trace.revision, fitted and fitted.revision)
        if state == self._drawn:
            return
        self._drawn = state
        value = places.value[chosen] if chosen < len(places.value) else np.nan
        doubtful = bool(places.doubtful[chosen]) if chosen < len(places.doubtful) else False
        self._say(chosen, len(places.value), value, doubtful)
        self._draw_bars(chances, chosen, of.first, value, doubtful)
        self._draw_trace(self._line, trace, chosen)
        self._draw_trace(self._fitted, fitted, chosen)

    def _trace_of(self, at: NamedThing | None) -> Trace | None:
        return self._model.traces.get(f"by_id/{at[0]}/{at[1]}") if at is not None else None

    def _say(self, chosen: int, of: int, value: float, doubtful: bool) -> None:
        what = named(self._model.drawn.places[self._panel.step].value[1])
        if not of:
            self._told.setText("nothing is known yet")
            return
        told = f"<b>spot {chosen}</b> of {of} · {what} {value:g}" if np.isfinite(value) else f"<b>spot {chosen}</b>"
        self._told.setText(
            f"{told}{' · doubtful or not determined' if doubtful else ''} · click another, or Up and Down"
        )

    def _draw_bars(self, chances: np.ndarray | None, chosen: int, first: int, value: float, doubtful: bool) -> None:
        if chances is None or chances.ndim != 2 or chosen >= len(chances):
            self._bars.setOpts(x=[], height=[])
            return
        row = np.nan_to_num(np.asarray(chances[chosen], float))
        at = np.arange(len(row)) + first
        faint = curve_colour(0)
        faint.setAlpha(110)
        hatched = QBrush(text_colour(), Qt.BrushStyle.BDiagPattern)
        brushes = [hatched if doubtful else QBrush(curve_colour(0) if n == value else faint) for n in at]
        self._bars.setOpts(x=at, height=row, width=0.8, brushes=brushes, pen=pg.mkPen(text_colour(), width=0.5))
        self._bars_plot.getAxis("bottom").setTicks([[(n, str(n)) for n in at[:: -(-len(at) // 12)].tolist()]])

    def _draw_trace(self, curve: pg.PlotDataItem, trace: Trace | None, chosen: int) -> None:
        ids = (trace.ids or []) if trace is not None else []
        if trace is None or chosen not in ids or not len(trace):
            curve.setData([], [])
            return
        newest = int(trace.since()[0][-1])
        indices, rows = trace.since(max(0, newest - SHOWN_FRAMES))
        curve.setData(*envelope(indices, rows[:, ids.index(chosen)]), connect="finite")
