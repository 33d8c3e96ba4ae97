"""What there is to show of a run, from what its steps say they give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core import wire
from .drawn import AllDrawn, drawn_of
from .words import named

PanelKind = Literal[
    "image", "heat", "curve", "scatter", "interval", "numbers", "trace", "table", "marks", "histogram", "over_time",
    "gauge", "counts", "chosen", "lines",
]  # fmt: skip
OverlayKind = Literal["vectors", "spots", "contours", "rectangle"]


MOST_BINNED = 1e6  # frames of the source in one of a step

FIRED = "fired"  # what a step that decides says of each frame
TEXTS = ("frame", "input", "text")  # the columns of what inputs said
BEHAVIOUR = ("t", "column")  # the axes of signals that are drawn beneath traces


@dataclass(frozen=True)
class Panel:
    """One thing that can be shown in a dock of its own. `topics` are the results it lives on.

    `kind`: an image (frames of a step where `frames` is set, else a snapshot of pixels), heat (a snapshot of two axes
    that are no places), a curve (snapshot of one axis), a
    scatter (one against another, with its fit), an interval (of a number, as frames go by), the numbers of a step
    (snapshots without axes), a trace (values of every frame), a table, or marks (frames at which a step decided to
    act), which are drawn over traces and have no dock. As operators say: over_time (a snapshot of one axis as frames
    go by), a gauge (a number), counts (how many places have which value), chosen (what is known of the place that is
    pointed out). Lines are the texts of inputs. A scatter whose name ends in `_histogram` is one.
    A `signal` is drawn beneath the traces of components as well.
    """

    id: str
    kind: PanelKind
    step: str
    name: str
    dims: tuple[str, ...] = ()
    unit: str = ""
    meaning: str = ""
    topics: tuple[str, ...] = ()
    frames: bool = False
    signal: bool = False
    alone: bool = False  # no other step gives anything of this name

    @property
    def title(self) -> str:
        """Name for a dock's title."""
        if self.frames:
            return "frames" if self.step == wire.SOURCE else f"frames after {self.step}"
        if self.kind == "chosen":
            return "chosen spot"
        if self.kind == "gauge":
            return f"{self.step}: {named(self.name)}"
        if self.kind == "histogram":
            return named(self.name.removesuffix("_histogram"))
        if self.kind == "scatter":
            return f"{named(self.name)} against {named(self.dims[0])}"
        if self.kind == "interval":
            return f"{named(self.dims[0])} with its interval"
        if self.kind == "counts":
            return f"{self.dims[0]}s by {named(self.name)}"
        return named(self.name) if self.alone or self.name == self.step else f"{self.step}: {named(self.name)}"


@dataclass(frozen=True)
class Overlay:
    """Something drawn over the images of what a step saw: shift vectors, spots as circles, contours.

    It is known by its axes: per-frame values that end in `yx` are vectors, a table with columns y_px and x_px holds
    spots, a snapshot (id, point, yx) contours; all in pixels of the frames the step saw. A snapshot (edge) is a
    rectangle, top, bottom, left, right, in those of the frames that the step gives. Contours (z, id, point, yx) are
    drawn in each slice `z` of the step's channel.
    """

    id: str
    kind: OverlayKind
    step: str
    name: str
    on: str  # the step whose frames these are pixels of
    topic: str
    z: int | None = None


