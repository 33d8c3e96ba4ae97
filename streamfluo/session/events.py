"""What was noted while a run went on: gaps, muted steps, the end; a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..core.control import Change
from ..core.plane import ONE_PLANE, in_plane
from .record_file import Damage
from .schema import EventFacts, GapFacts, JoinedFacts, SetFacts, unsealed

_FACTS: Mapping[Any, Any] = {"gap": GapFacts, "joined": JoinedFacts, "set": SetFacts}


def read_events(path: Path, version: int) -> tuple[tuple[dict[str, Any], ...], list[Damage]]:
    """Return the events in a file of a session of that format, and what of it is damaged."""
    start, found, damaged = 0, list[dict[str, Any]](), list[Damage]()
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            value = unsealed(line, version)
            msgspec.convert(value, EventFacts)
            msgspec.convert(value, _FACTS.get(value["event"], EventFacts))
        except (ValueError, msgspec.ValidationError) as error:
            torn = "" if line.endswith(b"\n") else "torn: "
            damaged.append(Damage(path, start, None, f"{torn}{error}"))
        else:
            found.append(value)
        start += len(line)
    return tuple(found), damaged


def changes_in(events: Sequence[Mapping[str, Any]], plane: str = ONE_PLANE) -> tuple[Change, ...]:
    """Return the changes of live parameters in a session's events, those of one `plane` as if it were the only one."""
    changes = [Change(e["frame"], e["step"], e["param"], e["value"]) for e in events if e["event"] == "set"]
    of = in_plane(plane, "") if plane else ""
    return tuple(c._replace(step=c.step.removeprefix(of)) for c in changes if c.step.startswith(of))
