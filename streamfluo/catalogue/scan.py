"""A folder read into a catalogue: what is new or was written since, what moved, what is gone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock, Timeout

from ..core.errors import SessionError
from .database import CatalogueError, opened, put, transaction
from .entry import RUNNING, UNREADABLE, Entry, text
from .reading import entry_of, sha256_of, signature_of

MEASURES = 1  # raised when more is measured, so that everything is read anew
AT_ONCE = 16  # sessions written together
NONE = "no session in it or below it; sessions are folders with a session.json"
T = TypeVar("T")


class Found(NamedTuple):
    """What a scan found: paths of sessions in each case, and the folders that could not be looked into."""

    new: list[str]
    changed: list[str]
    same: list[str]
    moved: list[tuple[str, str]]  # from, to
    gone: list[str]
    broken: list[tuple[str, str]]  # path, reason; also in new, changed or same
    running: list[str]
    closed: list[tuple[str, str]]  # folder, why


Progress = Callable[[int, int], None]


def scan(folder: Path, file: Path, progress: Progress = lambda done, of: None) -> Found:
    """Read the sessions below a folder into a catalogue; those that have not changed are not opened.

    Links and hidden folders are passed over. Raises SessionError for a folder that is not there or has no session,
    CatalogueError for a catalogue that cannot be written or is being scanned into.
    """
    folder, closed = _real(folder), list[tuple[str, str]]()
    there = {text(str(place)): place for place in sessions_below(folder, closed)}
    if not there and not file.exists():  # nothing is left where somebody mistook a folder
        raise SessionError(f"{folder}: {NONE}")
    with _alone(file), opened(file, write=True) as connection:
        known = _known(connection)
        if not there and not any(_below(path, folder) for path in known):
            raise SessionError(f"{folder}: {NONE}")
        if not there and not closed and not set(os.listdir(folder)) - {file.name}:
            raise SessionError(f"{folder}: empty now; is its disk there? the catalogue is left as it is")
        found = _take(connection, there, known, progress)
        found.closed.extend(closed)
        _mark_gone(connection, folder, known, there, found)
    return found


def add(folder: Path, file: Path) -> Entry:
    """Read one session into a catalogue, which is made where there is none. Raises CatalogueError."""
    folder = _real(folder)
    signature = signature_of(folder)
    entry = entry_of(folder)
    with opened(file, write=True) as connection, transaction(connection):
        put(connection, entry, _about(signature, folder.parent))
    return entry


def sessions_below(folder: Path, closed: list[tuple[str, str]]) -> Iterator[Path]:
    """Yield the sessions in a folder and below it; into `closed` goes what may not be looked into."""
    left = [folder]
    while left:
        at = left.pop()
        try:
            with os.scandir(at) as entries:
                names = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            closed.append((str(at), str(error.strerror)))
            continue
        if any(entry.name == "session.json" for entry in names):
            yield at
            continue
        inside = [e for e in names if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
        left += [Path(entry.path) for entry in reversed(inside)]


class _Group(NamedTuple):
    """Sessions that are written together: entries with signature and folder, and moves from path to path."""

    read: list[tuple[Entry, str, Path]]
    moves: list[tuple[str, str]]


def _take(
    connection: sqlite3.Connection, there: dict[str, Path], known: dict[str, _Known], progress: Progress
) -> Found:
    """Read what is new or changed, note what moved."""
    found = Found([], [], [], [], [], [], [], [])
    absent = defaultdict[str, list[str]](list)  # by sha256
    for path, row in known.items():
        if row.sha256 and path not in there and not _is_session(path):
            absent[row.sha256].append(path)
    done = 0
    for group in _in_groups(there.items(), AT_ONCE):
        taken = _Group([], [])
        for path, place in group:
            _look_at(path, place, known.get(path), absent, taken, found)
        with transaction(connection):
            _write(connection, taken, there, found)
        done += len(group)
        progress(done, len(there))
    return found


def _look_at(
    path: str, place: Path, row: _Known | None, absent: dict[str, list[str]], taken: _Group, found: Found
) -> None:
    """Decide what a session needs: nothing, a new path, or to be read."""
    signature = signature_of(place)
    if row is not None and row.signature == signature and row.is_settled:
        found.same.append(path)
        if row.state == UNREADABLE:
            found.broken.append((path, row.reason))
    elif row is None and (before := absent.get(sha256_of(place / "session.json"))):
        taken.moves.append((before.pop(0), path))
    else:
        (found.new if row is None else found.changed).append(path)
        taken.read.append((entry_of(place), signature, place.parent))


def _mark_gone(
    connection: sqlite3.Connection, folder: Path, known: dict[str, _Known], there: Collection[str], found: Found
) -> None:
    """Mark what was below the folder and is not any more; what is there again is marked so."""
    moved = {before for before, _ in found.moved}
    closed = [Path(place) for place, _ in found.closed]
    for path, row in known.items():
        away = path not in moved and path not in there and _below(path, folder) and not _is_session(path)
        if away and not row.gone and not any(_below(path, place) for place in closed):
            found.gone.append(path)
    here = [path for path in found.same if known[path].gone]
    with transaction(connection):
        now = _now()
        connection.executemany("UPDATE sessions SET gone = ? WHERE path = ?", [(now, path) for path in found.gone])
        connection.executemany("UPDATE sessions SET gone = NULL WHERE path = ?", [(path,) for path in here])
        connection.execute("INSERT OR REPLACE INTO roots VALUES (?, ?)", (text(str(folder)), now))


def _write(connection: sqlite3.Connection, taken: _Group, there: dict[str, Path], found: Found) -> None:
    for entry, signature, parent in taken.read:
        put(connection, entry, _about(signature, parent))
        path, state = str(entry.fields["path"]), entry.fields["state"]
        if state == UNREADABLE:
            found.broken.append((path, str(entry.fields["reason"])))
        elif state == RUNNING:
            found.running.append(path)
    for before, after in taken.moves:
        place = there[after]
        connection.execute(
            "UPDATE sessions SET path = ?, name = ?, signature = ?, root = ?, gone = NULL WHERE path = ?",
            (after, text(place.name), signature_of(place), text(str(place.parent)), before),
        )
        found.moved.append((before, after))


class _Known(NamedTuple):
    """What the catalogue has of a session."""

    signature: str
    sha256: str
    state: str
    reason: str
    read_by: str
    gone: bool

    @property
    def is_settled(self) -> bool:
        """Whether its files alone say whether it changed: a run that is killed leaves them as they are."""
        return self.state != RUNNING and self.read_by == str(MEASURES)


def _known(connection: sqlite3.Connection) -> dict[str, _Known]:
    rows = connection.execute("SELECT path, signature, sha256, state, reason, read_by, gone FROM sessions")
    found = {}
    for path, *words, gone in rows:
        signature, sha256, state, reason, read_by = map(_word, words)
        found[str(path)] = _Known(signature, sha256, state, reason, read_by, bool(gone))
    return found


def _word(value: object) -> str:
    return "" if value is None else str(value)


def _about(signature: str, parent: Path) -> dict[str, str | None]:
    return {"signature": signature, "read_by": str(MEASURES), "read_utc": _now(), "root": text(str(parent))}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _alone(file: Path) -> AbstractContextManager[object]:
    """The lock of whoever scans into a file, held once. Raises CatalogueError at once where another one does."""
    lock = FileLock(file.with_name(f".{file.name}.lock"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return lock.acquire(timeout=0)
    except Timeout:
        raise CatalogueError(f"{file}: another scan writes it; wait for that, or name another file with --to") from None
    except OSError as error:
        raise CatalogueError(f"{file}: cannot be written: {error.strerror}; name another file with --to") from None


def _real(folder: Path) -> Path:
    if not folder.is_dir():
        raise SessionError(f"{folder}: no such folder")
    return folder.resolve()


def _is_session(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "session.json"))


def _below(path: str, folder: Path) -> bool:
    return Path(path) == folder or folder in Path(path).parents


def _in_groups(items: Iterable[T], count: int) -> Iterator[list[T]]:
    left = iter(items)
    while group := list(islice(left, count)):
        yield group