def panels_of(hello: wire.Hello, sources: Sequence[str] = (wire.SOURCE,)) -> list[Panel]:
    """Return every panel of a run, in the order of its steps; frames come in at `sources`, one for each plane."""
    came_in = sources if "preview" in hello.endpoints else ()
    panels = [Panel(f"frames/{source}", "image", source, "frames", frames=True) for source in came_in]
    kinds = {step: kind for step, kind, _ in hello.steps}
    drawn = drawn_of(hello)
    values = {places.value for places in drawn.places.values()}
    for step, gives in hello.gives.items():
        numbers = [f"snapshot/{step}/{name}/" for name, kind, dims, *_ in gives if kind == "snapshot" and not dims]
        axes = {name: dims for name, kind, dims, *_ in gives if kind == "snapshot"}
        for name, kind, dims, unit, meaning in gives:
            shown = _curve_kind(name, dims, axes) if kind == "snapshot" and len(dims) == 1 else _panel_kind(kind, dims)
            if (step, name) in drawn.over_time and kind == "snapshot" and len(dims) == 1:
                shown = "over_time"
            elif (step, name) in values and len(dims) == 1:
                shown = "counts"
            if shown is not None:
                topics = () if kind == "frames" else _topics_of(shown, kind, step, name, dims, axes)
                shown = "marks" if (name, kind, dims) == (FIRED, "per_frame", ("t",)) else shown
                signal = kind == "per_frame" and (dims == BEHAVIOUR or kinds.get(step) == "input")
                panels.append(
                    Panel(
                        f"{kind}/{step}/{name}",
                        shown,
                        step,
                        name,
                        dims,
                        unit,
                        meaning,
                        topics,
                        kind == "frames",
                        signal,
                    )
                )
        panels += _of_numbers_and_places(step, drawn)
        if numbers:
            panels.append(Panel(f"numbers/{step}", "numbers", step, "numbers", topics=tuple(numbers)))
    steps: dict[str, set[str]] = {}  # by name, of whatever plane
    for panel in panels:
        steps.setdefault(panel.name, set()).add(panel.step.rpartition("/")[2])
    return [replace(panel, alone=len(steps[panel.name]) == 1) for panel in panels]


def _of_numbers_and_places(step: str, drawn: AllDrawn) -> list[Panel]:
    """The gauges of a step, and what shows the place that is pointed out of those it speaks of."""
    found = [
        Panel(f"gauge/{step}/{name}", "gauge", step, name, topics=(f"snapshot/{step}/{name}/",))
        for of, name in drawn.gauges
        if of == step
    ]
    if (places := drawn.places.get(step)) is not None:
        snapshots = (places.value, places.chances, *places.doubtful)
        values = (places.trace, places.fitted)
        topics = [_topic("snapshot", *at) for at in snapshots if at] + [_topic("table", *at) for at in values if at]
        found.append(Panel(f"chosen/{step}", "chosen", step, "chosen", topics=tuple(dict.fromkeys(topics))))
    return found


def open_at_first(panels: Sequence[Panel]) -> set[str]:
    """Return the ids of panels whose docks are open at first: frames, and of what else a step gives the first of its
    kind; no numbers, and no signals where they are drawn beneath traces."""
    beneath = any(panel.id.startswith("by_id/") for panel in panels)
    firsts: dict[tuple[str, str, str], str] = {}
    for panel in panels:
        if panel.kind != "numbers" and not (panel.signal and beneath):
            firsts.setdefault((panel.step, panel.kind, panel.id.partition("/")[0]), panel.id)
    return {panel.id for panel in panels if panel.frames} | set(firsts.values())


def overlays_of(hello: wire.Hello) -> list[Overlay]:
    """Return what can be drawn over images."""
    after = {step: before for step, _, before in hello.steps}
    overlays = []
    for step, gives in hello.gives.items():
        seen = frames_seen_by(step, hello.frames, after)
        for name, kind, dims, *_ in gives:
            shape = _overlay_kind(kind, dims)
            if shape == "contours" and in_slices(dims):
                overlays += _in_slices(hello, step, name)
            elif shape is not None:
                on = step if shape == "rectangle" and step in hello.frames else seen
                overlays.append(Overlay(f"{step}/{name}", shape, step, name, on, _topic(kind, step, name)))
    return overlays


def in_slices(dims: Sequence[str]) -> bool:
    """Return whether a snapshot has its first axis along the slices of a volume."""
    return tuple(dims[:1]) == ("z",)


def _in_slices(hello: wire.Hello, step: str, name: str) -> list[Overlay]:
    """Contours in each slice of the channel that a step stands in, over the last frames that there are of the slice."""
    channel, overlays = step.partition("/")[0], []
    for source in hello.frames:
        of, _, rest = source.partition("/")
        z, _, ends = rest.partition("/")
        if of != channel or ends != wire.SOURCE or not z.isdecimal():
            continue
        made = [s for s, _, _ in hello.steps if s in hello.frames and s.startswith(f"{channel}/{z}/")]
        on = made[-1] if made else source
        overlays.append(
            Overlay(f"{step}/{name}/{z}", "contours", step, name, on, _topic("snapshot", step, name), int(z))
        )
    return overlays


