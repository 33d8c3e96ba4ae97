"""Retention: which sessions may go, and how they go: nothing unverified is ever gone, whenever it is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..core.errors import SessionError
from ..session.exported import differences, note_of
from ..session.files import sync_folder
from ..session.lock import is_held, take
from ..session.read_back import Pause
from .daemon_config import DaemonConfig
from .disk_config import DAY_S
from .kept_sessions import LEFT_BEHIND, Kept, half_deleted, kept_sessions, nbytes_of

RETENTION_LOCK = ".retention.lock"


class Verdict(NamedTuple):
    """What becomes of a session: `wish` is why it should go, `but` why it stays all the same; each empty if not."""

    session: Kept
    nbytes: int
    age_s: float
    wish: str
    but: str

    def __str__(self) -> str:
        verb = "delete" if self.wish and not self.but else "keep"
        why = f"{self.wish}, but {self.but}" if self.wish and self.but else self.wish or self.but
        facts = f"{self.nbytes / 1e9:.3g} GB, {self.age_s / DAY_S:.3g} days"
        return f"{verb} {self.session.folder}: {facts}{f': {why}' if why else ''}"


def verdicts(config: DaemonConfig, deleted: Callable[[Path], str] = lambda folder: "") -> Iterator[Verdict]:
    """Yield what becomes of each session, the oldest first. `deleted` deletes one and returns why not; without it
    nothing is deleted, nor read back."""
    found = sorted(
        (_facts(session) for session in kept_sessions(config.roots, config.names.depth)),
        key=lambda facts: (-facts[2], facts[0].name),
    )
    total = sum(nbytes for _, nbytes, _ in found)
    for session, nbytes, age_s in found:
        wish, but = _wish(config, total, age_s), _objection(session.folder)
        if wish and not but and not (but := deleted(session.folder)):
            total -= nbytes
        yield Verdict(session, nbytes, age_s, wish, but)


def retain(config: DaemonConfig, told: Callable[[Verdict], None], pause: Pause) -> None:
    """Delete what may go, each after it and its export were read back; `told` hears what became of what should go.

    Raises SessionError while another program does so.
    """
    lock = take(config.folder, RETENTION_LOCK)
    try:
        _retain(config, told, pause)
    finally:
        lock.release()


def _retain(config: DaemonConfig, told: Callable[[Verdict], None], pause: Pause) -> None:
    finish_deletions(config)
    for verdict in verdicts(config, lambda folder: _deleted(folder, pause)):
        if verdict.wish:
            told(verdict)


def finish_deletions(config: DaemonConfig) -> None:
    """Go on where a deletion was interrupted: a session that is still whole is put back, the rest of others goes."""
    for path in half_deleted(config.roots, config.names.depth):
        if not (path / "session.json").exists():
            shutil.rmtree(path, ignore_errors=True)
            continue
        wanted, n = path.with_name(path.name.removeprefix(".").removesuffix(LEFT_BEHIND)), 1
        before = wanted
        while before.exists():  # another session took its name meanwhile
            n += 1
            before = wanted.with_name(f"{wanted.name}-{n}")
        os.rename(path, before)
        sync_folder(before.parent)


def _facts(session: Kept) -> tuple[Kept, int, float]:
    """A session, its bytes, and how long ago it was written last [s]."""
    with contextlib.suppress(OSError):
        return session, nbytes_of(session.folder), max(0.0, time.time() - _written_s(session.folder))
    return session, 0, 0.0


def _written_s(folder: Path) -> float:
    return (folder / "session.json").stat().st_mtime


def _wish(config: DaemonConfig, total: int, age_s: float) -> str:
    limits = config.disks.retention
    if limits is None:
        return ""
    if limits.keep_days is not None and age_s > limits.keep_days * DAY_S:
        return f"older than keep_days = {limits.keep_days:g}"
    if limits.quota_bytes is not None and total > limits.quota_bytes:
        return f"all sessions take {total / 1e9:.3g} GB, quota_bytes is {limits.quota_bytes / 1e9:.3g} GB"
    return ""


def _objection(folder: Path) -> str:
    """Why a session stays, as far as that is known without reading it back."""
    if is_held(folder):
        return "it runs"
    note = note_of(folder)
    if note is None:
        return "it is not exported"
    if note.why:
        return f"its export is not verified: {note.why}"
    return "" if Path(note.place).is_dir() else f"its export at {note.place} is gone"


def _deleted(folder: Path, pause: Pause) -> str:
    """Delete a session after it was read back; return why not, "" if it is gone."""
    try:
        lock = take(folder)
    except SessionError as error:
        return str(error)
    try:
        if but := differences(folder, pause) or _reader_of(folder):
            return but
        if os.name == "nt":
            lock.release()  # a folder with an open file in it cannot be renamed
        aside = folder.with_name(f".{folder.name}{LEFT_BEHIND}")
        os.rename(folder, aside)
        sync_folder(folder.parent)
        (aside / "session.json").unlink()  # from here on it is no session
        sync_folder(aside)
        shutil.rmtree(aside)
    except OSError as error:
        return f"{error.strerror or error}"
    finally:
        lock.release()
    return ""


def _reader_of(folder: Path) -> str:
    """Another process that has a file of a session open, where the system shows that; elsewhere the session cannot be
    renamed meanwhile."""
    inside = f"{folder.resolve()}{os.sep}"
    for pid in _processes():
        with contextlib.suppress(OSError):
            opened = [f"/proc/{pid}/fd/{descriptor}" for descriptor in os.listdir(f"/proc/{pid}/fd")]
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
            if inside in maps or any(_target(link).startswith(inside) for link in (*opened, f"/proc/{pid}/cwd")):
                return f"process {pid} has it open"
    return ""


def _target(link: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link) + os.sep
    return ""


def _processes() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())
