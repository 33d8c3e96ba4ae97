"""Which docks are open at first, and where: as the operator says whose results a run is for. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..core import wire
from .panels import Panel, frames_seen_by
from .planes import Members

FRAMES = "frames"  # those that a step gives, else those it saw
MAX_NAMES = 32
APART = 3  # details one below the other; more stand behind the last


class Layout(NamedTuple):
    """Ids of panels: pictures in one large place, one before the other, and what stands beside it; `compared` is that
    of the picture that the first one is compared with, "" for none."""

    pictures: tuple[str, ...]
    details: tuple[str, ...]
    compared: str = ""


def layout_of(hello: wire.Hello, each: Mapping[str, Panel], members: Mapping[str, Members]) -> Layout | None:
    """Return the layout of the last step whose kind says one, None where none does or it has no picture.

    `each` is every panel of every plane, `members` what a dock is in each plane. Names there are not are passed over.
    """
    presents = hello.presents if isinstance(hello.presents, dict) else {}
    after = {step: before for step, _, before in hello.steps}
    for step, kind, _ in reversed(hello.steps):
        if kind in presents:
            docks = {panel.id: dock for dock, of in members.items() for panel in of.values()}
            way = _way(step, after)
            pictures, details = (
                tuple(dict.fromkeys(docks[p.id] for name in names[:MAX_NAMES] if (p := _panel(name, way, hello, each))))
                for names in presents[kind]
            )
            name = hello.compares.get(kind, "") if isinstance(hello.compares, dict) else ""
            other = _panel(name, way, hello, each) if name else None
            return Layout(pictures, details, docks[other.id] if other is not None else "") if pictures else None
    return None


def _way(step: str, after: Mapping[str, str]) -> list[str]:
    """A step and those before it, the nearest first."""
    way = [step]
    while way[-1] in after and len(way) <= len(after):
        way.append(after[way[-1]])
    return way


def _panel(name: str, way: list[str], hello: wire.Hello, each: Mapping[str, Panel]) -> Panel | None:
    """What a step gives under a name, or the nearest before it that gives it."""
    if name == FRAMES:
        after = {step: before for step, _, before in hello.steps}
        seen = way[0] if way[0] in hello.frames else frames_seen_by(way[0], hello.frames, after)
        return each.get(f"frames/{seen}", each.get(f"frames/{seen}/frames"))
    for step in way:
        for panel in each.values():
            if (panel.step, panel.name) == (step, name) and panel.kind != "marks":
                return panel
    return None
