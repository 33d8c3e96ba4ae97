"""Sessions of a catalogue by what is asked, with the figures of their steps."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..core.errors import ConfigError
from .columns import COLUMNS
from .database import opened
from .filters import Names, conditions, of_step, ordered_by, span_of, together

SHOWN = ("began", "name", "state", "steps", "frames", "lost")
MEASURES_SHOWN = 5  # of a table on a screen
_FIRST = ("cells", "snr", "motion_px", "spots_a_frame", "resolution_nm", "gain_e_per_adu", "emitters", "valid_share")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so
_CHUNK = 500


class Query(NamedTuple):
    """What is asked: conditions, dates, a step's kind or id, the order, how many, and whether those that are gone."""

    where: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    step: str | None = None
    sort: str = "began"
    reverse: bool = False
    limit: int | None = None
    gone: bool = False


@dataclass
class Row:
    """One session: `fields` by column; `measures` by step and name, in the chain's order; `words` of the sender."""

    id: int
    fields: dict[str, Any]
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Return what a column, a figure (of several steps the last one's) or a word is, None where there is none."""
        if name in COLUMNS:
            return self.fields[name]
        if name in self.words:
            return self.words[name]
        step, _, measure = name.rpartition(".")
        found = [m[measure] for s, m in self.measures.items() if measure in m and step in ("", s, self.kinds[s])]
        return found[-1] if found else None


class Rows(NamedTuple):
    """The sessions that fit, how many there are without the limit, and what a table shows of them."""

    rows: list[Row]
    total: int
    names: Names

    def shown(self, asked: Sequence[str] = ()) -> list[str]:
        """Return the columns of a table: what is asked for, else the usual ones and the figures most rows have."""
        for name in asked:
            self.names.known(name)
        if asked:
            return list(asked)
        counts = Counter(name for row in self.rows for measures in row.measures.values() for name in measures)
        ranked = sorted(counts, key=lambda name: (name not in _FIRST, -counts[name], name))
        return [*SHOWN, *ranked[:MEASURES_SHOWN]]


def find(file: Path, query: Query) -> Rows:
    """Return the sessions that a query asks for. Raises ConfigError for one that cannot be, CatalogueError."""
    with opened(file) as connection:
        return found_in(connection, query)


def found_in(connection: sqlite3.Connection, query: Query) -> Rows:
    """Return what `find` does, of a catalogue that is open."""
    names = Names.of(connection)
    parts = [part for text in query.where for part in conditions(text, names)]
    for name, said, place, operator in (("--since", query.since, 0, ">="), ("--until", query.until, 1, "<")):
        if said is not None:
            parts += conditions(f"began {operator} '{span_of(said, name)[place]}'", names)
    parts += [of_step(query.step)] if query.step is not None else []
    if query.limit is not None and query.limit < 1:
        raise ConfigError(f"--limit: 1 or more, found {query.limit}")
    where, order = together(parts), ordered_by(query.sort, query.reverse, names)
    there = "" if query.gone else " AND s.gone IS NULL"
    (total,) = connection.execute(f"SELECT count(*) FROM sessions s WHERE {where.sql}{there}", where.bound).fetchone()
    columns = ", ".join(f"s.{name}" for name in COLUMNS)
    cursor = connection.execute(
        f"SELECT s.id, {columns} FROM sessions s WHERE {where.sql}{there} ORDER BY {order.sql} LIMIT ?",
        (*where.bound, *order.bound, -1 if query.limit is None else query.limit),
    )
    rows = [Row(number, dict(zip(COLUMNS, values, strict=True))) for number, *values in cursor]
    _add_measures(connection, rows)
    return Rows(rows, total, names)


def _add_measures(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    by_id = {row.id: row for row in rows}
    numbers = list(by_id)
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        asked = (
            f"SELECT session, step, kind, name, value FROM measures WHERE session IN ({marks}) ORDER BY session, place"
        )
        for number, step, kind, name, value in connection.execute(asked, chunk):
            by_id[number].measures.setdefault(step, {})[name] = value
            by_id[number].kinds[step] = kind
        for number, name, value in connection.execute(
            f"SELECT session, name, value FROM words WHERE session IN ({marks})", chunk
        ):
            by_id[number].words[name] = value


def write_csv(found: Rows, columns: Sequence[str], file: TextIO) -> None:
    """Write sessions as CSV: `columns`, else every column and figure; texts that a spreadsheet would run are quoted."""
    names = list(columns) or [*COLUMNS, *found.names.measures, *found.names.words]
    writer = csv.writer(file)
    writer.writerow([csv_cell(name) for name in names])
    writer.writerows([csv_cell(row.value(name)) for name in names] for row in found.rows)


def csv_cell(value: Any) -> Any:
    """Return a value as a cell of a table that spreadsheets open: text that one would run begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_json(found: Rows, columns: Sequence[str], file: TextIO) -> None:
    """Write sessions as a JSON list: `columns`, else all, with the figures of each step and what the sender said."""
    told: list[Mapping[str, Any]] = (
        [{name: row.value(name) for name in columns} for row in found.rows]
        if columns
        else [{**row.fields, "measures": row.measures, "user": row.words} for row in found.rows]
    )
    json.dump(told, file, indent=1, ensure_ascii=False)
    file.write("\n")
