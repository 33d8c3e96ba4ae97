"""Frames that a step hands on, as an OME-Zarr in the session: a corrected movie that other programs open as it is.

An image of the array stands at its frame's index. What never came is NaN, and a chunk without any frame is no file. The
chunks are the plain pixels, so that writing needs no library. Each is written aside and renamed: a run that is killed
leaves whole chunks, and one that goes on writes the frames behind its checkpoint again, to the same bits.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from zlib_ng import zlib_ng

from ..core.block import Block
from ..core.errors import SessionError
from ..core.spec import Spec
from .disk_calls import DiskCalls
from .files import put_in_place, save_json, sync_folder
from .record_file import Damage

CHUNK_BYTES = 4 << 20  # frames are put together to about so much
FLUSH_S = 1.0
MAX_FRAMES, MAX_SIDE = 1 << 40, 1 << 20  # of an array that is read
ARRAY, META = "0", "zarr.json"
_CHUNK = re.compile(r"c[.](0|[1-9][0-9]{0,17})[.]0[.]0")


class StepFrames(NamedTuple):
    """A block of frames that a step handed on."""

    step: str
    block: Block


class HandedFrames(NamedTuple):
    """What a step hands on, and whether its frames have the indices of the source's."""

    spec: Spec
    by_index: bool


def step_frames_path(place: Path, step: str) -> Path:
    """Return the OME-Zarr of a step's frames in the folder of its session, or of its plane in there."""
    return place / "frames" / f"{step}.ome.zarr"


