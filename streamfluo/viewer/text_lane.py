"""Texts along the time of traces: what inputs said, each where it came."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg

from .tables import Rows
from .theme import text_colour

MOST = 12  # at once
ROOM_PX, LETTER_PX = 12, 7  # between two of them, and about what a letter takes
MAX_LETTERS = 24


class TextLane:
    """Draws the newest texts of a table that have room beside each other, each behind a bar at its frame."""

    def __init__(self, plot: pg.PlotWidget) -> None:
        self._plot = plot
        self._items: list[pg.TextItem] = []
        self._room = plot.plot(pen=pg.mkPen(0, 0, 0, 0))  # texts ask for none themselves, and what has no pen neither

    def draw(self, rows: Rows | None, frames: tuple[int, int], y: float, scale: float) -> bool:
        """Draw the texts of frames, the first and last of them, around a height; returns whether there are any."""
        shown = self._fitting(rows, *frames) if rows is not None and len(rows) else []
        self._room.setData(*([n * scale for n in frames], [y - 1.0] * 2) if shown else ([], []))
        while len(self._items) < len(shown):
            item = pg.TextItem(anchor=(0, 0.5))
            self._plot.addItem(item, ignoreBounds=True)
            self._items.append(item)
        for item, (frame, text) in zip(self._items, shown, strict=False):
            item.setText(f"▏{text}", color=text_colour())
            item.setPos(frame * scale, y)
        for n, item in enumerate(self._items):
            item.setVisible(n < len(shown))
        return bool(shown)

    def _fitting(self, rows: Rows, first: int, last: int) -> list[tuple[int, str]]:
        """The newest texts in view, those left out that would lie on one behind them."""
        frames = rows.columns["frame"]
        inside = np.flatnonzero((frames >= first) & (frames <= last))
        a_px = max(last - first, 1) / max(self._plot.width(), 1)  # frames
        found: list[tuple[int, str]] = []
        free = np.inf
        for n in inside[::-1]:
            frame, text = int(frames[n]), str(rows.columns["text"][n])[:MAX_LETTERS]
            if frame + (len(text) * LETTER_PX + ROOM_PX) * a_px <= free or not found:
                found.append((frame, text))
                free = frame
            if len(found) == MOST:
                break
        return found
