"""Histograms: of measurements so far, and of what places are worth; and a number with what is too much of it."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

from .drawn import PlacesGiven
from .model import Model
from .panels import Panel
from .place_items import value_colour
from .plot_panels import empty_plot, told_above
from .theme import curve_colour, signal_colours, text_colour
from .words import figure, labelled, named, rounded

SHOWN_SHARE = 0.995  # of what a histogram holds; the few beyond would leave it no room
DOUBTFUL_BRUSH = Qt.BrushStyle.BDiagPattern


class HistogramPanel(QWidget):
    """Bars of a snapshot over the one its axis is named after, with its median in words."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model = panel, model
        self._drawn: np.ndarray | None = None
        self._plot = empty_plot()
        what = panel.name.removesuffix("_histogram")
        self._unit = model.unit(panel.step, panel.dims[0])
        self._plot.setLabel("bottom", f"{named(what)} [{self._unit}]" if self._unit != what else what)
        self._plot.getAxis("left").setStyle(showValues=True)
        shade = curve_colour(0)
        shade.setAlpha(120)
        self._bars = self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(0), width=1))
        self._bars.setFillBrush(shade)
        self._median = pg.InfiniteLine(angle=90, pen=pg.mkPen(text_colour(), width=1.5, style=Qt.PenStyle.DashLine))
        self._median.setVisible(False)
        self._plot.addItem(self._median, ignoreBounds=True)
        self._told = QLabel()
        told_above(self, self._told, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same histogram of another plane from now on."""
        self._panel, self._drawn = panel, None
        self._bars.setData([], [])

    def refresh(self) -> None:
        """Draw what is new."""
        step = self._panel.step
        counts = self._model.curves.get(self._panel.id)
        at = self._model.curves.get(f"snapshot/{step}/{self._panel.dims[0]}")
        if self.paused or counts is self._drawn or counts is None or at is None or at.shape != counts.shape:
            return
        self._drawn = counts
        counts, at = np.nan_to_num(np.asarray(counts, float)), np.asarray(at, float)
        total = counts.sum()
        self._median.setVisible(bool(total > 0))
        if not total > 0 or len(at) < 2:
            self._bars.setData([], [])
            self._told.setText("nothing yet")
            return
        reached = np.cumsum(counts) / total
        low, middle, high = (int(np.searchsorted(reached, share)) for share in (1 - SHOWN_SHARE, 0.5, SHOWN_SHARE))
        width = at[1] - at[0]
        shown = slice(max(0, low - 1), min(len(at), high + 2))
        edges = np.append(at[shown] - width / 2, at[shown][-1] + width / 2)
        self._bars.setData(edges, counts[shown], stepMode="center", fillLevel=0)
        self._median.setValue(at[middle])
        self._told.setText(f"median {rounded(at[middle])} {self._unit} · n = {int(total):,}")


class CountsPanel(QWidget):
    """How many places have which value; the doubtful ones, hatched, on top of the others."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._model, self._panel = model, panel
        self._drawn: tuple[object, ...] = ()
        self._plot = empty_plot()
        self._plot.setLabel("bottom", labelled(panel.name, panel.unit))
        self._plot.setLabel("left", named(panel.dims[0]) + "s")
        self._sure = pg.BarGraphItem(x=[], height=[], width=0.8)
        self._doubtful = pg.BarGraphItem(x=[], height=[], width=0.8)
        for item in (self._sure, self._doubtful):
            self._plot.addItem(item)
        self._told = QLabel(wordWrap=True)
        told_above(self, self._told, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same values of another plane from now on."""
        self._panel, self._drawn = panel, ()

    def _of(self) -> PlacesGiven | None:
        here = (self._panel.step, self._panel.name)
        return next((of for of in self._model.drawn.places.values() if of.value == here), None)

    def refresh(self) -> None:
        """Draw what is new."""
        of, values = self._of(), self._model.curves.get(self._panel.id)
        if self.paused or of is None or values is None:
            return
        doubts = self._model.doubtful(of, len(values))
        state = (values.tobytes(), doubts.tobytes())
        if state == self._drawn:
            return
        self._drawn = state
        known = np.isfinite(np.asarray(values, float))
        whole = np.rint(np.where(known, values, 0)).astype(int)
        most = int(whole.max(initial=0)) + 1
        sure, doubtful = (
            np.bincount(whole[known & which], minlength=most + 1)[: most + 1] for which in (~doubts, doubts)
        )
        at, top = np.arange(most + 1), max(1, most - 1)
        colours = [value_colour(n / top) for n in at.tolist()]  # those of the circles over the image
        self._sure.setOpts(x=at, height=sure, y0=0, width=0.8, brushes=colours, pen=pg.mkPen(text_colour(), width=0.5))
        hatched = QBrush(text_colour(), DOUBTFUL_BRUSH)
        self._doubtful.setOpts(x=at, height=doubtful, y0=sure, width=0.8, brush=hatched, pen=pg.mkPen(text_colour()))
        self._plot.getAxis("bottom").setTicks([[(n, str(n)) for n in at[:: -(-len(at) // 12)]]])
        unsure = f", {int(doubts.sum())} of them doubtful or undetermined (hatched)" if doubts.any() else ""
        self._told.setText(f"{len(values)} {named(self._panel.dims[0])}s{unsure}" if len(values) else "none yet")


class GaugePanel(QWidget):
    """A share or a number on a bar, from where on it is worth a look and too much, and which it is in a word."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model, self._value = panel, model, np.nan
        self._look, self._much = model.drawn.gauges[panel.step, panel.name]
        self.setMinimumSize(120, 48)
        self.setMaximumHeight(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setToolTip(next((m for n, _, _, _, m in self._gives() if n == panel.name), ""))

    def _gives(self) -> list[tuple[str, str, tuple[str, ...], str, str]]:
        return self._model.hello.gives.get(self._panel.step, []) if self._model.hello else []

    def turn_to(self, panel: Panel) -> None:
        """Show the same number of another plane from now on."""
        self._panel, self._value = panel, np.nan

    def refresh(self) -> None:
        """Show what is new."""
        value = self._model.values.get(f"{self._panel.step}/{self._panel.name}", np.nan)
        if not self.paused and not (value == self._value or (np.isnan(value) and np.isnan(self._value))):
            self._value = value
            self.update()

    @property
    def verdict(self) -> str:
        """What is said of the number."""
        if not np.isfinite(self._value):
            return "not known yet"
        word = "fine" if self._value < self._look else "worth a look" if self._value < self._much else "too much"
        return f"{self._told(self._value)}: {word} (too much from {self._told(self._much)} on)"

    def _told(self, value: float) -> str:
        """A share in percent; a number whose limits lie above 1 as it is."""
        return f"{100 * value:.2g} %" if self._much <= 1 else figure(value)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the bar, its marks and the words."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = painter.fontMetrics().height()
        painter.setPen(QPen(text_colour()))
        painter.drawText(6, 2 + painter.fontMetrics().ascent(), self.verdict)
        bar = QRectF(6, line + 8, self.width() - 12, min(16, max(6, self.height() - line - 12)))
        painter.drawRect(bar)
        end = 2 * self._much
        if np.isfinite(self._value):
            red, amber, green = signal_colours()
            colour = green if self._value < self._look else amber if self._value < self._much else red
            share = min(max(self._value / end, 0.0), 1.0)
            painter.fillRect(QRectF(bar.left(), bar.top(), share * bar.width(), bar.height()), pg.mkColor(colour))
        for mark in (self._look, self._much):
            x = bar.left() + mark / end * bar.width()
            painter.drawLine(int(x), int(bar.top()) - 3, int(x), int(bar.bottom()) + 3)


class OverTimePanel(QWidget):
    """A snapshot of one axis as frames go by, a curve for each of its places."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model, self._revision = panel, model, -1
        self._plot = empty_plot()
        self._plot.setLabel("bottom", "frame")
        self._plot.setLabel("left", labelled(panel.name, panel.unit))
        self._curves: list[pg.PlotDataItem] = []
        self._told = QLabel(textFormat=Qt.TextFormat.RichText, wordWrap=True)
        told_above(self, self._told, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same snapshot of another plane from now on."""
        self._panel, self._revision = panel, -1

    def refresh(self) -> None:
        """Draw what is new."""
        trace = self._model.traces[self._panel.id]
        if self.paused or trace.revision == self._revision:
            return
        self._revision = trace.revision
        frames, rows = trace.since()
        axis, first = self._panel.dims[0], FIRST_PLACE.get(self._panel.dims[0], 0)
        while len(self._curves) < rows.shape[1]:
            n = len(self._curves)
            pen, symbol = pg.mkPen(curve_colour(n), width=2), SYMBOLS[n % len(SYMBOLS)]
            self._curves.append(
                self._plot.plot(antialias=False, pen=pen, symbol=symbol, symbolSize=5,
                                symbolBrush=curve_colour(n), symbolPen=None)
            )  # fmt: skip
        every = max(1, len(frames) // 40)
        for n, curve in enumerate(self._curves[: rows.shape[1]]):
            known = np.isfinite(rows[:, n])
            x, y = frames[known][::-every][::-1].astype(float), rows[known, n][::-every][::-1]
            curve.setData(x, y)
        said = (
            f'<span style="color:{curve_colour(n).name()}">{SIGNS[n % len(SIGNS)]}</span> {axis} {n + first}: '
            f"{rounded(value)} {self._panel.unit}"
            for n, value in enumerate(rows[-1] if len(rows) else [])
        )
        self._told.setText(" &nbsp; ".join(said))


FIRST_PLACE = {"order": 2}
SYMBOLS, SIGNS = ("o", "s", "t", "d", "+", "x", "p"), ("●", "■", "▼", "◆", "+", "×", "⬟")  # not by colour alone
