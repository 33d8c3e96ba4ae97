"""The bar of a run's time: what happened when, and a handle that is dragged back into what was recorded."""

from __future__ import annotations

import time

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QToolTip, QWidget

from .controls import tool_button
from .model import Model
from .theme import curve_colour, signal_colours
from .timeline import Moment, spelled_time

SPEEDS = {"¼ ×": 0.25, "1 ×": 1.0, "4 ×": 4.0, "16 ×": 16.0}
LOOP_S = 10.0  # that are shown again and again
NEAR_PX = 4  # of a moment, to be told of it
_MARGIN_PX, _TRACK_PX = 8, 10


class TimeBar(QWidget):
    """Shows a run from its first frame to the newest. `looked` with a frame to look back at, −1 for the live edge."""

    looked = Signal(int)

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._from = 0  # where playing began
        self._played_at: float | None = None
        self._position = 0.0
        self._track = Track(model)
        self._track.dragged.connect(self._drag)
        self._play = tool_button("▶", "play what was recorded from here on (P)", checkable=True)
        self._play.toggled.connect(self._start_or_stop)
        self._loop = tool_button("⟳", f"play the same {LOOP_S:g} s again and again", checkable=True)
        self._speed = QComboBox()
        self._speed.addItems(list(SPEEDS))
        self._speed.setCurrentText("1 ×")
        self._speed.setToolTip("how fast it plays")
        before, behind = (
            tool_button("‹", "what happened before (Ctrl+←)"),
            tool_button("›", "what happened next (Ctrl+→)"),
        )
        before.clicked.connect(lambda: self.jump(-1))
        behind.clicked.connect(lambda: self.jump(1))
        self._live = tool_button("Live", "back to the newest frame (End)")
        self._live.clicked.connect(self.live)
        self._where = QLabel()
        self._where.setToolTip("time since the first frame")
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 0, 6, 2)
        for widget in (before, self._play, behind, self._speed, self._loop):
            row.addWidget(widget)
        row.addWidget(self._track, 1)
        row.addWidget(self._where)
        row.addWidget(self._live)

    def refresh(self) -> None:
        """Show how far the run has come, and go on playing."""
        self._go_on()
        self._track.refresh()
        at, timeline, interval_s = self._model.looking_at, self._model.timeline, self._model.interval_s
        newest = spelled_time(max(0, timeline.stop - 1), interval_s)
        self._where.setText(newest if at is None else f"<b>{spelled_time(at, interval_s)}</b> of {newest}")
        follows = at is None and self._model.link == "live"
        style = f"color: {signal_colours()[2]}; font-weight: bold" if follows else ""
        if style != self._live.styleSheet():  # to set it takes .3 ms, thirty times a second
            self._live.setText("● Live" if follows else "Live")
            self._live.setStyleSheet(style)
        self._live.setVisible(self._model.link != "ended")

    # What the user does

    def live(self) -> None:
        """Follow the newest frame again."""
        self._play.setChecked(False)
        self.looked.emit(-1)

    def step(self, frames: int) -> None:
        """Look at the frame so many behind the one shown."""
        self._play.setChecked(False)
        self._look(self._at() + frames)

    def jump(self, way: int) -> None:
        """Look at what happened next (1), or before (−1)."""
        timeline, at = self._model.timeline, self._at()
        moment = timeline.behind(at) if way > 0 else timeline.before(at)
        if moment is not None:
            self._play.setChecked(False)
            self._look(moment.frame)

    def toggle(self) -> None:
        """Play, or stop playing."""
        self._play.setChecked(not self._play.isChecked())

    def _at(self) -> int:
        at = self._model.looking_at
        return at if at is not None else max(0, self._model.timeline.stop - 1)

    def _drag(self, frame: int) -> None:
        self._position = float(frame)
        self._look(frame)

    def _look(self, frame: int) -> None:
        last = self._model.timeline.stop - 1
        self.looked.emit(min(max(0, frame), max(0, last)))

    def _start_or_stop(self, plays: bool) -> None:
        self._play.setText("❚❚" if plays else "▶")
        self._played_at = time.monotonic() if plays else None
        if plays:
            live = self._model.looking_at is None  # from where there is something to see
            frames = round(LOOP_S / (self._model.interval_s or 1 / 30))
            self._from = max(0, self._at() - frames) if live else self._at()
            self._position = float(self._from)

    def _go_on(self) -> None:
        if self._played_at is None:
            return
        now = time.monotonic()
        interval_s = self._model.interval_s or 1 / 30
        self._position += (now - self._played_at) / interval_s * SPEEDS[self._speed.currentText()]
        self._played_at = now
        if self._loop.isChecked() and self._position > self._from + LOOP_S / interval_s:
            self._position = float(self._from)
        if self._position >= self._model.timeline.stop - 1:
            self._play.setChecked(False)
        self._look(int(self._position))


