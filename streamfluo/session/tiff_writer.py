"""Writing stacks as TIFF, and reading them back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..core.plane import PlaneGrid
from ..core.spec import Spec

UM_PER_CM = 1e4
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


def write_tiff(path: Path, frames: Iterable[np.ndarray], count: int, spec: Spec) -> None:
    """Write `count` frames (y, x), one by one, as an OME BigTIFF with interval and pixel size.

    Of several planes `count` time points, their planes in the order of their `PlaneGrid`. Raises OSError.
    """
    axes, sizes, metadata = _planes(spec)
    metadata |= {"axes": f"T{axes}YX", **_size(spec.pixel_um)}
    if spec.interval_s is not None:
        metadata |= {"TimeIncrement": spec.interval_s, "TimeIncrementUnit": "s"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        shape = (count, *sizes, *spec.shape)
        file.write(
            iter(frames), shape=shape, dtype=spec.dtype, metadata=metadata, photometric="minisblack",
            **_resolution(spec.pixel_um),
        )  # fmt: skip


def tiff_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames (y, x) of a TIFF, page by page. Raises OSError, ValueError."""
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            yield page.asarray()


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


def _planes(spec: Spec) -> tuple[str, tuple[int, ...], dict[str, Any]]:
    """The axes of a stream's planes, their sizes, and what OME-XML says of them."""
    if not spec.planes:
        return "", (), {"Channel": {"Name": [spec.channel]}} if spec.channel else {}
    grid = PlaneGrid.of(spec.planes)
    channel: dict[str, Any] = {"Name": list(grid.channels)}
    if all(_COLOUR.fullmatch(colour) for colour in grid.colours):
        channel["Color"] = [_signed_rgba(colour) for colour in grid.colours]
    step = {} if grid.z_step_um is None else {"PhysicalSizeZ": grid.z_step_um, "PhysicalSizeZUnit": "µm"}
    return "CZ", (len(grid.channels), len(grid.slices)), {"Channel": channel, **step}


def _signed_rgba(colour: str) -> int:
    """#rrggbb as OME-XML has colours: red, green, blue, alpha in 32 bits with a sign."""
    rgba = int(colour[1:], 16) << 8 | 255
    return rgba - (1 << 32) if rgba >= 1 << 31 else rgba


def _size(pixel_um: float | None) -> dict[str, Any]:
    if pixel_um is None:
        return {}
    return {f"PhysicalSize{axis}": pixel_um for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}


def _resolution(pixel_um: float | None) -> dict[str, Any]:
    if pixel_um is None:
        return {}
    return {"resolution": (UM_PER_CM / pixel_um, UM_PER_CM / pixel_um), "resolutionunit": "CENTIMETER"}
