"""The strip beside an image: its histogram, its levels as two lines that a user drags, its colours between them."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Signal
from PySide6.QtGui import QPainter, QPalette, QPen
from PySide6.QtWidgets import QGraphicsGridLayout, QStyleOptionGraphicsItem, QWidget

from .picture import histogram

HISTOGRAM_PX, COLOURS_PX, STEPS = 48, 14, 33
FAINT, PLAIN = 20, 110  # opacity of what lies between the levels, and of the histogram


class LevelsStrip(pg.GraphicsWidget):
    """Draws a histogram (bins,) upwards; `dragged` with the levels while a user moves them.

    pyqtgraph's own loads matplotlib for a menu of colours, .35 s.
    """

    dragged = Signal(float, float)

    def __init__(self, palette: QPalette) -> None:
        super().__init__()
        self._view = pg.ViewBox(enableMenu=False)
        self._view.setMouseEnabled(x=False, y=True)
        self._view.setFixedWidth(HISTOGRAM_PX)
        self._colours = _Colours()
        self.region = pg.LinearRegionItem((0.0, 1.0), "horizontal", swapMode="block")
        self.region.setZValue(10)
        for line, marker in zip(self.region.lines, ("<|", "|>"), strict=True):
            line.addMarker(marker, 0.5)
        self._plot = pg.PlotCurveItem(pen=(200, 200, 200, 100), fillLevel=0.0)
        self._plot.setRotation(90)
        text = palette.color(QPalette.ColorRole.Text)
        for item, opacity in ((self.region, FAINT), (self._plot, PLAIN)):
            text.setAlpha(opacity)
            item.setBrush(text)
            self._view.addItem(item)
        layout = QGraphicsGridLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(2)
        layout.addItem(self._view, 0, 0)
        layout.addItem(self._colours, 0, 1)
        self.region.sigRegionChanged.connect(lambda *_: self.dragged.emit(*self.region.getRegion()))
        self.region.sigRegionChanged.connect(lambda *_: self.update())
        self._view.sigRangeChanged.connect(lambda *_: self.update())

    def show_histogram(self, image: np.ndarray, levels: tuple[float, float]) -> None:
        """Draw the histogram of an image (y, x), and where its levels are."""
        self._plot.setData(*histogram(image))
        self.region.blockSignals(True)
        self.region.setRegion(levels)
        self.region.blockSignals(False)
        self.update()

    def set_colours(self, colours: pg.ColorMap) -> None:
        """Draw these colours between the levels."""
        self._colours.colours = colours
        self._colours.update()

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Lead from each level to the end of the colours that it stands for."""
        view, strip = self._view.geometry(), self._colours.geometry()
        painter.setPen(QPen(self.region.lines[0].pen))
        for level, end in zip(self.region.getRegion(), (strip.bottomLeft(), strip.topLeft()), strict=True):
            at = self._view.mapFromViewToItem(self, QPointF(0.0, level))
            painter.drawLine(QPointF(view.right(), min(max(at.y(), view.top()), view.bottom())), end)


class _Colours(pg.GraphicsWidget):
    """A strip of colours, the first at the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = pg.ColorMap(None, ((0, 0, 0), (255, 255, 255)))
        self.setFixedWidth(COLOURS_PX)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        place: QRectF = self.rect()
        painter.fillRect(place, self.colours.getGradient(place.bottomLeft(), place.topLeft()))
