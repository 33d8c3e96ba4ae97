"""Files of a session, written so that a reader never sees half of one and a full disk harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import tomllib
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.errors import ConfigError
from .disk_calls import DiskCalls

MAX_PENDING_LINES = 10_000
WAITED_S = 0.5
FOLDERS_SYNC = hasattr(os, "O_DIRECTORY")  # elsewhere, as on Windows, a folder cannot be opened
REPLACE_S = 2.0 if os.name == "nt" else 0.0  # how long to try while a reader has the file open


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises ConfigError for one that cannot be read as `what`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not utf-8 text"
        raise ConfigError(f"{path}: cannot read the {what}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], keep: Path | None = None) -> None:
    """Write an .npz aside, sync it and put it in place; the one that was there is kept as `keep`. Raises OSError."""
    with _written_aside(path, keep) as file:
        np.savez(file, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file aside, sync it and put it in place. Raises OSError."""
    with _written_aside(path) as file:
        file.write(json.dumps(value, indent=1).encode())


@contextlib.contextmanager
def _written_aside(path: Path, keep: Path | None = None) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    try:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:  # ours alone, and no link
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            put_in_place(path, keep)
        put_in_place(aside, path)
        sync_folder(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)  # on a full disk every byte counts
        raise


def put_in_place(aside: Path, path: Path) -> None:
    """Rename a closed file over another; tried again while Windows refuses it because a reader has that one open.

    Raises OSError.
    """
    deadline = time.monotonic() + REPLACE_S
    while True:
        try:
            os.replace(aside, path)
            return
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names: a new or renamed file may be gone after a power cut otherwise.

    Does nothing where folders cannot be synced. Raises OSError.
    """
    if not FOLDERS_SYNC:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LineFile:
    """An append-only file of lines, written to by any thread; what the disk refuses waits for the next line.

    So does a line while another thread has not come back from writing one for WAITED_S, or while `calls` has one that
    has not: who tells something must not hang with the disk.
    """

    def __init__(self, path: Path, calls: DiskCalls | None = None) -> None:
        self._lock = threading.Lock()
        self._calls = calls or DiskCalls()
        self._file: IO[bytes] = path.open("ab", buffering=0)
        whole = path.read_bytes().rfind(b"\n") + 1  # a crash may have torn the last line
        self._file.truncate(whole)
        self._size = whole
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)

    def append(self, line: str) -> None:
        """Write a line, after those that wait."""
        self._pending.append(line.encode() + b"\n")
        if self._calls.lasting(WAITED_S) or not self._lock.acquire(timeout=WAITED_S):
            return
        try:
            with contextlib.suppress(OSError):
                self._write()
        finally:
            self._lock.release()

    def commit(self, lines: Sequence[str]) -> None:
        """Write lines together, after those that wait, and sync them; none of them if the disk refuses.

        Raises OSError.
        """
        with self._lock:
            self._write()
            whole = self._size
            try:
                self._pending.append("".join(f"{line}\n" for line in lines).encode())
                self._write()
                with self._calls.timed("events fsync"):
                    os.fsync(self._file.fileno())
            except OSError:
                self._pending.clear()
                self._file.truncate(whole)
                self._size = whole
                raise

    def flush(self) -> None:
        """Write what waits. Raises OSError."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write what waits and close. Raises OSError."""
        with self._lock:
            try:
                self._write()
            finally:
                self._file.close()

    def _write(self) -> None:
        while self._pending:
            try:
                with self._calls.timed("events write"):
                    written = self._file.write(self._pending[0])
                if written != len(self._pending[0]):
                    raise OSError("short write")
            except OSError:
                self._file.truncate(self._size)
                raise
            self._size += len(self._pending.popleft())
