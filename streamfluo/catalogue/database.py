"""The catalogue's file: one SQLite database, looked at before it is trusted, written in short transactions.

`application_id` says that it is ours, `user_version` which schema it has. Tables: `sessions`, a row each; `measures`, a
row for each figure of a step; `words`, what the sender said; `texts` and `previews`, what only a session's page needs,
apart so that a search reads none of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..core.errors import StreamfluoError
from .columns import COLUMNS, TEXT, TIME
from .entry import Entry

APPLICATION_ID, SCHEMA = 0x53466361, 1  # "SFca"
FILE = "catalogue.sqlite"
WAIT_S = 5.0  # for another process that writes: the daemon adds a session in milliseconds
_MAGIC = b"SQLite format 3\0"
_TYPES = {TEXT: "TEXT", TIME: "TEXT"}
_OWN = {  # beside the columns: what a scan needs
    "signature": "TEXT", "read_by": "TEXT", "read_utc": "TEXT", "root": "TEXT",
}  # fmt: skip
_TABLES = (
    "CREATE TABLE sessions (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, "
    + ", ".join(f"{name} {_TYPES.get(kind, 'NUMERIC')}" for name, (kind, _) in COLUMNS.items() if name != "path")
    + ", "
    + ", ".join(f"{name} {kind}" for name, kind in _OWN.items())
    + ")",
    "CREATE TABLE measures (session INTEGER NOT NULL, place INTEGER NOT NULL, step TEXT NOT NULL, kind TEXT NOT NULL, "
    "name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (session, place)) WITHOUT ROWID",
    "CREATE TABLE words (session INTEGER NOT NULL, name TEXT NOT NULL, value TEXT, PRIMARY KEY (session, name)) "
    "WITHOUT ROWID",
    "CREATE TABLE texts (session INTEGER PRIMARY KEY, config TEXT, details TEXT)",
    "CREATE TABLE previews (session INTEGER PRIMARY KEY, png BLOB)",
    "CREATE TABLE roots (path TEXT PRIMARY KEY, scanned_utc TEXT) WITHOUT ROWID",
    "CREATE INDEX sessions_began ON sessions (began)",
    "CREATE INDEX sessions_sha256 ON sessions (sha256)",
    "CREATE INDEX measures_name ON measures (name, value, session)",
    "CREATE INDEX words_name ON words (name, value, session)",
)


class CatalogueError(StreamfluoError):
    """The catalogue cannot be read or written, or is none of ours."""


@contextmanager
def opened(path: Path, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a catalogue: to be read, or written, which makes one where there is none.

    Raises CatalogueError for a file that is not there, not ours, of a newer version, damaged, locked or on a disk that
    cannot be written.
    """
    new = _check_file(path, write)
    try:
        uri = f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if new:
                _make(connection)
            _check_schema(connection, path)
            yield connection
    except sqlite3.Error as error:
        raise CatalogueError(f"{path}: {_why(error, write)}") from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write together or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _check_file(path: Path, write: bool) -> bool:
    """Return whether the file is to be made. Raises CatalogueError."""
    try:
        if path.is_dir():
            raise CatalogueError(f"{path}: a folder; a catalogue is a file, as {path / FILE}")
        if not path.exists() or (write and path.stat().st_size == 0):
            if not write:
                raise CatalogueError(f"{path}: no catalogue there; make one: streamfluo catalogue DIR --to {path}")
            return True
        with path.open("rb") as file:
            head = file.read(72)
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from None
    if head[:16] != _MAGIC or int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise CatalogueError(f"{path}: not a catalogue of streamfluo; name another file")
    if (found := int.from_bytes(head[60:64], "big")) != SCHEMA:
        newer = "of a newer streamfluo" if found > SCHEMA else "of an older streamfluo"
        raise CatalogueError(
            f"{path}: a catalogue {newer} (schema {found}, this one has {SCHEMA}); install that, or scan into another "
            "file: everything in it stands in the sessions"
        )
    return False


def _make(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return  # another scan was faster
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raise CatalogueError for tables, views or triggers that are not those we made: they could do anything."""
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if found != set(_TABLES):
        raise CatalogueError(
            f"{path}: not a catalogue of streamfluo as it made it (other tables); scan into another file"
        )


def _why(error: sqlite3.Error, write: bool) -> str:
    said = str(error)
    if "locked" in said or "busy" in said:
        return f"another process writes it, and has for {WAIT_S:g} s; try again"
    if "readonly" in said or "unable to open" in said:
        return "cannot be written: the disk or the file is read-only; name another file with --to" if write else (
            "cannot be opened" + (" while the disk is read-only and its journal waits" if "readonly" in said else "")
        )  # fmt: skip
    if "full" in said:
        return "the disk is full"
    return f"damaged, or no catalogue: {said}; scan into another file: everything in it stands in the sessions"


def put(connection: sqlite3.Connection, entry: Entry, about: dict[str, str | None]) -> int:
    """Write a session's row, in the place of that of its path, and what belongs to it; return its number.

    `about` has what a scan needs beside the entry: signature, read_by, read_utc, root. Call it in a transaction.
    """
    row = {**{name: entry.fields.get(name) for name in COLUMNS}, **about, "gone": None}
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "path")
    (number,) = connection.execute(
        f"INSERT INTO sessions ({names}) VALUES ({marks}) ON CONFLICT (path) DO UPDATE SET {changed} RETURNING id",
        [_stored(value) for value in row.values()],
    ).fetchone()
    for table in ("measures", "words", "texts", "previews"):
        connection.execute(f"DELETE FROM {table} WHERE session = ?", (number,))
    connection.executemany(
        "INSERT INTO measures VALUES (?, ?, ?, ?, ?, ?)",
        [(number, place, m.step[:200], m.kind[:64], m.name[:64], m.value) for place, m in enumerate(entry.measured)],
    )
    connection.executemany("INSERT INTO words VALUES (?, ?, ?)", [(number, *word) for word in entry.words.items()])
    connection.execute("INSERT INTO texts VALUES (?, ?, ?)", (number, _plain(entry.config), _plain(entry.details)))
    if entry.preview:
        connection.execute("INSERT INTO previews VALUES (?, ?)", (number, entry.preview))
    return int(number)


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _stored(value: str | float | int | None) -> str | float | int | None:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return float(value)
    return value
