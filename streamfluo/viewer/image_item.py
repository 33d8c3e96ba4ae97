"""The pixels of an image as they are drawn."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtGui import QImage

BY_TABLE = (QImage.Format.Format_Indexed8, QImage.Format.Format_Grayscale8)


class PixelsItem(pg.ImageItem):
    """An image whose colours are looked up before it is drawn: while it is scaled that took Qt 1.2 ms, so .2."""

    qimage: QImage | None

    def render(self) -> None:
        """Make what is drawn of the pixels."""
        super().render()
        drawn = self.qimage
        if drawn is not None and drawn.format() in BY_TABLE:
            drawn = drawn.convertToFormat(QImage.Format.Format_RGB32)
        self.qimage = drawn
