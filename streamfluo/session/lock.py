"""The lock of a session folder: held by the run that writes it, let go of by the system however that run ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..core.errors import SessionError

NAME = ".lock"
LOOK_S = 0.2  # who asks whether a lock is held has it for microseconds


def take(folder: Path, name: str = NAME) -> FileLock:
    """Take the folder for this program alone. Raises SessionError if another has it or it cannot be written."""
    lock, new = FileLock(folder / name), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOOK_S, poll_interval=LOOK_S / 10)
    except Timeout:
        raise SessionError(
            f"{folder}: another program is writing into it; wait for it, or name another folder"
        ) from None
    except OSError as error:
        if new:  # of a full disk that has room for a folder, not for the lock
            with suppress(OSError):
                folder.rmdir()
        raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None
    return lock


def is_held(folder: Path) -> bool:
    """Return whether a run writes the folder; True as well where that cannot be asked."""
    if not (folder / NAME).exists():
        return False
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # who may only read, as on an archive's disk, cannot take it
        return _is_held_by_another(folder / NAME)
    lock.release()
    return False


def _is_held_by_another(path: Path) -> bool:
    """Ask with a shared lock, for which a file may be opened for reading; True where there are none, as on Windows."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(opened)
    return False
