"""The journal: every frame as it came, before anything touches it, in append-only files of records."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.errors import SessionError
from ..core.plane import ONE_PLANE, plane_in
from ..core.records import Record, encode_record
from ..core.source import MAX_BLOCK_FRAMES
from .disk_calls import DiskCalls
from .journal_frames import (
    FOREIGN,
    Frame,
    Places,
    Segments,
    block_of,
    frames_in,
    missing_segments,
    plane_of,
    segment_paths,
    start_of,
    time_ns_of,
)
from .record_file import Damage, RecordFile

SEGMENT_BYTES = 1 << 30
SYNC_BYTES = 256 << 20
SYNC_S = 1.0
PLANES_APART = 1024  # frames


class JournalWriter:
    """Appends frames to `folder`, a new file each GiB; goes on after the last whole record it finds there.

    Synced to disk every 256 MiB or second. `reached` has for each of `planes` one past the last frame written, 0 where
    there is none. What a crash tore behind it is put aside. `calls` watches what is asked of the disk. Raises
    SessionError where another series is recorded.
    """

    def __init__(
        self, folder: Path, series_uid: str, planes: Sequence[str] = (ONE_PLANE,), calls: DiskCalls | None = None
    ) -> None:
        self._calls = calls or DiskCalls()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._uid, self._planes = folder, series_uid, tuple(planes)
        self._number, size = 0, 0
        self.reached = dict.fromkeys(planes, 0)
        self._places = Places()
        for path in segment_paths(folder):
            self._number, size = int(path.stem), 0
            for found in frames_in(path, series_uid, self._planes):
                if isinstance(found, Record):
                    plane = plane_of(found, self._planes) or ONE_PLANE
                    self._note(found.fields["index"], plane, found.start, found.stop)
                    size = found.stop
                elif found.reason.startswith(FOREIGN):
                    raise SessionError(f"{found}; take it out of this journal")
        self._read_back = Segments()
        while self.frames and isinstance(self._frame(self.frames - 1), Damage):  # pages that never reached the disk
            *_, size, _ = self._places.pop()
            self.reached = {name: self._places.reached(n) for n, name in enumerate(self._planes)}
        self._file = RecordFile(self._path(self._number), size, True, self._calls, "journal")
        self._crcs: dict[str, int | None] = dict.fromkeys(path.name for path in segment_paths(folder))
        self._synced_at, self._unsynced = time.monotonic(), 0

    def append(self, block: Block) -> None:
        """Write the frames of a block. Raises OSError when the disk refuses one; those before it are written."""
        plane = self.plane(block)
        for n, pixels in enumerate(block.pixels):
            record = encode_record(wire.encode(wire.image_of(self._uid, block, n, block.index + n)), [pixels])
            self._file.append(record)
            length = sum(len(buffer) for buffer in record)
            self._unsynced += length
            self._note(block.index + n, plane, self._file.size - length, self._file.size)
        if self._unsynced >= SYNC_BYTES or time.monotonic() - self._synced_at >= SYNC_S:
            self._file.sync()
            self._synced_at, self._unsynced = time.monotonic(), 0
        if self._file.size >= SEGMENT_BYTES:
            following = RecordFile(self._path(self._number + 1), calls=self._calls, name="journal")
            self._file.close()
            self._crcs[self._file.path.name] = self._file.crc32
            self._file, self._number = following, self._number + 1

    def plane(self, block: Block) -> str:
        """Return the plane that a block is of. Raises SessionError for one that the series does not have."""
        plane = plane_in(self._planes, block.plane)
        if plane is None:
            raise SessionError(f"{self._folder}: a frame of plane {block.plane!r}, which the series does not have")
        return plane

    def close(self) -> None:
        """Sync and close; frames can still be read back."""
        self._file.close()

    @property
    def crcs(self) -> dict[str, int | None]:
        """The crc32 of each file by its name, None of one that was there before."""
        return {**self._crcs, self._file.path.name: self._file.crc32}

    def release(self) -> None:
        """Close the file that was read back last; frames can still be read."""
        self._read_back.close()

    @property
    def next_index(self) -> int:
        """One past the last frame written, of the plane that is furthest behind."""
        return min(self.reached.values())

    @property
    def frames(self) -> int:
        """How many frames are written."""
        return len(self._places.indices)

    def block(self, n: int, max_frames: int = MAX_BLOCK_FRAMES) -> Block:
        """Read back the n-th frame written and consecutive ones of its plane behind it; from one thread at a time.

        Raises SessionError if it is damaged.
        """
        first, plane = self._places.indices[n], self._places.planes[n]
        frames: list[Frame] = []
        for at in range(n, min(n + max_frames, self.frames)):
            if (self._places.indices[at], self._places.planes[at]) != (first + at - n, plane):
                break
            frame = self._frame(at)
            if isinstance(frame, Damage):
                if not frames:
                    raise SessionError(str(frame))
                break
            frames.append(frame)
        return block_of(frames, self._planes[plane])

    def find(self, index: int, plane: str) -> int | None:
        """Return which of the frames written is the first of a plane from an index on, None if there is none.

        Planes whose frames came far apart are looked through as far as PLANES_APART frames.
        """
        if plane not in self._planes:
            return None
        places, number = self._places, self._planes.index(plane)
        near = bisect_left(places.indices, index)
        around = range(max(0, near - PLANES_APART), min(self.frames, near + PLANES_APART))
        mine = (n for n in around if places.planes[n] == number and places.indices[n] >= index)
        return next(mine, None) if len(self._planes) > 1 else near if near < self.frames else None

    def _frame(self, n: int) -> Frame | Damage:
        index, _, number, start, stop = self._places[n]
        return self._read_back.frame(self._path(number), index, start, stop)

    def _note(self, index: int, plane: str, start: int, stop: int) -> None:
        self._places.add(index, self._planes.index(plane), self._number, start, stop)
        self.reached[plane] = index + 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.sfj"


class JournalReader:
    """The frames of one series in a journal, by index. What is damaged, or of another series, stands in `damaged`.

    `indices` is of each frame, in their order; of several `planes` those of one index stand side by side. Built by
    scanning headers: about 20 µs and 40 B of memory a frame. A frame's pixels are checked when it is read.
    """

    def __init__(self, folder: Path, series_uid: str, planes: Sequence[str] = (ONE_PLANE,)) -> None:
        self._planes, self._uid, self._of_series = tuple(planes), series_uid, tuple(planes)
        self._paths = segment_paths(folder)
        self._lost: set[tuple[int, int]] = set()  # frames whose pixels were found damaged: file's number, first byte
        self._damaged = dict.fromkeys(missing_segments(folder, self._paths))
        places = Places()
        for number, path in enumerate(self._paths):
            for found in frames_in(path, series_uid, self._planes):
                if isinstance(found, Damage):
                    self._damaged[found] = None
                else:
                    plane = self._planes.index(plane_of(found, self._planes) or ONE_PLANE)
                    places.add(found.fields["index"], plane, number, found.start, found.stop)
        rows, of_plane = places.rows()
        order = np.lexsort((of_plane, rows[0]))
        again = (np.diff(rows[0, order]) == 0) & (np.diff(of_plane[order]) == 0)
        last = order[np.append(~again, True)[: len(order)]]  # of a frame that was written twice the last one counts
        self._places, self._of_plane = rows[:, last], of_plane[last]
        self.indices: np.ndarray = self._places[0]

    def of(self, plane: str) -> JournalReader:
        """Return a reader of one plane's frames; what it finds damaged is noted here too."""
        part = copy(self)
        part._planes = (plane,)
        part._places = self._places[:, self._of_plane == self._planes.index(plane)]
        part.indices = part._places[0]
        part.__dict__.pop("times_ns", None)
        return part

    @cached_property
    def times_ns(self) -> np.ndarray:
        """The time (n,) of each frame of `indices`, 0 where its header says none. Reads all headers once more."""
        starts, t_ns = array("q"), array("q")
        for number, path in enumerate(self._paths):
            for found in frames_in(path, self._uid, self._of_series):
                if isinstance(found, Record):
                    starts.append(start_of(number, found.start))
                    t_ns.append(time_ns_of(found))
        _, mine, theirs = np.intersect1d(start_of(self._places[1], self._places[2]), starts, True, return_indices=True)
        times_ns = np.zeros(len(self.indices), np.int64)
        times_ns[mine] = np.array(t_ns, np.int64)[theirs]
        return times_ns

    @property
    def damaged(self) -> tuple[Damage, ...]:
        """What was found damaged so far: headers when it was opened, pixels when they were read."""
        return tuple(self._damaged)

    @property
    def whole(self) -> int:
        """How many frames there are without those whose pixels were found damaged so far."""
        return len(self.whole_indices)

    @property
    def whole_indices(self) -> np.ndarray:
        """The indices of the frames, without those whose pixels were found damaged so far."""
        _, numbers, starts, _ = self._places
        lost = [(numbers == n) & (starts == at) for n, at in self._lost]
        return self.indices[~np.any(lost, axis=0)] if lost else self.indices

    @property
    def nbytes(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self._paths)

    def read(self, start: int, stop: int) -> Iterator[Frame]:
        """Yield the frames with start ≤ index < stop that are whole."""
        segments = Segments()
        first, behind = np.searchsorted(self.indices, [start, stop]).tolist()
        for at in range(first, behind):
            index, number, begins, ends = self._places[:, at].tolist()
            frame = segments.frame(self._paths[number], index, begins, ends)
            if isinstance(frame, Damage):
                self._damaged[frame] = None
                self._lost.add((number, begins))
            else:
                yield frame

    def blocks(self, start: int = 0, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        """Yield the frames from index `start` on as blocks of at most `max_frames`, cut at gaps.

        Of several planes the same frames come one plane after the other.
        """
        stop = int(self.indices[-1]) + 1 if len(self.indices) else 0
        if len(self._planes) == 1:
            yield from self._blocks(start, stop, max_frames)
            return
        parts = [self.of(plane) for plane in self._planes]
        for first in range(start, stop, max_frames):
            for part in parts:
                yield from part._blocks(first, min(first + max_frames, stop), max_frames)

    def _blocks(self, start: int, stop: int, max_frames: int) -> Iterator[Block]:
        waiting: list[Frame] = []
        for frame in self.read(start, stop):
            if waiting and (len(waiting) == max_frames or frame[0] != waiting[-1][0] + 1):
                yield block_of(waiting, *self._planes)
                waiting = []
            waiting.append(frame)
        if waiting:
            yield block_of(waiting, *self._planes)