def frames_seen_by(step: str, frames: dict[str, wire.FrameFacts], after: dict[str, str]) -> str:
    """Return the step whose frames a step sees."""
    before = after.get(step, wire.SOURCE)
    for _ in after:  # no more steps than there are: they may go in circles
        if before in frames or before not in after:
            break
        before = after[before]
    return before if before in frames else wire.SOURCE


def source_frames_each(hello: wire.Hello) -> dict[str, tuple[float, float]]:
    """Return for each step how many frames of the source one that it gives stands for, and one that it sees."""
    after = {step: before for step, _, before in hello.steps}
    found = {}
    for step in after:
        root = step
        for _ in after:
            root = after.get(root, root)
        of_source = _interval_s(root, hello)
        each = [
            ratio if of_source and 1 <= (ratio := (_interval_s(at, hello) or 0.0) / of_source) <= MOST_BINNED else 1.0
            for at in (step, frames_seen_by(step, hello.frames, after))
        ]
        found[step] = each[0], each[1]
    return found


def _interval_s(step: str, hello: wire.Hello) -> float | None:
    facts = hello.frames.get(step)
    return facts[3] if facts is not None else None


def layout_key(hello: wire.Hello) -> str:
    """Return a name for this arrangement of steps, the same for every run of a config."""
    return hashlib.sha256(repr([(step, kind, after) for step, kind, after in hello.steps]).encode()).hexdigest()[:16]


def _topics_of(
    shown: PanelKind, kind: str, step: str, name: str, dims: tuple[str, ...], axes: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """What a panel lives on: its own values, of a scatter or an interval also those it is drawn with."""
    together = [n for n in (*dims, f"{name}_fit") if n in axes] if shown in ("scatter", "interval", "histogram") else []
    return tuple(_topic(kind, step, n) for n in (name, *together))


def _topic(kind: str, step: str, name: str) -> str:
    return f"snapshot/{step}/{name}/" if kind == "snapshot" else f"values/{step}/"


def _curve_kind(name: str, dims: tuple[str, ...], axes: dict[str, tuple[str, ...]]) -> PanelKind | None:
    """How a snapshot of one axis is drawn, by what that axis is; None where it is part of another panel."""
    if (
        dims == (name,)
        or _overlay_kind("snapshot", dims)
        or (name.endswith("_fit") and axes.get(name.removesuffix("_fit")) == dims)
    ):
        return None
    if name.endswith("_histogram") and axes.get(dims[0]) == dims:
        return "histogram"
    return {dims: "scatter", (): "interval"}.get(axes.get(dims[0], ("",)), "curve")  # type: ignore[return-value]


def _panel_kind(kind: str, dims: tuple[str, ...]) -> PanelKind | None:
    if kind == "frames":
        return "image"
    if kind == "table":
        return "lines" if dims == TEXTS else "table"
    if kind in ("per_frame", "by_id"):
        return "trace" if len(dims) <= 2 else None
    if kind == "snapshot" and dims[:1] == ("id",) and len(dims) == 2:
        return None  # figures of components: a table says them better
    if kind == "snapshot" and _overlay_kind(kind, dims) is None:
        if [axis[-1:] for axis in dims[-2:]] == ["y", "x"]:  # fine_y, fine_x of a super-resolved one
            return "image" if len(dims) <= 3 else None
        return {1: "curve", 2: "heat"}.get(len(dims))  # type: ignore[return-value]
    return None


def _overlay_kind(kind: str, dims: tuple[str, ...]) -> OverlayKind | None:
    if kind == "per_frame" and dims[-1:] == ("yx",):
        return "vectors"
    if kind == "snapshot" and len(dims) == 3 + in_slices(dims) and dims[-1] == "yx":
        return "contours"
    if kind == "snapshot" and dims == ("edge",):
        return "rectangle"
    return "spots" if kind == "table" and {"y_px", "x_px"} <= set(dims) else None