class Track(QWidget):
    """The bar itself: `dragged` to a frame."""

    dragged = Signal(int)

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._drawn: object = None
        self.setMinimumSize(160, 24)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip("drag to look back; the acquisition goes on")

    def refresh(self) -> None:
        """Draw anew where there is something new."""
        marks = sum(marks.count for marks in self._model.marks.values())
        new = (self._model.timeline.revision, marks, self._model.looking_at)
        if new != self._drawn:
            self._drawn = new
            self.update()

    def frame_at(self, x: float) -> int:
        """Return the frame at a place."""
        share = (x - _MARGIN_PX) / max(1, self.width() - 2 * _MARGIN_PX)
        return round(min(max(share, 0.0), 1.0) * max(0, self._model.timeline.stop - 1))

    def x_of(self, frame: float) -> float:
        """Return the place of a frame."""
        return _MARGIN_PX + (self.width() - 2 * _MARGIN_PX) * frame / max(1, self._model.timeline.stop - 1)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the run, what was lost in red, what happened as ticks, decisions along the top, and the handle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        role = QPalette.ColorRole
        middle = self.height() / 2
        track = QRectF(_MARGIN_PX, middle - _TRACK_PX / 2, self.width() - 2 * _MARGIN_PX, _TRACK_PX)
        painter.setPen(Qt.PenStyle.NoPen)
        ground = self.palette().color(role.Text)
        ground.setAlpha(70)  # seen on light and dark
        painter.setBrush(ground)
        painter.drawRoundedRect(track, 3, 3)
        if self._model.timeline.stop:
            self._draw_moments(painter, track)
            self._draw_handle(painter, track)
        painter.end()

    def _draw_moments(self, painter: QPainter, track: QRectF) -> None:
        red = QColor(signal_colours()[0])
        painter.setPen(QPen(curve_colour(1), 1))
        for marks in self._model.marks.values():
            for at in {round(self.x_of(frame)) for frame in marks.since(0)}:
                painter.drawLine(QPointF(at, track.top() - 5), QPointF(at, track.top() - 1))
        for moment in self._model.timeline.moments:
            x = self.x_of(moment.frame)
            if moment.kind == "gap":
                width = max(2.0, self.x_of(moment.frame + moment.lost) - x)
                painter.fillRect(QRectF(x, track.top(), width, _TRACK_PX), red)
            else:
                painter.setPen(QPen(self._colour(moment, red), 2))
                painter.drawLine(QPointF(x, track.top() - 2), QPointF(x, track.bottom() + 4))

    def _colour(self, moment: Moment, red: QColor) -> QColor:
        if moment.kind in ("mark", "set"):
            return curve_colour(0 if moment.kind == "mark" else 2)
        return red if moment.kind in ("muted", "publisher failed") else self.palette().color(QPalette.ColorRole.Text)

    def _draw_handle(self, painter: QPainter, track: QRectF) -> None:
        at = self._model.looking_at
        x = self.x_of(at if at is not None else self._model.timeline.stop - 1)
        colour = self.palette().color(QPalette.ColorRole.Highlight)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Base), 1))
        painter.setBrush(colour)
        painter.drawEllipse(QPointF(x, track.center().y()), 7, 7)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Look back at what lies there."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.dragged.emit(self.frame_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag the handle; or tell what happened there."""
        x = event.position().x()
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.dragged.emit(self.frame_at(x))
            return
        frames_a_px = self._model.timeline.stop / max(1, self.width())
        frame = self.frame_at(x)
        moment = self._model.timeline.near(frame, NEAR_PX * frames_a_px)
        told = f"{spelled_time(frame, self._model.interval_s)} · frame {frame}"
        QToolTip.showText(event.globalPosition().toPoint(), f"{told}\n{moment.text}" if moment else told, self)

    def event(self, event: QEvent) -> bool:
        """Its own tips follow the mouse."""
        return True if event.type() == QEvent.Type.ToolTip and self._model.timeline.stop else super().event(event)