class StepFramesWriter:
    """Writes frames by index; belongs to one thread. Frames before index `kept` are there from a run before.

    What waits is written every second, or with the chunk. `calls` watches what is asked of the disk. `crcs` has the
    crc32 of each chunk that was written here. Raises OSError.
    """

    def __init__(self, path: Path, spec: Spec, kept: int, calls: DiskCalls) -> None:
        self.path, self._spec, self._calls = path, spec, calls
        self._dtype = np.dtype(spec.dtype).newbyteorder("<")
        self._length = max(1, CHUNK_BYTES // (math.prod(spec.shape) * self._dtype.itemsize))
        self._buffer = np.empty((self._length, *spec.shape), self._dtype)
        self._number, self._waits, self._since = -1, False, 0.0  # which chunk the buffer is
        self._stop = self._told = 0  # one past the last frame, and as the metadata have it
        self._told_at = time.monotonic()
        self._unsynced: set[Path] = set()
        self.crcs: dict[Path, int] = {}
        if kept and (path / ARRAY / META).exists():
            self._go_on(kept)
        else:
            shutil.rmtree(path, ignore_errors=True)
            (path / ARRAY).mkdir(parents=True)
            save_json(path / META, _group(spec))
            self._tell()

    def add(self, block: Block) -> None:
        """Take frames. Raises OSError where those before them are refused; the same ones may then come again."""
        for start in range(block.index - block.index % self._length, block.stop, self._length):
            part = block.cut(max(start, block.index), min(start + self._length, block.stop))
            self._turn_to(start // self._length)
            self._buffer[part.index - start : part.stop - start] = part.pixels
            self._since = self._since if self._waits else time.monotonic()
            self._waits, self._stop = True, max(self._stop, part.stop)

    def flush_if_due(self) -> None:
        """Write what waits, if it waited long enough. Raises OSError; it still waits then."""
        if self._waits and time.monotonic() - self._since >= FLUSH_S:
            self.flush()
        if time.monotonic() - self._told_at >= FLUSH_S:  # fast frames never wait: their chunks are full before
            self._tell()

    def flush(self) -> None:
        """Write what waits. Raises OSError; it still waits then."""
        if not self._waits:
            return
        path = self._chunk(self._number)
        aside = path.with_name(f"{path.name}.partial")
        try:
            with self._calls.timed("frames write"), aside.open("wb") as file:
                file.write(self._buffer.data)
                if path.exists():  # it may be all that a power cut would leave of frames that a checkpoint counts on
                    file.flush()
                    os.fsync(file.fileno())
            put_in_place(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._waits = False
        self.crcs[path] = zlib_ng.crc32(self._buffer.data)
        self._unsynced.add(path)

    def sync(self) -> None:
        """Write what waits, and wait until the disk has all of it. Raises OSError."""
        self.flush()
        with self._calls.timed("frames fsync"):
            for path in sorted(self._unsynced):
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            if self._unsynced:
                sync_folder(self.path / ARRAY)
        self._unsynced.clear()
        self._tell()

    def close(self) -> None:
        """Write what waits and sync. Raises OSError."""
        self.sync()

    def _turn_to(self, number: int) -> None:
        """Make the buffer that of another chunk."""
        if number == self._number:
            return
        self.flush()
        self._buffer[:] = np.nan
        if (path := self._chunk(number)).exists():
            held = np.fromfile(path, self._dtype)
            if held.size == self._buffer.size:
                self._buffer[:] = held.reshape(self._buffer.shape)
        self._number = number

    def _tell(self) -> None:
        """Have the metadata say how many frames are written."""
        stop = min(self._stop, self._number * self._length) if self._waits else self._stop
        if stop > self._told or not (self.path / ARRAY / META).exists():
            save_json(self.path / ARRAY / META, _array(self._spec, stop, self._length, self._dtype))
            self._told = stop
        self._told_at = time.monotonic()

    def _go_on(self, kept: int) -> None:
        """Keep the frames before index `kept`, and no others."""
        layout = read_layout(self.path)
        if layout != (self._spec.shape, self._length, self._dtype, layout.stop):
            raise SessionError(f"{self.path}: holds frames of another shape or type; take it out of this session")
        self._stop = self._told = min(layout.stop, kept)
        for number in range(kept // self._length, -(-layout.stop // self._length)):
            path, first = self._chunk(number), number * self._length
            if first >= kept:
                path.unlink(missing_ok=True)
            elif path.exists():
                self._turn_to(number)
                self._buffer[kept - first :] = np.nan
                self._waits = True
                self.flush()

    def _chunk(self, number: int) -> Path:
        return self.path / ARRAY / f"c.{number}.0.0"


class Layout(NamedTuple):
    """How the frames of an array lie: shape of one, how many a chunk, their type, one past the last index."""

    shape: tuple[int, int]
    length: int
    dtype: np.dtype[Any]
    stop: int


def read_layout(path: Path) -> Layout:
    """Return how the frames of a step lie. Raises SessionError for what no run writes, and for a link elsewhere."""
    session = path.parents[1]
    if not (path / ARRAY / META).resolve().is_relative_to(session.resolve()):
        raise SessionError(f"{path}: leads out of its session by a link; do not trust it")
    try:
        facts = json.loads((path / ARRAY / META).read_text(encoding="utf-8"))
        stop, *shape = facts["shape"]
        length, *sides = facts["chunk_grid"]["configuration"]["chunk_shape"]
        dtype = np.dtype(facts["data_type"]).newbyteorder("<")
        numbers = [stop, *shape, length, *sides]
        whole = all(type(n) is int for n in numbers) and len(shape) == 2 and sides == shape and dtype.kind == "f"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SessionError(f"{path}: no frames that can be read: {type(error).__name__}: {error}") from None
    if not whole or not 0 <= stop < MAX_FRAMES or not all(0 < n <= MAX_SIDE for n in (*shape, length)):
        raise SessionError(f"{path}: no frames of a run of ours; do not trust it")
    if length > max(1, CHUNK_BYTES // (math.prod(shape) * dtype.itemsize)):
        raise SessionError(f"{path}: chunks of {length} frames, more than a run of ours writes")
    return Layout((shape[0], shape[1]), length, dtype, stop)


def read_step_frames(
    path: Path, start: int, stop: int, damaged: Callable[[Damage], None] = lambda damage: None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield index and pixels (y, x) of the frames with start ≤ index < stop, one by one; those that never came are
    left out, and what is `damaged` is, and told. Raises SessionError where nothing can be read."""
    layout = read_layout(path)
    start, stop = max(0, start), min(stop, layout.stop)
    for number, file in _chunks(path):
        first = number * layout.length
        if first >= stop or first + layout.length <= start:
            continue
        if (damage := _damage_of(file, first, layout)) is not None:
            damaged(damage)
            continue
        chunk = np.fromfile(file, layout.dtype).reshape(layout.length, *layout.shape)
        for index in range(max(start, first), min(stop, first + layout.length)):
            pixels = chunk[index - first]
            if not np.isnan(pixels).all():
                yield index, pixels.astype(layout.dtype.newbyteorder("="))


def damaged_chunks(path: Path) -> Iterator[Damage]:
    """Yield what of a step's frames cannot be read, as far as the sizes of files say: no pixel is read."""
    try:
        layout = read_layout(path)
    except SessionError as error:
        yield Damage(path / ARRAY / META, 0, None, str(error))
        return
    for number, file in _chunks(path):
        first = number * layout.length
        if first < layout.stop and (damage := _damage_of(file, first, layout)) is not None:
            yield damage


def _damage_of(file: Path, first: int, layout: Layout) -> Damage | None:
    """What is wrong with the chunk that begins with frame `first`, None where it has its size."""
    nbytes = layout.length * math.prod(layout.shape) * layout.dtype.itemsize
    if file.is_symlink() or not file.is_file():
        what = "no file"
    elif (found := file.stat().st_size) != nbytes:
        what = f"{found} bytes where a chunk has {nbytes}"
    else:
        return None
    return Damage(file, 0, (first, min(layout.length, layout.stop - first)), what)


def _chunks(path: Path) -> list[tuple[int, Path]]:
    """The chunks that there are, by number: a forged array may speak of more than anybody could count."""
    found = (file for file in (path / ARRAY).glob("c.*.0.0") if _CHUNK.fullmatch(file.name))
    return sorted((int(file.name.split(".")[1]), file) for file in found)


def _group(spec: Spec) -> Mapping[str, Any]:
    """What OME-Zarr 0.5 says of the image."""
    seconds = {"name": "t", "type": "time"} | ({"unit": "second"} if spec.interval_s else {})
    space = {"type": "space"} | ({"unit": "micrometer"} if spec.pixel_um else {})
    scale = [spec.interval_s or 1.0, spec.pixel_um or 1.0, spec.pixel_um or 1.0]
    image = {
        "name": "frames",
        "axes": [seconds, {"name": "y", **space}, {"name": "x", **space}],
        "datasets": [{"path": ARRAY, "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "multiscales": [image]}}}


def _array(spec: Spec, frames: int, length: int, dtype: np.dtype[Any]) -> Mapping[str, Any]:
    return {
        "zarr_format": 3, "node_type": "array", "shape": [frames, *spec.shape], "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [length, *spec.shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "NaN", "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["t", "y", "x"], "attributes": {},
    }  # fmt: skip
