"""Drawing regions on a canvas and following their means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg

from .canvas import Canvas
from .picture import PixelGrid
from .regions import Region, region_means
from .theme import curve_colour
from .traces import Trace

_KINDS = {"rectangle": pg.RectROI, "ellipse": pg.EllipseROI, "polygon": pg.PolyLineROI}


class RegionTools:
    """The regions of one image, drawn by the user, and the mean of each in every image shown: `trace`."""

    def __init__(self, canvas: Canvas, changed: Callable[[], None]) -> None:
        self.trace = Trace(sampled=True)
        self._canvas, self._changed = canvas, changed
        self._items: list[tuple[str, Any]] = []
        self._numbers: list[int] = []
        self._next, self._taken = 0, -1

    def __len__(self) -> int:
        return len(self._items)

    def add(self, kind: str) -> None:
        """Put a region of this kind into the middle of what is seen; the user drags it where it belongs."""
        canvas, seen = self._canvas, self._canvas.seen
        x, y, side = seen.center().x(), seen.center().y(), max(4.0, min(seen.width(), seen.height()) / 4)
        pen = pg.mkPen(curve_colour(self._next), width=2)
        if kind == "polygon":
            corners = [(x - side / 2, y), (x, y - side / 2), (x + side / 2, y), (x, y + side / 2)]
            item = pg.PolyLineROI(corners, closed=True, pen=pen, removable=True)
        else:
            item = _KINDS[kind]((x - side / 2, y - side / 2), (side, side), pen=pen, removable=True)
        item.setParentItem(canvas.over)
        item.setZValue(20)
        item.sigRemoveRequested.connect(self.remove)
        self._items.append((kind, item))
        self._numbers.append(self._next)
        self._next += 1
        self._changed()

    def remove(self, item: Any) -> None:
        """Take a region away."""
        at = next(n for n, (_, known) in enumerate(self._items) if known is item)
        del self._items[at], self._numbers[at]
        item.setParentItem(None)
        self._canvas.scene().removeItem(item)
        self._changed()

    def clear(self) -> None:
        """Take all regions away."""
        for _, item in list(self._items):
            self.remove(item)

    def regions(self) -> list[Region]:
        """Return the regions as they are drawn now."""
        return [_region(kind, item) for kind, item in self._items]

    def take(self, index: int, image: np.ndarray, grid: PixelGrid) -> None:
        """Add the means in an image (y, x) to the trace."""
        if self._items and index != self._taken:
            self._taken = index
            means = region_means(self.regions(), image, grid)
            self.trace.take(index, means[None], self._numbers)


def _region(kind: str, item: Any) -> Region:
    """What an item encloses, in the coordinates of its parent: pixels of the frame."""
    if kind == "polygon":
        points = [item.mapToParent(handle["item"].pos()) for handle in item.handles]
    else:
        size = item.size()
        points = [item.mapToParent(0, 0), item.mapToParent(size.x(), size.y())]
    return Region(kind, tuple((p.y(), p.x()) for p in points))  # type: ignore[arg-type]
