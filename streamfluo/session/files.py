"""Files of a session, written so that a reader never sees half of one and a full disk harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

MAX_PENDING_LINES = 10_000


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz aside, sync it and put it in place. Raises OSError."""
    with _put_in_place(path) as file:
        np.savez(file, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file aside, sync it and put it in place. Raises OSError."""
    with _put_in_place(path) as file:
        file.write(json.dumps(value, indent=1).encode())


@contextlib.contextmanager
def _put_in_place(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)  # on a full disk every byte counts
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names: a new or renamed file may be gone after a power cut otherwise.

    Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LineFile:
    """An append-only file of lines, written to by any thread; what the disk refuses waits for the next line."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file: IO[bytes] = path.open("ab", buffering=0)
        whole = path.read_bytes().rfind(b"\n") + 1  # a crash may have torn the last line
        os.truncate(path, whole)
        self._size = whole
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)

    def append(self, line: str) -> None:
        """Write a line, after those that wait."""
        with self._lock, contextlib.suppress(OSError):
            self._pending.append(line.encode() + b"\n")
            self._write()

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
                if self._file.write(self._pending[0]) != len(self._pending[0]):
                    raise OSError("short write")
            except OSError:
                os.truncate(self._file.fileno(), self._size)
                raise
            self._size += len(self._pending.popleft())
