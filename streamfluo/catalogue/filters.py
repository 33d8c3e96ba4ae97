"""What people ask of a catalogue: `cells > 50 and rig = left`, read by us and handed to SQLite as bound parameters.

No word of a filter becomes part of a statement: names choose among ours, operators among six, values are bound.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ..core.errors import ConfigError
from .columns import COLUMNS, NUMBER, TEXT, TIME

OPERATORS = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "~": "~"}
_TERM = re.compile(r"\s*([\w./ -]*?[\w])\s*(==|!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_DATE = re.compile(r"(\d{4})(-\d\d)?(-\d\d)?([T ]\d\d:\d\d(:\d\d)?Z?)?")
MOST_TERMS = 40


class Condition(NamedTuple):
    """A part of a WHERE that holds placeholders, and what is bound to them."""

    sql: str
    bound: tuple[str | float, ...]


class Names(NamedTuple):
    """What a catalogue can be asked for: figures of steps, the steps themselves, the sender's words."""

    measures: tuple[str, ...]
    steps: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Names:
        """Return those that a catalogue has."""
        asked = ("SELECT DISTINCT name FROM measures", "SELECT DISTINCT step FROM measures UNION SELECT DISTINCT kind "
                 "FROM measures", "SELECT DISTINCT name FROM words")  # fmt: skip
        return cls(*(tuple(sorted(str(name) for (name,) in connection.execute(sql))) for sql in asked))

    def known(self, name: str) -> str:
        """Return what a name is: column, measure or word. Raises ConfigError with the names there are."""
        if name in COLUMNS:
            return "column"
        if name in self.words:
            return "word"
        step, _, measure = name.rpartition(".")
        if measure in self.measures and (not step or step in self.steps):
            return "measure"
        near = difflib.get_close_matches(name, [*COLUMNS, *self.measures, *self.words], n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        there = f"columns: {', '.join(COLUMNS)}; measured: {', '.join(self.measures) or 'nothing yet'}"
        there += f"; said by the sender: {', '.join(self.words[:20])}" if self.words else ""
        raise ConfigError(f"no column {name[:80]!r}{meant}; {there}")


def conditions(text: str, names: Names) -> Iterator[Condition]:
    """Yield what `cells > 50 and name ~ mouse` asks for. Raises ConfigError in one line."""
    terms = _terms(text)
    if len(terms) > MOST_TERMS:
        raise ConfigError(f"--where: at most {MOST_TERMS} conditions, found {len(terms)}")
    for term in terms:
        if (match := _TERM.fullmatch(term)) is None or not match[3]:
            raise ConfigError(
                f"--where: {term.strip()[:80]!r} is no condition; write NAME = VALUE, with = != < <= > >= or ~ "
                "(contains), several joined by `and`"
            )
        name, operator, value = match[1], OPERATORS[match[2]], match[3]
        if _QUOTED.fullmatch(value):
            value = value[1:-1]
        elif value[0] in "\"'" and value.count(value[0]) == 1:
            raise ConfigError(f"--where: {term.strip()[:80]!r}: the quotes that begin at {value[:20]!r} do not end")
        elif re.search(r"\s+and$", value, re.IGNORECASE):
            raise ConfigError(f"--where: {term.strip()[:80]!r}: no condition after `and`")
        elif re.search(r"\s+or\s+", value, re.IGNORECASE):
            raise ConfigError(
                f"--where: {term.strip()[:80]!r}: there is no `or`; ask twice, or put the value in quotes"
            )
        yield _condition(name, operator, value, names)


def _terms(text: str) -> list[str]:
    """The conditions of a filter, cut at each `and` that no quotes hold."""
    masked = _QUOTED.sub(lambda quoted: "\0" * len(quoted[0]), text)
    found, at = [], 0
    for match in _AND.finditer(masked):
        found.append(text[at : match.start()])
        at = match.end()
    return [*found, text[at:]]


def _condition(name: str, operator: str, value: str, names: Names) -> Condition:
    kind = names.known(name)
    if kind == "column":
        type_ = COLUMNS[name][0]
        bound: str | float = _number(name, value) if type_ == NUMBER else value
        if type_ == TIME and operator != "~":
            return _at(name, operator, value)
        if operator == "~":
            if type_ == NUMBER:
                raise ConfigError(f"--where: {name} is a number; ~ is for texts")
            return Condition(f"instr(lower(s.{name}), lower(?)) > 0", (value,))
        return Condition(f"s.{name} {operator} ?", (bound,))
    if kind == "word":
        if operator == "~":
            test, bound = "instr(lower(w.value), lower(?)) > 0", value
        elif operator in ("=", "!="):
            test, bound = f"w.value {operator} ?", value
        else:
            test, bound = f"CAST(w.value AS REAL) {operator} ?", _number(name, value)
        return Condition(
            f"EXISTS (SELECT 1 FROM words w WHERE w.session = s.id AND w.name = ? AND {test})", (name, bound)
        )
    if operator == "~":
        raise ConfigError(f"--where: {name} is a number; ~ is for texts")
    step, _, measure = name.rpartition(".")
    of_step = " AND (m.step = ? OR m.kind = ?)" if step else ""
    return Condition(
        f"s.id IN (SELECT m.session FROM measures m WHERE m.name = ? AND m.value {operator} ?{of_step})",
        (measure, _number(name, value), *((step, step) if step else ())),
    )


def _number(name: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = float("nan")
    if found != found or abs(found) == float("inf"):
        raise ConfigError(f"--where: {name} is a number, found {value[:60]!r}")
    return found


def _at(name: str, operator: str, value: str) -> Condition:
    first, last = span_of(value, f"--where: {name}")
    if operator == "=":
        return Condition(f"(s.{name} >= ? AND s.{name} < ?)", (first, last))
    if operator == "!=":
        return Condition(f"(s.{name} < ? OR s.{name} >= ?)", (first, last))
    return Condition(f"s.{name} {'<' if operator in ('<', '<=') else '>='} ?",
                     (first if operator in ("<", ">=") else last,))  # fmt: skip


def span_of(value: str, where: str) -> tuple[str, str]:
    """Return the first second [UTC] of a year, month, day, minute or second, and the first one behind it.

    Raises ConfigError.
    """
    match = _DATE.fullmatch(value.strip())
    try:
        if match is None:
            raise ValueError
        year, month, day, clock, seconds = match.groups()
        whole = f"{year}{month or '-01'}{day or '-01'}" + (clock or "T00:00").replace(" ", "T").rstrip("Z")
        first = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        if clock:
            last = first + (timedelta(seconds=1) if seconds else timedelta(minutes=1))
        elif day:
            last = first + timedelta(days=1)
        else:
            months = first.year * 12 + first.month - 1 + (1 if month else 12)
            last = first.replace(year=months // 12, month=months % 12 + 1)
    except (ValueError, OverflowError):
        raise ConfigError(f"{where}: a date is 2026-11, 2026-11-30 or 2026-11-30T14:05, found {value[:40]!r}") from None
    return first.strftime("%Y-%m-%dT%H:%M:%SZ"), last.strftime("%Y-%m-%dT%H:%M:%SZ")


def of_step(step: str) -> Condition:
    """Return the condition that a session has a step of that kind, or id."""
    return Condition(
        "(instr(' ' || s.steps || ' ', ' ' || ? || ' ') > 0 OR s.id IN (SELECT m.session FROM measures m WHERE "
        "m.step = ?))",
        (step, step),
    )


def ordered_by(name: str, reverse: bool, names: Names) -> Condition:
    """Return an ORDER BY: numbers and times from the largest down, texts from A on; what is not known comes last."""
    kind = names.known(name)
    bound: tuple[str, ...]
    if kind == "column":
        value, bound = f"s.{name}", ()
    elif kind == "word":
        value, bound = "(SELECT w.value FROM words w WHERE w.session = s.id AND w.name = ?)", (name,)
    else:
        step, _, measure = name.rpartition(".")
        of = "AND (m.step = ? OR m.kind = ?) " if step else ""
        value = (
            f"(SELECT m.value FROM measures m WHERE m.session = s.id AND m.name = ? {of}ORDER BY place DESC LIMIT 1)"
        )
        bound = (measure, *((step, step) if step else ()))
    down = (kind == "measure" or (kind == "column" and COLUMNS[name][0] != TEXT)) != reverse
    return Condition(f"{value} {'DESC' if down else 'ASC'} NULLS LAST, s.path", bound)


def together(parts: Sequence[Condition]) -> Condition:
    """Return conditions that all hold."""
    sql = " AND ".join(part.sql for part in parts) or "1"
    return Condition(sql, tuple(value for part in parts for value in part.bound))
