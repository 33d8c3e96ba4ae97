"""What a catalogue keeps of one session, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_WORD = 2000
UNREADABLE, RUNNING = "unreadable", "running"
Fields = dict[str, str | float | int | None]


class Measured(NamedTuple):
    """One figure of a session; `step` is the step's id, of several planes with its plane, `kind` the operator's."""

    step: str
    kind: str
    name: str
    value: float


@dataclass
class Entry:
    """One session: `fields` by column, what steps measured, the sender's words, texts for its page, and its picture."""

    fields: Fields
    measured: list[Measured] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    config: str = ""
    details: str = "{}"
    preview: bytes = b""


def text(value: object, most: int = MAX_WORD) -> str:
    """Return a value as a text that SQLite takes: no lone surrogates, not too long."""
    return str(value)[:most].encode("utf-8", "backslashreplace").decode()


def mapping(found: object) -> Mapping[str, Any]:
    """Return what a file has where a mapping should be, an empty one where it has something else."""
    return found if isinstance(found, Mapping) else {}
