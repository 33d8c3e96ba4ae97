"""Which series of a source have sessions: what came back goes on in its own, what is over is not taken twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import SessionError
from ..session.files import save_json

KEPT = 200  # series


class Known(NamedTuple):
    """A series' session, and whether all of it is there."""

    folder: Path
    whole: bool


class KnownSeries:
    """The series of a source that were recorded, in a file that outlives the program and lies in the first of `roots`;
    sessions lie in any of them."""

    def __init__(self, roots: Sequence[Path], source: str) -> None:
        self.roots, self._path = tuple(roots), roots[0] / f".{source}.series.json"
        self._series: dict[str, dict[str, object]] = {}
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError, RecursionError):
            return  # a first run, or one whose memory was lost: its sessions stay as they are
        if isinstance(found, dict):
            self._series = {uid: facts for uid, facts in found.items() if isinstance(facts, dict)}

    def find(self, uid: str) -> Known | None:
        """Return the session of a series, or where it was about to begin; None if there is none any more."""
        facts = self._series.get(uid)
        if facts is None or not isinstance(name := facts.get("folder"), str):
            return None
        for root in self.roots[1:] if facts.get("overflow") is True else self.roots[:1]:
            folder, whole = root / name, facts.get("whole") is True
            begun = (folder / "session.json").exists()
            if folder.resolve().is_relative_to(root.resolve()) and (begun or (folder.exists() and not whole)):
                return Known(folder, whole)
        return None

    def note(self, uid: str, folder: Path, whole: bool) -> None:
        """Remember a series' session. Raises SessionError."""
        self._series.pop(uid, None)
        root = next(root for root in self.roots if folder.is_relative_to(root))
        of_overflow = {"overflow": True} if root != self.roots[0] else {}
        self._series[uid] = {"folder": str(folder.relative_to(root)), "whole": whole, **of_overflow}
        self._series = dict(list(self._series.items())[-KEPT:])
        try:
            save_json(self._path, self._series)
        except OSError as error:
            raise SessionError(f"{self._path}: cannot be written: {error.strerror or error}") from None
