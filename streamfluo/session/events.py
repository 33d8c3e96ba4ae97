"""What was noted while a run went on: gaps, muted steps, the end; a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..core.control import Change
from ..core.decision import Decision
from ..core.plane import ONE_PLANE, in_plane
from ..core.source import Gap
from .record_file import Damage
from .schema import CurateFacts, EventFacts, GapFacts, JoinedFacts, MutedFacts, SetFacts, unsealed

_FACTS: Mapping[Any, Any] = {
    "gap": GapFacts, "joined": JoinedFacts, "muted": MutedFacts, "set": SetFacts, "curate": CurateFacts,
}  # fmt: skip


def read_events(path: Path, version: int) -> tuple[tuple[dict[str, Any], ...], list[Damage]]:
    """Return the events in a file of a session of that format, and what of it is damaged."""
    return read_lines(path, version, EventFacts, lambda event: _FACTS.get(event["event"], EventFacts))


def read_lines(
    path: Path, version: int, schema: type, schema_of: Callable[[Mapping[str, Any]], Any] | None = None
) -> tuple[tuple[dict[str, Any], ...], list[Damage]]:
    """Return the lines of a file of a session, each of `schema` and that of its kind, and what of it is damaged."""
    start, found, damaged = 0, list[dict[str, Any]](), list[Damage]()
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            value = unsealed(line, version)
            msgspec.convert(value, schema)
            if schema_of is not None:
                msgspec.convert(value, schema_of(value))
        except (ValueError, msgspec.ValidationError) as error:
            torn = "" if line.endswith(b"\n") else "torn: "
            damaged.append(Damage(path, start, None, f"{torn}{error}"))
        else:
            found.append(value)
        start += len(line)
    return tuple(found), damaged


def gaps_in(events: Sequence[Mapping[str, Any]], plane: str = ONE_PLANE) -> tuple[Gap, ...]:
    """Return the gaps in a session's events, of one `plane` if it is named; what is noted twice as it was seen last."""
    told = [event for event in events if event["event"] == "gap"]
    gaps = [Gap(e["first"], e["count"], e["reason"], e.get("plane", ONE_PLANE)) for e in told]
    noted = {(gap.first, gap.plane): gap for gap in gaps if plane in (ONE_PLANE, gap.plane)}
    return tuple(noted[key] for key in sorted(noted))


def changes_in(events: Sequence[Mapping[str, Any]], plane: str = ONE_PLANE) -> tuple[Change | Decision, ...]:
    """Return the changes of live parameters and the decisions in a session's events, as they came.

    Those of one `plane` as if it were the only one.
    """
    changes = [_change(event) for event in events if event["event"] in ("set", "curate")]
    of = in_plane(plane, "") if plane else ""
    return tuple(c._replace(step=c.step.removeprefix(of)) for c in changes if c.step.startswith(of))


def _change(event: Mapping[str, Any]) -> Change | Decision:
    if event["event"] == "set":
        return Change(event["frame"], event["step"], event["param"], event["value"])
    said = {name: event[name] for name in Decision._fields if name in event}
    drawn = tuple(tuple((float(y), float(x)) for y, x in polygon) for polygon in event.get("polygons", ()))
    return Decision(**{**said, "ids": tuple(event["ids"]), "polygons": drawn})
