"""The lock of a session folder: held by the run that writes it, let go of by the system however that run ends."""

from __future__ import annotations

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
    """Return whether a run writes the folder; True as well where that cannot be asked, as on a read-only disk."""
    if not (folder / NAME).exists():
        return False
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
