"""NWB image series whose frames lie in other files beside the NWB: its `external_file`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .hdf5_storage import check_own, find
from .plane_selection import Stack
from .planes import PlaneSource, Window

MAX_FILES = 10_000
INSIDE = ("channel", "z")  # what may be selected of each file
NEVER = (".nwb", ".h5", ".hdf5", ".mat")  # they could name each other without end


def external_series(file: Any, h5py: Any) -> dict[str, Any]:
    """Return the `external_file` datasets of an NWB file by the name of their series."""
    found: dict[str, Any] = {}

    def look(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and key.endswith("/external_file") and "neurodata_type" in item.parent.attrs:
            found["/" + key.removesuffix("/external_file")] = item

    file.visititems(look)
    return found


class NwbExternalSource(PlaneSource):
    """The files of an NWB image series in turn, as one recording; rate and timestamps are the NWB's where it has them.

    Only files in the NWB's own folder or below it are opened. Raises SourceError for others, for one that is not there
    and for files whose frames differ.
    """

    selections = (*PlaneSource.selections, "dataset")

    def __init__(self, path: Path, selection: Mapping[str, str], name: str) -> None:
        self._name, self._sources = name, list[PlaneSource]()
        super().__init__(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        import h5py

        from .hdf5 import nwb_facts

        with h5py.File(path, "r") as file:
            series = file[self._name]
            files = list(_files(find(file, h5py, path, f"{self._name}/external_file"), h5py, path))
            inside = {key: selection[key] for key in INSIDE if key in selection}
            for beside in files:
                self._sources.append(_opened(beside, inside, path))
                first, here = self._sources[0].spec, self._sources[-1].spec
                if (here.shape, here.dtype) != (first.shape, first.dtype):
                    raise SourceError(
                        f"{path}: {beside.name} is {here.shape} {here.dtype}, {files[0].name} {first.shape} "
                        f"{first.dtype}; frames of one series are alike"
                    )
            lengths = [source.series.frames or 0 for source in self._sources]
            facts = nwb_facts(series, h5py, path, sum(lengths))
        self._starts = np.cumsum([0, *lengths])
        self._at = [0] * len(lengths)  # the frame that each file gives next
        there = np.concatenate([source.is_there() for source in self._sources])
        stack = Stack({"time": len(there)}, first.shape, first.dtype, first.interval_s, first.pixel_um, there=there)
        stack = replace(stack, channels=(first.channel,) if first.channel else (), selected=frozenset(inside))
        return replace(stack, user=self._sources[0].series.user, **facts)

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        super()._select(stack, selection)
        parts = [self.series.uid, *(source.series.uid for source in self._sources)]
        self.series = replace(self.series, uid=hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest())

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        parts, done = list[np.ndarray](), 0
        while done < len(numbers):
            n = int(np.searchsorted(self._starts, numbers[done], "right")) - 1
            first = int(numbers[done] - self._starts[n])
            source, count = self._sources[n], min(len(numbers) - done, int(self._starts[n + 1] - numbers[done]))
            if self._at[n] != first:
                source.seek(first)
            block = next(source.blocks(count))
            self._at[n], done = block.stop, done + len(block)
            parts.append(block.pixels[:, *window])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        super().close()
        for source in self._sources:
            source.close()


def _files(held: Any, h5py: Any, path: Path) -> Iterator[Path]:
    """The files that a series names. Raises SourceError for one outside the NWB's folder, or that is not there."""
    check_own(held, h5py, path)
    if held.ndim > 1 or not 0 < held.size <= MAX_FILES or held.dtype.kind not in "OS":
        raise SourceError(f"{path}: external_file is a list of 1 to {MAX_FILES} names, found {held.shape} {held.dtype}")
    folder = path.parent.resolve()
    for raw in np.atleast_1d(held[()]).tolist():
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        beside, is_there = None, False
        with suppress(OSError, ValueError, RuntimeError):  # what no file can be called; links in a circle
            beside = (folder / text).resolve()
            is_there = beside.is_file()
        if beside is None or not beside.is_relative_to(folder):
            raise SourceError(f"{path}: its frames lie outside this file's folder, {text[:200]!r}; move them beside it")
        if not is_there:
            raise SourceError(f"{path}: a file of its frames is missing, {text[:200]!r}; copy it to where it was")
        yield beside


def _opened(file: Path, selection: Mapping[str, str], path: Path) -> PlaneSource:
    from .opening import file_reader

    kind = None if file.suffix.lower() in NEVER else file_reader(file)
    if kind is None:
        raise SourceError(f"{path}: its frames are in {file.name}, a kind of file that is not read from an NWB")
    known = {key: text for key, text in selection.items() if key in kind.selections}
    source = kind.open(file, known)
    if not isinstance(source, PlaneSource):
        source.close()
        raise SourceError(f"{path}: its frames are in {file.name}, which is no recording of frames")
    return source
