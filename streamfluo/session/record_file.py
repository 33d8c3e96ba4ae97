"""Append-only files of records: written whole or not at all, scanned so that one damaged record costs no other."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zlib_ng import zlib_ng

from ..core.errors import WireError
from ..core.header import Buffer
from ..core.records import ALIGN, CRC_BYTES, MAGIC_STEM, Data, Record, announced_at, record_at, record_payload
from .disk_calls import DiskCalls
from .files import sync_folder

SEARCH_BYTES = 64 << 20


class Damage(NamedTuple):
    """What of a session cannot be read: the file, from which byte on, which frames (first, count) or None, and why."""

    file: Path
    start: int
    frames: tuple[int, int] | None
    reason: str

    def __str__(self) -> str:
        first, count = self.frames or (0, 0)
        what = "" if not count else f"frame {first}: " if count == 1 else f"frames {first} to {first + count - 1}: "
        return f"{self.file.parent.name}/{self.file.name}, byte {self.start}: {what}{self.reason}"


class RecordFile:
    """One append-only file of records, `size` bytes of which are kept; a failed write is cut back to whole records.

    With `aside` what stands behind them is put into a file of its own first: FILE.torn-SIZE. `calls` watches what is
    asked of the disk, as `name write` and `name fsync`. `crc32` is that of the records' own crc32s, None where some
    records were there before: that of all bytes would be the same whatever they hold, as each record ends in its own.
    """

    def __init__(
        self, path: Path, size: int = 0, aside: bool = False, calls: DiskCalls | None = None, name: str = "file"
    ) -> None:
        self.path = path
        self._calls, self._write_call, self._sync_call = calls or DiskCalls(), f"{name} write", f"{name} fsync"
        self.size, self.crc32 = size, None if size else 0
        new = not path.exists()
        path.touch()
        self._file = path.open("r+b", buffering=0)
        if new:
            sync_folder(path.parent)
        elif aside:
            self._put_aside()
        self._cut_back()

    def append(self, record: list[Buffer]) -> None:
        """Append a record whole, or not at all. Raises OSError when the disk refuses it."""
        try:
            with self._calls.timed(self._write_call):
                written = sum(self._write(memoryview(buffer)) for buffer in record)
        except OSError:
            self._cut_back()
            raise
        self.size += written
        if self.crc32 is not None:
            self.crc32 = zlib_ng.crc32(memoryview(record[-1])[:CRC_BYTES], self.crc32)

    def sync(self) -> None:
        """Wait until the disk has it."""
        with self._calls.timed(self._sync_call):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def _write(self, buffer: memoryview) -> int:
        left = buffer
        while left:
            left = left[self._file.write(left) :]
        return len(buffer)

    def _put_aside(self) -> None:
        self._file.seek(self.size)
        if torn := self._file.read():
            with self.path.with_name(f"{self.path.name}.torn-{self.size}").open("wb") as file:
                file.write(torn)
                file.flush()
                os.fsync(file.fileno())

    def _cut_back(self) -> None:
        self._file.truncate(self.size)
        self._file.seek(self.size)


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[Data]:
    """Give a file's bytes, read as they are asked for. Raises OSError."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield data
        finally:
            with contextlib.suppress(BufferError):  # somebody still has a view: it is closed with that
                data.close()


def scan_records(path: Path, data: Data) -> Iterator[Record | Damage]:
    """Yield each record whose header is whole, in order, and each place where none is.

    Behind damage the scan goes on with the next record (they begin at multiples of 64 bytes): nothing intact is given
    up. The arrays are checked by who reads them.
    """
    at, search = 0, _Search(data)
    while at < len(data):
        try:
            record = record_at(data, at)
        except WireError as error:
            yield Damage(path, at, None, str(error))
            at = search.behind(at)
        else:
            yield record
            at = record.stop


class _Search:
    """Looks for the next record behind damage, reading a few times the file at most.

    Without a crc of its own a header of version 1 is believed only when all of its record was read, and a file may be
    made of such headers, each of which claims the rest of it.
    """

    def __init__(self, data: Data) -> None:
        self._data, self._left = data, SEARCH_BYTES + 4 * len(data)

    def behind(self, start: int) -> int:
        """Return where the next record behind `start` begins, the end of the data if there is none."""
        data = self._data
        while self._left > 0 and (start := data.find(MAGIC_STEM, start + 1)) >= 0:  # type: ignore[union-attr]
            if start % ALIGN == 0:
                with contextlib.suppress(WireError):
                    record, checked = announced_at(data, start)
                    if not checked:
                        self._left -= record.stop - record.start
                        record_payload(data, record)
                    return record.start
        return len(data)
