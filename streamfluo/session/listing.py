"""A session in one line, from what can be read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import SessionError
from .exported import note_of
from .lock import is_held
from .schema import HealthFacts, read_facts, read_json


def session_line(folder: Path) -> dict[str, Any]:
    """Return folder, state, series, start of a session, whether it is exported and verified; frames and lost ones once
    it is over."""
    try:
        facts = read_facts(folder / "session.json")[1]
    except SessionError as error:
        return {"session": str(folder), "state": f"unreadable: {error}"}
    state = "interrupted" if facts.state == "running" and not is_held(folder) else facts.state
    note = note_of(folder)
    line: dict[str, Any] = {"session": str(folder), "state": state, "exported": note is not None and not note.why}
    line |= {"series": facts.series.uid, "started": facts.started}
    try:
        counted = read_json(folder / "health.json", HealthFacts, facts.format)[0]
    except SessionError:  # it runs, or was killed
        return line
    return line | {"frames": counted.get("frames"), "lost": counted.get("lost")}
