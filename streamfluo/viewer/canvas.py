"""The drawing of one image: pixels, scale bar, histogram, what lies over it, how it is turned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, QSizeF, Qt
from PySide6.QtGui import QColor, QPainter, QPalette, QPen, QTransform
from PySide6.QtWidgets import QGraphicsItemGroup, QSizePolicy

from .divider import Divider
from .image_item import PixelsItem
from .levels_strip import LevelsStrip
from .picture import PixelGrid, scale_bar
from .theme import COLOUR_MAPS
from .views import Label

_BAR_MARGIN_PX, _BAR_HEIGHT_PX = 14, 4
_SHADE = QColor(0, 0, 0, 130)  # behind names of planes


class Canvas(pg.GraphicsView):
    """An image in coordinates of the frame's pixels: pixel (0, 0) reaches from −0.5 to 0.5, y downwards.

    `over` is where overlays and regions are put; they turn with the image. `hovered(y_px, x_px)` is called where the
    mouse is, `levels_dragged(low, high)` when a user moves the histogram's levels.
    """

    def __init__(self, hovered: Callable[[float, float], None], levels_dragged: Callable[[float, float], None]) -> None:
        super().__init__()
        self._hovered, self._levels_dragged = hovered, levels_dragged
        self.frame_rect = QRectF(-0.5, -0.5, 1.0, 1.0)
        self._laid_out: tuple[pg.ImageItem | None, tuple[int, ...]] = (None, ())
        self._pixel_um: float | None = None
        self._named, self._gamma = "grey", 1.0
        self._colours = pg.colormap.get(COLOUR_MAPS["grey"])
        self._turns, self._flips = 0, [False, False]
        self.setBackground(self.palette().color(QPalette.ColorRole.Window))  # so that dark images stand out from it
        layout = pg.GraphicsLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        self.setCentralItem(layout)
        self.box = pg.ViewBox(lockAspect=True, invertY=True, enableMenu=False)
        layout.addItem(self.box, 0, 0)
        self.over = QGraphicsItemGroup()
        self.over.setHandlesChildEvents(False)
        self.box.addItem(self.over, ignoreBounds=True)
        self.image = PixelsItem()
        self.image.setParentItem(self.over)
        self._painted = pg.ImageItem()  # several planes as one; the image under it is that of the plane chosen
        self._painted.setParentItem(self.over)
        self._painted.setVisible(False)
        self.divider = Divider(self.over)
        self.labels: list[Label] = []
        self.sides = ("", "")  # what stands left of the divider, and right of it
        self._beside = layout
        self._levels: LevelsStrip | None = None  # made when it is first shown
        self.setMinimumSize(120, 100)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.scene().sigMouseMoved.connect(self._moved)

    def show_image(
        self, image: np.ndarray, grid: PixelGrid, levels: tuple[float, float], pixel_um: float | None
    ) -> None:
        """Draw an image (y, x)."""
        self._pixel_um = pixel_um
        self.image.setImage(image, autoLevels=False, levels=levels)
        self._lay_out(self.image, image.shape, grid)

    def show_painted(
        self,
        painted: np.ndarray,
        image: np.ndarray,
        grid: PixelGrid,
        levels: tuple[float, float],
        pixel_um: float | None,
    ) -> None:
        """Draw several planes painted as one (y, x, 3 or 4), uint8; levels are those of one `image` (y, x)."""
        self._pixel_um = pixel_um
        self.image.setImage(image, autoLevels=False, levels=levels)
        self._painted.setImage(painted, autoLevels=False, levels=(0, 255))
        self._lay_out(self._painted, painted.shape, grid)

    def show_nothing(self) -> None:
        """Draw no image."""
        self.labels = []
        self.image.setVisible(False)
        self._painted.setVisible(False)

    def _lay_out(self, item: pg.ImageItem, sides: tuple[int, ...], grid: PixelGrid) -> None:
        rect = _rect(sides, grid)
        other = self.image if item is self._painted else self._painted
        other.setVisible(False)
        item.setVisible(True)
        changed = rect != self.frame_rect
        self.frame_rect = rect  # where the image lies
        if changed or (item, sides) != self._laid_out:  # of another binning it has other sides in the same place
            self._laid_out = (item, sides)
            item.setRect(self.frame_rect)
        if changed:
            self._turn()
            self.fit()

    def show_histogram(self, image: np.ndarray, levels: tuple[float, float]) -> None:
        """Draw the histogram (bins,) beside the image, where it is shown."""
        if self._levels is not None and self._levels.isVisible():
            self._levels.show_histogram(image, levels)

    @property
    def colour_table(self) -> np.ndarray:
        """The colour map as a table (256, 3) of uint8."""
        return np.asarray(self._colours.getLookupTable(nPts=256, alpha=False))

    def set_gamma(self, gamma: float) -> None:
        """Draw one image, or planes side by side, with a gamma."""
        if gamma != self._gamma:
            self._gamma = gamma
            self.set_colours(self._named)

    def set_colours(self, name: str) -> None:
        """Draw with a colour map of `COLOUR_MAPS`."""
        self._named = name
        colours = self._colours = _bent(pg.colormap.get(COLOUR_MAPS[name]), self._gamma)
        self.image.setColorMap(colours)
        if self._levels is not None:
            self._levels.set_colours(colours)

    def show_levels(self, visible: bool) -> None:
        """Show or hide the histogram: a quarter of a dock's width, and the picture comes first."""
        if self._levels is None:
            self._levels = LevelsStrip(self.palette())
            self._levels.set_colours(self._colours)
            self._levels.dragged.connect(self._levels_dragged)
            self._beside.addItem(self._levels, 0, 1)
        self._levels.setVisible(visible)
        self._levels.setMaximumWidth(1000 if visible else 0)

    def compare(self, image: np.ndarray, grid: PixelGrid, levels: tuple[float, float]) -> None:
        """Draw another image (y, x) of the same field right of a divider."""
        field, own = self.frame_rect, _rect(image.shape, grid)
        alike = abs(own.width() - field.width()) <= 1 and abs(own.height() - field.height()) <= 1
        self.divider.stand_in(field)
        # Frames that a step binned count pixels of their own: they fill the field.
        self.divider.show_image(image, levels, own if alike else field, self._colours)

    @property
    def seen(self) -> QRectF:
        """What is seen of the frame."""
        return self.over.mapRectFromParent(self.box.viewRect()).intersected(self.frame_rect)

    def fit(self) -> None:
        """Show the whole image."""
        self.box.setRange(self.over.mapRectToParent(self.frame_rect), padding=0.01)

    def rotate(self) -> None:
        """Turn by 90° clockwise."""
        self._turns = (self._turns + 1) % 4
        self._turn()
        self.fit()

    def flip(self, axis: int) -> None:
        """Mirror top to bottom (0) or left to right (1), as it is seen."""
        self._flips[axis if self._turns % 2 == 0 else 1 - axis] ^= True
        self._turn()
        self.fit()

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """Draw labels and the scale bar over everything."""
        super().drawForeground(painter, rect)
        view = self.box.sceneBoundingRect()
        self._draw_labels(painter, view)
        seen = view.intersected(self.over.mapRectToScene(self.frame_rect))
        screen_px = view.width() / self.box.viewRect().width()  # of one pixel of the frame
        length_px, label = scale_bar(seen.width() / screen_px, self._pixel_um)
        if not length_px or self.image.image is None:
            return
        painter.save()
        painter.resetTransform()
        width = length_px * screen_px
        right, bottom = seen.right() - _BAR_MARGIN_PX, seen.bottom() - _BAR_MARGIN_PX
        bar = QRectF(right - width, bottom - _BAR_HEIGHT_PX, width, _BAR_HEIGHT_PX)
        text = QRectF(bar.center().x() - 100, bar.top() - 22, 200, 20)
        painter.setPen(QPen(QColor(0, 0, 0, 180), 2))
        painter.setBrush(QColor("white"))
        painter.drawRect(bar)
        _write(painter, text, Qt.AlignmentFlag.AlignCenter, label, QColor("white"))
        painter.restore()

    def _draw_labels(self, painter: QPainter, view: QRectF) -> None:
        """Write what each plane is called into its corner, and frame the chosen one."""
        painter.save()
        painter.resetTransform()
        painter.setClipRect(view)
        metrics = painter.fontMetrics()
        for label in self.labels:
            (y, x), (height, width) = label.corner_px, label.shape_px
            place = self.over.mapRectToScene(QRectF(x - 0.5, y - 0.5, width, height))
            if label.chosen:
                painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Highlight), 3))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(place)
            seen = place.intersected(view)
            line_px, room_px = metrics.height(), int(seen.width()) - 10
            for n, (text, colour) in enumerate(label.lines):
                text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room_px)
                size = QSizeF(metrics.horizontalAdvance(text) + 8, line_px)
                line = QRectF(seen.topLeft() + QPointF(3, 3 + n * line_px), size)
                painter.fillRect(line, _SHADE)
                # Pure red or blue is too dark to read.
                bright = [(2 * part + 255) // 3 for part in colour]
                _write(painter, line, Qt.AlignmentFlag.AlignCenter, text, QColor(*bright))
        if self.divider.isVisible():
            self._draw_sides(painter, view, metrics.height())
        painter.restore()

    def _draw_sides(self, painter: QPainter, view: QRectF, line_px: int) -> None:
        """Write beside the divider which picture is which, where there is room."""
        left, right = self.divider.parts()
        for n, (part, name) in enumerate(zip((left, right), self.sides, strict=True)):
            seen = self.over.mapRectToScene(part).intersected(view)
            width = painter.fontMetrics().horizontalAdvance(name) + 8
            if not name or seen.width() < width + 16:
                continue
            x = seen.right() - width - 8 if n == 0 else seen.left() + 8
            line = QRectF(x, seen.top() + 3, width, line_px)
            painter.fillRect(line, _SHADE)
            _write(painter, line, Qt.AlignmentFlag.AlignCenter, name, QColor("white"))

    def _turn(self) -> None:
        centre = self.frame_rect.center()
        turned = QTransform().translate(centre.x(), centre.y()).rotate(90 * self._turns)
        turned.scale(-1 if self._flips[1] else 1, -1 if self._flips[0] else 1)
        self.over.setTransform(turned.translate(-centre.x(), -centre.y()))

    def _moved(self, place: QPointF) -> None:
        if self.box.sceneBoundingRect().contains(place):
            at = self.over.mapFromScene(place)
            self._hovered(at.y(), at.x())


def _rect(sides: tuple[int, ...], grid: PixelGrid) -> QRectF:
    """Where an image with these sides (y, x) [its pixels] lies."""
    return QRectF(grid.edge_px, grid.edge_px, sides[1] * grid.bin_px, sides[0] * grid.bin_px)


def _bent(colours: pg.ColorMap, gamma: float) -> pg.ColorMap:
    """A colour map by brightness to the power of gamma."""
    if gamma == 1:
        return colours
    at = np.linspace(0, 1, 256)
    return pg.ColorMap(at, colours.map(at**gamma, mode="byte"))


def _write(painter: QPainter, place: QRectF, where: Qt.AlignmentFlag, text: str, colour: QColor) -> None:
    """Text with a shadow, legible on any image."""
    for offset, each in ((QPointF(1, 1), QColor("black")), (QPointF(0, 0), colour)):
        painter.setPen(each)
        painter.drawText(place.translated(offset), where, text)
