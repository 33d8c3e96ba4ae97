"""Where the pages of a TIFF lie: its image directories followed one by one, up to the first that is not whole."""

from __future__ import annotations

import io
import struct
import threading
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import SourceError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PREDICTOR, _FORMAT = 256, 257, 258, 259, 277, 278, 317, 339
_LAYOUT = {_WIDTH: 0, _HEIGHT: 0, _BITS: 1, _COMPRESSION: 1, _SAMPLES: 1, _ROWS: 2**32 - 1, _PREDICTOR: 1, _FORMAT: 1}
_STRIPS, _KIND = ((273, 324), (279, 325)), 254  # offsets and byte counts, each of strips or of tiles
_WANTED = {*_LAYOUT, *_STRIPS[0], *_STRIPS[1], _KIND}
MAX_TAGS = 4096  # as tifffile; directories of more could overlap, and each would be read to the end of the file
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Directory:
    """One image directory: its layout by tag, where its strips or tiles lie, where the next directory is (0: none)."""

    layout: dict[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    reduced: bool
    following: int

    def describe(self) -> tuple[str, str]:
        """What the pixels are and how they are stored, in words."""
        tag = self.layout
        kind = {1: "uint", 2: "int", 3: "float"}.get(tag[_FORMAT], f"format {tag[_FORMAT]} of bits ")
        storage = f"compression {tag[_COMPRESSION]}, predictor {tag[_PREDICTOR]}, {tag[_SAMPLES]} samples"
        return (
            f"{tag[_HEIGHT]} × {tag[_WIDTH]} {kind}{tag[_BITS]}",
            f"{storage}, {len(self.offsets)} strips or tiles, rows per strip {tag[_ROWS]}",
        )

    def is_one_run(self) -> bool:
        """Whether the strips follow one another without a hole."""
        ends = (at + count for at, count in zip(self.offsets, self.counts, strict=True))
        return all(end == at for end, at in zip(ends, self.offsets[1:], strict=False))


class Directories:
    """Reads image directories at their place in the file, None where there is no whole one.

    tifffile takes every page to be like the first, and keeps an object for each; here each is looked at, none kept.
    """

    def __init__(self, file: io.FileIO, size: int, order: str, big: bool) -> None:
        self._file, self.size, self._order = file, size, order
        self._lock = threading.Lock()
        self._number, self._entry = struct.Struct(order + "HQ"[big]), struct.Struct(order + ("HHI4s", "HHQ8s")[big])
        self._following = struct.Struct(order + "IQ"[big])

    def bytes_at(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes, fewer at the end of the file."""
        if at >= self.size:
            return b""
        with self._lock:  # threads decode side by side
            self._file.seek(at)
            return self._file.read(min(count, self.size - at)) or b""

    def read(self, at: int) -> _Directory | None:
        head = self.bytes_at(at, 1024)  # most directories in one call
        if len(head) < self._number.size:
            return None
        start = self._number.size
        tags = self._number.unpack_from(head)[0]
        if tags > MAX_TAGS:
            return None
        stop = start + tags * self._entry.size
        if stop + self._following.size > len(head):
            head = self.bytes_at(at, stop + self._following.size)
        if stop + self._following.size > len(head):
            return None
        found = {code: rest for code, *rest in self._entry.iter_unpack(head[start:stop]) if code in _WANTED}
        layout = {code: self._numbers(found.get(code), default)[:1] for code, default in _LAYOUT.items()}
        offsets, counts = (next((self._numbers(found[c]) for c in codes if c in found), ()) for codes in _STRIPS)
        if not all(layout.values()) or not offsets or len(offsets) != len(counts):
            return None
        flat = {code: value[0] for code, value in layout.items()}
        flat[_ROWS] = min(flat[_ROWS], flat[_HEIGHT])
        reduced = bool(sum(self._numbers(found.get(_KIND))[:1]) & 1)
        return _Directory(flat, offsets, counts, reduced, self._following.unpack_from(head, stop)[0])

    def _numbers(self, tag: list[Any] | None, default: int = 0) -> tuple[int, ...]:
        """Return a tag's numbers, empty where they are none or lie outside the file."""
        if tag is None:
            return (default,)
        kind, count, inline = tag
        letter = _NUMBERS.get(kind, "")
        nbytes = count * struct.calcsize(f"={letter}")
        if nbytes > len(inline):
            inline = self.bytes_at(self._following.unpack(inline)[0], nbytes)
        if not letter or nbytes > len(inline):
            return ()
        return struct.unpack_from(f"{self._order}{count}{letter}", inline)


@dataclass
class Chain:
    """The whole pages of a file in order, and the `problem` that ends them where one does.

    `directories` and `data` are the positions of each page's directory and first pixel; `raw`: the pixels of each
    page lie uncompressed in one run of `nbytes`.
    """

    size: int
    nbytes: int
    raw: bool
    directories: array[int] = field(default_factory=lambda: array("q"))
    data: array[int] = field(default_factory=lambda: array("q"))
    first: _Directory | None = None
    problem: str | None = None
    differs: bool = False

    @classmethod
    def walk(cls, reader: Directories, at: int, nbytes: int, raw: bool) -> Chain:
        """Follow the directories from `at` to the end or to the first page that is not like page 0, or not whole."""
        chain, seen = cls(reader.size, nbytes, raw), set[int]()
        while at and chain.problem is None:
            found = None if at in seen else reader.read(at)
            if found is None:
                chain.problem = f"cut short: its list of pages breaks off after {len(chain.data)} pages"
                break
            seen.add(at)
            if not (chain.first and found.reduced):
                chain.add(at, found)
            at = found.following
        return chain

    def expect(self, declared: int, one_directory: bool) -> None:
        """Take in what the metadata say: `declared` frames, perhaps one after the other behind the first directory."""
        found, first = len(self.data), self.first
        if first is None or not 0 < found < declared:
            return
        start = first.offsets[0]
        behind = first.following >= start + declared * self.nbytes or (one_directory and not first.following)
        if self.raw and behind:
            whole = min(declared, max(0, self.size - start) // self.nbytes)
            self.data = array("q", range(start, start + whole * self.nbytes, self.nbytes))
            if whole < declared:
                end = start + declared * self.nbytes
                self.problem = f"cut short: {declared} frames end at byte {end}, the file has {self.size}"
        elif self.problem is None:
            where = "aborted, or continued in another file (then open their folder)"
            self.problem = f"{where}: it names {declared} frames and holds {found}"

    def whole(self, text: str | None, path: Path) -> int:
        """Return how many frames are whole. Raises SourceError if some are not and `text` does not end before them."""
        whole = len(self.data)
        if self.problem is None or (whole and text and not text.endswith(":")):
            return whole
        rest = f"its first {whole} frames are whole: read them as {path.name}?frames=0:{whole}"
        raise SourceError(f"{path}: {self.problem}; {rest if whole else 'no frame is whole, copy or record it again'}")

    def add(self, at: int, found: _Directory) -> None:
        """Take in a page, or set `problem`."""
        number, self.first = len(self.data), self.first or found
        if found.layout != self.first.layout or len(found.offsets) != len(self.first.offsets):
            pairs = zip(found.describe(), self.first.describe(), strict=True)
            here, there = next((here, there) for here, there in pairs if here != there)
            self.differs = True
            self.problem = f"its pages differ: page {number} is {here}, page 0 is {there}"
            return
        single = len(found.offsets) == 1
        if not single and (sum(found.counts) != self.nbytes or not found.is_one_run()):
            self.raw = False
        # ImageJ writes the bytes of the whole stack into the first page's only count.
        counts = (self.nbytes,) if self.raw and single else found.counts
        end = max(map(sum, zip(found.offsets, counts, strict=True)))
        if not all(found.offsets) or not all(counts):
            self.problem = f"page {number} has no pixels"
        elif end > self.size:
            self.problem = f"cut short: the pixels of page {number} end at byte {end}, the file has {self.size}"
        else:
            self.directories.append(at)
            self.data.append(found.offsets[0])
