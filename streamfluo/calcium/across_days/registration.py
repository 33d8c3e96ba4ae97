"""Days of one field registered: fields matched, probabilities of all pairs, ids over all days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core.errors import ConfigError, SessionError
from ...core.loaded import RecordedStep
from .clusters import cells_of
from .day import Day, check_alike, day_of_step, radius_px
from .field_images import field_images
from .field_map import FieldMap, composed
from .field_match import FieldMatch, match_fields
from .pair_model import Fitted, fit_pairs
from .pairs import Placed, near_pairs, placed
from .refinement import refined
from .registered import RegisteredDays

MAX_TURN_DEG = 25.0
REFINEMENTS = 4
TRIES = 3  # days that a field is held against once it does not match the first


class ReadSession(Protocol):
    """A session that is read: its folder, and its steps with what they left."""

    path: Path

    @property
    def recorded_steps(self) -> Sequence[RecordedStep]: ...


def register_sessions(
    sessions: Sequence[ReadSession],
    step: str | None = None,
    *,
    max_turn_deg: float = MAX_TURN_DEG,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> RegisteredDays:
    """Return the cells of sessions of one field, each with an id that holds in all of them.

    Accepted components count, with manual curation. `step` names the step `extract` where a session has several.
    Raises SessionError for sessions without components, of different frame or pixel sizes, whose fields do not match,
    or that have no cell in common.

        found = streamfluo.register_sessions([streamfluo.open_session(path) for path in ("monday", "tuesday")])
    """
    for session in sessions:
        if not hasattr(session, "path"):
            raise SessionError(f"register: sessions are what open_session returns, found {session!r}")
    names = _names([session.path for session in sessions])
    days = [day_of_step(name, _extract_step(s, step)) for name, s in zip(names, sessions, strict=True)]
    return register_days(days, max_turn_deg=max_turn_deg, progress=progress)


def register_days(
    days: Sequence[Day],
    *,
    max_turn_deg: float = MAX_TURN_DEG,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> RegisteredDays:
    """Return the cells of days of one field, each with an id that holds on all of them.

    Fields may be turned by `max_turn_deg` [°], shifted until a fifth overlaps, and deformed smoothly. A day whose field
    does not match is left out, and stands in `failed` with its evidence. Raises SessionError as `register_sessions`
    does, ConfigError for an angle above 40°.
    """
    if not 0 <= max_turn_deg <= 40:  # the fields that cannot match are turned by quarters
        raise ConfigError(f"register: max_turn_deg is 0 to 40, found {max_turn_deg}")
    check_alike(days)
    radius = radius_px(days)
    matches = _match_all(days, radius, max_turn_deg, progress)
    kept = [n for n in range(len(days)) if n == 0 or matches[n].matched]
    if len(kept) < 2:
        others = "; ".join(f"{days[n].name}: {match}" for n, match in matches.items())
        raise SessionError(f"register: no field matches that of {days[0].name}: {others}")
    failed = {days[n].name: str(match) for n, match in matches.items() if not match.matched}
    used = [days[n] for n in kept]
    maps = [matches[n].map if n else FieldMap.identity() for n in kept]
    components, fit, cell = _cells(used, maps, radius)
    for _ in range(REFINEMENTS):
        better = [m if n == 0 else refined(m, n, components, fit, cell, radius) for n, m in enumerate(maps)]
        if all(new is old for new, old in zip(better, maps, strict=True)):
            break
        maps = better
        components, fit, cell = _cells(used, maps, radius)
    if len(np.unique(cell)) == len(cell):
        raise SessionError(f"register: {', '.join(day.name for day in used)} have no cell in common; {_nearest(fit)}")
    found = {days[n].name: matches[n]._replace(map=m) for n, m in zip(kept, maps, strict=True) if n}
    return RegisteredDays(used, components, fit, cell, found, failed)


def _cells(days: Sequence[Day], maps: Sequence[FieldMap], radius: float) -> tuple[Placed, Fitted, np.ndarray]:
    """Components where they lie in the common field, the probabilities of their pairs, the cell of each."""
    components = placed(days, maps, radius)
    fit = fit_pairs(components, near_pairs(components), radius)
    return components, fit, cells_of(components.day, fit.pairs.a, fit.pairs.b, fit.probability)


def _match_all(
    days: Sequence[Day], radius: float, max_turn_deg: float, progress: Callable[[int, int], None]
) -> dict[int, FieldMatch]:
    """The match of each day but the first: with the first, or through another that matches."""
    images = [field_images(day, radius) for day in days]
    found: dict[int, FieldMatch] = {}
    for n in range(1, len(days)):
        progress(n - 1, len(days) - 1)
        match = match_fields(images[0], images[n], radius, max_turn_deg)
        near = sorted((m for m in found if found[m].matched), key=lambda m: n - m)[: 0 if match.matched else TRIES]
        for m in near:
            through = match_fields(images[m], images[n], radius, max_turn_deg)
            if through.matched:
                shape = days[0].shape
                match = through._replace(map=composed(found[m].map, through.map, shape))
                break
        found[n] = match
    progress(len(days) - 1, len(days) - 1)
    return found


def _nearest(fit: Fitted) -> str:
    if not len(fit.probability):
        return "none lies near one of another day"
    return f"the likeliest pair has a probability of {fit.probability.max():.2f}"


def _names(paths: Sequence[Path]) -> list[str]:
    """What tells sessions apart: the folder's name, the whole path where two have one."""
    places = [path.resolve() for path in paths]
    twice = [place for n, place in enumerate(places) if place in places[:n]]
    if twice:
        raise SessionError(f"register: {twice[0]} is named twice; a session is one day")
    short = [place.name for place in places]
    return [name if short.count(name) == 1 else str(place) for name, place in zip(short, places, strict=True)]


def _extract_step(session: ReadSession, wanted: str | None) -> RecordedStep:
    steps: Mapping[str, Any] = {s.id: s for s in session.recorded_steps if s.kind == "extract"}
    if wanted is not None and wanted in steps:
        return steps[wanted]
    if len(steps) == 1 and wanted is None:
        return next(iter(steps.values()))
    there = ", ".join(steps) or "none"
    what = f"no step {wanted!r} that extracts" if wanted else f"{len(steps) or 'no'} steps extract; name one (--step)"
    raise SessionError(f"register: {session.path}: {what}; there is {there}" if steps or wanted else
                       f"register: {session.path}: no step of kind 'extract' in it")  # fmt: skip
