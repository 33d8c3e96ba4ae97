"""Recordings on disk as sources: images along time, channel and z, of which one plane or several are selected.

A reader of a format says what the recording holds (a `Stack`) and reads images by number; blocks, times and the series'
identity are the same for all formats and stand here, the selection in plane_selection.py.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError, SourceError
from ..core.plane import ONE_PLANE
from ..core.source import MAX_BLOCK_FRAMES, Series, Source
from ..core.spec import FRAME_DTYPES, Spec
from .declared import MAX_TIME_NS, check_declared, check_planes, positive
from .plane_selection import Stack, selected_images
from .selection import content_uid, parse_frames

MAX_BLOCK_BYTES = 256 << 20  # of whole planes, at least one; 32 of 2048 × 2048 in 16 bits
Window = tuple[slice, slice]
Part = tuple[int, int, int]  # which plane, its first time point, one past its last


class PlaneSource(Source):
    """One plane of a recording, or several. `?channel=` (name or number), `z=`, `planes=all` or `planes=green,red/1`,
    `frames=a:b` (time points), `roi=y0:y1,x0:x1` select.

    A selection is a series of its own: its first frame has index 0. Where the file has no times they are index ·
    interval, all 0 without an interval. Raises SourceError for what cannot be read as a stream of planes.
    """

    selections: ClassVar[tuple[str, ...]] = ("frames", "channel", "z", "planes", "roi")
    path: Path
    decodes: bool = False  # whether reading costs so much that a thread should be one block ahead

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        """Return the source that reads `path`."""
        return cls(path, selection)

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        self.path, self._next = path, 0
        self._todo, self._ready = deque[Part](), deque[Block]()  # planned and not read; read and not given
        self._ahead: tuple[list[Part], Future[list[np.ndarray]]] | None = None
        self._thread: ThreadPoolExecutor | None = None
        try:
            stack = self._open(path, selection)
            self._select(stack, selection)
        except OSError as error:
            self.close()
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        """Open the recording and say what it holds. Raises SourceError or OSError."""

    @abstractmethod
    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        """Return planes by number (n, y, x), cut to `window`. Raises SourceError that names the plane."""

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        """Yield, for each run of time points, a block of each plane; of a plane with missing images, its pieces."""
        points = max(1, min(max_frames, MAX_BLOCK_BYTES // (self._plane_nbytes * len(self._numbers))))
        while self._ready or self._more(points):
            block = self._ready.popleft()
            if len(block) > max_frames:  # read when more were asked for
                cut = block.index + max_frames
                self._ready.appendleft(block.cut(cut, block.stop))
                block = block.cut(block.index, cut)
            yield block

    def seek(self, index: int) -> None:
        points = self._numbers.shape[1]
        if not 0 <= index <= points:
            raise SourceError(f"{self.path}: no frame {index}; there are {points}, from 0 on")
        if self._ahead is not None:
            wait([self._ahead[1]])  # two threads must not read one file
        self._ahead, self._next = None, index
        self._todo.clear()
        self._ready.clear()

    def times_ns(self, plane: str = ONE_PLANE) -> np.ndarray:
        return np.array(self._times_ns[self.spec.plane_names.index(plane)])

    def is_there(self) -> np.ndarray:
        """Return which images of the first plane are there, along time."""
        return np.ones(self._numbers.shape[1], bool) if self._there is None else self._there[0]

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _more(self, points: int) -> bool:
        """Make the next blocks ready, from the thread if it has read them; returns whether there are any."""
        ahead, self._ahead = self._ahead, None
        batch = self._batch(points) if ahead is None else ahead[0]
        if not batch:
            return False
        try:
            images = self._read(batch) if ahead is None else ahead[1].result()
        except BaseException:
            self._todo.extendleft(reversed(batch))  # what failed fails again; it is not skipped
            raise
        if self.decodes and (after := self._batch(points)):
            self._thread = self._thread or ThreadPoolExecutor(1, "decode")
            self._ahead = after, self._thread.submit(self._read, after)
        for (n, start, stop), pixels in zip(batch, images, strict=True):
            channel, z = self._blocks_are_of[n]
            self._ready.append(Block(start, self._times_ns[n, start:stop], pixels, channel, z))
        return True

    def _batch(self, points: int) -> list[Part]:
        """The parts that are read next, all at once: those of a run of time points, as far as memory allows."""
        if not self._todo:
            self._todo.extend(self._parts(points))
        batch, room = list[Part](), MAX_BLOCK_BYTES
        while self._todo:
            _, start, stop = self._todo[0]
            room -= (stop - start) * self._plane_nbytes
            if batch and room < 0:
                break
            batch.append(self._todo.popleft())
        return batch

    def _parts(self, points: int) -> list[Part]:
        """The images, plane by plane, of the next time points from the first on at which a plane has one."""
        start, end = self._next, self._numbers.shape[1]
        if self._there is not None:
            seen = self._there[:, start:].any(0)
            start = start + int(np.argmax(seen)) if seen.any() else end
        self._next = stop = min(start + points, end)
        if self._there is None:
            return [(n, start, stop) for n in range(len(self._numbers)) if start < stop]
        rows = [(n, row.nonzero()[0]) for n, row in enumerate(self._there[:, start:stop]) if row.any()]
        return [(n, start + a, start + a + count) for n, found in rows for _, a, count in runs(found)]

    def _read(self, batch: Sequence[Part]) -> list[np.ndarray]:
        try:
            return self._images([self._numbers[n, start:stop] for n, start, stop in batch], self._window)
        except OSError as error:
            raise SourceError(f"{self.path}: reading at frame {batch[0][1]} failed: {error}") from None

    def _images(self, parts: Sequence[np.ndarray], window: Window) -> list[np.ndarray]:
        """Return the images of each part; a format whose chunks hold images of several planes reads them together."""
        return [self._planes(numbers, window) for numbers in parts]

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        path = self.path
        if stack.dtype not in FRAME_DTYPES:
            known = ", ".join(FRAME_DTYPES)
            raise SourceError(f"{path}: pixels of type {stack.dtype} are not supported; convert them to one of {known}")
        self._plane_nbytes = math.prod(stack.shape) * np.dtype(stack.dtype).itemsize
        check_planes(path, math.prod(stack.axes.values()))
        check_declared(path, "a frame", self._plane_nbytes)
        planes, channel, numbers = selected_images(stack, selection, path)
        count = numbers.shape[1]
        frames = parse_frames(selection.get("frames"), count, str(path))
        self._window = parse_roi(selection.get("roi"), stack.shape, path)
        shape = tuple(len(range(*part.indices(size))) for part, size in zip(self._window, stack.shape, strict=True))
        try:
            interval_s = positive(stack.interval_s)
            if interval_s is not None and interval_s * 1e9 * count > MAX_TIME_NS:
                interval_s = None  # damaged metadata say nothing
            origin_px = tuple(part.start or 0 for part in self._window)
            facts = (stack.dtype, interval_s, positive(stack.pixel_um), channel)
            self.spec = Spec(shape, *facts, origin_px=origin_px, planes=planes)  # type: ignore[arg-type]
        except FrameError as error:
            raise SourceError(f"{path}: {error}") from None
        self._blocks_are_of = [(plane.channel, plane.z) for plane in planes] or [(channel, 0)]
        self._numbers = numbers[:, frames.start : frames.stop]
        self._there = None if stack.there is None or stack.there.all() else stack.there[self._numbers]
        times_ns = image_times_ns(stack, numbers, interval_s)[:, frames.start : frames.stop]
        first_ns = int(times_ns[:, 0].min())
        self._times_ns = times_ns - first_ns
        began = path.stat().st_mtime_ns if stack.t0_ns is None else stack.t0_ns
        self.query = query = "&".join(f"{key}={value}" for key, value in selection.items())
        self.series = Series(
            uid=self._uid(selection),
            source=self._source_name() + (f"?{query}" if query else ""),
            t0_ns=began + first_ns,
            frames=self._numbers.size,
            user={**stack.user, **self._missing()},
        )

    def _uid(self, selection: Mapping[str, str]) -> str:
        """What tells this series from another."""
        return content_uid(self.path, selection)

    def _source_name(self) -> str:
        """What a series of this is called."""
        return self.path.name

    def _missing(self) -> dict[str, str]:
        """How many images are missing, and the first of them, in words; nothing where all are there."""
        lost = np.argwhere(~self._there.T) if self._there is not None else np.empty((0, 2), int)
        if not len(lost):
            return {}
        index, n = lost[0].tolist()
        of = f" of {self.spec.planes[n].name}" if self.spec.planes else ""
        return {"missing": f"{len(lost)} of {self._numbers.size} images, the first is frame {index}{of}"}


def image_times_ns(stack: Stack, numbers: np.ndarray, interval_s: float | None) -> np.ndarray:
    """Return the times of images (planes, t): each one's own, or their time point's, or index · interval."""
    times_ns, count = stack.times_ns, numbers.shape[1]
    if times_ns is not None and len(times_ns) == count:
        return np.broadcast_to(times_ns, numbers.shape)
    if times_ns is not None and len(times_ns) == math.prod(stack.axes.values()):
        return times_ns[numbers]
    return np.broadcast_to(np.rint(np.arange(count) * ((interval_s or 0) * 1e9)).astype(np.int64), numbers.shape)


def parse_roi(text: str | None, shape: tuple[int, int], path: Path) -> Window:
    """Return the window `y0:y1,x0:x1` of a frame. Raises SourceError if it is empty or reaches outside."""
    if text is None:
        return slice(None), slice(None)
    found = re.fullmatch(r"(\d*):(\d*),(\d*):(\d*)", text)
    if found:
        y0, y1, x0, x1 = (int(n) if n else None for n in found.groups())
        y0, y1, x0, x1 = y0 or 0, shape[0] if y1 is None else y1, x0 or 0, shape[1] if x1 is None else x1
        if 0 <= y0 < y1 <= shape[0] and 0 <= x0 < x1 <= shape[1]:
            return slice(y0, y1), slice(x0, x1)
    raise SourceError(f"{path}: roi={text} is not a window y0:y1,x0:x1 inside {shape[0]} × {shape[1]} pixels")


def runs(numbers: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, first, count) for each run of consecutive numbers."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for part in np.split(np.arange(len(numbers)), breaks):
        yield int(part[0]), int(numbers[part[0]]), len(part)
