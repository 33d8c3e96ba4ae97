"""One thing that was found of a recording."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A sentence with its number; not `known`: why it is undetermined. `value` in `unit`, NaN where there is none."""

    name: str
    sentence: str
    value: float = float("nan")
    unit: str = ""
    known: bool = True
