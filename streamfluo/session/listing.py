"""The sessions there are, each in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..core.errors import SessionError
from .lock import is_held
from .schema import HealthFacts, read_facts, read_json


def session_line(folder: Path) -> dict[str, Any]:
    """Return what is known at once of a session: folder, state, series, start, frames and lost ones once it is over."""
    try:
        facts = read_facts(folder / "session.json")[1]
    except SessionError as error:
        return {"session": str(folder), "state": f"unreadable: {error}"}
    state = "interrupted" if facts.state == "running" and not is_held(folder) else facts.state
    line = {"session": str(folder), "state": state, "series": facts.series.uid, "started": facts.started}
    try:
        counted = read_json(folder / "health.json", HealthFacts, facts.format)[0]
    except SessionError:  # it runs, or was killed
        return line
    return line | {"frames": counted.get("frames"), "lost": counted.get("lost")}


def sessions_in(folder: Path, most: int) -> list[Path]:
    """Return the sessions' folders in a folder of them, the newest first; what a session holds is not looked at, nor
    what is hidden: it is being deleted."""
    found: list[tuple[float, Path]] = []
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        if "session.json" in files:
            inside.clear()
            found.append(((Path(place) / "session.json").stat().st_mtime, Path(place)))
    return [path for _, path in sorted(found, reverse=True)[:most]]
