"""Which docks are open at first, and where: as the operator says whose results a run is for. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..core import wire
from .drawn import NOTHING, AllDrawn, way
from .panels import Panel, frames_seen_by
from .planes import Members

FRAMES = "frames"  # those that a step gives, else those it saw
MAX_NAMES = 32
APART = 3  # details one below the other; more stand behind the last


class Layout(NamedTuple):
    """Ids of panels: pictures in one large place, one before the other, and what stands beside it; `compared` is that
    of the picture that the first one is compared with, "" for none; `choice` is what pictures that are shown one at a
    time differ by, and their ids."""

    pictures: tuple[str, ...]
    details: tuple[str, ...]
    compared: str = ""
    choice: tuple[str, tuple[str, ...]] = ("", ())


def layout_of(
    hello: wire.Hello, each: Mapping[str, Panel], members: Mapping[str, Members], drawn: AllDrawn = NOTHING
) -> Layout | None:
    """Return the layout of the last step whose kind says one, None where none does or it has no picture.

    `each` is every panel of every plane, `members` what a dock is in each plane. Names there are not are passed over.
    """
    presents = hello.presents if isinstance(hello.presents, dict) else {}
    for step, kind, _ in reversed(hello.steps):
        if kind in presents:
            docks = {panel.id: dock for dock, of in members.items() for panel in of.values()}
            steps = way(step, hello)
            pictures, details = (
                tuple(
                    dict.fromkeys(docks[p.id] for name in names[:MAX_NAMES] if (p := _panel(name, steps, hello, each)))
                )
                for names in presents[kind]
            )
            name = hello.compares.get(kind, "") if isinstance(hello.compares, dict) else ""
            other = _panel(name, steps, hello, each) if name else None
            if not pictures:
                return None
            called, chosen = drawn.choices.get(step, ("", ()))
            choice = tuple(docks[p.id] for of, name in chosen if (p := _panel(name, [of], hello, each)) is not None)
            pictures += tuple(name for name in choice if name not in pictures)
            return Layout(pictures, details, docks[other.id] if other is not None else "", (called, choice))
    return None


def _panel(name: str, steps: list[str], hello: wire.Hello, each: Mapping[str, Panel]) -> Panel | None:
    """What a step gives under a name, or the nearest before it that gives it."""
    if name == FRAMES:
        after = {step: before for step, _, before in hello.steps}
        seen = steps[0] if steps[0] in hello.frames else frames_seen_by(steps[0], hello.frames, after)
        return each.get(f"frames/{seen}", each.get(f"frames/{seen}/frames"))
    for step in steps:
        for panel in each.values():
            if (panel.step, panel.name) == (step, name) and panel.kind != "marks":
                return panel
    return None
