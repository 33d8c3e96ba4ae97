"""What people decide about a step's results while frames come: the verbs it takes, a decision, what will be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from .errors import ConfigError, did_you_mean

UNDO = "undo"  # the one verb whose decision may name another one


Polygon = tuple[tuple[float, float], ...]  # corners (y, x) [px], pixel (0, 0) reaching from −0.5 to 0.5


class Takes(NamedTuple):
    """What a verb of an operator needs, ids of its results, polygons that were drawn, or nothing; what it does, in a
    few words."""

    needs: Literal["ids", "polygons", "nothing"]
    meaning: str


class Decision(NamedTuple):
    """What somebody decided about a step's results; `frame` is the first one under it, of the step's plane.

    `number` counts the decisions about the step from 1 (0: not numbered yet); `undo_of` is that of the one that an undo
    takes back (0: the last one that stands); `polygons` are what was drawn, of verbs that need it.
    """

    frame: int
    step: str
    verb: str
    ids: tuple[int, ...] = ()
    author: str = ""
    note: str = ""
    number: int = 0
    undo_of: int = 0
    polygons: tuple[Polygon, ...] = ()


class Decided(NamedTuple):
    """A decision that can be carried out, with its number and what it takes back; `make` does it."""

    decision: Decision
    make: Callable[[], None]
    said: str = ""


class Entry(NamedTuple):
    """A decision that was carried out, by a step that numbers its decisions.

    `into`: of one that makes one of several the id that is left, else -1.
    """

    number: int
    verb: str
    ids: tuple[int, ...]
    undone: bool
    into: int = -1

    def __str__(self) -> str:
        return f"{self.number} ({self.verb} {spelled(self.ids)})"


def to_undo(decision: Decision, entries: Mapping[int, Entry]) -> Entry:
    """Return the decision that an undo takes back, of all that were carried out by number.

    Raises ConfigError where there is none, or a later one is about the same results.
    """
    where, standing = f"step {decision.step!r}", [e for e in entries.values() if e.verb != UNDO and not e.undone]
    number = decision.undo_of or max((e.number for e in standing), default=0)
    entry = entries.get(number)
    if entry is None:
        raise ConfigError(f"{where}: no decision {number}" if number else f"{where}: no decision is left to undo")
    if entry.undone:
        raise ConfigError(f"{where}: decision {entry} stands no more")
    if entry.verb == UNDO:
        raise ConfigError(f"{where}: an undo is not undone; decide again instead")
    if later := [e for e in standing if e.number > number and set(entry.ids) & set(e.ids)]:
        raise ConfigError(f"{where}: decision {later[-1]} came after decision {entry}; undo that first")
    return entry


def check_words(takes: Mapping[str, Takes], decision: Decision) -> None:
    """Raises ConfigError for a decision whose verb the step does not take, or without the ids that it needs."""
    where = f"step {decision.step!r}"
    if decision.verb not in takes:
        known = f"{did_you_mean(decision.verb, takes)}; it takes {', '.join(takes)}" if takes else "; it takes none"
        raise ConfigError(f"{where}: no decision {decision.verb!r}{known}")
    needs = takes[decision.verb].needs
    if needs == "ids" and not decision.ids:
        raise ConfigError(f"{where}: {decision.verb} which ones? name their ids")
    if needs != "ids" and decision.ids:
        raise ConfigError(f"{where}: {decision.verb} takes no ids, found {spelled(decision.ids)}")
    if needs == "polygons" and not decision.polygons:
        raise ConfigError(f"{where}: {decision.verb} what? draw it: polygons, corners [y, x] in px")
    if needs != "polygons" and decision.polygons:
        raise ConfigError(f"{where}: {decision.verb} takes nothing that is drawn, found {len(decision.polygons)}")
    if decision.undo_of and decision.verb != UNDO:
        raise ConfigError(f"{where}: only {UNDO} takes back a decision, {decision.verb} does not")
    if len(set(decision.ids)) != len(decision.ids):
        raise ConfigError(f"{where}: {decision.verb} names an id twice: {spelled(decision.ids)}")


def spelled(ids: Sequence[int]) -> str:
    """Return ids as people write them."""
    return " ".join(map(str, ids))
