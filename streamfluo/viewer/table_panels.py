"""Docks of tables and numbers, and of what happened."""

from __future__ import annotations

import time

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from .axis import axes
from .model import Model
from .panels import Panel
from .theme import curve_colour
from .words import figure, labelled, named

ROWS_SHOWN = 100
REDRAW_S = 0.25


class TablePanel(QWidget):
    """The newest rows of a table, and any two of its columns as points."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._model, self._rows = model, model.tables[panel.id]
        self._drawn_revision, self._drawn_at = -1, 0.0
        self._table = _table()
        self._points = pg.PlotWidget(axisItems=axes())
        self._points.setMenuEnabled(False)
        self._scatter = self._points.plot(pen=None, symbol="o", symbolSize=4, symbolPen=None)
        self._scatter.setSymbolBrush(curve_colour(0))
        self._x, self._y = QComboBox(), QComboBox()
        choice = QHBoxLayout()
        for label, box in (("across", self._x), ("up", self._y)):
            choice.addWidget(QLabel(label))
            choice.addWidget(box)
            box.currentIndexChanged.connect(lambda _: self.redraw())
        choice.addStretch()
        scatter = QWidget()
        layout = QVBoxLayout(scatter)
        layout.addLayout(choice)
        layout.addWidget(self._points)
        self._tabs = QTabWidget()
        self._tabs.addTab(self._table, "rows")
        self._tabs.addTab(scatter, "points")
        self._tabs.currentChanged.connect(lambda _: self.redraw())
        self._count = QLabel()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 2, 4, 2)
        whole.addWidget(self._tabs)
        self._tabs.setCornerWidget(self._count)  # a line of its own is a row that the table lacks

    def refresh(self) -> None:
        """Draw what is new, four times a second at most."""
        rows, now = self._rows, time.monotonic()
        if self.paused or rows.revision == self._drawn_revision or now - self._drawn_at < REDRAW_S:
            return
        self._drawn_revision, self._drawn_at = rows.revision, now
        names = list(rows.columns)
        numbers = [name for name, column in rows.columns.items() if column.dtype.kind in "biuf"]
        if [self._x.itemText(n) for n in range(self._x.count())] != numbers:
            self._offer(numbers)
        kept = f"the newest {len(rows)} of {rows.total} rows; the session has all"
        self._count.setText(f"{rows.total} rows" if rows.total == len(rows) else kept)
        if self._tabs.currentIndex() == 0:
            _fill(self._table, names, [column[-ROWS_SHOWN:][::-1] for column in rows.columns.values()])
        elif numbers:
            x, y = self._x.currentText(), self._y.currentText()
            self._points.setLabel("bottom", labelled(x))
            self._points.setLabel("left", labelled(y))
            self._scatter.setData(rows.columns[x].astype(float), rows.columns[y].astype(float))

    def turn_to(self, panel: Panel) -> None:
        """Show the same table of another plane from now on."""
        self._rows = self._model.tables[panel.id]
        self.redraw()

    def redraw(self) -> None:
        """Draw again at the next look."""
        self._drawn_revision, self._drawn_at = -1, 0.0

    def _offer(self, names: list[str]) -> None:
        for box, name in ((self._x, "x_px"), (self._y, "y_px")):
            box.blockSignals(True)
            box.clear()
            box.addItems(names)
            box.setCurrentIndex(names.index(name) if name in names else 0)
            box.blockSignals(False)
        spatial = {"x_px", "y_px"} <= set(names)
        self._points.invertY(spatial)
        self._points.setAspectLocked(spatial)


class NumbersPanel(QWidget):
    """The snapshots of a step that are single numbers or words."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._model, self._numbers, self._step = model, model.numbers[panel.id], panel.step
        self._table = _table()
        self._table.horizontalHeader().setVisible(False)
        self._table.horizontalHeader().setStretchLastSection(True)
        # A sentence takes more lines where there is less room.
        self._table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._told: list[str] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.addWidget(self._table)

    def turn_to(self, panel: Panel) -> None:
        """Show the numbers of another plane from now on."""
        self._numbers, self._step = self._model.numbers[panel.id], panel.step

    def refresh(self) -> None:
        """Show what is new."""
        names = sorted(self._numbers, key=self._place)
        told = [self._numbers[name] for name in names]
        if not self.paused and told != self._told:
            self._told = told
            _fill(self._table, ["", ""], [[named(name) for name in names], told])
            meanings = {given[0]: given[4] for given in self._gives()}
            for row, name in enumerate(names):
                for item in (self._table.item(row, column) for column in range(2)):
                    if item is not None:
                        item.setToolTip(meanings.get(name, ""))

    def _gives(self) -> list[tuple[str, str, tuple[str, ...], str, str]]:
        return self._model.hello.gives.get(self._step, []) if self._model.hello is not None else []

    def _place(self, name: str) -> tuple[bool, int]:
        """Words, which say what the numbers are worth, come first; then as the step gives them, not as they came."""
        words = self._model.values.get(f"{self._step}/{name}") is None and self._numbers[name] != "not known"
        gives = self._gives()
        return not words, next((n for n, given in enumerate(gives) if given[0] == name), len(gives))


class EventsPanel(QPlainTextEdit):
    """What happened: gaps, muted steps, restarts, full disks; the newest last."""

    def __init__(self, model: Model) -> None:
        super().__init__(readOnly=True, placeholderText="nothing has happened that you would need to know")
        self.paused = False
        self._model, self._shown = model, [""]

    def refresh(self) -> None:
        """Show what is new."""
        events = list(self._model.events)
        if events != self._shown:
            self._shown = events
            self.setPlainText("\n".join(events))
            self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())


def _table() -> QTableWidget:
    table = QTableWidget(0, 0)
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    table.verticalHeader().setDefaultSectionSize(22)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setAlternatingRowColors(True)
    return table


def _fill(table: QTableWidget, names: list[str], columns: list[list[str] | np.ndarray]) -> None:
    rows = len(columns[0]) if columns else 0
    fits = table.columnCount() == len(names) and table.rowCount() > 0
    if (table.rowCount(), table.columnCount()) != (rows, len(names)):
        table.setRowCount(rows)
        table.setColumnCount(len(names))
        table.setHorizontalHeaderLabels([labelled(name) for name in names])
    longest = [0] * len(names)
    for c, column in enumerate(columns):
        for r, value in enumerate(column):
            text = figure(value)
            longest[c] = max(longest[c], len(text))
            item = table.item(r, c)
            if item is None:
                table.setItem(r, c, QTableWidgetItem(text))
            elif item.text() != text:
                item.setText(text)
    before = table.property("longest") or longest
    if not fits:
        table.resizeColumnsToContents()  # once: 12 ms for 100 rows of 12
    elif len(before) == len(longest):
        for c in (c for c, (now, then) in enumerate(zip(longest, before, strict=True)) if now > then):
            table.resizeColumnToContents(c)
        longest = [max(pair) for pair in zip(longest, before, strict=True)]
    table.setProperty("longest", longest)
