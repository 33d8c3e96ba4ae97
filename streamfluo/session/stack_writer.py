"""Writing stacks of frames in the format asked for; of several planes with channel and slice in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.plane import PlaneGrid
from ..core.spec import Spec
from .nwb_metadata import NwbMetadata
from .nwb_writer import nwb_frames, write_nwb
from .reader import Session
from .tiff_writer import tiff_frames, write_tiff
from .zarr_writer import write_ome_zarr, zarr_frames

ENDINGS = {"tiff": "ome.tif", "ome-zarr": "ome.zarr", "npy": "npy", "nwb": "nwb"}
Frame = tuple[int, int, np.ndarray]  # index, t_ns, pixels (y, x)


@dataclass(frozen=True)
class StackWriter:
    """Writes stacks of a session's frames as `to`: tiff, ome-zarr, npy or nwb, which alone takes `metadata`."""

    to: str
    session: Session
    metadata: NwbMetadata | None = None

    def write(self, stem: Path, frames: Iterable[Frame], count: int, spec: Spec) -> Path:
        """Write `count` frames, one by one, as `stem`.ENDING, and return the file.

        Of several planes those of a time point come one after the other, in the order of their `PlaneGrid`; `count` is
        then that of the time points. Raises OSError, SourceError where a library is missing.
        """
        path = stem.with_name(f"{stem.name}.{ENDINGS[self.to]}")
        images = (pixels for _, _, pixels in frames)
        if self.to == "tiff":
            write_tiff(path, images, count, spec)
        elif self.to == "ome-zarr":
            write_ome_zarr(path, images, count, spec)
        elif self.to == "nwb":
            write_nwb(path, frames, count, spec, self.session, self.metadata)
        else:
            _write_npy(path, images, count, spec)
        return path


def stack_frames(to: str, stem: Path, spec: Spec) -> Iterator[tuple[np.ndarray, float | None]]:
    """Yield pixels (y, x) and, where the format has it, time [s] of the frames that `StackWriter` wrote, in that order.

    Raises OSError, ValueError.
    """
    path = stem.with_name(f"{stem.name}.{ENDINGS[to]}")
    if to == "nwb":
        yield from nwb_frames(path, spec)
        return
    if to == "tiff":
        images = tiff_frames(path)
    elif to == "ome-zarr":
        images = zarr_frames(path)
    else:
        array = np.load(path, mmap_mode="r")
        images = iter(array.reshape(-1, *array.shape[-2:]))
    yield from ((pixels, None) for pixels in images)


def _write_npy(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    grid = PlaneGrid.of(spec.planes)
    planes = (len(grid.channels), len(grid.slices)) if spec.planes else ()
    array = np.lib.format.open_memmap(path, "w+", np.dtype(spec.dtype), (count, *planes, *spec.shape))
    flat = array.reshape(-1, *spec.shape)
    for n, pixels in enumerate(frames):
        flat[n] = pixels
    array.flush()
