"""Writing stacks of frames in the format asked for; of several planes with channel and slice in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..core.plane import PlaneGrid
from ..core.spec import Spec
from .tiff_writer import tiff_frames, write_tiff
from .zarr_writer import write_ome_zarr, zarr_frames

ENDINGS = {"tiff": "ome.tif", "ome-zarr": "ome.zarr", "npy": "npy"}


def write_stack(to: str, stem: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> Path:
    """Write `count` frames (y, x), one by one, as `stem`.ENDING, and return the file.

    Of several planes those of a time point come one after the other, in the order of their `PlaneGrid`; `count` is then
    that of the time points. Raises OSError, SourceError where a library is missing.
    """
    path = stem.with_name(f"{stem.name}.{ENDINGS[to]}")
    if to == "tiff":
        write_tiff(path, frames, count, spec)
    elif to == "ome-zarr":
        write_ome_zarr(path, frames, count, spec)
    else:
        _write_npy(path, frames, count, spec)
    return path


def stack_frames(to: str, stem: Path) -> Iterator[np.ndarray]:
    """Yield the frames (y, x) of a stack that `write_stack` wrote, in that order. Raises OSError, ValueError."""
    path = stem.with_name(f"{stem.name}.{ENDINGS[to]}")
    if to == "tiff":
        yield from tiff_frames(path)
    elif to == "ome-zarr":
        yield from zarr_frames(path)
    else:
        array = np.load(path, mmap_mode="r")
        yield from array.reshape(-1, *array.shape[-2:])


def _write_npy(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    grid = PlaneGrid.of(spec.planes)
    planes = (len(grid.channels), len(grid.slices)) if spec.planes else ()
    array = np.lib.format.open_memmap(path, "w+", np.dtype(spec.dtype), (count, *planes, *spec.shape))
    flat = array.reshape(-1, *spec.shape)
    for n, pixels in enumerate(frames):
        flat[n] = pixels
    array.flush()
