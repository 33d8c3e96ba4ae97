"""Writing stacks as TIFF."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..core.spec import Spec

UM_PER_CM = 1e4


def write_tiff(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x), one by one, as an OME BigTIFF with interval and pixel size. Raises OSError."""
    metadata: dict[str, Any] = {"axes": "TYX", **_size(spec.pixel_um)}
    if spec.interval_s is not None:
        metadata |= {"TimeIncrement": spec.interval_s, "TimeIncrementUnit": "s"}
    if spec.channel:
        metadata["Channel"] = {"Name": [spec.channel]}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        shape = (count, *spec.shape)
        file.write(
            iter(frames), shape=shape, dtype=spec.dtype, metadata=metadata, photometric="minisblack",
            **_resolution(spec.pixel_um),
        )  # fmt: skip


def write_image(path: Path, image: np.ndarray, pixel_um: float | None = None) -> None:
    """Write an image (y, x) or a stack of them with the side of a pixel; float64 becomes float32, which viewers show.

    The size stands in the OME metadata and in the resolution per cm. Raises OSError.
    """
    array = image.astype(np.float32) if image.dtype == np.float64 else image
    metadata = {"axes": "YX" if image.ndim == 2 else "ZYX", **_size(pixel_um)}
    tifffile.imwrite(
        path, array, photometric="minisblack", ome=pixel_um is not None,
        metadata=metadata if pixel_um is not None else {}, **_resolution(pixel_um),
    )  # fmt: skip


def _size(pixel_um: float | None) -> dict[str, Any]:
    if pixel_um is None:
        return {}
    return {f"PhysicalSize{axis}": pixel_um for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}


def _resolution(pixel_um: float | None) -> dict[str, Any]:
    if pixel_um is None:
        return {}
    return {"resolution": (UM_PER_CM / pixel_um, UM_PER_CM / pixel_um), "resolutionunit": "CENTIMETER"}
