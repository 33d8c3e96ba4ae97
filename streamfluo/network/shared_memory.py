"""Memory under a name, which two programs of one account share; nothing of it stays when they are gone."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/dev/shm")  # of Linux
NAME = re.compile(r"sf-[0-9a-f]{16}")  # macOS has room for 30 characters
_ORPHAN_S = 10.0  # a younger name may not have been locked yet by who made it


class Segment:
    """Memory of this account alone (0600); made of `nbytes` under a new name, or `opened`.

    Linux: a file in /dev/shm, all of it allocated at once, since a full one ends a program that writes (SIGBUS). Who
    made it holds its lock while it lives, so that `remove_orphans` knows what a program killed -9 left. Windows
    frees what nobody has open any more; on macOS Python's resource tracker removes the name of a program that died.
    Raises OSError where there is no room, or no such name of ours.
    """

    def __init__(self, nbytes: int) -> None:
        self.name = f"sf-{secrets.token_hex(8)}"
        self._map(_made(self.name, nbytes) if _has_folder() else _named(self.name, nbytes))

    @classmethod
    def opened(cls, name: str) -> Segment:
        """Open what another program made. Raises OSError, ValueError for what is no name."""
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no name of shared memory")
        segment = cls.__new__(cls)
        segment.name = name
        segment._map(_found(name) if _has_folder() else _named(name, None))
        return segment

    def _map(self, memory: _File | _Named) -> None:
        self._memory = memory
        self.buffer = memory.buffer

    def forget_name(self) -> None:
        """Nobody else can open it; who has it open keeps it."""
        self._memory.unlink()

    def forget_orphan(self) -> None:
        """As `forget_name`, if who made it is gone."""
        self._memory.unlink_orphan()

    def close(self) -> None:
        """Give our view of it back; nothing may be left that looks into `buffer`."""
        self.buffer.release()
        self._memory.close()


class _File:
    """A file in /dev/shm, mapped."""

    def __init__(self, path: Path, fd: int, nbytes: int) -> None:
        self._path, self._fd = path, fd
        self._mapped = mmap.mmap(fd, nbytes)
        self.buffer = memoryview(self._mapped)

    def unlink(self) -> None:
        with contextlib.suppress(OSError):  # it is gone already
            self._path.unlink()

    def unlink_orphan(self) -> None:
        if _locked(self._fd):
            self.unlink()

    def close(self) -> None:
        self._mapped.close()
        os.close(self._fd)


class _Named:
    """Shared memory of the system's own kind."""

    def __init__(self, name: str, nbytes: int | None) -> None:
        from multiprocessing import shared_memory

        with _untracked() if nbytes is None else contextlib.nullcontext():
            self._shared = shared_memory.SharedMemory(name, nbytes is not None, nbytes or 0)
        assert self._shared.buf is not None
        self.buffer = self._shared.buf[:]

    def unlink(self) -> None:
        with contextlib.suppress(OSError):
            self._shared.unlink()

    def unlink_orphan(self) -> None:
        """The resource tracker of who made it does that."""

    def close(self) -> None:
        self._shared.close()


@contextlib.contextmanager
def _untracked() -> Iterator[None]:
    """Keep names from the resource tracker: it would remove them when the first program ends that opened them, and not
    only when that does which made them. SharedMemory itself can be told so from Python 3.13 on."""
    from multiprocessing import resource_tracker

    with _tracking:
        register = resource_tracker.register
        resource_tracker.register = lambda name, rtype: None
        try:
            yield
        finally:
            resource_tracker.register = register


_tracking = threading.Lock()


def remove_orphans() -> None:
    """Remove what programs of this account left in /dev/shm when they were killed."""
    for path in FOLDER.glob("sf-*") if _has_folder() else ():
        with contextlib.suppress(OSError):  # it goes just now
            told = path.lstat()
            ours = stat.S_ISREG(told.st_mode) and told.st_uid == os.geteuid() and NAME.fullmatch(path.name)
            if not ours or time.time() - told.st_mtime < _ORPHAN_S:
                continue
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _locked(fd):
                    path.unlink()
            finally:
                os.close(fd)


def _has_folder() -> bool:
    return sys.platform.startswith("linux") and FOLDER.is_dir()


def _made(name: str, nbytes: int) -> _File:
    path = FOLDER / name
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _locked(fd)
        os.posix_fallocate(fd, 0, nbytes)
        return _File(path, fd, nbytes)
    except BaseException:
        path.unlink()
        os.close(fd)
        raise


def _found(name: str) -> _File:
    path = FOLDER / name
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        told = os.fstat(fd)
        if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid() or told.st_mode & 0o077 or not told.st_size:
            raise PermissionError(f"{path}: not a file of this account alone")
        return _File(path, fd, told.st_size)
    except BaseException:
        os.close(fd)
        raise


def _named(name: str, nbytes: int | None) -> _Named:
    return _Named(name, nbytes)


def _locked(fd: int) -> bool:
    """Take a file's lock until it is closed; whether nobody else has it."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
