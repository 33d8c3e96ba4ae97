"""Writing stacks as OME-Zarr, by ome-writers, and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from ..core.plane import PlaneGrid
from ..core.spec import Spec

CHUNK_BYTES = 1 << 20  # frames are put together to about so much


def write_ome_zarr(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x) as OME-Zarr with interval and pixel size.

    Of several planes `count` time points, their planes in the order of their `PlaneGrid`.
    Raises SourceError without ome-writers or zarr.
    """
    try:
        import zarr  # noqa: F401  # which ome-writers would miss only later
        from ome_writers import AcquisitionSettings, Dimension, OmeZarrFormat, create_stream
    except ImportError as error:
        library = str(error.name).replace("_", "-")
        raise SourceError(f'{path}: needs {library}; install it with pip install "streamfluo[formats]"') from None
    y, x = (
        Dimension(
            name=name, count=size, type="space", unit="micrometer" if spec.pixel_um else None, scale=spec.pixel_um
        )
        for name, size in zip("yx", spec.shape, strict=True)
    )
    chunk = max(1, min(count, CHUNK_BYTES // spec.frame_nbytes))
    time = Dimension(name="t", count=count, type="time", chunk_size=chunk, unit="second", scale=spec.interval_s)
    planes = []
    if spec.planes:
        grid = PlaneGrid.of(spec.planes)
        planes.append(Dimension(name="c", type="channel", coords=list(grid.channels), chunk_size=1))
        slices, unit = len(grid.slices), "micrometer" if grid.z_step_um else None
        planes.append(Dimension(name="z", count=slices, type="space", chunk_size=1, unit=unit, scale=grid.z_step_um))
    settings = AcquisitionSettings(
        root_path=str(path),
        dimensions=(time, *planes, y, x),
        dtype=spec.dtype,
        format=OmeZarrFormat(backend="zarr-python"),
        compression="blosc-zstd",
    )
    with create_stream(settings) as stream:
        for frame in frames:
            stream.append(frame)


def zarr_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames (y, x) of a stack that `write_ome_zarr` wrote, in the order of writing. Raises OSError."""
    import zarr

    array = zarr.open_array(path / "0", mode="r")
    step = max(1, array.chunks[0])
    for start in range(0, array.shape[0], step):
        yield from np.asarray(array[start : start + step]).reshape(-1, *array.shape[-2:])
