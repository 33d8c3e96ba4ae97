"""What the viewer knows: messages go in, what panels draw comes out. No Qt, no sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from ..core import wire
from ..core.messages import LiveFacts
from ..core.plane import ONE_PLANE, in_plane
from .drawn import PlacesGiven, drawn_of
from .health import RunHealth, age_s
from .held import Held
from .layouts import Layout, layout_of
from .panels import Overlay, Panel, frames_seen_by, layout_key, overlays_of, panels_of, source_frames_each
from .picture import Levels, Picture, PixelGrid
from .planes import Members, Planes, grouped, overlays_by_frames
from .tables import Rows
from .timeline import Timeline
from .traces import Marks, Trace

MAX_EVENTS = 200
RECORDED_FRAMES = 1_000_000  # of a trace of a session, as far as its bytes hold them
Payload = Mapping[str, np.ndarray] | np.ndarray | None
Link = Literal["connecting", "live", "ended", "lost"]


class Model(Held):
    """Takes the messages of one data endpoint and holds what there is to show.

    `arrangement` changes whenever there are other panels than before; `series` counts series seen. Messages that make
    no sense are counted in `refused` by what is wrong with them. `panels` have a dock each; what is the same thing in
    several planes is one of them, and `members` says what it is in each plane.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__()
        self.health = RunHealth()
        self.planes = Planes()
        self.panels: dict[str, Panel] = {}
        self.arrangement = ""
        self.events: deque[str] = deque(maxlen=MAX_EVENTS)
        self.ended = ""  # how the series ended
        self.series = 0
        self._members: dict[str, Members] = {}
        self._over: dict[str, list[Overlay]] = {}  # by the step whose frames they lie over
        self.looking_at: int | None = None  # the frame that is looked back at; None: the newest
        self._connected, self.denied = False, ""
        self._lost_at: float | None = None
        self._events_seen = 0

    # Messages in

    def take(self, message: wire.Message, payload: Payload = None, now_s: float | None = None) -> None:
        """Take a message with its arrays or pixels."""
        now_s = time.monotonic() if now_s is None else now_s
        if isinstance(message, wire.Image) and isinstance(payload, np.ndarray):
            self._image(message, payload)
        elif isinstance(message, wire.Result) and isinstance(payload, Mapping):
            self._result(message, payload)
        elif isinstance(message, wire.Hello):
            self._meet(message)
        elif isinstance(message, wire.Status):
            self.health.take(message, now_s)
        elif isinstance(message, wire.Event):
            self._event(message)
        elif isinstance(message, wire.End):
            self.ended = message.reason
        elif isinstance(message, wire.Error):
            self.tell(f"the program refused: {message.reason[:200]}")

    def connection(self, connected: bool, denied: str = "", now_s: float | None = None) -> None:
        """Take note whether somebody answers at the endpoint, or why it lets us not in."""
        self.denied = denied
        now_s = time.monotonic() if now_s is None else now_s
        if self._connected and not connected:
            self._lost_at = now_s
        self._connected = connected
        self._lost_at = None if connected else self._lost_at

    # What there is

    @property
    def link(self) -> Link:
        """connecting (nobody has answered yet), live, ended (the series is over) or lost."""
        if self.ended or (self._connected and self.health.state.partition(":")[0] in ("finished", "aborted", "ended")):
            return "ended"
        if self._connected:
            return "live"
        return "connecting" if self.hello is None else "lost"

    def lost_for_s(self, now_s: float | None = None) -> float:
        """For how long nobody has answered."""
        now_s = time.monotonic() if now_s is None else now_s
        return now_s - self._lost_at if self._lost_at is not None else 0.0

    def facts(self, step: str) -> wire.FrameFacts | None:
        """What `hello` says of a step's frames: shape, dtype, pixel_um, interval_s."""
        return self.hello.frames.get(step) if self.hello else None

    def step_of(self, kind: str) -> str | None:
        """The first step of a kind, where the program takes control."""
        hello = self.hello
        if hello is None or "control" not in hello.endpoints:
            return None
        return next((step for step, its, _ in hello.steps if its == kind), None)

    @property
    def live(self) -> dict[str, list[LiveFacts]]:
        """The parameters that may be changed, by step, where the program takes control."""
        hello = self.hello
        live = hello.live if hello is not None and "control" in hello.endpoints else {}
        return live if isinstance(live, dict) else {}

    def seen_by(self, panel: Panel) -> str:
        """The step whose pixels a panel's image has: its own for frames, of a snapshot those the step saw."""
        if panel.frames or self.hello is None:
            return panel.step
        after = {step: before for step, _, before in self.hello.steps}
        return frames_seen_by(panel.step, self.hello.frames, after)

    def members(self, panel: Panel) -> Members:
        """What a panel is in each plane that has it."""
        return self._members[panel.id]

    def here(self, panel: Panel) -> Panel | None:
        """What a panel is in the plane chosen; None if it is nowhere in that slice."""
        members = self._members[panel.id]
        plane = self.planes.here(members)
        return members[plane] if plane is not None else None

    def facts_of(self, panel: Panel) -> wire.FrameFacts | None:
        """What `hello` says of the frames a panel shows or was made from."""
        member = self.here(panel) or next(iter(self._members[panel.id].values()))
        return self.facts(self.seen_by(member))

    def overlays_over(self, panel: Panel) -> list[Overlay]:
        """What can be drawn over the image of a panel of one plane: a picture that a step makes of the frames it gives,
        as the mean of registered ones, lies as those do."""
        seen = self.seen_by(panel)
        own, those = self.facts(panel.step), self.facts(seen)
        alike = not panel.frames and own is not None and those is not None and own[0] == those[0]
        return self._over.get(panel.step if alike else seen, [])

    def layout(self) -> Layout | None:
        """How the docks stand at first, None where no step says."""
        return layout_of(self.hello, self._each, self._members, self.drawn) if self.hello is not None else None

    @property
    def only_records(self) -> bool:
        """Whether the program takes frames and records them, without a step that gives anything."""
        hello = self.hello
        return hello is not None and not hello.steps and "control" in hello.endpoints and bool(self.panels)

    def places_over(self, panel: Panel) -> dict[str, PlacesGiven]:
        """What says something of places that lie over the image of a panel of one plane, by the step that says it."""
        over = {(o.step, o.name) for o in self.overlays_over(panel) if o.kind == "spots"}
        return {step: places for step, places in self.drawn.places.items() if places.table in over}

    def beside(self, panel: Panel) -> list[Panel]:
        """What is drawn with a trace of one plane: signals and ticks beneath those of components, marks over any; with
        a place that is pointed out its own trace, and what was fitted to it."""
        if panel.kind == "chosen" and (of := self.drawn.places.get(panel.step)) is not None:
            ids = [f"by_id/{at[0]}/{at[1]}" for at in (of.trace, of.fitted) if at is not None]
            return [self._each[name] for name in ids if name in self._each]
        if panel.kind != "trace":
            return []
        here = {self.planes.split(panel.step)[0], ONE_PLANE}
        stacked, ticks = panel.id.startswith("by_id/"), self.drawn.ticks.get((panel.step, panel.name))
        return [
            other
            for other in self._each.values()
            if (
                (other.kind == "marks" or ((other.signal or other.kind == "lines") and stacked))
                and self.planes.split(other.step)[0] in here
            )
            or (other.step, other.name) == ticks
        ]

    @property
    def arranged(self) -> tuple[str, tuple[str, ...]]:
        """The arrangement, and every panel in it."""
        return self.arrangement, tuple(self._each)

    def age_s(self) -> float | None:
        """How old the newest frame seen is, None where nobody says."""
        ages = [age_s(p.arrived_ns) for p in self.pictures.values()]
        return min((age for age in ages if age is not None), default=None)

    # How messages are sorted in

    def _meet(self, hello: wire.Hello) -> None:
        before = self.hello
        if hello == before:
            return
        self.hello = hello
        uid = (hello.series or {}).get("series_uid")
        again = before is not None and hello.endpoints != before.endpoints
        if before is None or again or uid != (before.series or {}).get("series_uid"):
            self.series += 1
            self.ended = ""
            self.health = RunHealth()
            self.timeline, self.looking_at = Timeline(), None
            if self.series > 1:
                self.events.append("the program was started again" if again else "another series began")
        planes = Planes(hello)
        planes.keep_choice_of(self.planes)
        panels, overlays, arrangement = panels_of(hello, planes.sources(hello)), overlays_of(hello), layout_key(hello)
        if arrangement != self.arrangement or [p.id for p in panels] != list(self._each):
            self._forget()
        self.drawn, self._source_frames = drawn_of(hello), source_frames_each(hello)
        self.arrangement, self._each, self.overlays = arrangement, {p.id: p for p in panels}, overlays
        self.planes = planes if planes.planes != self.planes.planes else self.planes
        self._over = overlays_by_frames(overlays, self.planes, hello)
        groups = grouped(panels, self.planes, hello)
        self.panels = {name: panel for name, (panel, _) in groups.items() if panel.kind != "marks"}
        self._members = {name: members for name, (_, members) in groups.items()}
        for members in self._members.values():
            self._make_room(members)

    def _make_room(self, members: Members) -> None:
        scales: dict[str, Levels] = {}  # one for the slices of a channel
        for plane, panel in members.items():
            if panel.kind == "image":
                facts = self.facts(self.seen_by(panel))
                scale = scales.setdefault(plane.partition("/")[0], Levels())
                picture = self.pictures.setdefault(panel.id, Picture(scale=scale))
                picture.unit, picture.pixel_um = panel.unit or "ADU", facts[2] if facts else None
            elif panel.kind in ("trace", "interval", "over_time"):
                trace = self.traces.setdefault(panel.id, Trace(sampled=panel.kind != "trace"))
                if self.hello is not None and self.hello.program == "session":
                    trace.capacity = RECORDED_FRAMES
            elif panel.kind == "marks":
                marks = self.marks.setdefault(panel.id, Marks())
                if self.hello is not None and self.hello.program == "session":
                    marks.capacity = RECORDED_FRAMES
            elif panel.kind in ("table", "lines"):
                self.tables.setdefault(panel.id, Rows())
            elif panel.kind == "numbers":
                self.numbers.setdefault(panel.id, {})

    def _image(self, image: wire.Image, pixels: np.ndarray) -> None:
        step, bin_px, arrived_ns = (image.user.get(name) for name in ("step", "bin_px", "arrived_ns"))
        looked = "asked" in image.user
        panels = self._shown_back(step) if looked else [p for p in self._each.values() if p.frames and p.step == step]
        if not panels or not isinstance(bin_px, int) or not 1 <= bin_px <= 64:
            self.refused["preview"] += 1
            return
        if looked or self.looking_at is None:
            arrived_ns = arrived_ns if isinstance(arrived_ns, int) and not looked else None
            for panel in panels:
                self.pictures[panel.id].take(pixels, image.index, PixelGrid(bin_px), arrived_ns)
        self._reach(image.index, self._source_frames.get(str(step), (1.0, 1.0))[0])

    def _shown_back(self, source: Any) -> list[Panel]:
        """The panels that show recorded frames of a plane: its source's, and of steps whose frames are as large."""
        facts = self.facts(source) if isinstance(source, str) else None
        if facts is None:
            return []
        plane = self.planes.split(source)[0]
        panels = [p for p in self._each.values() if p.frames and self.planes.split(p.step)[0] == plane]
        return [p for p in panels if (own := self.facts(p.step)) is not None and own[0] == facts[0]]

    def source_of(self, panel: Panel) -> str:
        """The source of the plane that a panel is of."""
        return in_plane(self.planes.split(panel.step)[0], wire.SOURCE)

    @property
    def interval_s(self) -> float | None:
        """The time from frame to frame, where it is known."""
        return next(
            (
                facts[3]
                for step, facts in (self.hello.frames if self.hello else {}).items()
                if step.rpartition("/")[2] == wire.SOURCE
            ),
            None,
        )

    def _event(self, event: wire.Event) -> None:
        self.timeline.take(event)
        told = ", ".join(f"{k} {v}" for k, v in event.fields.items() if k not in ("traceback", "n"))
        self.tell(f"{event.utc[11:19]} {event.event}: {told}"[:500])

    def tell(self, line: str) -> None:
        """Add a line to what happened."""
        if line not in self.events:  # who reconnects is told the last ones again
            self.events.append(line)

    def takes(self, step: str) -> dict[str, tuple[str, str]]:
        """The decisions that people may take about a step's results: verb → what it needs, and what it does."""
        hello = self.hello
        if hello is None or "control" not in hello.endpoints or not isinstance(hello.takes, dict):
            return {}
        return hello.takes.get(next((kind for its, kind, _ in hello.steps if its == step), ""), {})

    def topics(self, panels: Iterable[Panel], overlays: Iterable[Overlay]) -> set[str]:
        """Return the results these panels and overlays live on."""
        every = [other for panel in panels for other in (panel, *self.beside(panel))]
        places = {of.table: of for of in self.drawn.places.values()}
        found = {topic for panel in every for topic in panel.topics}
        for overlay in overlays:
            found.add(overlay.topic)
            if (of := places.get((overlay.step, overlay.name))) is not None:
                found |= {f"snapshot/{step}/{name}/" for step, name in (of.value, *of.doubtful)}
        return found
