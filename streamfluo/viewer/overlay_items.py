"""Overlays as drawn: circles round spots, shift vectors, contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QGraphicsItem

from .theme import CURVES, OVERLAYS, curve_colour
from .views import Mode

SPOT_RADIUS_PX = 4.0
SMOOTHED = 8  # corners, from more of them on
FEW = 100  # outlines of 1.5 px: 500 took 55 ms to paint, of 1 px 3
VECTOR_ZOOM = 10  # shifts are a pixel or two: drawn to scale nobody sees them


class OverlayItem(pg.PlotCurveItem):
    """The lines of one overlay, in pixels of the frame (x to the right, y downwards)."""

    def __init__(self, kind: str, parent: QGraphicsItem) -> None:
        super().__init__(antialias=True)
        self._style: tuple[str, Mode] | None = None
        self.set_style(kind, "one")
        self.setParentItem(parent)
        self.setZValue(10)

    def set_style(self, kind: str, mode: Mode) -> None:
        """Take the colour of this kind; white over merged channels, which have colours, thin over several planes."""
        if (kind, mode) != self._style:
            self._style = (kind, mode)
            self.set_line("white" if mode == "composite" else OVERLAYS[kind], 1.5 if mode == "one" else 1.0)

    def set_line(self, colour: Any, width: float) -> None:
        """Draw lines of this width, as letters are on a screen of a larger scale; Qt leaves those that do not zoom.

        Lines of 1 stay: wider ones take twenty times as long to paint.
        """
        app = QGuiApplication.instance()
        scale = app.devicePixelRatio() if isinstance(app, QGuiApplication) and width > 1 else 1.0
        self.setPen(pg.mkPen(colour, width=width * scale))

    def draw(self, lines: np.ndarray) -> None:
        """Draw lines (n, 2) as (y, x); NaN ends one and begins the next."""
        self.setData(lines[:, 1], lines[:, 0], connect="finite")


class ComponentsItem(pg.GraphicsObject):
    """Outlines of components, each in the colour of its id, one of them thick."""

    def __init__(self, parent: QGraphicsItem) -> None:
        super().__init__()
        self._lines = [OverlayItem("contours", self) for _ in range(len(CURVES) + 1)]  # the last is the thick one
        self._mode: Mode = "one"
        self._drawn_contours: np.ndarray | None = None
        self._drawn: object = None
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemHasNoContents)
        self.setParentItem(parent)
        self.setZValue(10)

    def set_style(self, kind: str, mode: Mode) -> None:
        """White and thin over several planes, as other overlays are."""
        self._mode = mode

    def draw(self, contours: np.ndarray, ids: Sequence[int], pointed: Sequence[int]) -> None:
        """Draw contours (id, point, yx) of the components with these ids, those pointed out thick."""
        new = (list(ids), list(pointed), self._mode)
        if contours is self._drawn_contours and new == self._drawn:
            return
        self._drawn_contours, self._drawn = contours, new
        width = 1.5 if self._mode == "one" and len(ids) <= FEW else 1.0
        for n, item in enumerate(self._lines):
            thick = n == len(CURVES)
            mine = [k for k, name in enumerate(ids) if (name in pointed if thick else name % len(CURVES) == n)]
            white = self._mode == "composite" or (thick and len(pointed) > 1)
            colour = "white" if white else curve_colour(pointed[0] if thick and pointed else n)
            item.set_line(colour, 4.0 if thick else width)
            item.draw(contour_lines(contours[mine] if mine else np.empty(0)))

    def boundingRect(self) -> QRectF:
        """Its lines have their own."""
        return QRectF()

    def paint(self, *_: object) -> None:
        """Its lines paint themselves."""


def spot_lines(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return circles round spots, two sigma wide where there is a sigma_px, else 4 px."""
    y, x = rows.get("y_px", np.empty(0)), rows.get("x_px", np.empty(0))
    radius = 2 * rows["sigma_px"] if "sigma_px" in rows else np.full(len(y), SPOT_RADIUS_PX)
    angle = np.append(np.linspace(0, 2 * np.pi, 25), np.nan)
    circles = np.stack([y[:, None] + radius[:, None] * np.sin(angle), x[:, None] + radius[:, None] * np.cos(angle)], -1)
    return circles.reshape(-1, 2)


