"""TIFF and BigTIFF stacks as a source: read in blocks, never whole. The only door to tifffile."""

from __future__ import annotations

import io
import json
import logging
import math
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from ..core.block import Block
from ..core.errors import FrameError, SourceError
from ..core.spec import FRAME_DTYPES, Spec
from .source import MAX_BLOCK_FRAMES, Series, Source, content_uid, parse_frames

# What tifffile warns about and matters to us is raised as SourceError; a host that configures logging still sees it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6, "min": 60.0}
_MICRONS = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3}
# Formats whose planes only tifffile can name; the others say it in one tag, at no cost for 100 000 pages.
_LISTED_BY_TIFFFILE = ("lsm", "stk", "ndtiff", "mmstack", "fluoview", "scanimage")

_IMAGEJ_AXES = {"time": "frames", "channel": "channels", "z": "slices"}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PREDICTOR, _FORMAT = 256, 257, 258, 259, 277, 278, 317, 339
_LAYOUT = {_WIDTH: 0, _HEIGHT: 0, _BITS: 1, _COMPRESSION: 1, _SAMPLES: 1, _ROWS: 2**32 - 1, _PREDICTOR: 1, _FORMAT: 1}
_STRIPS, _KIND = ((273, 324), (279, 325)), 254  # offsets and byte counts, each of strips or of tiles
_WANTED = {*_LAYOUT, *_STRIPS[0], *_STRIPS[1], _KIND}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


