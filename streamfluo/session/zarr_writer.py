"""Writing stacks as OME-Zarr, by ome-writers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from ..core.spec import Spec

CHUNK_BYTES = 1 << 20  # frames are put together to about so much


def write_ome_zarr(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x) as OME-Zarr with interval and pixel size.

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
    settings = AcquisitionSettings(
        root_path=str(path),
        dimensions=(time, y, x),
        dtype=spec.dtype,
        format=OmeZarrFormat(backend="zarr-python"),
        compression="blosc-zstd",
    )
    with create_stream(settings) as stream:
        for frame in frames:
            stream.append(frame)
