"""What the window shows as a movie: H.264 in an MP4 that QuickTime and browsers play. The door to writing with PyAV.

The file is a fragmented MP4: each second is whole in itself, so what was written plays when the program is killed or
the disk is full; a plain MP4 has its index at the end and would be lost, and few browsers play Matroska.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
from PySide6.QtCore import QTimer, qInstallMessageHandler
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from ..core.errors import ConfigError, SourceError
from ..network.watching import Watch
from .main import _application, _say
from .model import Model
from .theme import Theme
from .window import Window

PATIENCE_S = 10.0  # until somebody answers, and again until there is a picture
LAST_S = 1.0  # of the movie after the stream's end
STILL_S = 3.0  # of a movie of what had ended before, where nothing else is asked for
TICKS = 1000  # a second, of the movie's clock
QUALITY = "20"  # of x264: letters stay sharp
NO_WRITER = 'view: --record needs PyAV; install it with pip install "streamfluo[formats]"'
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


@dataclass(frozen=True)
class Recording:
    """What is recorded: the file, how many pictures a second, and after how long it ends (None: with the stream)."""

    path: Path
    fps: float = 10.0
    seconds: float | None = None
    frames: int | None = None


class MovieWriter:
    """Writes pictures with their times as H.264; a context manager. Raises ConfigError, or SourceError.

    A picture of another size than the first is fitted into it. Sides are even, as 4:2:0 needs.
    """

    def __init__(self, path: Path, fps: float) -> None:
        try:
            import av
        except ImportError:
            raise ConfigError(NO_WRITER) from None
        if path.suffix.lower() != ".mp4":
            raise ConfigError(f"view: --record writes an MP4; name it so, {path.with_suffix('.mp4').name}")
        if "libx264" not in av.codecs_available:
            raise ConfigError(
                "view: this PyAV was built without libx264, which writes H.264; install PyAV's own wheels"
            )
        self.frames = 0
        self._av, self._path, self._fps = av, path, fps
        self._stream: Any = None
        self._last = -1
        self._new = not path.exists()
        try:
            path.open("ab").close()
            self._container: Any = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: the movie cannot be written: {_why(error)}") from None

    def add(self, image: QImage, at_s: float) -> None:
        """Take a picture that was seen so many seconds after the first. Raises SourceError if it cannot be written."""
        if self._stream is None:
            self._begin(image.width() & ~1, image.height() & ~1)
        pts = max(self._last + 1, round(at_s * TICKS))
        frame = self._av.VideoFrame.from_ndarray(
            _pixels(image, self._stream.width, self._stream.height), format="rgb24"
        )
        # Untagged pictures are taken for BT.709 by players once they are large: so they are that, and say so.
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = pts, Fraction(1, TICKS)
        self._write(frame)
        self._last = pts
        self.frames += 1

    def close(self) -> None:
        """Write what waits; without a picture there is no file."""
        try:
            if self._stream is not None:
                self._write(None)
        finally:
            self._container.close()
            if not self.frames and self._new:
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, width: int, height: int) -> None:
        rate = Fraction(self._fps).limit_denominator(1000)
        # No look-ahead: x264 would hold back 40 pictures, four seconds that are lost when the program is killed.
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": QUALITY}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.gop_size = max(1, round(self._fps))  # a fragment a second
        context.max_b_frames, context.thread_count = 0, 1
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1  # BT.709, limited
        self._stream = stream

    def _write(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._path}: the movie cannot be written: {_why(error)}") from None


def record(uri: str, recording: Recording, theme: Theme = "auto", size: tuple[int, int] = (1400, 900)) -> int:
    """Show the window, without a screen where there is none, record what it shows, and return how many pictures.

    It ends with the stream, after the time asked for, when the window is closed or by Ctrl-C. Raises SourceError where
    nobody answers, ConfigError without PyAV.
    """
    if not _has_screen():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with Watch(uri) as watch, MovieWriter(recording.path, recording.fps) as writer:
        qInstallMessageHandler(_say)
        app = _application(theme)
        window = Window(watch, Model(uri))
        window.resize(*size)
        window.show()
        camera = _Camera(app, window, writer, recording)
        before = signal.signal(signal.SIGINT, lambda *_: app.quit())
        try:
            app.exec()
        finally:
            signal.signal(signal.SIGINT, before)
            camera.stop()
            window.close()
    if camera.failed is not None:
        raise camera.failed
    if window.model.hello is None:
        raise SourceError(f"{uri}: nobody answers here (waited {PATIENCE_S:g} s); there is no movie")
    return writer.frames


class _Camera:
    """Grabs the window at a rate, from its first picture on, and says when it is enough."""

    def __init__(self, app: QApplication, window: Window, writer: MovieWriter, recording: Recording) -> None:
        self.failed: SourceError | None = None
        self._app, self._window, self._writer, self._asked = app, window, writer, recording
        self._opened_s = time.monotonic()
        self._began_s: float | None = None
        self._ended_s: float | None = None
        self._was_live = False
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(max(1, round(1000 / recording.fps)))

    def stop(self) -> None:
        """Grab no more."""
        self._timer.stop()

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._window.isHidden():
            self._app.quit()
        elif self._began_s is None:
            self._wait(now_s)
        if self._began_s is None or self._window.isHidden():
            return
        try:
            self._writer.add(self._seen(), now_s - self._began_s)
        except SourceError as error:
            self.failed = error
            self._app.quit()
        if self._enough(now_s - self._began_s, now_s):
            self._app.quit()

    def _seen(self) -> QImage:
        """What the window shows: without a screen what it has painted (.2 ms), else painted anew (45 ms), as there
        other windows may lie over it."""
        window = self._window
        if QApplication.platformName() == "offscreen":
            return window.screen().grabWindow(window.winId()).toImage()
        return window.grab().toImage()

    def _wait(self, now_s: float) -> None:
        """Begin once there is a picture; a run without one is recorded all the same."""
        model = self._window.model
        waited_s = now_s - self._opened_s
        pictured = any(picture.pixels is not None for picture in model.pictures.values())
        if model.hello is not None and (pictured or waited_s > PATIENCE_S):
            self._began_s, self._was_live = now_s, model.link == "live"
        elif model.hello is None and waited_s > PATIENCE_S:
            self._app.quit()

    def _enough(self, elapsed_s: float, now_s: float) -> bool:
        asked, model = self._asked, self._window.model
        if asked.frames is not None and self._writer.frames >= asked.frames:
            return True
        if asked.seconds is not None and elapsed_s >= asked.seconds:
            return True
        if not self._was_live:  # a session, or a run that was over: nothing more happens in it
            return asked.frames is None and asked.seconds is None and elapsed_s >= STILL_S
        over = model.link in ("ended", "lost")
        self._ended_s = (self._ended_s or now_s) if over else None
        return self._ended_s is not None and now_s - self._ended_s >= LAST_S


def _pixels(image: QImage, width: int, height: int) -> np.ndarray:
    """Return the picture as (y, x, 3), fitted into that size on black, or cut by a pixel to an even side."""
    if image.width() & ~1 != width or image.height() & ~1 != height:
        from PySide6.QtCore import Qt

        image = image.scaled(
            width, height, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    line = image.bytesPerLine()
    rows = np.frombuffer(image.constBits(), np.uint8)[: line * image.height()].reshape(image.height(), line)
    pixels = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
    if pixels.shape[:2] == (height, width):
        return pixels.copy()  # the image goes, and its memory with it
    fitted = np.zeros((height, width, 3), np.uint8)
    part = pixels[:height, :width]
    top, left = (height - part.shape[0]) // 2, (width - part.shape[1]) // 2
    fitted[top : top + part.shape[0], left : left + part.shape[1]] = part
    return fitted


def _has_screen() -> bool:
    """Whether a window can be seen; where Qt was told what to use, it knows."""
    known = any(os.environ.get(name) for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"))
    return known or not sys.platform.startswith("linux")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
