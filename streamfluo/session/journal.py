"""The journal: every frame as it came, before anything touches it, in append-only files of records."""

from __future__ import annotations

import mmap
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.errors import SessionError, WireError
from ..core.records import (
    ALIGN,
    MAGIC,
    PREFIX_BYTES,
    encode_record,
    is_whole,
    record_header,
    record_layout,
    record_nbytes,
)
from ..core.source import MAX_BLOCK_FRAMES
from .files import sync_folder

SEGMENT_BYTES = 1 << 30
SYNC_BYTES = 256 << 20
SYNC_S = 1.0


class RecordFile:
    """One append-only file of records, `size` bytes of which are kept; a failed write is cut back to whole records."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self.size = size
        new = not path.exists()
        path.touch()
        self._file = path.open("r+b", buffering=0)
        if new:
            sync_folder(path.parent)
        self._cut_back()

    def append(self, record: list[wire.Buffer]) -> None:
        """Append a record whole, or not at all. Raises OSError when the disk refuses it."""
        try:
            written = sum(self._write(memoryview(buffer)) for buffer in record)
        except OSError:
            self._cut_back()
            raise
        self.size += written

    def sync(self) -> None:
        """Wait until the disk has it."""
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

    def _cut_back(self) -> None:
        self._file.truncate(self.size)
        self._file.seek(self.size)


class JournalWriter:
    """Appends frames to `folder`, a new file each GiB; goes on after the last whole record it finds there.

    Synced to disk every 256 MiB or second. `next_index` is one past the last frame written, 0 for an empty journal.
    """

    def __init__(self, folder: Path, series_uid: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._uid = folder, series_uid
        self.next_index, self._number, size = 0, 0, 0
        self._indices, self._numbers, self._offsets = array("q"), array("q"), array("q")  # where each frame is
        for path in _segments(folder):
            self._number, size = int(path.stem), 0
            for fields, start, stop in scan_records(path):
                self._note(fields["index"], start)
                size = stop
        self._file = RecordFile(self._path(self._number), size)
        self._synced_at, self._unsynced = time.monotonic(), 0
        self._read_back = _Segments()

    def append(self, block: Block) -> None:
        """Write the frames of a block. Raises OSError when the disk refuses one; those before it are written."""
        for n, pixels in enumerate(block.pixels):
            record = encode_record(wire.encode(wire.image_of(self._uid, block, n, block.index + n)), [pixels])
            self._file.append(record)
            length = sum(len(buffer) for buffer in record)
            self._unsynced += length
            self._note(block.index + n, self._file.size - length)
        if self._unsynced >= SYNC_BYTES or time.monotonic() - self._synced_at >= SYNC_S:
            self._file.sync()
            self._synced_at, self._unsynced = time.monotonic(), 0
        if self._file.size >= SEGMENT_BYTES:
            following = RecordFile(self._path(self._number + 1))
            self._file.close()
            self._file, self._number = following, self._number + 1

    def close(self) -> None:
        """Sync and close; frames can still be read back."""
        self._file.close()

    @property
    def frames(self) -> int:
        """How many frames are written."""
        return len(self._offsets)

    def block(self, n: int, max_frames: int = MAX_BLOCK_FRAMES) -> Block:
        """Read back the n-th frame written and consecutive ones behind it; callable from one thread at a time."""
        first, frames = self._indices[n], []
        for at in range(n, min(n + max_frames, self.frames)):
            if self._indices[at] != first + at - n:
                break
            frames.append(self._read_back.frame(self._path(self._numbers[at]), self._offsets[at]))
        return _block(frames)

    def _note(self, index: int, offset: int) -> None:
        self._indices.append(index)
        self._numbers.append(self._number)
        self._offsets.append(offset)
        self.next_index = index + 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.sfj"


class JournalReader:
    """The frames of a journal by index; built by scanning headers: about 20 µs a frame, 24 B of memory a frame."""

    def __init__(self, folder: Path) -> None:
        self._segments = _segments(folder)
        indices, numbers, offsets = array("q"), array("q"), array("q")
        for number, path in enumerate(self._segments):
            for fields, start, _ in scan_records(path):
                indices.append(fields["index"])
                numbers.append(number)
                offsets.append(start)
        # Of a frame that was written twice the last one counts: the first of its index from behind.
        found, last = np.unique(np.frombuffer(indices, np.int64)[::-1], return_index=True)
        self.indices: np.ndarray = found
        self._numbers = np.frombuffer(numbers, np.int64)[::-1][last]
        self._offsets = np.frombuffer(offsets, np.int64)[::-1][last]

    def read(self, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (index, t_ns, pixels (y, x)) for start ≤ index < stop. Raises SessionError for a damaged frame."""
        segments = _Segments()
        first, behind = np.searchsorted(self.indices, [start, stop]).tolist()
        for at in range(first, behind):
            yield segments.frame(self._segments[self._numbers[at]], int(self._offsets[at]))

    def blocks(self, start: int = 0, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        """Yield the frames from index `start` on as blocks of at most `max_frames`, cut at gaps."""
        waiting: list[tuple[int, int, np.ndarray]] = []
        for frame in self.read(start, int(self.indices[-1]) + 1 if len(self.indices) else 0):
            if waiting and (len(waiting) == max_frames or frame[0] != waiting[-1][0] + 1):
                yield _block(waiting)
                waiting = []
            waiting.append(frame)
        if waiting:
            yield _block(waiting)


class _Segments:
    """Frames read one after the other; the segment that the last one lay in stays open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def frame(self, path: Path, offset: int) -> tuple[int, int, np.ndarray]:
        """Return (index, t_ns, pixels) of the record at `offset`. Raises SessionError if it is damaged."""
        if self._file is None or path != self._path:
            self.close()
            self._path, self._file = path, path.open("rb")
        return _read_frame(path, self._file, offset)

    def close(self) -> None:
        """Close the segment that is open."""
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        self.close()


def _read_frame(path: Path, file: BinaryIO, offset: int) -> tuple[int, int, np.ndarray]:
    file.seek(offset)
    header = file.read(record_layout(file.read(PREFIX_BYTES)))
    fields, nbytes = record_header(header)
    pixels, tail = file.read(nbytes), file.read(4)
    if not is_whole(header, pixels, tail):
        raise SessionError(f"{path}: frame {fields['index']} is damaged (crc differs); the other frames are readable")
    return int(fields["index"]), int(fields["t_ns"]), np.frombuffer(pixels, fields["dtype"]).reshape(fields["shape"])


def _block(frames: list[tuple[int, int, np.ndarray]]) -> Block:
    return Block(frames[0][0], np.array([t for _, t, _ in frames]), np.stack([pixels for *_, pixels in frames]))


def scan_records(path: Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yield (header, start, stop) of each record of a file; what a crash tore is passed over.

    Only records beside a damaged place have their crc checked: a crash tears the end. Behind damage the scan goes on
    with the next whole record (they begin at multiples of 64 bytes), so that nothing intact is given up.
    """
    size = path.stat().st_size
    if size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        before, at = None, 0
        while at >= 0:
            found = _record_at(data, at)
            if before is not None and (found is not None or _checked(data, before)):
                yield before
            before = found
            at = _next_whole(data, at) if found is None else found[2]


def _record_at(data: mmap.mmap, start: int) -> tuple[dict[str, Any], int, int] | None:
    """(header, start, stop) of the record that begins at `start` and fits the file."""
    try:
        body = start + PREFIX_BYTES
        header = data[body : body + record_layout(data[start:body])]
        fields, nbytes = record_header(header)
    except WireError:
        return None
    stop = start + record_nbytes(len(header), nbytes)
    return (fields, start, stop) if stop <= len(data) else None


def _checked(data: mmap.mmap, record: tuple[dict[str, Any], int, int]) -> bool:
    _, start, _ = record
    payload = start + PREFIX_BYTES + record_layout(data[start : start + PREFIX_BYTES])
    header = data[start + PREFIX_BYTES : payload]
    end = payload + record_header(header)[1]
    return is_whole(header, data[payload:end], data[end : end + 4])


def _next_whole(data: mmap.mmap, start: int) -> int:
    """Where the next whole record behind `start` begins, -1 if there is none."""
    while (start := data.find(MAGIC, start + 1)) >= 0:
        record = _record_at(data, start) if start % ALIGN == 0 else None
        if record is not None and _checked(data, record):
            return start
    return -1


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sfj"))
