"""Writing stacks as TIFF."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..core.spec import Spec


def write_tiff(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x), one by one, as an OME BigTIFF with interval and pixel size. Raises OSError."""
    metadata: dict[str, Any] = {"axes": "TYX"}
    if spec.interval_s is not None:
        metadata |= {"TimeIncrement": spec.interval_s, "TimeIncrementUnit": "s"}
    if spec.pixel_um is not None:
        metadata |= {f"PhysicalSize{axis}": spec.pixel_um for axis in "XY"}
        metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    if spec.channel:
        metadata["Channel"] = {"Name": [spec.channel]}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        shape = (count, *spec.shape)
        file.write(iter(frames), shape=shape, dtype=spec.dtype, metadata=metadata, photometric="minisblack")


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image (y, x) or a stack of them; float64 becomes float32, which viewers show. Raises OSError."""
    array = image.astype(np.float32) if image.dtype == np.float64 else image
    tifffile.imwrite(path, array, photometric="minisblack")
