"""TIFF and BigTIFF stacks as a source: read in blocks, never whole. The only door to tifffile."""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from ..core.errors import SourceError
from ..core.spec import FRAME_DTYPES
from .declared import check_declared
from .plane_selection import Stack
from .planes import PlaneSource, Window
from .tiff_metadata import About, about_stack, axis_sizes, several_planes, stated_axes, with_appended
from .tiff_pages import Chain, Directories

# What tifffile warns about and matters to us is raised as SourceError; a host that configures logging still sees it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


SLACK_BYTES = 64 << 10  # what packing may add to a strip or tile: more would be unpacked into any size
DECODERS = min(4, os.cpu_count() or 1)


class TiffSource(PlaneSource):
    """The planes of a TIFF stack; any single leading axis is time. Where a file's metadata say less than its pages, or
    otherwise, `?axes=tzcyx&channels=2&slices=3` says what its pages are, slowest first.

    `series.t0_ns` is the OME acquisition date where that comes with a time zone, else the file's modification time.
    Raises SourceError at construction for anything that cannot be read as one plane stream, and while reading if the
    file changes or a frame cannot be decoded.
    """

    selections = (*PlaneSource.selections, "axes", "channels", "slices", "follow")

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        if "follow" in selection:
            from .tiff_follow import FollowedTiffSource

            return FollowedTiffSource(path, selection)
        return cls(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        self._file = io.FileIO(path)
        if not path.stat().st_size:
            raise SourceError(f"{path}: empty, 0 bytes; nothing was written to it, record or copy it again")
        first = _describe(path)
        self._page, about = first.page, first.about
        self._shape, self._dtype = self._page.shape, self._page.dtype
        self._frame_nbytes = math.prod(self._shape) * self._dtype.itemsize
        self._piece_nbytes = math.prod(self._page.chunks) * self._dtype.itemsize
        check_declared(path, "a frame", self._frame_nbytes)
        check_declared(path, "a strip or tile", self._piece_nbytes)
        self._directories = Directories(self._file, path.stat().st_size, first.order, first.big)
        chain, whole = self._pages(self._page.offset, first.raw, about, selection)
        self._raw = chain.raw
        self._at = np.array(chain.data if chain.raw else chain.directories)[:whole]
        self._stored = self._dtype.newbyteorder(first.order)
        self.decodes = not self._raw
        if not self._raw:
            self._decoders = ThreadPoolExecutor(DECODERS, "decoder")
            self._decoded(0, np.empty(self._shape, self._dtype))
        return self._described(self._understood(about, selection, whole))

    def _understood(self, about: About, selection: Mapping[str, str], pages: int) -> About:
        """What so many pages are, by what the metadata or a person says. Raises SourceError where they disagree."""
        about = stated_axes(with_appended(about, pages, self.path), selection, pages, self.path)
        about.check_pages(pages, self.path)
        return about

    def _described(self, about: About) -> Stack:
        """Return what the file holds, and leave out the pages that are flyback."""
        planes = about.planes_among(len(self._at))
        self._at = self._at[planes]
        axes = about.axes_of(len(planes))
        held = Stack(axes, self._shape, self._dtype.name, about.interval_s, about.pixel_um, about.t0_ns, about.channels)
        return replace(
            held, z_step_um=about.z_step_um, colours=about.colours, grows=about.grows, times_ns=about.times_ns
        )

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        """Where the pages are, from the directory `at` on, and how many are whole."""
        chain = Chain.walk(self._directories, at, self._frame_nbytes, raw)
        chain.expect(about.declared(), about.one_directory)
        return chain, chain.whole(selection.get("frames"), self.path)

    def close(self) -> None:
        """Give the file back."""
        super().close()
        if hasattr(self, "_decoders"):
            self._decoders.shutdown(cancel_futures=True)
        if hasattr(self, "_file"):
            self._file.close()

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        shape = (len(numbers), *self._shape)
        if not self._raw:
            pixels = np.empty(shape, self._dtype.newbyteorder("="))
            list(self._decoders.map(self._decoded, numbers.tolist(), pixels))
            return pixels[:, *window]
        pixels, at = np.empty(shape, self._stored), self._at[numbers]
        if (np.diff(at) == self._frame_nbytes).all():
            self._fill(pixels, int(at[0]), int(numbers[0]))
        else:
            for n, frame in enumerate(pixels):
                self._fill(frame, int(at[n]), int(numbers[n]))
        return pixels[:, *window]

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
                if count > 2 * self._piece_nbytes + SLACK_BYTES:
                    raise SourceError(f"{self.path}: frame {index} has {count} bytes for {self._piece_nbytes}")
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


class _First(NamedTuple):
    """The first page as tifffile sees it; `raw`: its pixels are stored as they are, in one run."""

    page: Any
    about: About
    raw: bool
    order: str
    big: bool


def _describe(path: Path) -> _First:
    """Return the first page and what the metadata say. Raises SourceError."""
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            _check(page, path)
            return _First(page, about_stack(tif, page, path), bool(page.is_final), tif.byteorder, tif.is_bigtiff)
    except (SourceError, OSError):
        raise
    except IndexError:
        raise SourceError(f"{path}: a TIFF without a whole page, cut short at the start; copy it again") from None
    except Exception as error:  # whatever tifffile raises on bytes that are no TIFF
        raise SourceError(f"{path}: not a TIFF that can be read: {error}; convert it to TIFF") from None


def _are_sizes(sizes: Any) -> bool:
    return bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)


def _has_pieces(page: Any) -> bool:
    """Whether strips or tiles have a size; a damaged tag holds several numbers where one is meant."""
    try:
        return _are_sizes(page.chunks)
    except TypeError:
        return False


def _check(page: Any, path: Path) -> None:
    name = "unknown" if page.dtype is None else page.dtype.name
    if not (_are_sizes(page.shape) and _has_pieces(page)):
        raise SourceError(f"{path}: page 0 has no size, the file is damaged at its start; copy it again")
    if len(page.shape) != 2:
        raise several_planes(path, axis_sizes(page))
    if name not in FRAME_DTYPES:
        known = ", ".join(FRAME_DTYPES)
        raise SourceError(f"{path}: pixels of type {name} are not supported; convert them to one of {known}")
