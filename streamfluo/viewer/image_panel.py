"""The dock of an image: what one can do with it, and what lies under the mouse."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PySide6.QtCore import QRectF, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QSpinBox,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .canvas import Canvas
from .health import age_s
from .model import Model
from .overlay_items import OverlayItem, contour_at, contour_lines, spot_lines, vector_lines
from .panels import Overlay, Panel
from .region_tools import RegionTools
from .theme import COLOUR_MAPS

SHOWN_SIDE_PX = 1024  # larger frames are asked for binned
HISTOGRAM_S = 0.4


class ImagePanel(QWidget):
    """Draws one picture of the model. `activated` when the user turns to it, `regions_changed` with its regions."""

    activated = Signal(object)
    regions_changed = Signal(object)
    component_picked = Signal(str, int)  # the step, and which of its contours

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.panel, self._model = panel, model
        self._picture = model.pictures[panel.id]
        self.paused = False
        self.image: np.ndarray | None = None  # as drawn
        self.shown_index = 0
        self.age_s: float | None = None  # of the frame when it was drawn
        self.draws = 0
        self._drawn_revision, self._histogram_at = -1, 0.0
        self._bin_px = 0  # 0: as large as the frame asks for
        self._hidden: set[str] = set()
        self._items: dict[str, OverlayItem] = {}
        self.canvas = Canvas(self._hover, self._drag_levels)
        self.canvas.scene().sigMouseClicked.connect(self._click)
        self.regions = RegionTools(self.canvas, lambda: self.regions_changed.emit(self))
        self._mouse: tuple[float, float] | None = None
        self._readout, self._facts = QLabel(), QLabel()
        self._build()
        self.canvas.set_colours(self._colours.currentText())

    # What it needs from the wire

    def preview(self) -> tuple[str, int] | None:
        """The step and binning of the frames it shows; None for a snapshot."""
        if not self.panel.frames:
            return None
        facts = self._model.facts(self.panel.step)
        side = max(facts[0]) if facts else 1
        return self.panel.step, self._bin_px or min(64, -(-side // SHOWN_SIDE_PX))

    def overlays(self) -> list[Overlay]:
        """What is drawn over it."""
        here = self._model.seen_by(self.panel)
        return [o for o in self._model.overlays if o.on == here and o.id not in self._hidden]

    # Drawing

    def refresh(self) -> None:
        """Draw what is new, unless it is paused."""
        picture = self._picture
        if self.paused or picture.revision == self._drawn_revision:
            return
        image = picture.shown(self._plane.value())
        if image is None:
            return
        self._drawn_revision = picture.revision
        self.image, self.shown_index = image, picture.index
        if picture.planes > 1:
            self._plane_shown.setVisible(True)
            self._plane.setMaximum(picture.planes - 1)
        levels = picture.adjust_levels(image)
        self.canvas.show_image(image, picture.bin_px, levels, picture.pixel_um)
        if time.monotonic() - self._histogram_at > HISTOGRAM_S:
            self._histogram_at = time.monotonic()
            self.canvas.show_histogram(image, levels)
        self._draw_overlays()
        self.regions.take(self.shown_index, image, picture.bin_px)
        self._tell()
        self.age_s = age_s(picture.arrived_ns)
        self.draws += 1

    def redraw(self) -> None:
        """Draw again what is shown."""
        self._drawn_revision = -1

    def _draw_overlays(self) -> None:
        wanted = {o.id: o for o in self.overlays()}
        for name in self._items.keys() - wanted.keys():
            item = self._items.pop(name)
            item.setParentItem(None)
            self.canvas.scene().removeItem(item)
        for name, overlay in wanted.items():
            if name not in self._items:
                self._items[name] = OverlayItem(overlay.kind, self.canvas.over)
            self._items[name].draw(self._lines(overlay, self.canvas.frame_rect))

    def _lines(self, overlay: Overlay, frame: QRectF) -> np.ndarray:
        if overlay.kind == "spots":
            return spot_lines(self._model.rows_near(overlay, self.shown_index))
        if overlay.kind == "contours":
            return contour_lines(self._model.contours.get(overlay.id, np.empty(0)))
        vectors = self._model.vector_near(overlay, self.shown_index)
        return vector_lines(vectors, frame) if vectors is not None else np.empty((0, 2))

    def _tell(self) -> None:
        picture = self._picture
        facts = [f"frame {self.shown_index}"]
        if picture.averaged > 1:
            facts.append(f"mean of {picture.averaged}")
        if picture.bin_px > 1:
            facts.append(f"binned {picture.bin_px} × {picture.bin_px}")
        self._facts.setText(" · ".join(facts))
        if self._mouse is not None and self.image is not None:
            self._readout.setText(picture.read_out(self.image, *self._mouse))

    # What the user does

    def set_paused(self, paused: bool) -> None:
        """Hold what is shown, or follow again."""
        self.paused = paused
        self._pause.setChecked(paused)
        self._pause.setText("Paused" if paused else "Pause")

    def lock_levels(self, locked: bool) -> None:
        """Keep the levels, or let them follow the image again."""
        self._picture.locked = locked
        self._lock.setChecked(locked)
        if not locked:
            self._picture.relevel()
            self.redraw()

    def next_colours(self) -> None:
        """Draw with the next colour map."""
        self._colours.setCurrentIndex((self._colours.currentIndex() + 1) % self._colours.count())

    def save_picture(self, path: Path) -> None:
        """Write what is seen as PNG. Raises OSError."""
        if not self.canvas.grab().save(str(path), "PNG"):
            raise OSError(f"{path}: the picture could not be written")

    def save_data(self, path: Path) -> None:
        """Write the pixels shown as TIFF. Raises OSError."""
        if self.image is not None:
            image = self.image.astype(np.float32) if self.image.dtype == np.float64 else self.image
            tifffile.imwrite(path, image, photometric="minisblack")

    def _click(self, event: Any) -> None:
        at = self.canvas.over.mapFromScene(event.scenePos())
        self.pick(at.y(), at.x())

    def pick(self, y_px: float, x_px: float) -> None:
        """Tell who wants to know which component a place [px] lies in."""
        for overlay in self.overlays():
            if overlay.kind == "contours":
                number = contour_at(self._model.contours.get(overlay.id, np.empty((0, 0, 2))), y_px, x_px)
                if number is not None:
                    self.component_picked.emit(overlay.step, number)

    def _hover(self, y_px: float, x_px: float) -> None:
        self._mouse = (y_px, x_px)
        if self.image is not None:
            self._readout.setText(self._picture.read_out(self.image, y_px, x_px))

    def _drag_levels(self, low: float, high: float) -> None:
        self._picture.levels = (low, high)
        self.lock_levels(True)
        self.redraw()

    def _set_average(self, count: int) -> None:
        self._picture.average_frames = count

    def set_binning(self, bin_px: int) -> None:
        """Ask for frames binned so; 0: as the frame's size asks for."""
        self._bin_px = bin_px

    def _toggle_overlay(self, name: str, shown: bool) -> None:
        self._hidden = self._hidden - {name} if shown else self._hidden | {name}
        self.redraw()

    # How it is put together

    def _build(self) -> None:
        self._pause = _button("Pause", "hold this image; the acquisition goes on (Space holds all)", checkable=True)
        self._pause.toggled.connect(self.set_paused)
        self._lock = _button("Lock levels", "keep brightness and contrast (L)", checkable=True)
        self._lock.toggled.connect(self.lock_levels)
        self._colours = QComboBox()
        self._colours.addItems(list(COLOUR_MAPS))
        self._colours.setToolTip("colour map (C)")
        self._colours.currentTextChanged.connect(self.canvas.set_colours)
        self._average = QSpinBox(minimum=1, maximum=500, prefix="mean of ")
        self._average.setToolTip("show the mean of the last so many images")
        self._average.valueChanged.connect(self._set_average)
        self._plane = QSpinBox(prefix="plane ")
        self._plane.valueChanged.connect(lambda _: self.redraw())
        more = _button("More", "fit, turn, regions, overlays, binning")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(QMenu(more))
        more.menu().aboutToShow.connect(lambda: self._fill_menu(more.menu()))
        top = QToolBar()  # what a narrow dock has no room for goes behind its arrow
        for widget in (more, self._pause, self._lock, self._colours, self._average):
            top.addWidget(widget)
        self._plane_shown = top.addWidget(self._plane)
        self._plane_shown.setVisible(False)
        self._readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        bottom = QHBoxLayout()
        bottom.addWidget(self._readout, 1)
        bottom.addWidget(self._facts)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(2)
        layout.addWidget(top)
        layout.addWidget(self.canvas)
        layout.addLayout(bottom)

    def _fill_menu(self, menu: QMenu) -> None:
        menu.clear()
        menu.addAction("Zoom to fit\tF", self.canvas.fit)
        menu.addAction("Turn by 90°\tR", self.canvas.rotate)
        menu.addAction("Flip left to right\tH", lambda: self.canvas.flip(1))
        menu.addAction("Flip top to bottom\tV", lambda: self.canvas.flip(0))
        histogram = menu.addAction("Histogram")
        histogram.setCheckable(True)
        histogram.setChecked(self.canvas.levels_shown)
        histogram.toggled.connect(self.canvas.show_levels)
        regions = menu.addMenu("Draw a region")
        for kind in ("rectangle", "ellipse", "polygon"):
            regions.addAction(kind, partial(self.regions.add, kind))
        if self.panel.frames:
            binning = menu.addMenu("Binning")
            for bin_px in (0, 1, 2, 4, 8):
                label = f"{bin_px} × {bin_px}" if bin_px else "by the frame's size"
                choice = binning.addAction(label, partial(self.set_binning, bin_px))
                choice.setCheckable(True)
                choice.setChecked(bin_px == self._bin_px)
        here = self._model.seen_by(self.panel)
        for overlay in (o for o in self._model.overlays if o.on == here):
            shown = menu.addAction(f"Show {overlay.step}: {overlay.name}")
            shown.setCheckable(True)
            shown.setChecked(overlay.id not in self._hidden)
            shown.toggled.connect(partial(self._toggle_overlay, overlay.id))

    def enterEvent(self, event: object) -> None:
        """Shortcuts go to the image under the mouse."""
        self.activated.emit(self)
        super().enterEvent(event)  # type: ignore[arg-type]


def _button(text: str, tip: str, checkable: bool = False) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setCheckable(checkable)
    button.setAutoRaise(True)
    return button
