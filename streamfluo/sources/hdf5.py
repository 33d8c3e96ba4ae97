"""HDF5 and NWB recordings as sources. A door to h5py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .arrays import AXES
from .declared import check_chunks, check_declared, in_one_line, positive
from .hdf5_storage import check_chunk_sizes, check_own, find
from .planes import MAX_TIME_NS, PlaneSource, Stack, Window, runs

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

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        try:
            import h5py
        except ImportError:
            raise SourceError(f"{path}: {ASK_FOR_LIBRARY}") from None
        with in_one_line(f"{path}: not an HDF5 file that can be read"):
            try:
                return self._describe(h5py, path, selection.get("dataset"))
            except OSError as error:
                raise SourceError(f"{path}: {_why(error)}") from None

    def _describe(self, h5py: Any, path: Path, name: str | None) -> Stack:
        """Open the dataset that is meant. Raises SourceError, or what h5py raises on damaged bytes."""
        self._file = h5py.File(path, "r")
        data = _dataset(self._file, h5py, path, name)
        name, cache_nbytes = data.name, _cache_nbytes(data)
        if data.chunks is not None:
            check_chunks(path, data.chunks, data.shape, data.dtype.itemsize)
            check_chunk_sizes(data, path)
        self._file.close()
        self._file = h5py.File(path, "r", rdcc_nbytes=cache_nbytes)
        self._dataset = data = self._file[name]
        nwb = data.parent if "neurodata_type" in data.parent.attrs and data.name.endswith("/data") else None
        facts = _nwb_facts(nwb, h5py, path) if nwb is not None else _plain_facts(data)
        # NWB stores frames as (t, x, y), volumes as (t, x, y, z); MATLAB writes (y, x, z, t) as (t, z, x, y).
        self._transposed, self._columns = nwb is not None, nwb is None and "MATLAB_class" in data.attrs
        shape = data.shape[:1] + data.shape[1:][::-1] if self._transposed else data.shape
        if self._columns:
            shape = (*shape[:-2], shape[-1], shape[-2])
        self._shape = shape[-2:]
        axes = dict(zip(AXES[len(shape)], shape[:-2], strict=True))
        return Stack(axes, shape[-2:], data.dtype.newbyteorder("=").name, **facts)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        with in_one_line(f"{self.path}: plane {numbers[0]} or after it cannot be decoded"):
            return self._decoded(numbers, window)

    def _decoded(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        data, sizes = self._dataset, self._sizes()
        shape = tuple(len(range(*w.indices(n))) for w, n in zip(window, self._shape, strict=True))
        pixels = np.empty((len(numbers), *shape), data.dtype.newbyteorder("="))
        for offset, first, count in runs(numbers):
            if len(sizes) == 1 and not (self._transposed or self._columns):
                data.read_direct(pixels, np.s_[first : first + count, *window], np.s_[offset : offset + count])
                continue
            for n, number in enumerate(range(first, first + count), offset):
                pixels[n] = self._plane(tuple(int(i) for i in np.unravel_index(number, sizes)) if sizes else (), window)
        return pixels

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


def _cache_nbytes(data: Any) -> int:
    """What the chunk cache must hold so that no chunk is decoded twice: nothing where a chunk is one frame (reading
    is 1.4 times as fast then), else the chunks that cover a frame."""
    if data.chunks is None or data.chunks[0] == 1:
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


def _dataset(file: Any, h5py: Any, path: Path, name: str | None) -> Any:
    """The dataset named, or the only one that holds images. Raises SourceError that lists them."""
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
        if images and min(item.shape[-2:]) >= MIN_SIDE_PX and item.shape[0] > 0:
            found["/" + key] = item

    if name is not None and isinstance(item := find(file, h5py, path, name), h5py.Dataset):
        check_own(item, h5py, path)
        if item.ndim in AXES:
            return item
    file.visititems(look)
    listed = ", ".join(f"{key} {item.shape} {item.dtype}" for key, item in found.items()) or "none"
    if name is not None:
        raise SourceError(f"{path}: no dataset of images {name!r}; there is {listed}")
    if refused and not found:
        raise refused[0]
    if len(found) != 1:
        raise SourceError(f"{path}: datasets of images: {listed}; name one: {path.name}?dataset=/path")
    return next(iter(found.values()))


def _nwb_facts(series: Any, h5py: Any, path: Path) -> dict[str, Any]:
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
    if times is not None and times.shape == series["data"].shape[:1] and times.dtype.kind in "iuf":
        check_declared(path, "timestamps", times.size * 8)
        at_s, wrong = mended_times(np.asarray(times, float))
        if len(at_s) > 1 and (np.diff(at_s) > 0).all() and np.abs(at_s[[0, -1]]).max() * 1e9 < MAX_TIME_NS:
            facts |= {"interval_s": float(np.median(np.diff(at_s))), "times_ns": np.rint(at_s * 1e9).astype(np.int64)}
            if len(wrong):
                facts["user"] = {"timestamps": f"{len(wrong)} of {len(at_s)} were wrong, the first of frame {wrong[0]}"}
    return facts


def mended_times(at_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return times (t,) [s] with single ones that are none, or out of order, put between those beside them; and which.

    At an end the median of the other intervals is added. Times that are wrong side by side stay as they are.
    """
    times, inside = at_s.copy(), np.isfinite(at_s)
    step = np.diff(at_s)
    typical = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    padded = np.concatenate([[at_s[1] - 2 * typical], at_s, [at_s[-2] + 2 * typical]]) if len(at_s) > 2 else at_s
    if len(at_s) < 3:
        return times, np.empty(0, int)
    before, after = padded[:-2], padded[2:]
    with np.errstate(invalid="ignore"):
        wrong = (after > before) & ~(inside & (before < at_s) & (at_s < after))
    times[wrong] = (before[wrong] + after[wrong]) / 2
    return times, np.flatnonzero(wrong)


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
