"""What is drawn over an image: which overlays, over which planes, and each where its tile stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import QObject, QRectF, Signal

from .canvas import Canvas
from .model import Model
from .overlay_items import ComponentsItem, OverlayItem, rectangle_lines, spot_lines, vector_lines
from .panels import Overlay, Panel
from .place_items import PlacesItem
from .views import PlaneView, Tile


class Overlays(QObject):
    """The overlays of one image, `items` by name as they are drawn; `changed` where others are to be."""

    changed = Signal()

    def __init__(self, panel: Panel, model: Model, canvas: Canvas, view: PlaneView) -> None:
        super().__init__()
        self._panel, self._model, self._canvas, self._view = panel, model, canvas, view
        self._chosen: dict[str, bool] = {}  # whether it is drawn, of what somebody has switched on or off
        self.items: dict[str, OverlayItem | ComponentsItem | PlacesItem] = {}

    def all(self) -> list[Overlay]:
        """What is drawn over it."""
        return list({o.id: o for panel in self._overlaid() for o in self.over(panel)}.values())

    def _overlaid(self) -> list[Panel]:
        """The planes that things are drawn over: of merged channels those of the one chosen."""
        here = self._model.here(self._panel)
        return self._view.panels() if self._view.mode == "grid" else [here] if here is not None else []

    def over(self, panel: Panel) -> list[Overlay]:
        """What is drawn over the image of one plane."""
        found = self._model.overlays_over(panel)
        return [o for o in found if self._is_drawn(o, found)]

    def _is_drawn(self, overlay: Overlay, beside: Sequence[Overlay]) -> bool:
        """Whether an overlay is drawn; at first all but outlines of sections where those of their cells are drawn."""
        cells = overlay.kind == "contours" and overlay.z is None and any(o.z is not None for o in beside)
        return self._chosen.get(self._kind_of(overlay), not cells)

    def _kind_of(self, overlay: Overlay) -> str:
        """An overlay's name, the same in all planes."""
        return f"{self._model.planes.split(overlay.step)[1]}/{overlay.name}"

    @property
    def shown(self) -> dict[str, bool]:
        """What can be drawn over the image, the same in all planes, and whether it is."""
        over = [self._model.overlays_over(panel) for panel in self._overlaid()]
        return {self._kind_of(o): self._is_drawn(o, found) for found in over for o in found}

    def toggle(self, name: str, shown: bool) -> None:
        """Draw something over the image, or not."""
        self._chosen[name] = shown
        self.changed.emit()

    def draw(self, tiles: Sequence[Tile]) -> None:
        """Draw what lies over these tiles, and nothing else any more."""
        apart = self._view.mode == "grid"
        tiles = tiles if apart else tiles[:1]
        wanted = {(f"{t.plane}: " if apart else "") + o.id: (o, t) for t in tiles for o in self.over(t.panel)}
        for name in self.items.keys() - wanted.keys():
            item = self.items.pop(name)
            item.setParentItem(None)
            self._canvas.scene().removeItem(item)
        for name, (overlay, tile) in wanted.items():
            coloured = overlay.kind == "contours"
            if self._draw_places(name, overlay, tile):
                continue
            if name not in self.items:
                over = self._canvas.over
                self.items[name] = ComponentsItem(over) if coloured else OverlayItem(overlay.kind, over)
            item = self.items[name]
            assert not isinstance(item, PlacesItem)
            item.set_style(overlay.kind, self._view.mode)
            item.setPos(tile.corner_px[1], tile.corner_px[0])
            if isinstance(item, ComponentsItem):
                item.draw(*self._model.outlines(overlay))
            else:
                item.draw(self._lines(overlay, tile))

    def _draw_places(self, name: str, overlay: Overlay, tile: Tile) -> bool:
        """Draw spots of which something is known by their values, once there are any; returns whether it did."""
        for step, of in self._model.places_over(tile.panel).items():
            places = self._model.places(of)
            if of.table != (overlay.step, overlay.name) or not len(places.yx):
                continue
            item = self.items.get(name)
            if not isinstance(item, PlacesItem):
                if item is not None:
                    self._canvas.scene().removeItem(item)
                item = self.items[name] = PlacesItem(self._canvas.over)
            item.setPos(tile.corner_px[1], tile.corner_px[0])
            item.draw(places, self._model.chosen_place(step))
            return True
        return False

    def _lines(self, overlay: Overlay, tile: Tile) -> np.ndarray:
        if overlay.kind == "spots":
            return spot_lines(self._model.rows_near(overlay, tile.picture.index))
        if overlay.kind == "rectangle":
            return rectangle_lines(self._model.contours.get(overlay.id, np.empty(0)))
        vectors = self._model.vector_near(overlay, tile.picture.index)
        frame = QRectF(-0.5, -0.5, tile.shape_px[1], tile.shape_px[0])
        return vector_lines(vectors, frame) if vectors is not None else np.empty((0, 2))
