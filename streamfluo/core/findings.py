"""What an operator's results come to for a person: figures, numbers, tables and sentences of a report.

An operator class names in `report` what makes them of its recorded step; of one that names nothing the report shows
what it gives as its declaration says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from .loaded import RecordedStep

UNKNOWN = "–"
THIN_SPACE = "\u202f"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Figure:
    """A picture of pixels, or a chart; `data` is a file of that media type, empty where there is nothing to draw.

    `wide`: it needs the whole width of a page.
    """

    title: str
    caption: str
    data: bytes
    kind: Literal["picture", "chart"] = "picture"
    media: str = "image/jpeg"
    wide: bool = False


@dataclass(frozen=True)
class Number:
    """One figure of a report, spelled, with its unit and, where it needs one, a note."""

    name: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Rows:
    """A small table: titles of columns, and as many words in each row."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Findings:
    """What one step comes to: a headline, then numbers, figures, tables, and what has to be said of them."""

    headline: str = ""
    numbers: Sequence[Number] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Rows] = ()
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Matched:
    """Things of two recorded steps that are the same: what they are, how many each has, `ids` (n, 2) of each pair, and
    how `alike` it is (n,), to 1: a spatial correlation, or a probability where fields were registered."""

    what: str
    counts: tuple[int, int]
    ids: np.ndarray
    alike: np.ndarray


class ReportedValues(Protocol):
    """Values of one record: of which frames, and the arrays by name; columns of a table as `TABLE/COLUMN`."""

    @property
    def index(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def arrays(self) -> Mapping[str, np.ndarray]: ...


class ReportedStep(RecordedStep, Protocol):
    """A step of a session for a report: a long recording's values are read record by record, never at once.

    `stop` is one past the last frame's index, `interval_s` the frame interval (None: unknown), `params` its
    parameters; `image(name)` a snapshot of the nearest step from this one upwards that has one of the frames' shape,
    `per_frame(name)` values (t, …), with `index` the frame of each, and `source_of(need)` the step that meets a need.
    """

    @property
    def stop(self) -> int: ...
    @property
    def interval_s(self) -> float | None: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    def records(self) -> Iterator[ReportedValues]: ...
    def per_frame(self, name: str) -> np.ndarray: ...
    def image(self, name: str) -> np.ndarray | None: ...
    def source_of(self, need: str) -> ReportedStep | None: ...


def spelled(value: Any, digits: int = 3) -> str:
    """Return a number with so many significant digits at least, thousands apart; a dash for one that is not known."""
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return UNKNOWN
    number = float(value)
    if number < 0:
        return f"−{spelled(-number, digits)}"
    if number == int(number) and number < 1e7:
        return f"{int(number):,}".replace(",", THIN_SPACE)
    magnitude = math.floor(math.log10(number))
    if not -4 <= magnitude < 7:
        mantissa, power = f"{number:.{digits - 1}e}".split("e")
        return superscript(f"{mantissa} × 10^{int(power)}")
    return f"{number:,.{max(0, digits - 1 - magnitude)}f}".replace(",", THIN_SPACE)


def superscript(text: str) -> str:
    """Return a unit or a number with its powers raised: ADU^4 is ADU⁴."""
    return re.sub(r"\^(-?\d+)", lambda power: power[1].translate(_RAISED), text)


def middle(values: Any, digits: int = 3) -> str:
    """Return the median of what is known, with the 5th and 95th percentile where there are several."""
    known = np.asarray(values, float).reshape(-1)
    known = known[np.isfinite(known)]
    if len(known) < 3:
        return spelled(float(np.median(known)), digits) if len(known) else UNKNOWN
    low, median, high = (spelled(float(q), digits) for q in np.percentile(known, (5, 50, 95)))
    if low == high:
        return median
    return f"{median} ({low} to {high})"


def counted(number: int, noun: str) -> str:
    """Return `1 cell`, `2 cells`."""
    return f"{spelled(number)} {noun}{'' if number == 1 else 's'}"
