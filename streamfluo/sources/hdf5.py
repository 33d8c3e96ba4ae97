"""HDF5 and NWB recordings as sources. A door to h5py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .arrays import AXES
from .declared import check_chunks, check_declared, check_planes, facts_of_times, in_one_line, positive
from .hdf5_storage import check_chunk_sizes, check_own, find
from .hdf5_torn import opened, whole_images
from .nwb_external import external_series
from .plane_selection import Stack
from .planes import PlaneSource, Window, runs

MAX_CACHE_BYTES = 128 << 20
MIN_SIDE_PX = 4  # smaller sides are tables of coordinates, not images
ASK_FOR_LIBRARY = 'needs h5py; install it with pip install "streamfluo[formats]"'


class Hdf5Source(PlaneSource):
    """An image series in an HDF5 file: the only dataset of images in it, or `?dataset=/path/in/file`.

    MATLAB's version 7.3 files are HDF5, of which rows and columns are exchanged. NWB image series (`acquisition/NAME`)
    give their rate, start and timestamps; elsewhere the attributes `interval_s`, `fps` or `element_size_um` of the
    dataset are taken where they are.
    """

    selections = (*PlaneSource.selections, "dataset")
    _nbytes: int | None = None  # of a file that is cut short

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        name = _named_outside(path, selection.get("dataset")) if path.suffix.lower() == ".nwb" else None
        if name is None:
            return cls(path, selection)
        from .nwb_external import NwbExternalSource

        return NwbExternalSource(path, selection, name)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        try:
            import h5py
        except ImportError:
            raise SourceError(f"{path}: {ASK_FOR_LIBRARY}") from None
        with in_one_line(f"{path}: not an HDF5 file that can be read"):
            try:
                return self._describe(h5py, path, selection.get("dataset"))
            except SourceError:
                raise
            except Exception as error:
                if self._nbytes is not None:
                    where = f"{path}: cut short at byte {self._nbytes}"
                    raise SourceError(f"{where}, and what it holds stood behind that; copy it again") from None
                if isinstance(error, OSError):
                    raise SourceError(f"{path}: {_why(error)}") from None
                raise

    def _describe(self, h5py: Any, path: Path, name: str | None) -> Stack:
        """Open the dataset that is meant. Raises SourceError, or what h5py raises on damaged bytes."""
        self._file, self._nbytes = opened(h5py, path)
        data = _dataset(self._file, h5py, path, name)
        name, is_nwb = data.name, _is_nwb(data)
        cache_nbytes = _cache_nbytes(data, is_nwb)
        if data.chunks is not None:
            check_chunks(path, data.chunks, data.shape, data.dtype.itemsize)
            check_chunk_sizes(data, path)
        self._file.close()
        self._file, _ = opened(h5py, path, rdcc_nbytes=cache_nbytes)
        self._dataset = data = self._file[name]
        facts = nwb_facts(data.parent, h5py, path, data.shape[0]) if is_nwb else _plain_facts(data)
        # NWB stores frames as (t, x, y), volumes as (t, x, y, z); MATLAB writes (y, x, z, t) as (t, z, x, y).
        self._transposed, self._columns = is_nwb, not is_nwb and "MATLAB_class" in data.attrs
        shape = data.shape[:1] + data.shape[1:][::-1] if self._transposed else data.shape
        if self._columns:
            shape = (*shape[:-2], shape[-1], shape[-2])
        self._shape = shape[-2:]
        axes = dict(zip(AXES[len(shape)], shape[:-2], strict=True))
        image_axes = (0, *range(3, data.ndim)[::-1]) if self._transposed else tuple(range(data.ndim - 2))
        check_planes(path, math.prod(axes.values()))
        check_declared(path, "a frame", math.prod(shape[-2:]) * data.dtype.itemsize)
        there = whole_images(data, image_axes, self._nbytes)
        if there is not None and not there.any():
            raise SourceError(f"{path}: cut short: no image of {name} is whole; copy it again")
        if self._nbytes is not None:
            facts["user"] = facts.get("user", {}) | {"cut": f"ends at byte {self._nbytes}, its header names more"}
        there = None if there is None else there.reshape(-1)
        return Stack(axes, shape[-2:], data.dtype.newbyteorder("=").name, there=there, **facts)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        return self._images([numbers], window)[0]

    def _images(self, parts: Sequence[np.ndarray], window: Window) -> list[np.ndarray]:
        """In the order of the file, through its cache: a chunk with images of several planes is decoded once."""
        with in_one_line(f"{self.path}: plane {parts[0][0]} or after it cannot be decoded"):
            data, sizes = self._dataset, self._sizes()
            shape = tuple(len(range(*w.indices(n))) for w, n in zip(window, self._shape, strict=True))
            images = [np.empty((len(numbers), *shape), data.dtype.newbyteorder("=")) for numbers in parts]
            if len(sizes) == 1 and not (self._transposed or self._columns):
                for pixels, numbers in zip(images, parts, strict=True):
                    for offset, first, count in runs(numbers):
                        data.read_direct(pixels, np.s_[first : first + count, *window], np.s_[offset : offset + count])
                return images
            places = [(int(number), n, at) for n, numbers in enumerate(parts) for at, number in enumerate(numbers)]
            for number, n, at in sorted(places):
                place = tuple(int(i) for i in np.unravel_index(number, sizes)) if sizes else ()
                images[n][at] = self._plane(place, window)
            return images

    def _plane(self, at: tuple[int, ...], window: Window) -> np.ndarray:
        if self._columns:
            return self._dataset[*at, *window[::-1]].T
        if not self._transposed:
            return self._dataset[*at, *window]
        time, *deeper = at
        return self._dataset[time, window[1], window[0], *deeper[::-1]].T

    def _sizes(self) -> tuple[int, ...]:
        shape = self._dataset.shape
        return (shape[0], *shape[3:][::-1]) if self._transposed else shape[:-2]

    def close(self) -> None:
        super().close()
        if hasattr(self, "_file"):
            self._file.close()


def _cache_nbytes(data: Any, transposed: bool) -> int:
    """What the chunk cache must hold so that no chunk is decoded twice: nothing where a chunk is one frame (reading
    is 1.4 times as fast then), else the chunks that cover a frame."""
    if data.chunks is None or math.prod(data.chunks[:1] + data.chunks[3:] if transposed else data.chunks[:-2]) == 1:
        return 0
    covering = math.prod(-(-n // c) * c for n, c in zip(data.shape[1:], data.chunks[1:], strict=True))
    return min(MAX_CACHE_BYTES, data.chunks[0] * covering * data.dtype.itemsize)


def _why(error: OSError) -> str:
    text = str(error)
    if "consistency flags" in text or "already open for write" in text:
        return "left open by the program that wrote it, or still being written; close that, or run h5clear -s on a copy"
    if "truncated" in text:
        return f"cut short: {text[text.index('truncated') :]}; copy it again"
    if "signature not found" in text:
        return "not an HDF5 file; nothing of one at its start"
    return f"not an HDF5 file that can be read: {text}"


def _named_outside(path: Path, name: str | None) -> str | None:
    """Return the NWB image series that is meant, if its frames lie in other files. Raises SourceError for several."""
    try:
        import h5py

        with h5py.File(path, "r") as file:
            series = external_series(file, h5py)
            if name is not None or not series or _images_in(file, h5py, path)[0]:
                return next((key for key in series if name is not None and key.strip("/") == name.strip("/")), None)
    except (ImportError, OSError, RuntimeError, KeyError, ValueError):
        return None  # what it is is said when it is opened
    if len(series) > 1:
        raise SourceError(f"{path}: series of images: {', '.join(series)}; name one: {path.name}?dataset=/path")
    return next(iter(series))


def _is_nwb(data: Any) -> bool:
    return "neurodata_type" in data.parent.attrs and data.name.endswith("/data")


def _images_in(file: Any, h5py: Any, path: Path) -> tuple[dict[str, Any], list[SourceError]]:
    """The datasets of images by name, and why others are not read."""
    found: dict[str, Any] = {}
    refused: list[SourceError] = []

    def look(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        try:
            check_own(item, h5py, path)  # first: to ask for its shape may open other files
        except SourceError as error:
            refused.append(error)
            return
        images = item.ndim in (3, 4, 5) and item.dtype.kind in "uif"
        sides = item.shape[1:3] if _is_nwb(item) else item.shape[-2:]
        if images and min(sides) >= MIN_SIDE_PX and item.shape[0] > 0:
            found["/" + key] = item

    file.visititems(look)
    return found, refused


def _dataset(file: Any, h5py: Any, path: Path, name: str | None) -> Any:
    """The dataset named, or the only one that holds images. Raises SourceError that lists them."""
    if name is not None and isinstance(item := find(file, h5py, path, name), h5py.Dataset):
        check_own(item, h5py, path)
        if item.ndim in AXES:
            return item
    found, refused = _images_in(file, h5py, path)
    listed = ", ".join(f"{key} {item.shape} {item.dtype}" for key, item in found.items()) or "none"
    if name is not None:
        raise SourceError(f"{path}: no dataset of images {name!r}; there is {listed}")
    if refused and not found:
        raise refused[0]
    if len(found) != 1:
        raise SourceError(f"{path}: datasets of images: {listed}; name one: {path.name}?dataset=/path")
    return next(iter(found.values()))


def nwb_facts(series: Any, h5py: Any, path: Path, frames: int) -> dict[str, Any]:
    """Return interval, times and what was wrong with them, as Stack names them, of an NWB series of so many frames."""
    facts: dict[str, Any] = {}
    beside = {name: find(series.file, h5py, path, f"{series.name}/{name}") for name in ("starting_time", "timestamps")}
    held = {name: item for name, item in beside.items() if isinstance(item, h5py.Dataset)}
    for item in held.values():
        check_own(item, h5py, path)
        if item.chunks is not None:
            check_chunk_sizes(item, path)
    if "starting_time" in held and (rate := positive(held["starting_time"].attrs.get("rate"))):
        facts["interval_s"] = 1 / rate
    times = held.get("timestamps")
    if times is not None and times.shape == (frames,) and times.dtype.kind in "iuf":
        check_declared(path, "timestamps", times.size * 8)
        facts |= facts_of_times(np.asarray(times, float))
    return facts


def _plain_facts(data: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if interval_s := positive(data.attrs.get("interval_s")):
        facts["interval_s"] = interval_s
    elif fps := positive(data.attrs.get("fps", data.attrs.get("fr"))):
        facts["interval_s"] = 1 / fps
    size = np.asarray(data.attrs.get("element_size_um", ()), float).reshape(-1)
    if len(size) >= 2 and size[-1] == size[-2]:
        facts["pixel_um"] = positive(size[-1])
    return facts
