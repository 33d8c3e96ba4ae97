"""Recordings on disk as sources: planes along time, channel and z, one stream of which is selected.

A reader of a format says what the recording holds (a `Stack`) and reads planes by number; selection, blocks, times and
the series' identity are the same for all formats and stand here.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError, SourceError, did_you_mean
from ..core.source import MAX_BLOCK_FRAMES, Series, Source
from ..core.spec import FRAME_DTYPES, Spec
from .declared import check_declared, check_planes, positive
from .selection import content_uid, parse_frames

SELECTORS = ("frames", "channel", "z", "roi")
MAX_BLOCK_BYTES = 256 << 20  # of whole planes, at least one; 32 of 2048 × 2048 in 16 bits
MAX_TIME_NS = 1 << 62  # 146 years
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Stack:
    """What a recording holds: planes of `shape` (y, x) along `axes` (name → size, slowest first), and what it says of
    itself. `times_ns` are of the frames along time, where it has them; of the axes `selected` the reader has taken the
    plane that was selected. `there`: which planes, by number, were kept; None: all. The others are gaps."""

    axes: Mapping[str, int]
    shape: tuple[int, int]
    dtype: str
    interval_s: float | None = None
    pixel_um: float | None = None
    t0_ns: int | None = None
    channels: tuple[str, ...] = ()
    times_ns: np.ndarray | None = None
    user: Mapping[str, object] = field(default_factory=dict)
    selected: frozenset[str] = frozenset()
    there: np.ndarray | None = None


class PlaneSource(Source):
    """One stream of a recording's planes. `?channel=` (name or number), `z=`, `frames=a:b`, `roi=y0:y1,x0:x1` select.

    A selection is a series of its own: its first frame has index 0. Where the file has no times they are index ·
    interval, all 0 without an interval. Raises SourceError for what cannot be read as one stream of planes.
    """

    selections: ClassVar[tuple[str, ...]] = ("frames", "channel", "z", "roi")
    path: Path
    decodes: bool = False  # whether reading costs so much that a thread should be one block ahead

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        """Return the source that reads `path`."""
        return cls(path, selection)

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        self.path, self._next = path, 0
        self._ahead: tuple[int, int, Future[np.ndarray]] | None = None
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
        max_frames = max(1, min(max_frames, MAX_BLOCK_BYTES // self._plane_nbytes))
        while (part := self._part_from(self._next, max_frames)) is not None:
            start, stop = part
            pixels = self._taken(start, stop)
            if self.decodes and (ahead := self._part_from(stop, max_frames)) is not None:
                self._read_ahead(*ahead)
            self._next = stop
            yield Block(start, self._times_ns[start:stop], pixels, self.spec.channel)

    def _part_from(self, start: int, max_frames: int) -> tuple[int, int] | None:
        """Start and stop of the next frames that are there one after the other, None where there is none."""
        stop = min(start + max_frames, len(self._numbers))
        if self._there is not None:
            if not self._there[start:].any():
                return None
            start += int(np.argmax(self._there[start:]))
            stop = min(start + max_frames, len(self._numbers))
            lost = np.flatnonzero(~self._there[start:stop])
            stop = start + int(lost[0]) if len(lost) else stop
        return (start, stop) if start < stop else None

    def seek(self, index: int) -> None:
        if not 0 <= index <= len(self._numbers):
            raise SourceError(f"{self.path}: no frame {index}; there are {len(self._numbers)}, from 0 on")
        self._next = index

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _taken(self, start: int, stop: int) -> np.ndarray:
        """The frames, from the thread if it has read just these."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[:2] == (start, stop):
            return ahead[2].result()
        if ahead is not None:
            wait([ahead[2]])  # somebody sought elsewhere; two threads must not read one file
        return self._read(start, stop)

    def _read_ahead(self, start: int, stop: int) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, "decode")
        self._ahead = (start, stop, self._thread.submit(self._read, start, stop))

    def _read(self, start: int, stop: int) -> np.ndarray:
        try:
            return self._planes(self._numbers[start:stop], self._window)
        except OSError as error:
            raise SourceError(f"{self.path}: reading at frame {start} failed: {error}") from None

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        path = self.path
        if stack.dtype not in FRAME_DTYPES:
            known = ", ".join(FRAME_DTYPES)
            raise SourceError(f"{path}: pixels of type {stack.dtype} are not supported; convert them to one of {known}")
        self._plane_nbytes = math.prod(stack.shape) * np.dtype(stack.dtype).itemsize
        check_planes(path, math.prod(stack.axes.values()))
        check_declared(path, "a frame", self._plane_nbytes)
        numbers, channel = plane_numbers(stack, selection, path)
        frames = parse_frames(selection.get("frames"), len(numbers), str(path))
        self._window = parse_roi(selection.get("roi"), stack.shape, path)
        shape = tuple(len(range(*part.indices(size))) for part, size in zip(self._window, stack.shape, strict=True))
        try:
            interval_s = positive(stack.interval_s)
            if interval_s is not None and interval_s * 1e9 * len(numbers) > MAX_TIME_NS:
                interval_s = None  # damaged metadata say nothing
            spec = Spec(shape, stack.dtype, interval_s, positive(stack.pixel_um), channel)  # type: ignore[arg-type]
            self.spec = spec.with_(origin_px=tuple(part.start or 0 for part in self._window))
        except FrameError as error:
            raise SourceError(f"{path}: {error}") from None
        self._numbers = numbers[frames.start : frames.stop]
        self._there = None if stack.there is None or stack.there.all() else stack.there[self._numbers]
        times_ns = stack.times_ns
        if times_ns is None or len(times_ns) != len(numbers):
            times_ns = np.rint(np.arange(len(numbers)) * ((interval_s or 0) * 1e9)).astype(np.int64)
        self._times_ns = times_ns[frames.start : frames.stop] - times_ns[frames.start]
        began = path.stat().st_mtime_ns if stack.t0_ns is None else stack.t0_ns
        query = "&".join(f"{key}={value}" for key, value in selection.items())
        self.series = Series(
            uid=content_uid(path, selection),
            source=path.name + (f"?{query}" if query else ""),
            t0_ns=began + int(times_ns[frames.start]),
            frames=len(self._numbers),
            user=stack.user,
        )


