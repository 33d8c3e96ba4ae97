"""The strip that says how the run fares; what is wrong stands in red, with its number."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from .health import RunHealth, spelled_duration
from .model import Model
from .theme import signal_colours

SAID_S, MAX_SAID = 12.0, 160  # for so long, so many letters


class Clickable(QLabel):
    """A text that can be clicked."""

    clicked = Signal()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Tell that it was."""
        self.clicked.emit()
        super().mouseReleaseEvent(event)


class HealthStrip(QWidget):
    """One line on how the run fares, and below it what is wrong while something is. `asked` where that is clicked."""

    asked = Signal()

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self.sound, self._was_red = False, False  # a sound where it turns red
        self._state, self._trouble, self._said = Clickable(), QLabel(), QLabel()
        self._said.setTextFormat(Qt.TextFormat.PlainText)
        self._told: tuple[float, str] = (0.0, "")
        self._state.setToolTip("click for what happened")
        self._state.clicked.connect(self.asked)
        names = ("in", "out", "age", "waiting", "disk", "lost", "refused")
        self._figures = {name: QLabel() for name in names}
        line = QHBoxLayout()
        line.setSpacing(18)
        for label in (self._state, *self._figures.values()):
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setMinimumWidth(1)  # a long sentence must not keep the window wide
            line.addWidget(label)
        line.addStretch()
        self._said.setMinimumWidth(1)
        line.addWidget(self._said)
        self._trouble.setTextFormat(Qt.TextFormat.PlainText)
        self._trouble.setWordWrap(True)
        self._trouble.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 4, 10, 4)
        layout.addLayout(line)
        layout.addWidget(self._trouble)
        self._tips()

    def say(self, line: str) -> None:
        """Show for some seconds what came of something that was asked for; callable from any thread."""
        self._told = (time.monotonic(), line)

    def refresh(self, age_s: float | None, paused: bool, refused_here: int) -> None:
        """Tell how it is now; `age_s` is that of the images on screen."""
        health, (red, _, _) = self._model.health, signal_colours()
        self._tell_state(paused)
        told_at, line = self._told
        self._said.setText(line[:MAX_SAID] if time.monotonic() - told_at < SAID_S else "")
        rate_in, rate_out = health.rates()
        live = self._model.link == "live"
        figures = {
            "in": f"in <b>{rate_in:.0f}</b> frames/s" if live else f"<b>{health.frames_out}</b> frames",
            "out": f"out <b>{rate_out:.0f}</b> frames/s" if live else "",
            "age": f"delay <b>{_spelled(age_s)}</b>" if age_s is not None and not paused else "",
            "waiting": f"waiting <b>{health.waiting}</b> frames",
            "disk": _room(health) if live else "",
            "lost": f"lost <b>{health.lost}</b>" if health.lost else "",
            "refused": f"refused <b>{health.refused + refused_here}</b>" if health.refused + refused_here else "",
        }
        for name, text in figures.items():
            colour = red if name == "lost" and health.lost else ""
            self._figures[name].setText(f'<span style="color:{colour}">{text}</span>' if colour and text else text)
            self._figures[name].setVisible(bool(text))
        self._figures["lost"].setToolTip(f"frames that never came: {health.lost_split()}")

    def _tell_state(self, paused: bool) -> None:
        model, (red, amber, green) = self._model, signal_colours()
        name, verdict = model.health.program or "the program", model.health.verdict()
        over = model.ended or model.health.state
        states = {
            "connecting": (amber, f"waiting for {model.uri}"),
            "lost": (red, f"no answer for {model.lost_for_s():.0f} s"),
            "ended": (green if over == "finished" and not model.health.lost else amber, f"{name}: {over}"),
            "live": ({"green": green, "amber": amber, "red": red}[verdict.level], f"{name}: {verdict.text[:120]}"),
        }
        colour, text = states[model.link]
        is_red = colour == red
        if is_red and not self._was_red and self.sound:
            QApplication.beep()
        self._was_red = is_red
        if paused:
            colour, text = amber, "display paused, the acquisition goes on"
        elif model.looking_at is not None:
            colour, text = amber, f"looking back at frame {model.looking_at}, {name} goes on"
            text = text if model.link == "live" else f"{name}: frame {model.looking_at}"
        self._state.setText(f'<span style="color:{colour}">●</span> <b>{text}</b>')
        doubts = [f"{step} is doubtful: {doubt}" for step, doubt in model.health.doubtful.items()]
        troubles = [f"{step} is muted: {error}" for step, error in model.health.muted.items()]
        troubles += [f"{who} waits: {why}" for who, why in model.health.stalled.items()]
        if model.denied:
            troubles.insert(0, f"{model.uri}: {model.denied}")
        elif model.link == "lost":
            troubles.insert(0, f"nobody answers at {model.uri}; what you see is old. It goes on by itself.")
        self._trouble.setText("\n".join(troubles + doubts)[:600])
        self._trouble.setStyleSheet(f"color: {red if troubles else amber}")
        self._trouble.setVisible(bool(troubles + doubts))

    def _tips(self) -> None:
        tips = {
            "in": "frames a second that arrive",
            "out": "frames a second that have gone through the whole chain",
            "age": "time from a frame's arrival in the program to its drawing here",
            "waiting": "frames that have arrived and wait for the chain",
            "disk": "how long the disk that is recorded to lasts at this rate; what it has left where "
            "nothing is written now",
            "refused": "messages that broke a rule and were dropped, by the program and here",
        }
        for name, tip in tips.items():
            self._figures[name].setToolTip(tip)


def _room(health: RunHealth) -> str:
    """What the disk that is recorded to has left: as time, in bytes where nothing is written now."""
    if (left_s := health.disk_left_s()) is not None:
        return f"disk left <b>{spelled_duration(left_s)}</b>"
    return f"disk left <b>{health.disk_free_bytes / 1e9:.3g} GB</b>" if health.disk_free_bytes is not None else ""


def _spelled(age_s: float) -> str:
    return f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.1f} s"
