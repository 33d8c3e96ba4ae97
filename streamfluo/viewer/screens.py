"""What becomes of windows when a screen is unplugged."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

SETTLED_MS = 500  # by then Qt and the desktop have moved what they move


def keep_on_screen(app: QApplication) -> None:
    """Bring windows back when the screen that they were on is gone."""
    app.screenRemoved.connect(lambda _: QTimer.singleShot(SETTLED_MS, lambda: bring_back(app)))


def bring_back(app: QApplication) -> None:
    """Move each window that reaches beyond its screen onto it, smaller where it has to be."""
    for window in app.topLevelWidgets():
        if not window.isVisible() or window.isMaximized() or window.isFullScreen():
            continue
        room, frame = window.screen().availableGeometry(), window.frameGeometry()
        if room.contains(frame):
            continue
        border = frame.size() - window.size()
        window.resize(window.size().boundedTo(room.size() - border))
        frame = window.frameGeometry()
        x = min(max(frame.x(), room.x()), room.x() + room.width() - frame.width())
        y = min(max(frame.y(), room.y()), room.y() + room.height() - frame.height())
        window.move(x, y)
