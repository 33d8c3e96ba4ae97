"""The planes of a run, which of them is chosen, and which panels are the same thing in several of them. No Qt."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from ..core import wire
from ..core.errors import FrameError
from ..core.plane import MAX_PLANES, ONE_PLANE, Plane, in_plane, plane_name
from .panels import Overlay, Panel

T = TypeVar("T")
GRID_PLANES = 12  # side by side at most: more are too small to see
GRID_CHANNELS = 4


class Planes:
    """The planes of a stream in the order they are announced, and the one that is chosen: `channel` and `z`.

    A stream that lists none has one, called "". Planes of `hello` that none can be are passed over.
    """

    def __init__(self, hello: wire.Hello | None = None) -> None:
        found = _planes_of(hello) if hello is not None else {}
        self.planes = found
        self.channels = list(dict.fromkeys(plane.channel for plane in found.values()))
        self.slices = sorted({plane.z for plane in found.values()})
        self.channel, self.z = (self.channels[0], self.slices[0]) if found else ("", 0)
        self.revision = 0  # changes with the choice

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def chosen(self) -> str:
        """The name of the plane chosen; a stream need not have it."""
        return plane_name(self.channel, self.z) if self.planes else ONE_PLANE

    def choose(self, channel: str | None = None, z: int | None = None) -> None:
        """Choose a channel, a slice or both; what the stream does not have is passed over."""
        before = self.channel, self.z
        self.channel = channel if channel in self.channels else self.channel  # type: ignore[assignment]
        self.z = z if z in self.slices else self.z  # type: ignore[assignment]
        self.revision += (self.channel, self.z) != before

    def step_z(self, by: int) -> None:
        """Choose the slice that is so many further, up to the last."""
        if self.slices:
            self.choose(z=self.slices[min(max(self.slices.index(self.z) + by, 0), len(self.slices) - 1)])

    def next_channel(self) -> None:
        """Choose the next channel; the first follows the last."""
        if self.channels:
            self.choose(channel=self.channels[(self.channels.index(self.channel) + 1) % len(self.channels)])

    def keep_choice_of(self, before: Planes) -> None:
        """Choose what was chosen before, where there still is such a plane."""
        self.choose(before.channel, before.z)

    def here(self, there: Collection[str]) -> str | None:
        """Return which plane, of those something exists in, stands for the one chosen; None if none does.

        In the slice chosen it is that of the channel chosen, or of the first channel that has it.
        """
        if not self.planes:
            return ONE_PLANE if ONE_PLANE in there else None
        same = [name for name in self.of_slice(self.z) if name in there]
        return self.chosen if self.chosen in same else next(iter(same), None)

    def of_slice(self, z: int) -> list[str]:
        """Return the planes of a slice, one of each channel that has it."""
        return [name for name, plane in self.planes.items() if plane.z == z]

    def merged(self, there: Collection[str], room: int = GRID_PLANES) -> list[str]:
        """Return the planes of the slice chosen, one of each channel, at most `room` round the one chosen."""
        return _page([name for name in self.of_slice(self.z) if name in there], self.chosen, room)

    def grid(self, there: Collection[str], room: int = GRID_PLANES) -> list[list[str | None]]:
        """Return planes by channel (rows) and slice, at most `room` round the one chosen; None where there is none.

        `there` are the planes in which what is shown exists.
        """
        mine = [plane for name, plane in self.planes.items() if name in there]
        channels = _page(list(dict.fromkeys(p.channel for p in mine)), self.channel, min(GRID_CHANNELS, room))
        slices = _page(sorted({p.z for p in mine}), self.z, room // max(1, len(channels)))
        names = [[plane_name(channel, z) for z in slices] for channel in channels]
        return [[name if name in there else None for name in row] for row in names]

    def choose_plane(self, name: str) -> None:
        """Choose a plane of the stream by its name."""
        if name in self.planes:
            self.choose(self.planes[name].channel, self.planes[name].z)

    def title(self, name: str) -> str:
        """Return what a plane is called on screen: its channel, and its depth or slice where there are several."""
        plane = self.planes[name]
        if len(self.slices) == 1:
            return plane.channel
        return f"{plane.channel} · {_um(plane.z_um) if plane.z_um is not None else f'slice {plane.z}'}"

    def depth(self, z: int) -> str:
        """Return what a slice is called: its number of how many, and its depth where that is known."""
        known = next((p.z_um for p in self.planes.values() if p.z == z and p.z_um is not None), None)
        where = f" · {_um(known)}" if known is not None else ""
        return f"{self.slices.index(z) + 1} of {len(self.slices)}{where}"

    def sources(self, hello: wire.Hello) -> list[str]:
        """Return where frames come in: "source", or `green/0/source` of each plane that has any."""
        if not self.planes:
            return [wire.SOURCE]
        return [step for name in self.planes if (step := in_plane(name, wire.SOURCE)) in hello.frames]

    def split(self, step: str) -> tuple[str, str]:
        """Return a step's plane and its name in it; ("", its id) where it has none."""
        return split_step(self.planes, step)


