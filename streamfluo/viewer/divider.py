"""Two images in one place, a divider between them that the mouse moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QGraphicsItem, QGraphicsRectItem, QStyleOptionGraphicsItem, QWidget

from .image_item import PixelsItem

GRIP = 0.02  # of the image's width, on each side of the line


class Divider(pg.GraphicsObject):
    """Draws another image right of a line, in the place of the one under it; `over` turns with both."""

    moved = Signal()

    def __init__(self, over: QGraphicsItem) -> None:
        super().__init__()
        self._place = QRectF(-0.5, -0.5, 1.0, 1.0)
        self.share = 0.5  # of the width that the image under it has
        self._clip = QGraphicsRectItem()
        self._clip.setFlag(QGraphicsItem.GraphicsItemFlag.ItemClipsChildrenToShape)
        self._clip.setPen(QPen(Qt.PenStyle.NoPen))
        self._clip.setParentItem(over)
        self._clip.setZValue(4)
        self.image = PixelsItem()
        self.image.setParentItem(self._clip)
        self.setParentItem(over)
        self.setZValue(15)
        self.setCursor(Qt.CursorShape.SplitHCursor)
        self.hide()

    def show_image(self, image: np.ndarray, levels: tuple[float, float], place: QRectF, colours: pg.ColorMap) -> None:
        """Show an image (y, x) that fills `place`, of it what lies right of the line."""
        self.image.setImage(image, autoLevels=False, levels=levels)
        self.image.setColorMap(colours)
        self.image.setRect(place)
        self._clip.show()
        self.show()

    def stand_in(self, place: QRectF) -> None:
        """Divide this place: that of the image under it."""
        if place != self._place:
            self.prepareGeometryChange()
            self._place = place
        self._clip.setRect(QRectF(self._x, place.top(), place.right() - self._x, place.height()))

    def hide(self) -> None:
        """Show the image under it alone."""
        self._clip.hide()
        super().hide()

    def move_to(self, share: float) -> None:
        """Give the image under it this share of the width."""
        self.prepareGeometryChange()
        self.share = min(max(share, 0.0), 1.0)
        place = self._place
        self._clip.setRect(QRectF(self._x, place.top(), place.right() - self._x, place.height()))
        self.update()
        self.moved.emit()

    def parts(self) -> tuple[QRectF, QRectF]:
        """The places of the image under it and of the other one."""
        place = self._place
        left = QRectF(place.left(), place.top(), self._x - place.left(), place.height())
        return left, QRectF(self._x, place.top(), place.right() - self._x, place.height())

    @property
    def _x(self) -> float:
        return self._place.left() + self.share * self._place.width()

    def boundingRect(self) -> QRectF:
        """Where the mouse takes hold of it."""
        grip = GRIP * self._place.width()
        return QRectF(self._x - grip, self._place.top(), 2 * grip, self._place.height())

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the line, white on a dark edge, legible on any image."""
        ends = QPointF(self._x, self._place.top()), QPointF(self._x, self._place.bottom())
        for colour, width in ((QColor(0, 0, 0, 160), 5), (QColor("white"), 2)):
            pen = QPen(colour, width)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.drawLine(*ends)

    def mouseDragEvent(self, event: Any) -> None:
        """Follow the mouse."""
        if event.button() == Qt.MouseButton.LeftButton:
            event.accept()
            self.move_to((event.pos().x() - self._place.left()) / self._place.width())
