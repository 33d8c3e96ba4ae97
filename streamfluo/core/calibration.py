"""A camera's maps as a `calibration` message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from .errors import FrameError, WireError
from .header import Buffer
from .results import arrays_of, encode_arrays
from .spec import Camera, Spec
from .wire import Calibration

MAP_DTYPES = ("<f4", "<f8")


def encode_calibration(series_uid: str, camera: Camera) -> tuple[Calibration, list[np.ndarray]] | None:
    """Return the message and the arrays that follow it; None for a camera without maps."""
    maps = {name: value for name, value in camera.items() if isinstance(value, np.ndarray)}
    if not maps:
        return None
    headers, parts = encode_arrays(maps)
    return Calibration(series_uid=series_uid, arrays=tuple(headers)), parts


def with_calibration(spec: Spec, message: Calibration, parts: Sequence[Buffer]) -> Spec:
    """Return the spec with the camera's maps. Raises WireError for maps that are none, or of another shape."""
    known = {f.name for f in fields(Camera)}
    for header in message.arrays:
        if header.name not in known or header.dtype not in MAP_DTYPES or header.shape != spec.shape:
            found = f"{header.name[:40]!r} {header.dtype[:20]} {header.shape}"
            raise WireError("calibration", f"{spec.shape} maps of a camera were expected, found {found}")
    maps = {name: array.astype(float) for name, array in arrays_of(message, parts).items()}
    try:
        return spec.with_(camera=replace(spec.camera or Camera(), **maps))  # type: ignore[arg-type]
    except FrameError as error:
        raise WireError("calibration", str(error)) from None