class TiffSource(Source):
    """The frames of a TIFF stack (any single leading axis is time), with `selection["frames"]` = "start:stop".

    A selection is a series of its own: its first frame has index 0. `times_ns` are index · interval, and all 0 where
    the file names no interval (`spec.interval_s` is None). `series.t0_ns` is the OME acquisition date where that
    comes with a time zone, else the file's modification time. Raises SourceError at construction for anything that
    cannot be read as one plane stream, and while reading if the file changes or a frame cannot be decoded.
    """

    def __init__(self, path: Path, selection: dict[str, str]) -> None:
        self.path: Path = path
        self._next = 0
        try:
            self._file = io.FileIO(path)
            if not path.stat().st_size:
                raise SourceError(f"{path}: empty, 0 bytes; nothing was written to it, record or copy it again")
            self._open(selection)
        except OSError as error:
            self.close()
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
        except BaseException:
            self.close()
            raise

    def _open(self, selection: dict[str, str]) -> None:
        path = self.path
        first = _describe(path)
        self._page, about = first.page, first.about
        try:
            self.spec = Spec(self._page.shape, self._page.dtype.name, about.interval_s, about.pixel_um)
        except FrameError as error:
            raise SourceError(f"{path}: {error}") from None
        self._directories = _Directories(self._file, path.stat().st_size, first.order, first.big)
        chain = _Chain.walk(self._directories, self._page.offset, self.spec.frame_nbytes, first.raw)
        chain.expect(math.prod(about.sizes.values()), about.one_directory)
        frames = chain.select(selection.get("frames"), path)
        self._raw = chain.raw
        self._at = np.frombuffer(chain.data if chain.raw else chain.directories, np.int64)[frames.start : frames.stop]
        self._stored = self._page.dtype.newbyteorder(first.order)
        if not self._raw:
            self._decoded(0, np.empty(self.spec.shape, self.spec.dtype))
        query = "&".join(f"{key}={value}" for key, value in selection.items())
        began = path.stat().st_mtime_ns if about.t0_ns is None else about.t0_ns
        self.series = Series(
            uid=content_uid(path, selection),
            source=path.name + (f"?{query}" if query else ""),
            t0_ns=began + round(frames.start * (about.interval_s or 0) * 1e9),
            frames=len(frames),
        )

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        """Yield the frames from the present position on, (t, y, x) with t ≤ `max_frames`. Raises SourceError."""
        while self._next < len(self._at):
            start, stop = self._next, min(self._next + max_frames, len(self._at))
            times_ns = np.rint(np.arange(start, stop) * ((self.spec.interval_s or 0) * 1e9)).astype(np.int64)
            pixels = self._read(start, stop)
            self._next = stop
            yield Block(start, times_ns, pixels)

    def seek(self, index: int) -> None:
        """Make `index` the next frame; the number of frames is the end. Raises SourceError outside the series."""
        if not 0 <= index <= len(self._at):
            raise SourceError(f"{self.path}: no frame {index}; there are {len(self._at)}, from 0 on")
        self._next = index

    def close(self) -> None:
        """Give the file back."""
        if hasattr(self, "_file"):
            self._file.close()

    def _read(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, *self.spec.shape)
        if not self._raw:
            pixels = np.empty(shape, self.spec.dtype)
            for index, frame in enumerate(pixels, start):
                self._decoded(index, frame)
            return pixels
        pixels, at = np.empty(shape, self._stored), self._at[start:stop]
        if (np.diff(at) == self.spec.frame_nbytes).all():
            self._fill(pixels, int(at[0]), start)
        else:
            for index, frame in enumerate(pixels):
                self._fill(frame, int(at[index]), start + index)
        return pixels

    def _fill(self, target: np.ndarray, at: int, index: int) -> None:
        rest = target.reshape(-1).view(np.uint8)
        try:
            self._file.seek(at)
            while rest.size:
                count = self._file.readinto(rest.data)
                if not count:
                    raise self._cut_while_reading(index)
                rest = rest[count:]
        except OSError as error:
            raise SourceError(f"{self.path}: reading at frame {index} failed: {error.strerror or error}") from None

    def _decoded(self, index: int, out: np.ndarray) -> None:
        """Decode frame `index` into `out` (y, x)."""
        try:
            page = self._directories.read(int(self._at[index]))
            if page is None:
                raise self._cut_while_reading(index)
            for number, (at, count) in enumerate(zip(page.offsets, page.counts, strict=True)):
                packed = self._directories.bytes_at(at, count)
                if len(packed) < count:
                    raise self._cut_while_reading(index)
                part, (_, _, y, x, _), _ = self._page.decode(packed, number, jpegtables=self._page.jpegtables)
                target = out[y : y + part.shape[1], x : x + part.shape[2]]
                target[...] = part[0, : target.shape[0], : target.shape[1], 0]
        except SourceError:
            raise
        except OSError as error:
            raise SourceError(f"{self.path}: reading frame {index} failed: {error.strerror or error}") from None
        except Exception as error:  # whatever a codec raises on bytes it cannot take
            raise self._undecodable(index, error) from None

    def _cut_while_reading(self, index: int) -> SourceError:
        return SourceError(
            f"{self.path}: ended while frame {index} was read; it was cut or replaced since it was opened"
        )

    def _undecodable(self, index: int, error: Exception) -> SourceError:
        name = getattr(self._page.compression, "name", self._page.compression)
        if "imagecodecs" in str(error):
            hint = 'pip install "streamfluo[formats]"'
            return SourceError(f"{self.path}: compressed with {name}, which needs imagecodecs; {hint}")
        return SourceError(f"{self.path}: frame {index} ({name}) cannot be decoded, the file is damaged there: {error}")


