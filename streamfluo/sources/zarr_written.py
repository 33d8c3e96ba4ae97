"""Which images of a Zarr array were written: of a recording that was stopped, or of which chunks are lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .declared import nbytes_of


def written_images(path: Path, array: Any, present: np.ndarray, time_axis: int) -> np.ndarray | None:
    """Return which images of an array (…, y, x) were written, by number, None where all were; `present`: its chunks.

    Where the fill value is none, or NaN, or anything but 0, a chunk that is not there was not written. Where it is 0,
    writers leave out chunks of zeros, so only images behind the last chunk of their plane are taken for not written.
    The last chunks of a recording that was stopped may be cut; those are not whole. Raises SourceError if none are.
    """
    if array.ndim < 3:
        return None
    there, sides = present.copy(), array.shards or array.chunks
    if there.all():
        return None
    if not there.any() and not _means_not_written(array.metadata.fill_value):
        return None  # zeros alone need no chunk
    _leave_out_cut_ones(array, there, time_axis, sides)
    if _means_not_written(array.metadata.fill_value):
        images = there.all((-2, -1))
    else:
        later = np.flip(there.any((-2, -1)), time_axis)
        images = np.flip(np.logical_or.accumulate(later, axis=time_axis), time_axis)
    if not images.any():
        raise SourceError(f"{path}: no image was written to it; record or copy it again")
    for axis, side in enumerate(sides[:-2]):
        images = np.repeat(images, side, axis).take(range(array.shape[axis]), axis)
    return None if images.all() else images.reshape(-1)


def present_chunks(path: Path, array: Any) -> np.ndarray:
    """Return which chunks, or shards, of an array are there and not empty, along its axes."""
    sides = array.shards or array.chunks
    grid = tuple(-(-n // side) for n, side in zip(array.shape, sides, strict=True))
    found = _files_below(path / array.path)
    if len(found) >= np.prod(grid):
        return np.ones(grid, bool)
    return np.array([array.metadata.encode_chunk_key(at) in found for at in np.ndindex(grid)]).reshape(grid)


def _files_below(folder: Path) -> set[str]:
    """The files in an array's folder that are chunks and not empty, by their key."""
    return {
        Path(at, name).relative_to(folder).as_posix()
        for at, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and name != "zarr.json" and not name.endswith(".partial")  # not whole yet
        if nbytes_of(Path(at, name))
    }


def _means_not_written(fill: Any) -> bool:
    return fill is None or bool(np.isnan(fill)) or bool(fill != 0)


def _leave_out_cut_ones(array: Any, there: np.ndarray, time_axis: int, sides: tuple[int, ...]) -> None:
    """Try the chunks of the last time at which there are any."""
    others = tuple(axis for axis in range(there.ndim) if axis != time_axis)
    last = int(np.flatnonzero(there.any(others)).max(initial=0))
    for at in np.argwhere(there):
        if at[time_axis] != last:
            continue
        try:
            array[tuple(slice(n * side, (n + 1) * side) for n, side in zip(at.tolist(), sides, strict=True))]
        except Exception:  # whatever a codec raises on bytes that are cut
            there[tuple(at)] = False
