"""A dock that draws values of every frame as they scroll by, with what else happened beneath them and over them."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QWidget

from .controls import tool_button
from .model import Model
from .panels import Panel
from .plot_panels import empty_plot, stacked
from .tables import Rows
from .text_lane import TextLane
from .theme import curve_colour, text_colour
from .timeline import spelled_time
from .trace_heat import ORDERS, PLACE, Places, TraceHeat, in_order, named_rows
from .traces import Marks, Trace, envelope
from .words import labelled, rounded

REDRAW_S, HEAT_S = 0.1, 1.0
ORDER_S = 5.0  # so long curves keep their places
CURVES_A_PAGE = 16
LOW_PX = 140  # then an axis has no words
AXIS_PX = 40  # across, with its words
LANE_PX, FEWEST = 13, 3  # so much room a curve needs, and so many are shown where there is less
LANE, LANE_GAP = 2.5, 0.7  # height of a signal beneath the traces, in heights of a trace
MAX_LANES, TEXT_LANE = 4, 2.0
TICK, TICK_GAP, MAX_TICKS = 0.35, 0.05, 1000  # the highest and the room above it, in heights of a lane; of a curve
LEAST_TICK = 0.1  # of the highest one: lower ones would be a dotted line
WINDOWS_S = {"10 s": 10.0, "1 min": 60.0, "5 min": 300.0, "all": np.inf}
WINDOWS_FRAMES = {"300 frames": 300.0, "2000 frames": 2000.0, "10000 frames": 10000.0, "all": np.inf}


@dataclass(frozen=True)
class Beside:
    """What is drawn with traces: signals beneath them and marks over them, each by what it is called; by the ids of
    the traces, what stands beneath each as ticks, and where each one is; texts beneath all of it."""

    signals: Mapping[str, Trace] = field(default_factory=dict)
    marks: Mapping[str, Marks] = field(default_factory=dict)
    ticks: Trace | None = None
    places: Callable[[], Places] = dict
    texts: Rows | None = None

    @property
    def revision(self) -> tuple[int, ...]:
        """What changes whenever there is something else to draw."""
        others = [one for one in (self.ticks, self.texts) if one is not None]
        return tuple(one.revision for one in (*self.signals.values(), *self.marks.values(), *others))


def beside(panel: Panel, model: Model) -> Beside:
    """Return what is drawn with a panel's traces, each thing by the step that it is of; nothing with a whole run's."""
    if (panel.step, panel.name) in model.drawn.over_time:
        return Beside()
    found = {other: model.planes.split(other.step)[1] for other in model.beside(panel)}
    signals = {step: model.traces[other.id] for other, step in found.items() if other.signal}
    marks = {step: model.marks[other.id] for other, step in found.items() if other.kind == "marks"}
    ticks = model.drawn.ticks.get((panel.step, panel.name))
    by = next((other for other in found if (other.step, other.name) == ticks), None)
    ticked = None if by is None else model.traces.get(by.id)
    texts = next((model.tables[other.id] for other in found if other.kind == "lines"), None)
    return Beside(signals, marks, ticked, lambda: model.centres(panel.step), texts)


class TracePanel(QWidget):
    """Scrolling curves of a trace against time, or frame where the interval is unknown.

    Curves with ids (neurons, spots) stand one above the other, each over its own range, 16 a page, with the signals
    `beside` them underneath; sampled ones (regions) share the axis. Marks are lines over all.
    """

    def __init__(
        self, trace: Trace, label: str, unit: str, interval_s: float | None, beside: Beside | None = None
    ) -> None:
        super().__init__()
        self.paused = False
        self._trace, self._interval_s, self._beside = trace, interval_s, beside or Beside()
        self._drawn: object = None
        self._drawn_at = 0.0
        self.pointed: int | None = None  # the id of the curve that is drawn thick
        self._looking_at: int | None = None
        self._a_page = CURVES_A_PAGE
        self._plot = empty_plot()
        self._plot.setLabel("bottom", "time [s]" if interval_s else "frame")
        self._label, self._unit = label, unit
        self.names: tuple[str, ...] = ()  # of curves without ids, where they have any
        self._plot.setLabel("left", labelled(label, unit))
        self._ticks = pg.PlotCurveItem(antialias=False)
        self._plot.addItem(self._ticks, ignoreBounds=True)
        self._cursor = pg.InfiniteLine(angle=90, pen=pg.mkPen(text_colour(), width=1.5))
        self._cursor.setVisible(False)
        self._plot.addItem(self._cursor, ignoreBounds=True)
        self._curves: list[pg.PlotDataItem] = []
        self._lines: dict[str, pg.PlotCurveItem] = {}
        self._windows = WINDOWS_S if interval_s else WINDOWS_FRAMES
        self._window = QComboBox()
        self._window.addItems(list(self._windows))
        self._window.setCurrentIndex(1)
        self._window.currentIndexChanged.connect(lambda _: self.redraw())
        self._page = QSpinBox(prefix="page ", minimum=1, maximum=1)
        self._page.valueChanged.connect(lambda _: self.redraw())
        self._page.setVisible(False)
        self._heat, self._texts = TraceHeat(self._plot), TextLane(self._plot)
        self._all = tool_button("All", "all curves at once, as rows of colour, each over its own range", checkable=True)
        self._sorting = QComboBox()
        self._sorting.addItems(ORDERS)
        self._sorting.setToolTip("the order in which curves stand; by place: neighbours in the picture close together")
        self._order: list[int] = []
        self._ordered_at = 0.0
        self._all.toggled.connect(lambda _: self.redraw())
        self._sorting.currentIndexChanged.connect(lambda _: self.redraw())
        self._told, self._newest = QLabel(textFormat=Qt.TextFormat.RichText), QLabel()
        top = QHBoxLayout()
        for widget in (self._window, self._all, self._sorting, self._page, self._told):
            top.addWidget(widget)
        top.addStretch()
        top.addWidget(self._newest)
        stacked(self, top, self._plot)

    def refresh(self) -> None:
        """Draw what is new, ten times a second at most."""
        trace = self._here
        now, new = time.monotonic(), (trace.revision, self._beside.revision, trace is self._trace)
        if self.paused or new == self._drawn or now - self._drawn_at < (HEAT_S if self._shows_all else REDRAW_S):
            return
        self._drawn, self._drawn_at = new, now
        self._all.setVisible(self._is_stacked)
        self._sorting.setVisible(self._is_stacked)
        if not len(trace):
            for curve in (*self._curves, *self._lines.values()):
                curve.setData([], [])
            self._heat.hide()
            return
        scale = self._interval_s or 1.0
        span = self._windows[self._window.currentText()] / scale
        last = self._last(span)
        indices, rows = trace.since(0 if np.isinf(span) else max(0, int(last - span)))
        kept_from = int(trace.since()[0][0])
        self._sort(rows, now)
        shown = self._shown(rows.shape[1])
        ticks = self._draw_all(indices, rows, scale) if self._shows_all else []
        self._draw_ticks([] if self._shows_all else shown, int(indices[0]), scale)
        if not self._shows_all:
            lanes = self._lanes()
            self._heat.hide()
            self._match_curves(len(shown) + len(lanes))
            ticks = self._draw_curves(indices, rows, shown, scale)
            ticks += self._draw_lanes(lanes, int(indices[0]), len(shown), scale)
        ticks += self._draw_texts(int(max(last - span, indices[0])), last, scale)
        if ticks:
            self._plot.getAxis("left").setTicks([ticks])
        if self._is_stacked:
            what = labelled(self._label, self._unit)
            said = f"id ({what})" if self._shows_all else f"id ↕ range of {what}"
            fits = self.fontMetrics().horizontalAdvance(said) < self._plot.height() - AXIS_PX
            self._plot.setLabel("left", said if fits else "id")  # cut off it says nothing
        first = max(last - span, 0 if self._looking_at is not None else int(indices[0]))
        self._plot.setXRange((int(indices[0]) if np.isinf(span) else first) * scale, last * scale, padding=0)
        self._draw_marks(int(indices[0]), scale)
        at = rows[min(int(np.searchsorted(indices, self._looking_at)), len(rows) - 1) if self._looking_at else -1]
        told = self._told_of(at, shown)
        if self._looking_at is not None and self._looking_at < kept_from:
            told = f"values from {spelled_time(kept_from, self._interval_s)} on are here"
        self._newest.setText(told)
        self._name_curves(len(shown))
        self._plot.getViewBox().prepareForPaint()  # else its own range changes while it is painted, and it is again

    def _told_of(self, values: np.ndarray, shown: list[int]) -> str:
        """The values of a frame in words: that of the component pointed out, of curves without ids each."""
        ids = self._here.ids
        if not self._is_stacked or ids is None:
            names = [f"{name} " for name in self.names] if len(self.names) == len(values) else [""] * len(values)
            unit = f" {self._unit}" if self.names else ""
            return "   ".join(f"{names[n]}{rounded(values[n])}" for n in shown[:4]) + unit
        return f"{self.pointed}: {rounded(values[ids.index(self.pointed)])} {self._unit}" if self.pointed in ids else ""

    def _name_curves(self, shown: int) -> None:
        """What each curve is called, in its colour."""
        if len(self.names) == shown and not self._is_stacked and not self._beside.marks:
            spelled = (
                f'<span style="color:{curve_colour(n).name()}">━ {name}</span>' for n, name in enumerate(self.names)
            )
            self._told.setText(" ".join(spelled))

    def name(self, names: tuple[str, ...]) -> None:
        """Say what curves without ids are called."""
        self.names = names
        if names:
            self._plot.setLabel("left", "")

    def resizeEvent(self, event: object) -> None:
        """Of a low panel the curves take the room that words beside its axis would."""
        self._plot.getAxis("bottom").showLabel(self.height() >= LOW_PX)
        super().resizeEvent(event)  # type: ignore[arg-type]

    def show_all(self) -> None:
        """Show everything there is, not the last minute."""
        self._window.setCurrentIndex(self._window.count() - 1)
        self._plot.setLimits(minYRange=1.0)  # of counts

    def look_at(self, frame: int | None) -> None:
        """Show the values around a frame, a line at it; those of the newest for None."""
        self._looking_at = frame
        self._cursor.setVisible(frame is not None)
        if frame is not None:
            self._cursor.setValue(frame * (self._interval_s or 1.0))
        self.redraw()

    def _last(self, span: float) -> int:
        """The frame at the right edge."""
        frames = self._here.since()[0]
        newest, kept_from = int(frames[-1]), int(frames[0])
        if self._looking_at is None or np.isinf(span):
            return newest
        return max(min(newest, int(self._looking_at + span / 3)), kept_from)

    def point_out(self, component: int | None) -> None:
        """Draw the curve of the component with this id thick, and turn to its page."""
        ids = self._here.ids or []
        if component in ids:
            self.pointed = component
            place = self._order.index(ids.index(component)) if len(self._order) == len(ids) else ids.index(component)
            self._page.setValue(place // self._a_page + 1)
            self.redraw()

    def turn_to(self, trace: Trace, beside: Beside) -> None:
        """Draw another trace from now on."""
        self._trace, self._beside, self.pointed = trace, beside, None
        self._newest.clear()
        self.redraw()

    def redraw(self) -> None:
        """Draw again at the next look."""
        self._drawn, self._drawn_at, self._ordered_at = None, 0.0, 0.0

    @property
    def _here(self) -> Trace:
        """The values that are drawn: of long ago those around the frame that is looked back at."""
        all_of_it = np.isinf(self._windows[self._window.currentText()])
        return self._trace if all_of_it else self._trace.around(self._looking_at)

    @property
    def _is_stacked(self) -> bool:
        return bool(self._trace.ids) and not self._trace.sampled

    @property
    def _shows_all(self) -> bool:
        return self._is_stacked and self._all.isChecked()

    def _sort(self, rows: np.ndarray, now_s: float) -> None:
        """Put curves in the order wanted, now and then: they would jump about."""
        if len(self._order) != rows.shape[1] or now_s - self._ordered_at > ORDER_S:
            how = self._sorting.currentText() if self._is_stacked else ORDERS[0]
            places = self._beside.places() if how == PLACE else None
            self._order, self._ordered_at = in_order(rows, how, self._here.ids or (), places), now_s

    def _draw_all(self, indices: np.ndarray, rows: np.ndarray, scale: float) -> list[tuple[float, str]]:
        """Draw every curve as a row of colour; returns what some of them are called."""
        self._match_curves(0)
        self._page.setVisible(False)
        self._heat.draw(indices, rows, self._order, scale)
        return named_rows(self._here.ids or [], self._order, self.pointed)

    def _lanes(self) -> list[tuple[str, Trace]]:
        """The signals that are drawn beneath the traces."""
        found = [(name, trace) for name, trace in self._beside.signals.items() if len(trace)]
        return found[:MAX_LANES] if self._is_stacked else []

    def _draw_curves(
        self, indices: np.ndarray, rows: np.ndarray, shown: list[int], scale: float
    ) -> list[tuple[float, str]]:
        """Draw the trace's own curves; returns what they are called where they are stacked."""
        ids, ticks = self._here.ids or [], []
        beneath = 0.0 if self._beside.ticks is None else TICK + TICK_GAP
        for n, column in enumerate(shown):
            x, y = envelope(indices, rows[:, column], sampled=self._trace.sampled)
            if self._is_stacked:
                ticks.append((float(n), f"{ids[column]}  ↕{_range(y)}"))
                y = _fitted(y) * (1 - beneath) + n + beneath
            thick = bool(ids) and ids[column] == self.pointed
            colour = curve_colour(ids[column] if self._is_stacked else column)
            self._curves[n].setPen(pg.mkPen(colour, width=3 if thick else 1))
            self._curves[n].setData(x * scale, y, connect="finite")
        return ticks

    def _draw_ticks(self, shown: list[int], first: int, scale: float) -> None:
        """Draw what stands as ticks beneath the curves shown, as high as it is, the highest of each curve TICK."""
        x, y = np.empty(0), np.empty(0)
        by, ids = self._beside.ticks, self._here.ids or []
        by = by.around(self._looking_at) if by is not None and self._here is not self._trace else by
        if by is not None and by.ids is not None and self._is_stacked and len(by):
            places = {name: column for column, name in enumerate(by.ids)}
            indices, rows = by.since(first)
            lanes = [(n, places[ids[column]]) for n, column in enumerate(shown) if ids[column] in places]
            stands = [_standing(indices, rows[:, column], n) for n, column in lanes]
            if stands:
                x, y = (np.concatenate(each) for each in zip(*stands, strict=True))
        self._ticks.setPen(pg.mkPen(text_colour(), width=1))
        self._ticks.setData(x * scale, y, connect="pairs")

    def _draw_lanes(
        self, lanes: list[tuple[str, Trace]], first: int, above: int, scale: float
    ) -> list[tuple[float, str]]:
        """Draw each signal in a lane of its own beneath the curves, in the colour of text; returns their names."""
        ticks = []
        for n, (name, trace) in enumerate(lanes):
            if self._here is not self._trace:
                trace = trace.around(self._looking_at)
            indices, rows = trace.since(first)
            base = -LANE_GAP - (n + 1) * LANE
            ticks.append((base + LANE / 2, name))
            if len(indices):
                x, y = envelope(indices, rows[:, 0])
                self._curves[above + n].setPen(pg.mkPen(text_colour(), width=1.5))
                self._curves[above + n].setData(x * scale, _fitted(y) * LANE + base, connect="finite")
        return ticks

    def _draw_texts(self, first: int, last: int, scale: float) -> list[tuple[float, str]]:
        """Write what inputs said beneath everything else; returns what that is called."""
        base = -LANE_GAP - len(self._lanes()) * LANE - TEXT_LANE / 2
        texts = self._beside.texts if self._is_stacked and not self._shows_all else None
        return [(base, "texts")] if self._texts.draw(texts, (first, last), base, scale) else []

    def _draw_marks(self, first: int, scale: float) -> None:
        """Draw a line over everything where a mark stands, and say how many of each there were."""
        low, high = self._plot.viewRange()[1]
        told = []
        for n, (name, marks) in enumerate(self._beside.marks.items()):
            if name not in self._lines:
                self._lines[name] = pg.PlotCurveItem(antialias=False)
                self._plot.addItem(self._lines[name], ignoreBounds=True)
            colour = curve_colour(n + 1)
            self._lines[name].setPen(pg.mkPen(colour, width=1.5, style=Qt.PenStyle.DashLine))
            frames = marks.since(first)
            self._lines[name].setData(np.repeat(frames * scale, 2), np.tile([low, high], len(frames)), connect="pairs")
            if marks.count:
                said = f"{html.escape(name)} × {marks.count}"
                told.append(f'<span style="color:{colour.name()}">┆ {said}</span>')
        self._told.setText(" ".join(told))

    def _shown(self, curves: int) -> list[int]:
        beneath = len(self._lanes()) * LANE + (TEXT_LANE + LANE_GAP if self._beside.texts is not None else LANE_GAP)
        lane_px = max(LANE_PX, self.fontMetrics().height())  # else names stand in one another
        room = int((self._plot.height() - AXIS_PX) / lane_px - beneath)
        fits = max(room, FEWEST) if self._is_stacked else CURVES_A_PAGE
        self._a_page = min(fits, CURVES_A_PAGE)
        pages = max(1, -(-curves // self._a_page))
        self._page.setMaximum(pages)
        self._page.setSuffix(f" of {pages}")
        self._page.setVisible(pages > 1)
        first = (self._page.value() - 1) * self._a_page
        return self._order[first : first + self._a_page]

    def _match_curves(self, count: int) -> None:
        while len(self._curves) < count:
            # Smoothed, a noisy curve of 2000 points took 148 ms to paint; so it takes 2.
            self._curves.append(self._plot.plot(antialias=False))
        while len(self._curves) > count:
            self._plot.removeItem(self._curves.pop())


def _standing(indices: np.ndarray, values: np.ndarray, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (2 n,) of ticks on `base`, as pairs, where values (t,) stand out; at most MAX_TICKS of them."""
    high = np.flatnonzero(values > LEAST_TICK * np.nanmax(values, initial=0))
    if len(high) > MAX_TICKS:
        high = np.sort(high[np.argpartition(values[high], -MAX_TICKS)[-MAX_TICKS:]])
    heights = values[high] / values[high].max(initial=np.finfo(float).tiny)
    return np.repeat(indices[high].astype(float), 2), np.stack([np.zeros(len(high)), heights * TICK], 1).ravel() + base


def _range(curve: np.ndarray) -> str:
    """How much a curve's lane stands for."""
    finite = curve[np.isfinite(curve)]
    return f"{np.ptp(finite):.2g}" if finite.size else "–"


def _fitted(curve: np.ndarray) -> np.ndarray:
    """A curve over its own range, 0 to 0.9."""
    finite = curve[np.isfinite(curve)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return 0.9 * (curve - low) / (high - low if high > low else 1.0)