@dataclass
class _About:
    """What the metadata say: planes by axis name, frame interval, pixel size, start.

    `one_directory`: the format may describe all planes, one after the other in the file, by their first directory.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    one_directory: bool = False
    interval_s: float | None = None
    pixel_um: float | None = None
    t0_ns: int | None = None


class _First(NamedTuple):
    """The first page as tifffile sees it; `raw`: its pixels are stored as they are, in one run."""

    page: Any
    about: _About
    raw: bool
    order: str
    big: bool


def _describe(path: Path) -> _First:
    """Return the first page and what the metadata say. Raises SourceError."""
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            _check(page, path)
            return _First(page, _about(tif, page, path), bool(page.is_final), tif.byteorder, tif.is_bigtiff)
    except (SourceError, OSError):
        raise
    except IndexError:
        raise SourceError(f"{path}: a TIFF without a whole page, cut short at the start; copy it again") from None
    except Exception as error:  # whatever tifffile raises on bytes that are no TIFF
        raise SourceError(f"{path}: not a TIFF that can be read: {error}; convert it to TIFF") from None


def _check(page: Any, path: Path) -> None:
    name = "unknown" if page.dtype is None else page.dtype.name
    if not page.shape or not all(isinstance(size, int) and size > 0 for size in page.shape):
        raise SourceError(f"{path}: page 0 has no size, the file is damaged at its start; copy it again")
    if len(page.shape) != 2:
        raise _several_planes(path, dict(zip(page.dims, page.shape, strict=True)))
    if name not in FRAME_DTYPES:
        known = ", ".join(FRAME_DTYPES)
        raise SourceError(f"{path}: pixels of type {name} are not supported; convert them to one of {known}")


def _several_planes(path: Path, sizes: dict[str, int]) -> SourceError:
    found = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    return SourceError(f"{path}: several planes: {found}; one plane stream is read, save the plane as its own file")


def _about(tif: Any, page: Any, path: Path) -> _About:
    try:
        if page.shaped_description is not None:
            about = _about_shaped(json.loads(page.shaped_description), page)
        elif tif.is_ome:
            about = _about_ome(ElementTree.fromstring(tif.ome_metadata))
        elif tif.is_imagej:
            about = _about_imagej(tif.imagej_metadata, page)
        elif any(getattr(tif, f"is_{kind}", False) for kind in _LISTED_BY_TIFFFILE):
            sizes = zip(tif.series[0].dims, tif.series[0].shape, strict=True)
            planes = {axis: size for axis, size in sizes if axis not in ("height", "width")}
            about = _About(planes, one_directory=tif.is_stk)
        else:
            about = _About()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, SyntaxError):
        about = _About()  # damaged metadata say nothing; the pages speak for themselves
    about.sizes = {axis: size for axis, size in about.sizes.items() if size > 1}
    if len(about.sizes) > 1:
        raise _several_planes(path, about.sizes | dict(zip(page.dims, page.shape, strict=True)))
    return about


def _about_shaped(meta: dict[str, Any], page: Any) -> _About:
    """Read what tifffile itself writes: {"shape": [t, y, x], "axes": "TYX"}."""
    *planes, height, width = (int(size) for size in meta["shape"])
    if (height, width) != page.shape:
        return _About()
    axes = meta.get("axes") or [f"axis {number}" for number in range(len(planes))]
    names = (tifffile.TIFF.AXES_NAMES.get(axis, axis) for axis in axes)
    return _About(dict(zip(names, planes, strict=False)), one_directory=True)


def _about_ome(root: ElementTree.Element) -> _About:
    images = root.findall("{*}Image")
    pixels = images[0].findall("{*}Pixels")[0].attrib
    sizes = {"image": len(images)}
    sizes |= {name: int(pixels[f"Size{axis}"]) for name, axis in (("time", "T"), ("channel", "C"), ("z", "Z"))}
    x, y = (_scaled(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"), _MICRONS) for a in "XY")
    interval_s = _scaled(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), _SECONDS)
    return _About(sizes, False, interval_s, _square(x, y), _utc_ns(images[0].findtext("{*}AcquisitionDate")))


def _about_imagej(meta: dict[str, Any], page: Any) -> _About:
    sizes = {name: int(meta.get(key, 1)) for name, key in _IMAGEJ_AXES.items()}
    if math.prod(sizes.values()) == 1:
        sizes = {"image": int(meta.get("images", 1))}
    interval_s = _scaled(meta.get("finterval"), meta.get("tunit", "s"), _SECONDS)
    fps = _scaled(meta.get("fps"), "s", _SECONDS)
    if interval_s is None and fps is not None and "finterval" not in meta:
        interval_s = 1 / fps
    x, y = (_scaled(_pixel_side(page, f"{axis}Resolution"), meta.get("unit"), _MICRONS) for axis in "XY")
    return _About(sizes, True, interval_s, _square(x, y))


def _pixel_side(page: Any, tag: str) -> float | None:
    """Return the side of a pixel in the file's unit; the tag is pixels per unit as a fraction."""
    pixels, units = page.tags[tag].value if tag in page.tags else (0, 1)
    return units / pixels if pixels else None


