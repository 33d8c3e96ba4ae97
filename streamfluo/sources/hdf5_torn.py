"""HDF5 files that are cut short, or whose writer stopped: which of their images are there."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np


class PaddedFile(io.RawIOBase):
    """A file that is cut short, at the length that it says it has: zeros stand behind its end.

    HDF5 opens no file that is shorter than its header names, though all that lies before the cut can be read.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self._file, self._nbytes, self._at = io.FileIO(path), nbytes, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._nbytes}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._at)
        done = 0
        while done < len(view) and (count := self._file.readinto(view[done:])):
            done += count
        view[done:] = bytes(len(view) - done)
        self._at += len(view)
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(h5py: Any, path: Path, **options: Any) -> tuple[Any, int | None]:
    """Return an HDF5 file open for reading, and how many bytes it has where it is cut short. Raises OSError."""
    try:
        return h5py.File(path, "r", **options), None
    except OSError as error:
        told = re.search(r"truncated file: eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)", str(error))
        if told is None:
            raise
        return h5py.File(PaddedFile(path, int(told[2]) + int(told[3])), "r", **options), int(told[1])


def whole_images(data: Any, image_axes: tuple[int, ...], nbytes: int | None) -> np.ndarray | None:
    """Return which images of a dataset are written and whole, along `image_axes`, None where all are.

    The other two axes are those of an image. `nbytes` is the length of a file that is cut short. A chunk that no
    writer wrote has no place in the file.
    """
    if data.is_virtual or data.external or 0 in data.shape:
        return None
    if data.chunks is None:
        return None if nbytes is None else _whole_in_one_run(data, image_axes, nbytes)
    grid = tuple(-(-n // side) for n, side in zip(data.shape, data.chunks, strict=True))
    if nbytes is None and data.id.get_num_chunks() >= np.prod(grid):
        return None
    end = np.inf if nbytes is None else nbytes - data.file.userblock_size
    there = np.array([_is_whole(data, at, end) for at in np.ndindex(grid)]).reshape(grid)
    there = np.asarray(there.all(tuple(axis for axis in range(data.ndim) if axis not in image_axes)))
    for n, axis in enumerate(sorted(image_axes)):
        there = np.repeat(there, data.chunks[axis], n).take(range(data.shape[axis]), n)
    return there.transpose(np.argsort(np.argsort(image_axes)))


def _is_whole(data: Any, at: tuple[int, ...], end: float) -> bool:
    try:
        chunk = data.id.get_chunk_info_by_coord(tuple(n * side for n, side in zip(at, data.chunks, strict=True)))
    except (OSError, RuntimeError, ValueError):  # the index of the chunks is cut there
        return False
    return chunk.byte_offset is not None and chunk.byte_offset + chunk.size <= end


def _whole_in_one_run(data: Any, image_axes: tuple[int, ...], nbytes: int) -> np.ndarray | None:
    start = data.id.get_offset()
    if start is None:  # in the header itself
        return None
    strides = np.cumprod([1, *data.shape[:0:-1]])[::-1]
    within = sum((data.shape[axis] - 1) * int(strides[axis]) for axis in range(data.ndim) if axis not in image_axes)
    firsts = np.ix_(*(np.arange(data.shape[axis]) * strides[axis] for axis in image_axes))
    lasts = sum(firsts, start=np.array(within))
    return np.asarray(start + (lasts + 1) * data.dtype.itemsize <= nbytes)
