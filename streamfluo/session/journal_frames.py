"""Frames in the files of a journal: which files there are, where the frames of each lie, and how one is read."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..core.block import Block
from ..core.errors import StreamfluoError
from ..core.header import user_nbytes
from ..core.plane import plane_in, plane_name
from ..core.records import Record, record_at, record_payload
from ..core.spec import frame_dtype
from .record_file import Damage, mapped, scan_records

MAX_SEGMENT_BYTES = 1 << 33  # a segment ends with the block that makes it larger than SEGMENT_BYTES
MAX_INDEX = 1 << 62
FOREIGN = "a frame of another series,"
_NAME = re.compile("[0-9]{6,9}[.]sfj")


class Frame(NamedTuple):
    """A frame as it was recorded: its index, its time, its pixels (y, x), what the sender said of it."""

    number: int
    t_ns: int
    pixels: np.ndarray
    user: Mapping[str, Any]


class Places:
    """Where each frame is: its index, its plane's and its file's number, its first byte and the one behind its last."""

    def __init__(self) -> None:
        self.indices, self.planes = array("q"), array("B")
        self._numbers, self._starts, self._stops = array("q"), array("q"), array("q")

    def add(self, *place: int) -> None:
        """Add the place of a frame behind the others."""
        for column, value in zip(self._columns, place, strict=True):
            column.append(value)

    def pop(self) -> tuple[int, ...]:
        """Take the last place away and return it."""
        return tuple(column.pop() for column in self._columns)

    def reached(self, plane: int) -> int:
        """Return one past the last index of a plane."""
        last = next((n for n in reversed(range(len(self.planes))) if self.planes[n] == plane), None)
        return 0 if last is None else self.indices[last] + 1

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all of them but the planes, (4, n), and the planes (n,)."""
        return np.array([self.indices, self._numbers, self._starts, self._stops], np.int64), np.array(self.planes)

    def __getitem__(self, n: int) -> tuple[int, ...]:
        return tuple(column[n] for column in self._columns)

    @property
    def _columns(self) -> tuple[array[int], ...]:
        return self.indices, self.planes, self._numbers, self._starts, self._stops


class Segments:
    """Frames read one after the other; the segment that the last one lay in stays open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def frame(self, path: Path, index: int, start: int, stop: int) -> Frame | Damage:
        """Return the frame of the record from byte `start` to `stop`."""
        try:
            if self._file is None or path != self._path:
                self.close()
                self._path, self._file = path, path.open("rb")
            self._file.seek(start)
            data = self._file.read(stop - start)
            record = record_at(data, 0)
            payload, fields = record_payload(data, record), record.fields
            pixels = np.frombuffer(payload, frame_dtype(fields["dtype"])).reshape(fields["shape"])
            if user := fields.get("user") or {}:
                user_nbytes(user)
            return Frame(index, int(fields["t_ns"] or 0), pixels, user)
        except (OSError, KeyError, TypeError, ValueError, StreamfluoError) as error:
            return Damage(path, start, (index, 1), str(error))

    def close(self) -> None:
        """Close the segment that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()


def block_of(frames: list[Frame], plane: str) -> Block:
    """Return consecutive frames of a plane as one block."""
    channel, _, z = plane.rpartition("/")
    times_ns, user = np.array([frame.t_ns for frame in frames]), {f.number: f.user for f in frames if f.user}
    pixels = np.stack([frame.pixels for frame in frames])
    return Block(frames[0].number, times_ns, pixels, channel, int(z or 0), user)


def plane_of(record: Record, planes: Sequence[str]) -> str | None:
    """Return the plane of a frame, None where the series has no such one."""
    fields = record.fields
    return plane_in(planes, plane_name(str(fields.get("channel", "")), fields.get("z", 0)))


def start_of(number: Any, start: Any) -> Any:
    """Return where a frame begins, in one number: its file's, and its first byte there."""
    return number * MAX_SEGMENT_BYTES + start


def time_ns_of(record: Record) -> int:
    """Return the time of a frame [ns], 0 where its header says none that a camera could."""
    t_ns = record.fields.get("t_ns")
    return t_ns if type(t_ns) is int and abs(t_ns) < 1 << 62 else 0


def segment_paths(folder: Path) -> list[Path]:
    """Return the journal's files in order; what is not named as we name them is none of them."""
    return sorted((p for p in folder.glob("*.sfj") if _NAME.fullmatch(p.name)), key=lambda path: int(path.stem))


def missing_segments(folder: Path, paths: list[Path]) -> Iterator[Damage]:
    """Yield files that are gone, by their numbers: a frame in them was never a gap. One for those side by side."""
    for before, behind in pairwise([-1, *(int(path.stem) for path in paths)]):
        if (count := behind - before - 1) > 0:
            others = f", and {count - 1} behind it" if count > 1 else ""
            yield Damage(folder / f"{before + 1:06d}.sfj", 0, None, f"the file is missing{others}")


def frames_in(path: Path, series_uid: str, planes: Sequence[str]) -> Iterator[Record | Damage]:
    """Yield the frames of one file, whose headers are whole and of this series."""
    try:
        with mapped(path) as data:
            for found in scan_records(path, data):
                if isinstance(found, Damage):
                    yield found
                    continue
                fields = found.fields
                index = fields.get("index")
                if fields.get("type") != "image" or type(index) is not int or not 0 <= index < MAX_INDEX:
                    yield Damage(path, found.start, None, "no frame")
                elif fields.get("series_uid") != series_uid:
                    yield Damage(path, found.start, None, f"{FOREIGN} {str(fields.get('series_uid'))[:64]!r}")
                elif plane_of(found, planes) is None:
                    yield Damage(path, found.start, None, "a frame of a plane that the series does not have")
                else:
                    yield found
    except OSError as error:
        yield Damage(path, 0, None, f"cannot be read: {error.strerror}")
