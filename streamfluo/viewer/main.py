"""The viewer as a program."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import platformdirs
from PySide6.QtCore import QByteArray, QMessageLogContext, QSettings, QTimer, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication

from ..core.errors import SourceError
from ..network.watching import Watch
from .model import Model
from .screens import keep_on_screen
from .theme import Theme, apply, scale_letters
from .tour import begin_tour
from .window import REDRAWS_HZ, Window

PATIENCE_S = 30.0
OF_THE_SCREEN = 0.92  # the rest is for the window's title and the desktop's bars
TOUR_MS = 3000  # to look at the window first
HIGH_PX = 1800  # so high a screen, or picture, shows letters twice as large where nothing else says how large
MORE_PT = 5
NICE = 10  # where processors are short the recording comes first


def show(uri: str, theme: Theme = "auto", redraws_hz: float = REDRAWS_HZ) -> None:
    """Open a window on a data endpoint and stay until it is closed. Raises SourceError for a malformed endpoint."""
    with Watch(uri) as watch:  # an endpoint that is none is refused before a screen is asked for
        app = _application(theme)
        file = platformdirs.user_config_path("streamfluo") / "viewer.ini"
        settings = QSettings(str(file), QSettings.Format.IniFormat)
        window = Window(watch, Model(uri), settings, redraws_hz)
        if isinstance(geometry := settings.value("geometry"), QByteArray):
            window.restoreGeometry(geometry)
        else:
            room = app.primaryScreen().availableSize() * OF_THE_SCREEN
            window.resize(window.size().boundedTo(room))
        window.show()
        keep_on_screen(app)
        _scale_kept_letters(app, settings)
        if not settings.value("tour"):
            _begin_tour_later(window, settings)
        app.exec()
        settings.setValue("geometry", window.saveGeometry())
        settings.setValue("letters", app.font().pointSize())


def take_screenshot(
    uri: str, path: Path, after_s: float, theme: Theme = "light", size: tuple[int, int] = (1400, 900)
) -> None:
    """Paint the window without a screen for `after_s`, write its picture as PNG. Raises SourceError if it cannot be.

    A program that answers and whose first image has not come yet is given PATIENCE_S more.
    """
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    qInstallMessageHandler(_say)
    if QApplication.instance() is None and size[1] >= HIGH_PX and not (size[0] % 2 or size[1] % 2):
        os.environ.setdefault("QT_SCALE_FACTOR", "2")
    app = _application(theme)
    with Watch(uri) as watch:
        window = Window(watch, Model(uri))
        window.resize(*(round(side / app.devicePixelRatio()) for side in size))
        window.show()
        began_s, timer = time.monotonic(), QTimer()

        def look() -> None:
            late_s = time.monotonic() - began_s - after_s
            empty = all(picture.pixels is None for picture in window.model.pictures.values())
            if late_s >= (PATIENCE_S if empty and window.model.link in ("live", "ended") else 0):
                app.quit()

        timer.timeout.connect(look)
        timer.start(50)
        app.exec()
        written = window.grab().save(str(path), "PNG")
        window.close()
    if not written:
        raise SourceError(f"{path}: the picture could not be written; is there such a folder, and room?")
    if window.model.hello is None:
        path.unlink(missing_ok=True)
        raise SourceError(f"{uri}: nobody answers here (waited {after_s:g} s); there is no picture")


def _begin_tour_later(window: Window, settings: QSettings) -> None:
    """Begin the tour once there is a picture to show, and never again."""

    def begin() -> None:
        if any(picture.pixels is not None for picture in window.model.pictures.values()):
            settings.setValue("tour", "shown")
            begin_tour(window)
        elif window.isVisible():
            QTimer.singleShot(TOUR_MS, begin)

    QTimer.singleShot(TOUR_MS, begin)


def _scale_kept_letters(app: QApplication, settings: QSettings) -> None:
    """Letters as large as they were left; at first larger on a high screen whose desktop enlarges nothing."""
    kept = settings.value("letters")
    screen = app.primaryScreen()
    if isinstance(kept, int | str) and str(kept).isdecimal():
        scale_letters(int(kept) - app.font().pointSize())
    elif screen.size().height() >= HIGH_PX and screen.devicePixelRatio() == 1:
        scale_letters(MORE_PT)


def _application(theme: Theme) -> QApplication:
    if hasattr(os, "nice"):
        os.nice(NICE)
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("streamfluo")
    apply(app, theme)
    return app


def _say(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    """What Qt says, without what it says of every window it makes where there is no screen."""
    if "propagateSizeHints" not in message:
        print(message, file=sys.stderr)
