"""Writing stacks as OME-Zarr 0.5, and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import SourceError
from ..core.plane import PlaneGrid
from ..core.spec import Spec

CHUNK_BYTES = 1 << 20  # frames are put together to about so much


class Axis(NamedTuple):
    """One dimension of a stack: its name, what it is, how long it is, and a step of it in its unit, where known."""

    name: str
    kind: str
    size: int
    unit: str | None = None
    scale: float | None = None


def write_ome_zarr(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x) as OME-Zarr with interval and pixel size.

    Of several planes `count` time points, their planes in the order of their `PlaneGrid`.
    Raises SourceError without zarr.
    """
    try:
        import zarr
        from zarr.codecs import BloscCodec
    except ImportError as error:
        library = str(error.name).replace("_", "-")
        raise SourceError(f'{path}: needs {library}; install it with pip install "streamfluo[formats]"') from None
    grid = PlaneGrid.of(spec.planes) if spec.planes else None
    axes = _axes(count, spec, grid)
    shape = tuple(axis.size for axis in axes)
    chunk = max(1, min(count, CHUNK_BYTES // spec.frame_nbytes))
    array = zarr.create_group(path, attributes={"ome": _described(axes, spec, grid)}).create_array(
        "0",
        shape=shape,
        dtype=spec.dtype,
        chunks=(chunk, *(1 for _ in shape[1:-2]), *spec.shape),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        fill_value=0,
        dimension_names=[axis.name for axis in axes],
    )
    images = iter(frames)
    for start in range(0, count, chunk):
        stop = min(start + chunk, count)
        part = np.empty((stop - start, *shape[1:]), spec.dtype)
        room = part.reshape(-1, *spec.shape)
        for place, image in zip(room, islice(images, len(room)), strict=True):
            place[...] = image
        array[start:stop] = part


def _axes(count: int, spec: Spec, grid: PlaneGrid | None) -> list[Axis]:
    planes = []
    if grid is not None:
        depth = "micrometer" if grid.z_step_um else None
        planes.append(Axis("c", "channel", len(grid.channels)))
        planes.append(Axis("z", "space", len(grid.slices), depth, grid.z_step_um))
    unit = "micrometer" if spec.pixel_um else None
    sides = (Axis(name, "space", size, unit, spec.pixel_um) for name, size in zip("yx", spec.shape, strict=True))
    return [Axis("t", "time", count, "second", spec.interval_s), *planes, *sides]


def _described(axes: list[Axis], spec: Spec, grid: PlaneGrid | None) -> dict[str, Any]:
    """What OME-NGFF 0.5 says of a stack: axes, their steps (1 where unknown), and the channels of one with planes."""
    named = [{"name": a.name, "type": a.kind} | ({"unit": a.unit} if a.unit else {}) for a in axes]
    scale = {"type": "scale", "scale": [float(a.scale or 1) for a in axes]}
    stack = {"axes": named, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    described: dict[str, Any] = {"version": "0.5", "multiscales": [stack]}
    if grid is not None:
        kind = np.dtype(spec.dtype)
        low, high = (float(np.iinfo(kind).min), float(np.iinfo(kind).max)) if kind.kind in "ui" else (0.0, 1.0)
        window = {"start": low, "min": low, "end": high, "max": high}
        channels = [{"window": window, "label": name, "color": "FFFFFF"} for name in grid.channels]
        described["omero"] = {"channels": channels}
    return described


def zarr_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames (y, x) of a stack that `write_ome_zarr` wrote, in the order of writing. Raises OSError."""
    import zarr

    array = zarr.open_array(path / "0", mode="r")
    step = max(1, array.chunks[0])
    for start in range(0, array.shape[0], step):
        yield from np.asarray(array[start : start + step]).reshape(-1, *array.shape[-2:])