def _scaled(value: Any, unit: Any, units: dict[str, float]) -> float | None:
    """Return `value` in our unit, None for no value, an unknown unit or what cannot be a length or a duration."""
    factor = units.get(str(unit).strip().lower().replace("\\u00b5", "µ").replace("μ", "µ"))
    if value is None or factor is None:
        return None
    scaled = float(value) * factor
    return scaled if 0 < scaled < math.inf else None


def _square(x: float | None, y: float | None) -> float | None:
    """Return the side of a pixel, None where x and y differ: one number would be wrong for one of them."""
    return x if x is None or y is None or math.isclose(x, y, rel_tol=0.01) else None


def _utc_ns(text: str | None) -> int | None:
    """Return UTC epoch nanoseconds, None where the time zone is not given: hours off is worse than the file's time."""
    date = datetime.fromisoformat(text) if text else None
    if date is None or date.tzinfo is None:
        return None
    return (date - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000


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


class _Directories:
    """Reads image directories at their place in the file, None where there is no whole one.

    tifffile takes every page to be like the first, and keeps an object for each; here each is looked at, none kept.
    """

    def __init__(self, file: io.FileIO, size: int, order: str, big: bool) -> None:
        self._file, self.size, self._order = file, size, order
        self._number, self._entry = struct.Struct(order + "HQ"[big]), struct.Struct(order + ("HHI4s", "HHQ8s")[big])
        self._following = struct.Struct(order + "IQ"[big])

    def bytes_at(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes, fewer at the end of the file."""
        if at >= self.size:
            return b""
        self._file.seek(at)
        return self._file.read(min(count, self.size - at)) or b""

    def read(self, at: int) -> _Directory | None:
        head = self.bytes_at(at, 1024)  # most directories in one call
        if len(head) < self._number.size:
            return None
        start = self._number.size
        stop = start + self._number.unpack_from(head)[0] * self._entry.size
        if stop + self._following.size > len(head):
            head = self.bytes_at(at, stop + self._following.size)
        if stop + self._following.size > len(head):
            return None
        tags = {code: rest for code, *rest in self._entry.iter_unpack(head[start:stop]) if code in _WANTED}
        layout = {code: self._numbers(tags.get(code), default)[:1] for code, default in _LAYOUT.items()}
        offsets, counts = (next((self._numbers(tags[c]) for c in codes if c in tags), ()) for codes in _STRIPS)
        if not all(layout.values()) or not offsets or len(offsets) != len(counts):
            return None
        flat = {code: value[0] for code, value in layout.items()}
        flat[_ROWS] = min(flat[_ROWS], flat[_HEIGHT])
        reduced = bool(sum(self._numbers(tags.get(_KIND))[:1]) & 1)
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
class _Chain:
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

    @classmethod
    def walk(cls, reader: _Directories, at: int, nbytes: int, raw: bool) -> _Chain:
        """Follow the directories from `at` to the end or to the first page that is not like page 0, or not whole."""
        chain, seen = cls(reader.size, nbytes, raw), set[int]()
        while at and chain.problem is None:
            found = None if at in seen else reader.read(at)
            if found is None:
                chain.problem = f"cut short: its list of pages breaks off after {len(chain.data)} pages"
                break
            seen.add(at)
            if not (chain.first and found.reduced):
                chain._add(at, found)
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
            self.problem = f"aborted or continued in another file: it names {declared} frames and holds {found}"

    def select(self, text: str | None, path: Path) -> range:
        """Return the frames that `text` selects. Raises SourceError if it asks for more than the whole ones."""
        whole = len(self.data)
        if self.problem is None or (whole and text and not text.endswith(":")):
            return parse_frames(text, whole, str(path))
        rest = f"its first {whole} frames are whole: read them as {path.name}?frames=0:{whole}"
        raise SourceError(f"{path}: {self.problem}; {rest if whole else 'no frame is whole, copy or record it again'}")

    def _add(self, at: int, found: _Directory) -> None:
        number, self.first = len(self.data), self.first or found
        if found.layout != self.first.layout or len(found.offsets) != len(self.first.offsets):
            pairs = zip(found.describe(), self.first.describe(), strict=True)
            here, there = next((here, there) for here, there in pairs if here != there)
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
