"""What operators say of how their results are drawn, each name found in the step that gives it. No Qt."""

from __future__ import annotations

from typing import NamedTuple

from ..core import wire
from ..core.messages import Drawn

NamedThing = tuple[str, str]  # a step, and the name of what it gives
MAX_NAMES = 32


class PlacesGiven(NamedTuple):
    """Single things at places, as steps give what is known of each; None what no step gives."""

    table: NamedThing
    value: NamedThing
    doubtful: tuple[NamedThing, ...]
    chances: NamedThing | None
    first: int
    trace: NamedThing | None
    fitted: NamedThing | None


class AllDrawn(NamedTuple):
    """Of every step, what is drawn in a way that axes do not say."""

    over_time: frozenset[NamedThing]
    ticks: dict[NamedThing, NamedThing]
    gauges: dict[NamedThing, tuple[float, float]]
    places: dict[str, PlacesGiven]  # by the step whose operator says so
    colours: dict[NamedThing, str]
    choices: dict[str, tuple[str, tuple[NamedThing, ...]]]  # likewise: what it is called, its pictures in order


NOTHING = AllDrawn(frozenset(), {}, {}, {}, {}, {})


def drawn_of(hello: wire.Hello) -> AllDrawn:
    """Return what the kinds of a run's steps say; names that no step gives are passed over."""
    said = hello.drawn if isinstance(hello.drawn, dict) else {}
    over_time: set[NamedThing] = set()
    found = AllDrawn(frozenset(), {}, {}, {}, {}, {})
    for step, kind, _ in hello.steps:
        if kind not in said:
            continue
        drawn = said[kind]
        over_time |= {at for name in drawn.over_time[:MAX_NAMES] if (at := _given(name, step, hello)) is not None}
        for name, by in list(drawn.ticks.items())[:MAX_NAMES]:
            if (at := _given(name, step, hello)) is not None and (ticks := _given(by, step, hello)) is not None:
                found.ticks[at] = ticks
        for name, limits in drawn.gauges.items():
            if (at := _given(name, step, hello)) is not None:
                found.gauges[at] = limits
        for name, colours in drawn.colours.items():
            if (at := _given(name, step, hello)) is not None:
                found.colours[at] = colours
        for called, names in list(drawn.choice.items())[:1]:
            pictures = tuple(at for name in names[:MAX_NAMES] if (at := _given(name, step, hello)) is not None)
            if len(pictures) > 1:
                found.choices[step] = (called, pictures)
        if (places := _places(drawn, step, hello)) is not None:
            found.places[step] = places
    return found._replace(over_time=frozenset(over_time))


def way(step: str, hello: wire.Hello) -> list[str]:
    """A step and those before it, the nearest first."""
    after = {name: before for name, _, before in hello.steps}
    found = [step]
    while found[-1] in after and len(found) <= len(after):
        found.append(after[found[-1]])
    return found


def _given(name: str, step: str, hello: wire.Hello) -> NamedThing | None:
    """The step that gives a name: this one, or the nearest before it."""
    if not name:
        return None
    return next(
        ((at, name) for at in way(step, hello) if any(name == given for given, *_ in hello.gives.get(at, []))), None
    )


def _places(drawn: Drawn, step: str, hello: wire.Hello) -> PlacesGiven | None:
    said = drawn.places
    table, value, chances, trace, fitted = (
        _given(name, step, hello) for name in (said.table, said.value, said.chances, said.trace, said.fitted)
    )
    doubtful = tuple(at for name in said.doubtful[:MAX_NAMES] if (at := _given(name, step, hello)) is not None)
    if table is None or value is None:
        return None
    return PlacesGiven(table, value, doubtful, chances, said.first, trace, fitted)
