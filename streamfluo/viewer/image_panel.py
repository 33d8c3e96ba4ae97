"""The dock of an image: what one can do with it, and what lies under the mouse."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QHBoxLayout, QMenu, QVBoxLayout, QWidget

from .canvas import Canvas
from .choice_slider import slider_of
from .controls import ElidedLabel
from .health import age_s
from .image_bar import ImageBar
from .image_menu import fill_menu
from .line_tool import LinePanel, LineTool
from .model import Model
from .overlays import Overlays
from .panels import Panel
from .picking import choose_place, components_at, decisions, drawn_decisions
from .picture import Levels, Picture
from .planes import GRID_PLANES
from .region_tools import RegionTools
from .trace_panel import TracePanel
from .views import Mode, PlaneView, Tile

HISTOGRAM_S = 0.4


class ImagePanel(QWidget):
    """Draws one picture of the model. `activated` when the user turns to it, `beside` with a panel to
    stand beside it: of its regions, or of a line.

    Of several planes it draws the one chosen, all side by side, or the channels of a slice merged: its `mode`.
    """

    activated = Signal(object)
    beside = Signal(object, str, object, bool)  # itself, what it is, the panel, whether it is wanted
    component_picked = Signal(str, int, bool)  # the step, which of its contours, and whether beside others
    decided = Signal(str, str, object)  # the step, the verb, ids of its components
    other_asked = Signal(object, str)  # itself, the id of the panel that is to be shown instead
    regions_sent = Signal(object)  # polygons for the step that measures regions
    drawn = Signal(str, str, object)  # the step, the verb, polygons that it is to take
    taken = Signal()  # a step has what was drawn; emitted on any thread

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.panel, self._model = panel, model
        self._view = PlaneView(panel, model)
        self._tiles: list[Tile] = []
        self.paused = False
        self.image: np.ndarray | None = None  # as drawn, that of the plane chosen
        self.shown_index = 0
        self.age_s: float | None = None  # of the frame when it was drawn
        self.draws = 0
        self._drawn: tuple[object, ...] = ()
        self._followed: Panel | None = None  # whose means the regions have
        self._histogram_at = 0.0
        self._bin_px = 0  # 0: as large as the frame asks for
        self.canvas = Canvas(self._hover, self._drag_levels)
        self.canvas.scene().sigMouseClicked.connect(self._click)
        self.overlays = Overlays(panel, model, self.canvas, self._view)
        self.overlays.changed.connect(self.redraw)
        self.regions = RegionTools(self.canvas, self._show_means)
        self.taken.connect(self.regions.clear)
        self.line = LineTool(self.canvas, self._show_line)
        layout = model.layout()
        _, choice = layout.choice if layout is not None else ("", ())
        first = layout is not None and panel.id in (layout.pictures[0], *choice)
        compared = layout.compared if layout is not None and first and layout.compared != panel.id else ""
        self._other = model.panels.get(compared)  # that it is compared with
        self._means: TracePanel | None = None
        self._along: LinePanel | None = None
        self._mouse: tuple[float, float] | None = None
        self._readout, self._facts = ElidedLabel(), ElidedLabel()
        self._build()
        here = model.here(panel) or panel
        self._colours.setCurrentText(model.drawn.colours.get((here.step, here.name), self._colours.currentText()))
        self.canvas.set_colours(self._colours.currentText())

    @property
    def unit(self) -> str:
        """The unit of what it shows."""
        return self.panel.unit or "ADU"

    # What it needs from the wire

    def panels(self) -> list[Panel]:
        """What is shown, a panel of each plane, and what that is compared with."""
        other = self._model.here(self._other) if self._other is not None else None
        return [*self._view.panels(), *([other] if other is not None else [])]

    def make_room(self, planes: int) -> None:
        """Show so many planes at most."""
        self._view.room = min(planes, GRID_PLANES)

    def previews(self) -> set[tuple[str, int]]:
        """The steps and binning of the frames it shows; none for a snapshot."""
        own = {(panel.step, self.binning) for panel in self._view.panels() if panel.frames}
        return own | {(panel.step, 1) for panel in self.panels() if panel.frames and panel is self._other}

    @property
    def binning(self) -> int:
        """The binning of the frames it asks for."""
        return self._view.binning(self._bin_px)

    # Drawing

    def refresh(self) -> None:
        """Draw what is new, unless it is paused."""
        state = (*self._view.state(), self._other, self._compared.revision if self._compared else 0)
        if self.paused or state == self._drawn:
            return
        self._tiles = self._view.tiles()
        self._drawn = (*self._view.state(), *state[-2:])
        if not self._tiles:
            self._show_nothing()
            return
        tile, picture = self._tiles[0], self._tiles[0].picture
        if tile.panel is not self._followed:
            self._followed = tile.panel
            self.regions.trace.clear()
        self.image, self.shown_index = tile.image, picture.index
        if picture.planes > 1:
            self._bar.offer_planes(picture.planes)
        self._draw_image(tile)
        if time.monotonic() - self._histogram_at > HISTOGRAM_S:
            self._histogram_at = time.monotonic()
            self.canvas.show_histogram(tile.image, picture.levels)
        self.overlays.draw(self._tiles)
        if self._view.mode != "grid":
            self.regions.take(self.shown_index, tile.image, tile.grid)
            self.line.take(self.shown_index, tile.image, tile.grid)
        self._tell()
        self.age_s = age_s(picture.arrived_ns)
        self.draws += 1

    def redraw(self) -> None:
        """Draw again what is shown."""
        self._drawn = ()

    def _draw_image(self, tile: Tile) -> None:
        own = tile.picture
        self.canvas.set_gamma(own.scale.gamma)
        if self._view.mode == "one":
            self.canvas.show_image(tile.image, tile.grid, own.adjust_levels(tile.image), own.pixel_um)
        else:
            painted = self._view.paint(self._tiles, self.canvas.colour_table)
            self.canvas.show_painted(painted, tile.image, tile.grid, own.levels, own.pixel_um)
        self.canvas.labels = self._view.labels(self._tiles)
        picture = self._compared if self.mode != "grid" else None
        image = picture.shown() if picture is not None else None
        if picture is None or image is None:
            self.canvas.divider.hide()
        else:
            self.canvas.sides = (self.panel.title, self._other.title if self._other is not None else "")
            self.canvas.compare(image, picture.grid, picture.adjust_levels(image))

    @property
    def _compared(self) -> Picture | None:
        """The image it is compared with."""
        here = self._model.here(self._other) if self._other is not None else None
        return self._model.pictures.get(here.id) if here is not None else None

    def _show_nothing(self) -> None:
        """Where what it shows is not in the slice chosen, the last image of another would mislead."""
        if self._model.here(self.panel) is None:
            self.image = None
            self.canvas.show_nothing()
            self.overlays.draw(self._tiles)
            self._facts.setText(f"not in slice {self._model.planes.depth(self._model.planes.z)}")

    def _tell(self) -> None:
        self._facts.setText(" · ".join(self._view.facts(self._tiles)))
        if self._mouse is not None:
            self._read_out(*self._mouse)

    # What the user does

    def set_paused(self, paused: bool) -> None:
        """Hold what is shown, or follow again."""
        self.paused = paused
        self._pause.setChecked(paused)
        self._pause.setText("Held" if paused else "Hold")

    @property
    def modes(self) -> list[Mode]:
        """The ways to show its planes."""
        return self._view.modes

    @property
    def bin_px(self) -> int:
        """The binning that was asked for, 0: as the frame's size asks for."""
        return self._bin_px

    @property
    def safe_colours(self) -> bool:
        """Whether merged channels have colours that the colour blind tell apart."""
        return self._view.safe_colours

    @property
    def measured_by(self) -> str | None:
        """The step of the run that measures regions, if it takes any."""
        return self._model.step_of("regions")

    @property
    def locked(self) -> bool:
        """Whether the levels stay as they are."""
        return self._lock.isChecked()

    def lock_levels(self, locked: bool) -> None:
        """Keep the levels, or let them follow the image again; those of all its planes."""
        self._lock.setChecked(locked)
        for panel in self._model.members(self.panel).values():
            self._model.pictures[panel.id].locked = locked
        self.redraw()

    @property
    def mode(self) -> Mode:
        """Whether one plane is shown, several side by side, or channels merged."""
        return self._view.mode

    def set_mode(self, mode: Mode) -> None:
        """Show planes so, if there are enough of them."""
        if mode in self._view.modes:
            self._view.mode = mode
            self._modes.setCurrentIndex(self._view.modes.index(mode))
            self._colours.setEnabled(mode != "composite")
            self._average_changed()

    def next_mode(self) -> None:
        """Show planes in the next way there is."""
        self.set_mode(self._view.modes[(self._view.modes.index(self.mode) + 1) % len(self._view.modes)])

    def next_colours(self) -> None:
        """Draw with the next colour map."""
        self._colours.setCurrentIndex((self._colours.currentIndex() + 1) % self._colours.count())

    @property
    def others(self) -> list[Panel]:
        """The images that it can be compared with."""
        return [panel for panel in self._model.panels.values() if panel.kind == "image" and panel is not self.panel]

    @property
    def compared_with(self) -> Panel | None:
        """The image that is drawn right of the divider."""
        return self._other

    def compare_with(self, other: Panel | None) -> None:
        """Draw another image right of a divider, or none any more."""
        self._other = other
        self.redraw()

    def look_like(self, image: ImagePanel) -> None:
        """Show the same part of the field as another image, the divider where it stands there."""
        self.refresh()
        self.canvas.box.setRange(image.canvas.box.viewRect(), padding=0)
        self.canvas.divider.move_to(image.canvas.divider.share)

    def swap(self) -> None:
        """Show all of the image that it is compared with, or nothing of it."""
        self.canvas.divider.move_to(0.0 if self.canvas.divider.share > 0.5 else 1.0)

    def _show_means(self) -> None:
        if self._means is None:
            facts = self._model.facts_of(self.panel)
            self._means = TracePanel(self.regions.trace, "mean", self.unit, facts[3] if facts else None)
        self.beside.emit(self, "regions", self._means, len(self.regions) > 0)

    def _show_line(self) -> None:
        if self._along is None:
            facts = self._model.facts_of(self.panel)
            self._along = LinePanel(self.line, self.unit, facts[2] if facts else None)
        self.beside.emit(self, "line", self._along, self.line.line is not None)

    def images(self) -> list[np.ndarray]:
        """Return what is shown (y, x), of several planes in the order in which they stand."""
        return [tile.image for tile in self._view.in_order(self._tiles)]

    def _click(self, event: Any) -> None:
        at = self.canvas.over.mapFromScene(event.scenePos())
        if event.button() == Qt.MouseButton.RightButton:
            if not self.decisions():
                self.pick(at.y(), at.x())
            menu = QMenu(self)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            fill_menu(menu, self)
            menu.popup(QCursor.pos())
            return
        self.pick(at.y(), at.x(), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def decisions(self) -> list[tuple[str, str, str, list[int]]]:
        """What may be decided about components that are pointed out: step, verb, what it does, their ids."""
        return decisions(self._model, self.overlays.all())

    def drawn_decisions(self) -> list[tuple[str, str, str]]:
        """What steps take that is drawn here: step, verb, what it does."""
        return drawn_decisions(self._model, self.panel, self.overlays.all())

    def pick(self, y_px: float, x_px: float, also: bool = False) -> None:
        """Choose the plane at a place [px] of planes side by side; tell which component lies there."""
        tiles = [tile for tile in self._tiles if self.mode != "grid" or tile.holds(y_px, x_px)]
        if not tiles:
            return
        if self.mode == "grid":
            self._model.planes.choose_plane(tiles[0].plane)
        place = y_px - tiles[0].corner_px[0], x_px - tiles[0].corner_px[1]
        if choose_place(self._model, tiles[0].panel, place):
            self.redraw()
        for step, number in components_at(self._model, self.overlays.over(tiles[0].panel), place):
            self.component_picked.emit(step, number, also)

    def _hover(self, y_px: float, x_px: float) -> None:
        self._mouse = (y_px, x_px)
        self._read_out(y_px, x_px)

    def _read_out(self, y_px: float, x_px: float) -> None:
        """Say what lies under the mouse, in the place of what is said of the picture."""
        said = self._view.read_out(self._tiles, y_px, x_px)
        self._readout.setText(said)
        self._readout.setVisible(bool(said))
        self._facts.setVisible(not said)

    def _drag_levels(self, low: float, high: float) -> None:
        if self._tiles:
            self._tiles[0].picture.levels = (low, high)
            self.lock_levels(True)

    def _show_levels(self, shown: bool) -> None:
        self.canvas.show_levels(shown)
        self._histogram_at = 0.0
        self.redraw()

    def _average_changed(self) -> None:
        self._view.average_frames = self._average.value()
        self.redraw()

    @property
    def scale(self) -> Levels | None:
        """The levels and the gamma of the chosen channel, None before its first image."""
        return self._tiles[0].picture.scale if self._tiles else None

    def set_binning(self, bin_px: int) -> None:
        """Ask for frames binned so; 0: as the frame's size asks for."""
        self._bin_px = bin_px

    def use_safe_colours(self, safe: bool) -> None:
        """Merge channels in colours that the colour blind tell apart, not in those that their planes have."""
        self._view.safe_colours = safe
        self.redraw()

    # How it is put together

    def _build(self) -> None:
        slider = slider_of(self.panel, self._model)
        if slider is not None:
            slider.chosen.connect(lambda name: self.other_asked.emit(self, name))
        bar = self._bar = ImageBar(self._view.modes, slider)
        self._pause, self._lock, self._colours = bar.pause, bar.lock, bar.colours
        self._average, self._plane, self._modes = bar.average, bar.plane, bar.modes
        self._pause.toggled.connect(self.set_paused)
        self._lock.toggled.connect(self.lock_levels)
        bar.levels.toggled.connect(self._show_levels)
        self._colours.currentTextChanged.connect(self.canvas.set_colours)
        self._average.valueChanged.connect(self._average_changed)
        self._plane.valueChanged.connect(lambda n: setattr(self._view, "stack", n))
        self._modes.activated.connect(lambda n: self.set_mode(self._view.modes[n]))
        bar.more.menu().aboutToShow.connect(lambda: fill_menu(bar.more.menu(), self))
        top = QHBoxLayout()  # what is said stands beside the buttons: a line of its own is room that a picture lacks
        top.addWidget(bar)
        for label in (self._facts, self._readout):
            top.addWidget(label, 1)
        self._readout.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(self.canvas)

    def leaveEvent(self, event: object) -> None:
        """No value is read any more."""
        self._mouse = None
        self._readout.hide()
        self._facts.show()
        super().leaveEvent(event)  # type: ignore[arg-type]

    def enterEvent(self, event: object) -> None:
        """Shortcuts go to the image under the mouse."""
        self.activated.emit(self)
        super().enterEvent(event)  # type: ignore[arg-type]
