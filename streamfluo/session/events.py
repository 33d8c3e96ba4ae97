"""What was noted while a run went on: gaps, muted steps, the end; a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .record_file import Damage
from .schema import EventFacts, GapFacts, unsealed


def read_events(path: Path, version: int) -> tuple[tuple[dict[str, Any], ...], list[Damage]]:
    """Return the events in a file of a session of that format, and what of it is damaged."""
    start, found, damaged = 0, list[dict[str, Any]](), list[Damage]()
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            value = unsealed(line, version)
            msgspec.convert(value, GapFacts if value.get("event") == "gap" else EventFacts)
        except (ValueError, msgspec.ValidationError) as error:
            torn = "" if line.endswith(b"\n") else "torn: "
            damaged.append(Damage(path, start, None, f"{torn}{error}"))
        else:
            found.append(value)
        start += len(line)
    return tuple(found), damaged
