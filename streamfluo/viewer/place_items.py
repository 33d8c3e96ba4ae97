"""Things at places as drawn over an image: circles in the colour of their value, doubtful ones broken."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QGraphicsItem

from .held import Places
from .overlay_items import FEW, OverlayItem
from .theme import COLOUR_MAPS

RADIUS_PX, CHOSEN, LOOK = 4.0, 1.6, 1.5  # the chosen one has a larger circle; a click within so many radii chooses
COLOURS = 12  # values beyond share the last colour
POINTS = 24


class PlacesItem(pg.GraphicsObject):
    """Circles round places, in the colour of their value; those that are doubtful are dashes, the chosen one thick."""

    def __init__(self, parent: QGraphicsItem) -> None:
        super().__init__()
        self._lines = [OverlayItem("spots", self) for _ in range(COLOURS + 1)]  # the last is the chosen one
        self._drawn: object = None
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemHasNoContents)
        self.setParentItem(parent)
        self.setZValue(11)

    def draw(self, places: Places, chosen: int | None) -> None:
        """Draw places with these values."""
        state = (places.yx.tobytes(), places.value.tobytes(), places.doubtful.tobytes(), chosen)
        if state == self._drawn:
            return
        self._drawn = state
        count = len(places.yx)
        value = np.nan_to_num(places.value[:count])
        most = max(1.0, float(value.max(initial=1.0)))
        steps = min(COLOURS - 1, max(1, round(most)))
        shade = np.clip(np.rint(value / most * steps), 0, steps).astype(int)
        width = 2.0 if count <= FEW else 1.0
        for n, item in enumerate(self._lines[:COLOURS]):
            mine = np.flatnonzero(shade == n) if n <= steps else np.empty(0, int)
            item.set_line(value_colour(n / steps), width)
            item.draw(circles(places.yx[mine], places.doubtful[mine]))
        thick = [chosen] if chosen is not None and chosen < count else []
        self._lines[-1].set_line("white", 2.5)
        self._lines[-1].draw(circles(places.yx[thick], places.doubtful[thick], CHOSEN * RADIUS_PX))

    def boundingRect(self) -> QRectF:
        """Its lines have their own."""
        return QRectF()

    def paint(self, *_: object) -> None:
        """Its lines paint themselves."""


def value_colour(share: float) -> QColor:
    """Return the colour of a value by its share of the largest, the darkest light enough for a dark image."""
    colours = pg.colormap.get(COLOUR_MAPS["viridis"])
    return colours.map(0.3 + 0.7 * min(max(share, 0.0), 1.0), mode="qcolor")


def circles(yx: np.ndarray, broken: np.ndarray, radius_px: float = RADIUS_PX) -> np.ndarray:
    """Return circles (n, 2) round places (k, 2); those that are `broken` (k,) in dashes. Unknown places have none."""
    angle = np.linspace(0, 2 * np.pi, POINTS + 1)
    ring = radius_px * np.stack([np.sin(angle), np.cos(angle)], 1)
    dashes = ring.copy()
    dashes[2::4] = np.nan  # every other sixth is missing
    ends = np.full((1, 2), np.nan)
    shapes = np.stack([np.concatenate([ring, ends]), np.concatenate([dashes, ends])])
    known = np.isfinite(yx).all(1)
    return (yx[known][:, None] + shapes[broken[known].astype(int)]).reshape(-1, 2)


def place_at(yx: np.ndarray, y_px: float, x_px: float) -> int | None:
    """Return which of places (k, 2) is nearest to a point, None if none is near."""
    apart = np.hypot(*(yx - (y_px, x_px)).T) if len(yx) else np.empty(0)
    apart = np.where(np.isfinite(apart), apart, np.inf)
    nearest = int(apart.argmin()) if len(apart) else 0
    return nearest if len(apart) and apart[nearest] <= LOOK * RADIUS_PX else None
