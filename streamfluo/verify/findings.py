"""What a check of a session may find, and the verdict on a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal["damaged", "differs", "not reproducible", "incomplete", "cannot tell"]

# The worst first; the number is the exit code, 0 for a session of which nothing is found.
CODES: dict[str, int] = {"damaged": 1, "differs": 6, "not reproducible": 4, "incomplete": 3, "cannot tell": 5}


class Finding(NamedTuple):
    """One thing that is not as it should be: what kind of thing, where, and a sentence.

    damaged: bytes are not those that were written. differs: a copy is not what the session has. not reproducible: the
    frames give other values than the session has. incomplete: something should be there and never was written. cannot
    tell: there is nothing to check against.
    """

    kind: Kind
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


class Verdict(NamedTuple):
    """What was found of a session: its path, the findings, and what was done to find them, in words."""

    path: str
    findings: Sequence[Finding]
    checked: Sequence[str] = ()
    nbytes: int = 0
    seconds: float = 0.0

    @property
    def word(self) -> str:
        """The worst kind that was found, `verified` if none."""
        kinds = {finding.kind for finding in self.findings}
        return next((kind for kind in CODES if kind in kinds), "verified")

    @property
    def code(self) -> int:
        """The exit code that the verdict has on its own."""
        return CODES.get(self.word, 0)
