"""The dock that steers a run: marks, pause, stop, and its live parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from ..core.messages import LiveFacts
from .model import Model
from .steering import Done, Steering
from .words import labelled

STEPS = 200  # of a slider
WIDE = 4.0  # without a largest value a slider goes to so many times the present one
MOST = 1e9  # of a number that has no bound
NUMBER_PX = 76  # wide: a slider needs the rest
LISTED = 8  # of what was done here, the newest


class SteeringPanel(QScrollArea):
    """Marks, pause, stop, and a row for each live parameter with its range and meaning; each change can be undone."""

    def __init__(self, model: Model, steering: Steering) -> None:
        super().__init__()
        self.paused = False
        self._model, self._steering = model, steering
        self._shown: dict[str, list[str]] = {}
        self._rows: dict[tuple[str, str], LiveRow] = {}
        self.note = QLineEdit()
        self.note.setPlaceholderText("a note on this moment")
        self.note.returnPressed.connect(self.mark)
        self._listed: list[Done] = []
        self._done = QVBoxLayout()
        self._params = QVBoxLayout()
        whole = QWidget()
        layout = QVBoxLayout(whole)
        layout.addLayout(
            _row(self.note, _button("Mark", "note it in the session, at the frame that comes next", self.mark))
        )
        layout.addLayout(
            _row(
                _button("Pause", "take no frames for now", lambda: self._ask("pause")),
                _button("Resume", "take frames again", lambda: self._ask("resume")),
                _button("Stop…", "end the run, everything written", self._stop),
            )
        )
        layout.addLayout(self._params)
        layout.addLayout(self._done)
        layout.addStretch()
        self.setWidget(whole)
        self.setWidgetResizable(True)

    def refresh(self) -> None:
        """Show the parameters as they are now."""
        live = self._model.live
        names = {step: [name for name, *_ in facts] for step, facts in live.items()}
        if names != self._shown:
            self._shown = names
            self._build(live)
        for step, facts in live.items():
            for name, value, *_ in facts:
                self._rows[step, name].show_value(value)
        self._list_done(list(self._steering.done)[-LISTED:][::-1])

    def mark(self) -> None:
        """Note the text that was written."""
        if text := self.note.text().strip():
            self._steering.ask(f"mark: {text}", lambda control: control.mark(text))
            self.note.clear()

    def _ask(self, verb: str) -> None:
        self._steering.ask(verb, lambda control: control.ask(verb))

    def _stop(self) -> None:
        asked = QMessageBox.question(self, "streamfluo", "End the run? What has come is processed and written.")
        if asked == QMessageBox.StandardButton.Yes:
            self._ask("stop")

    def _list_done(self, done: list[Done]) -> None:
        """A line for each thing that this window did, the newest first, and a button that takes it back."""
        if done == self._listed:
            return
        self._listed = done
        _empty(self._done)
        if done:
            self._done.addWidget(QLabel("done in this window"))
        for one in done:
            text = QLabel(one.text)
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setMinimumWidth(1)
            text.setToolTip(one.text)
            line = QWidget()
            row = _row(text, _button("Undo", f"take back {one.text}", partial(self._steering.undo, one)))
            row.setContentsMargins(0, 0, 0, 0)
            row.setStretch(0, 1)
            line.setLayout(row)
            self._done.addWidget(line)

    def _build(self, live: dict[str, list[LiveFacts]]) -> None:
        _empty(self._params)
        self._rows = {}
        for step, facts in live.items():
            group = QGroupBox(step)
            grid = QGridLayout(group)
            for n, of in enumerate(facts):
                row = LiveRow(of, partial(self._steering.set, step, of[0]))
                row.add_to(grid, n)
                self._rows[step, of[0]] = row
            self._params.addWidget(group)


class LiveRow:
    """One live parameter: its name, a slider, its number; a switch has a tick. `changed(value, before)` asks for it."""

    def __init__(self, facts: LiveFacts, changed: Callable[[Any, Any], None]) -> None:
        self._name, self._value, low, high, meaning = facts
        self._changed = changed
        self._whole = isinstance(self._value, int) and not isinstance(self._value, bool)
        self._low = low if low is not None else (-MOST if high is None and (self._value or 0) < 0 else 0.0)
        self._high = high if high is not None else MOST
        self._end = high if high is not None else WIDE * max(abs(self._value or 1.0), self._low, 1e-9)
        self.label = QLabel(labelled(self._name))
        self.tick = QCheckBox()
        self.number = QDoubleSpinBox()
        self.number.setRange(self._low, self._high)
        self.number.setKeyboardTracking(False)
        self.number.setDecimals(0 if self._whole else 2 if abs(self._value or 0) >= 1 else 4)
        self.number.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setMinimumWidth(50)
        self.number.setMaximumWidth(NUMBER_PX)
        bounds = ", ".join(f"{word} {bound:g}" for word, bound in (("from", low), ("to", high)) if bound is not None)
        for widget in (self.label, self.tick, self.number, self.slider):
            widget.setToolTip(f"{meaning}\n{bounds}".strip())
        self.show_value(self._value)
        self.tick.clicked.connect(self._ask)
        self.number.valueChanged.connect(self._ask)
        self.slider.sliderReleased.connect(lambda: self._ask(self._of_slider()))
        self.slider.actionTriggered.connect(self._by_key)
        self.slider.sliderMoved.connect(lambda _: self._preview(self._of_slider()))

    def add_to(self, grid: QGridLayout, row: int) -> None:
        """Put it into a row of a grid, what it does not need hidden: without a parent it would outlive the window."""
        switch = isinstance(self._value, bool)
        grid.addWidget(self.label, row, 0)
        for widget, column in ((self.tick, 1), (self.slider, 1), (self.number, 2)):
            grid.addWidget(widget, row, column)
            widget.setVisible((widget is self.tick) == switch)

    def show_value(self, value: bool | int | float | None) -> None:
        """Show the value that the run has, unless somebody is changing it."""
        self._value = value
        if self.slider.isSliderDown() or self.number.hasFocus() or value is None:
            return
        if isinstance(value, bool):
            self.tick.setChecked(value)
            return
        self._preview(float(value))
        self.slider.setValue(round(STEPS * (float(value) - self._low) / max(self._end - self._low, 1e-12)))

    def _by_key(self, _: int) -> None:
        """A step of the slider by key or wheel; its value comes behind this signal."""
        if not self.slider.isSliderDown():
            QTimer.singleShot(0, lambda: self._ask(self._of_slider()))

    def _of_slider(self) -> float:
        value = self._low + (self._end - self._low) * self.slider.value() / STEPS
        return round(value) if self._whole else float(f"{value:.3g}")

    def _preview(self, value: float) -> None:
        self.number.blockSignals(True)
        self.number.setValue(value)
        self.number.blockSignals(False)

    def _ask(self, value: Any) -> None:
        asked = value if isinstance(value, bool) else round(value) if self._whole else float(value)
        if self._value is None or isinstance(asked, bool) or not math.isclose(asked, self._value, rel_tol=1e-9):
            self._changed(asked, self._value)


def _button(text: str, tip: str, does: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(lambda: does())
    return button


def _empty(layout: QVBoxLayout) -> None:
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.deleteLater()


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