def vector_lines(vectors: np.ndarray, frame: QRectF) -> np.ndarray:
    """Return arrows ten times as long as the shifts (…, yx), each from the centre of its part of the frame."""
    vectors = np.asarray(vectors, float)
    grid = vectors.reshape(1, 1, 2) if vectors.ndim == 1 else vectors.reshape(vectors.shape[0], -1, 2)
    rows, columns = grid.shape[:2]
    y = frame.top() + (np.arange(rows) + 0.5) * frame.height() / rows
    x = frame.left() + (np.arange(columns) + 0.5) * frame.width() / columns
    start = np.stack(np.meshgrid(y, x, indexing="ij"), -1)
    tip = start + VECTOR_ZOOM * grid
    back = (start - tip) / 4
    side = np.stack([-back[..., 1], back[..., 0]], -1) / 2
    gap = np.full_like(start, np.nan)
    return np.stack([start, tip, tip + back + side, tip, tip + back - side, gap], 2).reshape(-1, 2)


def contour_lines(contours: np.ndarray) -> np.ndarray:
    """Return closed lines round each component of (id, point, yx); points behind a component's last are NaN."""
    contours = np.asarray(contours, float)
    if contours.ndim != 3 or contours.shape[-1] != 2 or not contours.size:
        return np.empty((0, 2))
    known = np.isfinite(contours).all(2)
    if not known.all():
        order = np.argsort(~known, axis=1, kind="stable")  # unknown points are the last of each
        contours = np.take_along_axis(contours, order[..., None], 1)
    count = np.count_nonzero(known, axis=1)
    closed = np.full((len(contours), contours.shape[1] + 2, 2), np.nan)
    closed[:, :-2] = _smooth(contours, np.expand_dims(count, 1))
    closed[np.arange(len(contours)), count] = closed[:, 0]
    lines = closed.reshape(-1, 2)
    drawn = np.asarray(np.isfinite(lines).all(1))
    return lines[drawn | np.append(False, drawn[:-1])]  # a NaN behind each


def _smooth(contours: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Outlines (id, point, yx) of `count` (id, 1) points go round pixels: without their steps, as the page draws it."""
    place = np.arange(contours.shape[1])
    before, behind = np.where(place == 0, count - 1, place - 1), np.where(place + 1 >= count, 0, place + 1)
    sides = [np.take_along_axis(contours, at[..., None], 1) for at in (before, behind)]
    return np.where(count[..., None] > SMOOTHED, (sides[0] + 2 * contours + sides[1]) / 4, contours)


def rectangle_lines(edges: np.ndarray) -> np.ndarray:
    """Return the outline of top, bottom, left, right (4,), the pixels from top to bottom − 1 and so on within it."""
    if np.shape(edges) != (4,):
        return np.empty((0, 2))
    top, bottom, left, right = np.asarray(edges, float) - 0.5
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])


def contour_at(contours: np.ndarray, y_px: float, x_px: float) -> int | None:
    """Return the number of the component of (id, point, yx) round a place, of several the smallest; None if none."""
    around: dict[int, float] = {}
    contours = np.asarray(contours, float)
    if contours.ndim != 3 or contours.shape[-1] != 2 or not contours.size:
        return None
    known = np.isfinite(contours)
    low, high = np.where(known, contours, np.inf).min(1), np.where(known, contours, -np.inf).max(1)
    # Of 5,000 outlines all but a few are told apart by their box, 115 ms less.
    for n in np.flatnonzero(((low <= (y_px, x_px)) & (high >= (y_px, x_px))).all(1)).tolist():
        points = contours[n]
        y, x = points[np.isfinite(points).all(1)].T
        if len(y) < 3:
            continue
        above, next_y, next_x = y > y_px, np.roll(y, -1), np.roll(x, -1)
        crossed = above != (next_y > y_px)
        at = x[crossed] + (y_px - y[crossed]) / (next_y - y)[crossed] * (next_x - x)[crossed]
        if np.count_nonzero(at > x_px) % 2:
            around[n] = abs(float(y @ next_x - x @ next_y))
    return min(around, key=lambda n: around[n], default=None)
