"""The window: docks that can be moved, closed and opened again, and the clock that feeds them."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

import numpy as np
from PySide6.QtCore import QByteArray, QSettings, Qt, QTimer
from PySide6.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget

from ..network.watching import Watch
from .arrangement import EVENTS, OWN, RECORDING, STEERING, arrange, open_beside_pictures
from .contents import OwnPanel, PlotPanel, Simple, own_of, plot_of
from .controls import fixed_bar
from .earlier import Earlier
from .health_strip import HealthStrip
from .heat_panel import HeatPanel
from .image_panel import ImagePanel
from .line_tool import LinePanel
from .looking_back import ask_for_past
from .menus import fill_menus
from .model import Model
from .panels import Panel
from .picking import step_place
from .plane_bar import PlaneBar
from .plot_panels import CurvePanel
from .scatter_panels import IntervalPanel, ScatterPanel
from .steering import Steering
from .steering_panel import SteeringPanel
from .table_panels import NumbersPanel, TablePanel
from .theme import Theme, apply
from .time_bar import TimeBar
from .trace_panel import TracePanel, beside
from .views import Mode

REDRAWS_HZ = 30.0  # at most
OFTENER = 1.1  # looks than previews, so that few of those wait for the next look or come two at a time
STRIP_S = 0.25
PREVIEWS = 14  # of the 16 that a program sends to all of its viewers
AGES = 30
LAYOUT_VERSION = 2  # of docks as they are kept; what another one kept is let go
DockWidget = ImagePanel | PlotPanel | OwnPanel | LinePanel


class Window(QMainWindow):
    """Shows what a data endpoint tells. `settings` keeps arrangements, one for each config's steps (None: not)."""

    def __init__(
        self, watch: Watch, model: Model, settings: QSettings | None = None, redraws_hz: float = REDRAWS_HZ
    ) -> None:
        super().__init__()
        self.setWindowTitle(f"streamfluo · {model.uri}")
        self.setDockNestingEnabled(True)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, self.tabPosition(Qt.DockWidgetArea.TopDockWidgetArea))
        self.resize(1400, 900)
        self.model, self._watch, self._settings = model, watch, settings
        self.paused, self.stamps = False, False  # saved pictures say when they were
        self.docks: dict[str, QDockWidget] = {}
        self._shown: dict[str, bool] = {}  # docks that are open and not behind a tab
        self._arrangement: tuple[str, tuple[str, ...]] = ("", ())
        self._modes: dict[str, Mode] = {}
        self._chosen: tuple[object, ...] = ()  # the plane that the docks show
        self._active: ImagePanel | None = None
        self._ages_s: deque[float] = deque(maxlen=AGES)
        self._steering = Steering(model.uri, self._told)
        self._asked: dict[str, tuple[int, int]] = {}  # source → the frame that is looked back at, and its binning
        self._earlier = Earlier(model, watch)
        self.strip = HealthStrip(model)
        self.strip.asked.connect(lambda: self._open(EVENTS))
        self._strip_at = 0.0
        self.addToolBar(fixed_bar("health", self.strip))
        self._plane_bar = PlaneBar(model)
        self._choice = fixed_bar("planes", self._plane_bar)
        self._choice.setParent(self)
        self._choice.hide()
        self.time_bar = TimeBar(model)
        self.time_bar.looked.connect(self.look_back)
        self.addToolBar(Qt.ToolBarArea.BottomToolBarArea, fixed_bar("time", self.time_bar))
        fill_menus(self)
        self._add_dock(EVENTS, "events", Qt.DockWidgetArea.BottomDockWidgetArea).hide()
        for name in (STEERING, RECORDING):
            self._add_dock(name, name, Qt.DockWidgetArea.RightDockWidgetArea).hide()
        self._timer = QTimer(self, interval=round(1000 / (OFTENER * redraws_hz)), timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start()

    # The clock

    def tick(self) -> None:
        """Take what came, draw what is new."""
        model = self.model
        for message, payload in self._watch.turn():
            model.take(message, payload)
        model.connection(self._watch.connected, self._watch.denied)
        if model.arranged != self._arrangement:
            self.rebuild()
        self._follow_choice()
        panels = self.visible_panels()
        self._subscribe(panels)
        ask_for_past(model, self._watch, panels, self._asked)
        for panel in panels:
            before = panel.draws if isinstance(panel, ImagePanel) else 0
            panel.refresh()
            if isinstance(panel, ImagePanel) and panel.draws > before and panel.age_s is not None:
                self._ages_s.append(panel.age_s)
        if time.monotonic() - self._strip_at > STRIP_S:
            self._strip_at = time.monotonic()
            age_s = float(np.median(self._ages_s)) if self._ages_s and model.link == "live" else None
            self.strip.refresh(age_s, self.paused, (self._watch.refused + model.refused).total())
        self.time_bar.refresh()

    def visible_panels(self) -> list[DockWidget]:
        """Return the panels that can be seen; those behind a tab or closed cost nothing, here and in the engine."""
        return [self._content(name) for name, shown in self._shown.items() if shown and not self.docks[name].isHidden()]

    def _subscribe(self, panels: list[DockWidget]) -> None:
        images = [p for p in panels if isinstance(p, ImagePanel)]
        live = [image for image in images if image.panel.frames]
        for image in live:
            image.make_room(max(1, PREVIEWS // len(live)))
        shown = [panel for image in images for panel in image.panels()]
        for name in (n for n, s in self._shown.items() if s and n in self.model.panels):
            here = self.model.here(self.model.panels[name])
            shown += [here] if here is not None and here.kind != "image" else []
        overlays = [o for image in images for o in image.overlays.all()]
        previews = {key for image in images for key in image.previews()}
        self._watch.want(self.model.topics(shown, overlays), previews)
        self._earlier.turn(shown)

    def _follow_choice(self) -> None:
        """Turn every dock to the plane chosen; while the display is held the choice waits."""
        planes = self.model.planes
        if self.paused or (id(planes), planes.revision) == self._chosen:
            return
        self._chosen = (id(planes), planes.revision)
        self._plane_bar.refresh()
        for name in self.model.panels:
            self._turn(name)

    def _turn(self, name: str) -> None:
        """Turn a dock to the plane chosen; an image turns by itself."""
        panel, dock = self.model.panels[name], self.docks[name]
        here, content = self.model.here(panel), dock.widget()
        if panel.kind == "image" or len(self.model.planes) < 2:
            return
        plane = self.model.planes.split(here.step)[0] if here is not None else ""
        where = self.model.planes.title(plane) if plane else "not in this slice" if here is None else ""
        dock.setWindowTitle(f"{panel.title} ({where})" if where else panel.title)
        if content is None:
            return
        content.setVisible(here is not None)
        if here is None:
            return
        if isinstance(content, TracePanel):
            content.turn_to(self.model.traces[here.id], beside(here, self.model))
        elif isinstance(content, IntervalPanel):
            content.turn_to(self.model.traces[here.id])
        elif isinstance(content, CurvePanel | HeatPanel | ScatterPanel | TablePanel | NumbersPanel | Simple):
            content.turn_to(here)

    # Docks

    def rebuild(self) -> None:
        """Make docks for what this run gives, arranged as they were left, or as at first."""
        self.keep_arrangement()
        for name in [n for n in self.docks if n not in OWN]:
            dock = self.docks.pop(name)
            del self._shown[name]
            self.removeDockWidget(dock)
            dock.setObjectName("")  # it is there until Qt deletes it; what was kept is for its successor
            dock.deleteLater()
        self._active = None
        model = self.model
        self._arrangement, self._chosen = model.arranged, ()
        self._offer_choice()
        for panel in model.panels.values():
            self._add_dock(panel.id, panel.title, Qt.DockWidgetArea.TopDockWidgetArea).setToolTip(panel.meaning)
        self.arrange()
        kept = self._settings.value(f"{model.arrangement}/docks") if self._settings is not None else None
        if self._settings is not None and isinstance(kept, QByteArray):  # other programs may have written the file
            self.restoreState(kept, LAYOUT_VERSION)
            kept = self._settings.value(f"{model.arrangement}/modes")
            self._modes = dict(kept) if isinstance(kept, dict) else {}
        self._choice.setVisible(len(model.planes) > 1)  # whatever the state kept says

    def _offer_choice(self) -> None:
        """The bar of planes has its row only while there are several: an empty one draws a line."""
        offered = self.toolBarArea(self._choice) != Qt.ToolBarArea.NoToolBarArea
        if len(self.model.planes) > 1 and not offered:
            self.addToolBarBreak()
            self.addToolBar(self._choice)
        elif len(self.model.planes) < 2 and offered:
            self.removeToolBarBreak(self._choice)
            self.removeToolBar(self._choice)

    def arrange(self) -> None:
        """Arrange the docks as at first."""
        arrange(self, self.docks, self.model)

    def keep_arrangement(self) -> None:
        """Remember how the docks stand, and how each shows its planes."""
        images = {name: dock.widget() for name, dock in self.docks.items()}
        self._modes |= {name: image.mode for name, image in images.items() if isinstance(image, ImagePanel)}
        if self._settings is not None and self._arrangement[0]:
            self._settings.setValue(f"{self._arrangement[0]}/docks", self.saveState(LAYOUT_VERSION))
            self._settings.setValue(f"{self._arrangement[0]}/modes", self._modes)

    def _add_dock(self, name: str, title: str, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(name)
        self.addDockWidget(area, dock)
        self.docks[name], self._shown[name] = dock, False
        dock.visibilityChanged.connect(lambda visible, name=name: self._note_shown(name, visible))
        return dock

    def _note_shown(self, name: str, visible: bool) -> None:
        if name in self._shown:
            self._shown[name] = visible

    def _content(self, name: str) -> DockWidget:
        """A dock's panel, made when it is first seen."""
        dock = self.docks[name]
        if dock.widget() is None:
            content = own_of(name, self.model, self._steering) if name in OWN else self._make(self.model.panels[name])
            content.paused = self.paused
            dock.setWidget(content)
            if isinstance(content, TracePanel):
                content.look_at(self.model.looking_at)
            if name not in OWN:
                self._turn(name)
        return dock.widget()  # type: ignore[return-value]

    def _make(self, panel: Panel) -> DockWidget:
        model = self.model
        if panel.kind == "image":
            image = ImagePanel(panel, model)
            image.set_mode(self._modes.get(panel.id, "one"))
            image.activated.connect(self._activate)
            image.beside.connect(self._show_beside)
            image.component_picked.connect(self._point_out)
            image.regions_sent.connect(self._send_regions)
            image.decided.connect(self._steering.decide)
            image.drawn.connect(partial(self._send_drawn, image))
            image.other_asked.connect(self._show_other)
            self._active = self._active or image
            return image
        return plot_of(panel, model)

    def _send_regions(self, polygons: list[list[list[float]]]) -> None:
        """Have the run's step measure these regions from the next frame on; the answer stands in the events."""
        if (step := self.model.step_of("regions")) is not None:
            self._steering.ask("regions", lambda control: control.set(step, "regions", polygons))

    def _send_drawn(self, image: ImagePanel, step: str, verb: str, polygons: list[list[list[float]]]) -> None:
        """Have a step take what was drawn as cells; once it has, its outlines stand where the regions were."""
        self._steering.draw(step, verb, polygons, image.taken.emit)

    def _show_beside(self, image: ImagePanel, what: str, content: QWidget, wanted: bool) -> None:
        """A dock for what belongs to an image: the means of its regions, the values along its line."""
        name = f"{what}/{image.panel.id}"
        if name not in self.docks:
            dock = self._add_dock(name, f"{image.panel.title}: {what}", Qt.DockWidgetArea.RightDockWidgetArea)
            dock.setWidget(content)
        self.docks[name].setVisible(wanted)

    def _point_out(self, step: str, number: int, also: bool = False) -> None:
        """Show the traces of a component whose contour was clicked."""
        self.model.point_out(step, number, also)
        for name, panel in self.model.panels.items():
            here, content = self.model.here(panel), self.docks[name].widget()
            if here is not None and here.step == step and isinstance(content, TracePanel):
                content.point_out(pointed[-1] if (pointed := self.model.pointed.get(step)) else None)
            elif isinstance(content, ImagePanel):
                content.redraw()

    def _show_other(self, image: ImagePanel, name: str) -> None:
        """Bring another picture of a choice to the front, seen as this one is."""
        self._open(name)
        other = self._content(name)
        if isinstance(other, ImagePanel):
            other.look_like(image)

    def step_component(self, by: int) -> None:
        """Point out the next component of the first step that draws outlines, or the one before; of spots likewise."""
        if step_place(self.model, by):
            for dock in self.docks.values():
                if isinstance(content := dock.widget(), ImagePanel):
                    content.redraw()
            return
        for overlay in self.model.overlays:
            if overlay.kind == "contours" and (ids := self.model.ids_of(overlay.step)):
                at = next(iter(self.model.pointed.get(overlay.step, [])[-1:]), None)
                self._point_out(overlay.step, (ids.index(at) + by) % len(ids) if at in ids else 0)
                return

    @property
    def active(self) -> ImagePanel | None:
        """The image that keys go to."""
        return self._active

    def _activate(self, image: ImagePanel) -> None:
        self._active = image

    # What the user does

    def look_back(self, frame: int) -> None:
        """Show a frame that was recorded and the values around it; −1 follows the newest again."""
        model = self.model
        at = None if frame < 0 else frame
        if at is None and model.looking_at is not None and model.link != "live":
            at = max(0, model.timeline.stop - 1)  # no newer frame will come: show the last
        if at == model.looking_at:
            return
        model.looking_at, self._asked = at, {}
        for dock in self.docks.values():
            if isinstance(content := dock.widget(), TracePanel):
                content.look_at(at)
        self._strip_at = 0.0

    def toggle_steering(self) -> None:
        """Open the dock that steers the run, or close it."""
        if self.docks[STEERING].isHidden():
            self._open(STEERING)
        else:
            self.docks[STEERING].hide()

    def ask_for_mark(self) -> None:
        """Open the dock that steers the run where a mark is written."""
        self._open(STEERING)
        content = self._content(STEERING)
        assert isinstance(content, SteeringPanel)
        content.note.setFocus()

    def _told(self, line: str) -> None:
        """Take note, on any thread, of what came of something that was asked for."""
        self.model.tell(line)
        self.strip.say(line)

    def _open(self, name: str) -> None:
        """Open a dock; that of steering for the first time beside the pictures, where it covers no traces."""
        dock = self.docks[name]
        if name == STEERING and dock.widget() is None:
            open_beside_pictures(self, dock, self.docks)
        dock.show()
        dock.raise_()
        if dock.isFloating():
            dock.activateWindow()  # what is typed is for it

    def decide(self, *verbs: str) -> None:
        """Decide about the components that are pointed out, with the first of these verbs that their step takes."""
        for step, ids in self.model.pointed.items():
            verb = next((verb for verb in verbs if verb in self.model.takes(step)), None)
            if ids and verb is not None:
                self._steering.decide(step, verb, ids)

    def undo(self) -> None:
        """Take back what was done last to the run here."""
        self._steering.undo()

    def set_paused(self, paused: bool) -> None:
        """Hold every dock, or follow again."""
        self.paused = paused
        for dock in self.docks.values():
            content = dock.widget()
            if isinstance(content, ImagePanel):
                content.set_paused(paused)
            elif isinstance(content, PlotPanel | LinePanel):
                content.paused = paused
        self._strip_at = 0.0

    def step_z(self, by: int) -> None:
        """Turn to another slice."""
        self.model.planes.step_z(by)

    def full_screen(self) -> None:
        """Fill the screen, or no longer."""
        self.showNormal() if self.isFullScreen() else self.showFullScreen()

    def set_theme(self, theme: Theme) -> None:
        """Take these colours."""
        apply(QApplication.instance(), theme)  # type: ignore[arg-type]
        self.rebuild()

    def closeEvent(self, event: object) -> None:
        """Remember the arrangement; nothing of the run changes."""
        self._timer.stop()
        self.keep_arrangement()
        super().closeEvent(event)  # type: ignore[arg-type]
