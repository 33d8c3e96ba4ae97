"""A window fed through a watch that gives what a test hands it."""

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from wire_bytes import SHAPE, hello, status

pytest.importorskip("PySide6")
from PySide6.QtCore import QEvent

from streamfluo.core import wire
from streamfluo.core.records import decode_frame
from streamfluo.core.results import decode_result
from streamfluo.viewer.model import Model
from streamfluo.viewer.window import Window

PIXELS = np.arange(48, dtype=np.uint16).reshape(SHAPE) * 100


class Watch:
    """Stands in for the network: gives what it was handed, once, and remembers what was asked for."""

    def __init__(self):
        self.asked_before = []
        self.connected, self.denied, self.refused = True, "", Counter()
        self.topics, self.previews = set(), set()
        self._messages, self.looked = [], []

    def hand(self, *pieces):
        for piece in pieces:
            if isinstance(piece, bytearray):
                self._messages.append(decode_frame(piece))
            else:
                self._messages.append(decode_result(piece) if isinstance(piece, list) else (wire.decode(piece), None))

    def turn(self):
        messages, self._messages = self._messages, []
        yield from messages

    def look(self, step, index, bin_px):
        self.looked.append((step, index, bin_px))

    def ask_before(self, step, name, before):
        self.asked_before.append((step, name, before))

    def want(self, topics, previews):
        self.topics, self.previews = set(topics), set(previews)


@contextmanager
def windows(qapp):
    """A function that opens windows; all are closed at the end."""
    opened = []

    def open_one(*pieces, settings=None):
        watch = Watch()
        watch.hand(hello(), status(), *pieces)
        window = Window(watch, Model("tcp://127.0.0.1:9"), settings)
        window._timer.stop()
        opened.append(window)
        window.show()
        look(window)
        return window, watch

    yield open_one
    for window in opened:
        window.close()
        window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def look(window, times=3):
    """Let the clock tick, and Qt lay out what it made."""
    from PySide6.QtWidgets import QApplication

    for _ in range(times):
        window.tick()
        QApplication.processEvents()


def panel(window, name):
    window.docks[name].show()
    window.docks[name].raise_()
    look(window)
    return window._content(name)


def text_of(window):
    labels = [window.strip._state, *window.strip._figures.values(), window.strip._trouble]
    window._strip_at = 0.0
    look(window)
    return " ".join(label.text() for label in labels if not label.isHidden())