def _um(depth_um: float) -> str:
    return f"{depth_um:g} µm".replace("-", "−")


def split_step(planes: Collection[str], step: str) -> tuple[str, str]:
    """Return (plane, name) of a step's id, `green/0/extract`; ("", id) of one that stands in none of the planes."""
    channel, _, rest = step.partition("/")
    z, _, name = rest.partition("/")
    plane = f"{channel}/{z}"
    return (plane, name) if name and plane in planes else (ONE_PLANE, step)


def _planes_of(hello: wire.Hello) -> dict[str, Plane]:
    """Planes that the series announces, and those whose frames come in without a word."""
    announced: Any = (hello.series or {}).get("planes")
    headers = list(announced) if isinstance(announced, list | tuple) else []
    for step in hello.frames:
        channel, _, rest = step.partition("/")
        z, _, name = rest.partition("/")
        if name == wire.SOURCE and z.isascii() and z.isdigit() and len(z) < 6:
            headers.append({"channel": channel, "z": int(z)})
    found: dict[str, Plane] = {}
    for header in headers:
        try:
            plane = Plane.from_header(header)
        except (FrameError, TypeError):
            continue
        if len(found) < MAX_PLANES:
            found.setdefault(plane.name, plane)
    return found


def _page(items: list[T], chosen: T, size: int) -> list[T]:
    """Those of the items that stand with the chosen one on a page."""
    first = items.index(chosen) // size * size if chosen in items else 0
    return items[first : first + size]


# Panels of several planes

Members = dict[str, Panel]  # by plane


def grouped(panels: Sequence[Panel], planes: Planes, hello: wire.Hello) -> dict[str, tuple[Panel, Members]]:
    """Return, by id, what has a dock: panels that are the same thing in several planes are one, with its members.

    They are the same if their steps are called the same. So are frames that went through steps of the same kinds in
    different planes (motion measured on one channel, applied to the other): together they can be shown as one image.
    """
    ids = {panel.id: _group_id(panel, planes) for panel in panels}
    alike: dict[tuple[str, ...], list[Panel]] = {}
    for panel in (p for p in panels if p.frames):
        alike.setdefault(way_of(panel.step, hello, planes), []).append(panel)
    for same in alike.values():
        if len({planes.split(panel.step)[0] for panel in same}) == len(same):
            ids.update({panel.id: ids[same[0].id] for panel in same})
    together: dict[str, list[Panel]] = {}
    for panel in panels:
        together.setdefault(ids[panel.id], []).append(panel)
    groups = {}
    for name, same in together.items():
        members = {planes.split(panel.step)[0]: panel for panel in same}
        steps = ", ".join(dict.fromkeys(planes.split(panel.step)[1] for panel in same))
        groups[name] = (dataclasses.replace(same[0], id=name, step=steps), members)
    return groups


def _group_id(panel: Panel, planes: Planes) -> str:
    plane, name = planes.split(panel.step)
    return panel.id if plane == ONE_PLANE else panel.id.replace(f"/{panel.step}", f"/{name}", 1)


def way_of(step: str, hello: wire.Hello, planes: Planes) -> tuple[str, ...]:
    """Return the kinds of the steps that made these frames of what came in, first to last."""
    of: dict[str, tuple[str, str]] = {name: (kind, after) for name, kind, after in hello.steps}
    kinds: list[str] = []
    for _ in range(len(of)):
        if step not in of:
            break
        kind, after = of[step]
        kinds += [kind] if step in hello.frames else []
        step = after
    return tuple(reversed(kinds)) if planes.split(step)[1] == wire.SOURCE else (step, *kinds)


def overlays_by_frames(overlays: Sequence[Overlay], planes: Planes, hello: wire.Hello) -> dict[str, list[Overlay]]:
    """Return what is drawn over the frames of each step: what belongs to them, and what other channels say.

    What was found in one channel is drawn over the frames of every channel that went through steps of the same kinds,
    in the same slice and of the same shape, unless that has the same of its own.
    """
    steps = {*hello.frames, *planes.sources(hello), *(o.on for o in overlays)}
    alike: dict[tuple[object, ...], list[Overlay]] = {}
    shows: dict[str, tuple[object, ...]] = {}
    for step in steps:
        plane = planes.planes.get(planes.split(step)[0])
        facts = hello.frames.get(step)
        shows[step] = (plane.z, way_of(step, hello, planes), facts[0]) if plane and facts else (step,)
    for overlay in overlays:
        alike.setdefault(shows[overlay.on], []).append(overlay)
    over = {}
    for step, same in shows.items():
        found = alike.get(same, [])
        own = {(o.kind, o.name) for o in found if o.on == step}
        over[step] = [o for o in found if o.on == step or (o.kind, o.name) not in own]
    return over