def plane_numbers(stack: Stack, selection: Mapping[str, str], path: Path) -> tuple[np.ndarray, str]:
    """Return the planes along time that the selection leaves, by number, and the channel's name.

    Raises SourceError for an axis of several planes that nothing selects, listing what there is.
    """
    axes = {name: size for name, size in stack.axes.items() if size > 1}
    time = "time" if "time" in axes else next((name for name in axes if name not in selection), None)
    numbers = np.arange(math.prod(stack.axes.values())).reshape(tuple(stack.axes.values()) or (1,))
    names, channel = list(stack.axes), stack.channels[0] if len(stack.channels) == 1 else ""
    for axis in ("channel", "z"):
        if axis in selection and axis not in stack.selected:
            n = _number_of(axis, selection[axis], stack, path)
            channel = stack.channels[n] if axis == "channel" and n < len(stack.channels) else channel
            if axis in axes:
                numbers = np.take(numbers, [n], names.index(axis))
                del axes[axis]
    unselected = [axis for axis in axes if axis != time]
    if unselected:
        held = ", ".join(f"{axis} {size}" for axis, size in stack.axes.items() if size > 1)
        listed = f" ({', '.join(stack.channels)})" if "channel" in unselected and any(stack.channels) else ""
        ways = "&".join(f"{axis}=0" for axis in unselected if axis in ("channel", "z"))
        hint = f"select one: {path.name}?{ways}" if ways else "one plane stream is read; save it as a file of its own"
        raise SourceError(f"{path}: several planes: {held}{listed}; {hint}")
    return numbers.reshape(-1), channel


def _number_of(axis: str, text: str, stack: Stack, path: Path) -> int:
    size = stack.axes.get(axis, 1)
    if axis == "channel" and text in stack.channels:
        return stack.channels.index(text)
    if text.isdecimal() and int(text) < size:
        return int(text)
    if axis == "channel" and any(stack.channels):
        raise SourceError(f"{path}: no channel {text!r}{did_you_mean(text, stack.channels)}")
    raise SourceError(f"{path}: {axis}={text} selects nothing; there is {axis}=0 to {size - 1}")


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
