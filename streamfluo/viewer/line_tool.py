"""A line on an image: its length and angle, the values along it, and how they change from image to image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QSplitter, QVBoxLayout, QWidget

from .canvas import Canvas
from .measure import Point, profile, spelled
from .picture import PixelGrid, percentile_levels
from .plot_panels import empty_plot
from .theme import COLOUR_MAPS, curve_colour
from .words import labelled

LOOKS = 500  # images that the kymograph goes back


class LineTool:
    """The line of one image, drawn by the user: `take` reads what lies along it."""

    def __init__(self, canvas: Canvas, changed: Callable[[], None]) -> None:
        self._canvas, self._changed = canvas, changed
        self._item: pg.LineSegmentROI | None = None
        self._taken = -1
        self.distance_px, self.values = np.empty(0), np.empty(0)
        self.rows: deque[np.ndarray] = deque(maxlen=LOOKS)
        self.revision = 0

    @property
    def line(self) -> tuple[Point, Point] | None:
        """Its ends (y, x) in pixels of the frame."""
        if self._item is None:
            return None
        ends = [self._item.mapToParent(handle["item"].pos()) for handle in self._item.handles]
        return (ends[0].y(), ends[0].x()), (ends[1].y(), ends[1].x())

    def add(self) -> None:
        """Put a line into the middle of what is seen; the user drags its ends where they belong."""
        if self._item is not None:
            return
        seen = self._canvas.seen
        y, half = seen.center().y(), seen.width() / 4
        ends = [(seen.center().x() - half, y), (seen.center().x() + half, y)]
        self._item = pg.LineSegmentROI(ends, pen=pg.mkPen(curve_colour(1), width=2), removable=True)
        self._item.setParentItem(self._canvas.over)
        self._item.setZValue(20)
        self._item.sigRemoveRequested.connect(lambda _: self.remove())
        self._item.sigRegionChanged.connect(lambda _: self._begin_anew())
        self._changed()

    def remove(self) -> None:
        """Take it away."""
        if self._item is not None:
            self._item.setParentItem(None)
            self._canvas.scene().removeItem(self._item)
            self._item = None
            self._begin_anew()
            self._changed()

    def take(self, index: int, image: np.ndarray, grid: PixelGrid) -> None:
        """Read the values along it in an image (y, x)."""
        line = self.line
        if line is None or index == self._taken:
            return
        self._taken = index
        self.distance_px, self.values = profile(image, line, grid)
        if self.rows and len(self.rows[-1]) != len(self.values):
            self.rows.clear()
        self.rows.append(self.values)
        self.revision += 1

    def _begin_anew(self) -> None:
        self.rows.clear()
        self._taken = -1
        self.revision += 1


class LinePanel(QWidget):
    """The values along a line, and below them a kymograph: a row for each image, the newest at the bottom."""

    def __init__(self, tool: LineTool, unit: str, pixel_um: float | None) -> None:
        super().__init__()
        self.paused = False
        self._tool, self._pixel_um, self._drawn = tool, pixel_um, -1
        self._told = QLabel(textInteractionFlags=Qt.TextInteractionFlag.TextSelectableByMouse)
        self._plot, self._below = empty_plot(), empty_plot()
        self._plot.setLabel("left", labelled("value", unit))
        self._below.setLabel("left", "image")
        self._below.setLabel("bottom", "along the line [px]")
        self._below.invertY(True)
        self._below.setXLink(self._plot)
        self._curve = self._plot.plot(antialias=False, pen=pg.mkPen(curve_colour(1), width=1.5))
        self._rows = pg.ImageItem()
        self._rows.setColorMap(pg.colormap.get(COLOUR_MAPS["grey"]))
        self._below.addItem(self._rows)
        both = QSplitter(Qt.Orientation.Vertical)
        both.addWidget(self._plot)
        both.addWidget(self._below)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.addWidget(self._told)
        layout.addWidget(both)

    def refresh(self) -> None:
        """Draw what is new."""
        tool = self._tool
        if self.paused or tool.revision == self._drawn or tool.line is None or not tool.rows:
            return
        self._drawn = tool.revision
        self._told.setText(spelled(tool.line, self._pixel_um))
        self._curve.setData(tool.distance_px, tool.values, connect="finite")
        rows = np.stack(tool.rows)
        self._rows.setImage(rows, autoLevels=False, levels=percentile_levels(rows))
        self._rows.setRect(0, 0, float(tool.distance_px[-1]), len(rows))
