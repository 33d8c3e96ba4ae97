"""Plain arrays on disk as sources: .npy files, and raw binary whose dtype and shape are stated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from ..core.spec import frame_dtype
from .declared import in_one_line
from .plane_selection import Stack
from .planes import PlaneSource, Window

AXES = {2: (), 3: ("time",), 4: ("time", "z"), 5: ("time", "channel", "z")}


class ArraySource(PlaneSource):
    """Planes of an array in memory or mapped into it, its last two axes y and x."""

    _array: np.ndarray

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        planes = self._array.reshape(-1, *self._array.shape[-2:])[numbers, *window]
        return planes.astype(planes.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        super().close()
        if hasattr(self, "_array"):
            del self._array  # the map closes with its last view


def stack_of(array: np.ndarray, path: Path) -> Stack:
    """Return what an array (…, y, x) holds: its axes are time; time, z; time, channel, z. Raises SourceError."""
    if array.ndim in AXES and not array.size:
        raise SourceError(f"{path}: no frames, an array of shape {array.shape}; record it again")
    if array.ndim not in AXES:
        raise SourceError(
            f"{path}: an array of shape {array.shape}; frames are (t, y, x), (t, z, y, x) or (t, c, z, y, x)"
        )
    axes = dict(zip(AXES[array.ndim], array.shape[:-2], strict=True))
    return Stack(axes, array.shape[-2:], array.dtype.newbyteorder("=").name)


class NpySource(ArraySource):
    """An array saved by numpy, (t, y, x), (t, z, y, x) or (t, c, z, y, x), read in blocks."""

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise SourceError(f"{path}: an archive of several arrays; save the movie as .npy")
        where = f"{path}: not an array that can be read"
        with in_one_line(where):
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except ValueError as error:
                if "pickle" in str(error):
                    raise SourceError(f"{where}: no array begins it") from None
                if "mmap" not in str(error):
                    raise
                raise SourceError(f"{where}: cut short: fewer bytes than its header names") from None
        if np.isfortran(array):
            raise SourceError(f"{path}: saved in Fortran order; save np.ascontiguousarray of it")
        self._array = array
        return stack_of(array, path)


class RawSource(ArraySource):
    """Raw binary: `recording.raw?dtype=uint16&shape=512x512&offset=0`, frames one after the other, C order."""

    selections = ("frames", "roi", "dtype", "shape", "offset")

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        dtype, shape = _stated_dtype(path, selection.get("dtype")), _stated_shape(path, selection.get("shape"))
        offset_text = selection.get("offset", "0")
        if not offset_text.isdecimal():
            raise SourceError(f"{path}: offset is a number of bytes, found {offset_text!r}")
        offset, frame_nbytes = int(offset_text), shape[0] * shape[1] * dtype.itemsize
        size = path.stat().st_size
        frames, rest = divmod(size - offset, frame_nbytes)
        if frames < 1:
            raise SourceError(f"{path}: {size} bytes, not one frame of {frame_nbytes}; check dtype and shape")
        if rest and "frames" not in selection:
            raise SourceError(
                f"{path}: {frames} frames of {frame_nbytes} bytes and {rest} bytes more; check dtype, shape and "
                f"offset, or read the whole ones with frames=0:{frames}"
            )
        self._array = np.memmap(path, dtype, "r", offset, (frames, *shape))
        return stack_of(self._array, path)


def _stated_dtype(path: Path, text: str | None) -> np.dtype[np.generic]:
    if text is None:
        raise SourceError(f"{path}: raw bytes; say what they are: {path.name}?dtype=uint16&shape=512x512")
    try:
        dtype = np.dtype(text)
        frame_dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise SourceError(f"{path}: no dtype {text!r} of frames; write uint16, >u2, float32 …") from None
    return dtype


def _stated_shape(path: Path, text: str | None) -> tuple[int, int]:
    y, cross, x = (text or "").partition("x")
    if not (cross and y.isdecimal() and x.isdecimal() and int(y) and int(x)):
        raise SourceError(f"{path}: shape is a frame's height x width, shape=512x512, found {text!r}")
    return int(y), int(x)
