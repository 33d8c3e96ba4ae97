"""Messages of DECTRIS stream v2 as they are checked: CBOR, typed arrays, compressed byte strings. The only door to
cbor2 and dectris-compression.

After https://github.com/dectris/documentation (stream_v2, cbor/dectris-compression-tag.md) and RFC 8746.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from ..core.errors import SourceError, WireError
from ..core.plane import MAX_PLANES, is_channel
from ..core.spec import MAX_SIDE_PX
from .arrivals import MAX_FRAME_BYTES

MULTI_DIM_ARRAY = 40  # row-major; RFC 8746, section 3.1.1
COMPRESSED = 56500
# RFC 8746, table 1; what is not here no frame can be of
TYPED_ARRAYS = {
    64: "u1", 65: ">u2", 66: ">u4", 68: "u1", 69: "<u2", 70: "<u4", 73: ">i2", 74: ">i4", 77: "<i2", 78: "<i4",
    81: ">f4", 82: ">f8", 85: "<f4", 86: "<f8",
}  # fmt: skip
ALGORITHMS = ("bslz4", "lz4")
FRAMED_BYTES = 12  # the length before compression, big-endian in 8 bytes, and that of a block, in 4
FACTS = ("detector_description", "detector_serial_number", "sensor_material", "incident_energy", "count_time")
MAX_FACT = 200  # characters


@dataclass(frozen=True)
class Start:
    """What a start says; None where it does not, or not as documented."""

    series: str
    shape: tuple[int, int] | None = None
    channels: tuple[str, ...] = ()
    images: int | None = None
    interval_s: float | None = None
    exposure_s: float | None = None
    pixel_um: float | None = None
    saturation: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image message: its channels' arrays are not decoded yet. `start_ns` since the series began."""

    series: str
    number: int
    began_ns: int | None
    start_ns: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """The series is over."""

    series: str


def decoders(uri: str) -> tuple[Any, Any]:
    """Return cbor2's `loads` and DECTRIS' `decompress`. Raises SourceError that says how to get them."""
    try:
        from cbor2 import loads
        from dectris.compression import decompress
    except ImportError as error:
        what = "dectris-compression" if (error.name or "").startswith("dectris") else "cbor2"
        raise SourceError(f'{uri}: needs {what}; install it with pip install "streamfluo[dectris]"') from None
    return loads, decompress


def parse(fields: Any) -> Start | Image | End:
    """Return what a decoded message says. Raises WireError for one that is none."""
    if not isinstance(fields, dict) or not isinstance(kind := fields.get("type"), str):
        raise WireError("type", "neither start, image nor end")
    if kind not in ("start", "image", "end"):
        raise WireError("type", f"a message of type {kind[:40]!r}")
    series = fields.get("series_unique_id")
    if not isinstance(series, str) or not 0 < len(series) <= MAX_FACT:
        raise WireError("fields", f"{kind}: no series_unique_id")
    if kind == "end":
        return End(series)
    return _start(series, fields) if kind == "start" else _image(series, fields)


def _start(series: str, fields: Mapping[str, Any]) -> Start:
    sides = _whole(fields.get("image_size_y")), _whole(fields.get("image_size_x"))
    if not all(side is not None and 1 <= side <= MAX_SIDE_PX for side in sides):
        raise WireError("fields", f"start: images of {str(sides)[:60]} pixels")
    pixel_m, saturation = _positive(fields.get("pixel_size_x")), _positive(fields.get("saturation_value"))
    return Start(
        series,
        shape=sides,  # type: ignore[arg-type]
        channels=_channels(fields.get("channels")),
        images=_whole(fields.get("number_of_images")) or None,
        interval_s=_positive(fields.get("frame_time")),
        exposure_s=_positive(fields.get("count_time")),
        pixel_um=pixel_m and pixel_m * 1e6,
        saturation=saturation,
        facts={name: _fact(fields[name]) for name in FACTS if isinstance(fields.get(name), str | int | float)},
    )


def _image(series: str, fields: Mapping[str, Any]) -> Image:
    number, data = _whole(fields.get("image_id")), fields.get("data")
    if number is None or not isinstance(data, dict):
        raise WireError("fields", "image: no image_id, or no data")
    _channels(list(data))
    began = fields.get("series_date")
    began_ns = round(began.timestamp() * 1e9) if isinstance(began, datetime) and began.year >= 1971 else None
    return Image(series, number, began_ns, _rational_ns(fields.get("start_time")), data)


def _channels(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_PLANES or not all(map(is_channel, names)):
        raise WireError("channels", f"1 to {MAX_PLANES} channels with a name each, found {str(names)[:60]}")
    if len(set(names)) != len(names):
        raise WireError("channels", f"two channels of one name: {str(names)[:60]}")
    return tuple(names)


def layout(array: Any) -> tuple[tuple[int, int], np.dtype[Any], Any]:
    """Return shape, dtype and what holds the bytes of a channel's array. Raises WireError for one that is no image."""
    sides, typed = _tagged(array, MULTI_DIM_ARRAY, 2, "shape")
    whole = isinstance(sides, list | tuple) and [_whole(side) for side in sides]
    if not whole or len(whole) != 2 or not all(side is not None and 1 <= side <= MAX_SIDE_PX for side in whole):
        raise WireError("shape", f"an array of sides {str(sides)[:60]}; an image has two")
    spelling = TYPED_ARRAYS.get(getattr(typed, "tag", -1))
    if spelling is None:
        raise WireError("dtype", f"pixels of CBOR tag {str(getattr(typed, 'tag', 'none'))[:20]}")
    return (sides[0], sides[1]), np.dtype(spelling), typed.value


def pixels(shape: tuple[int, int], dtype: np.dtype[Any], held: Any, decompress: Any) -> np.ndarray:
    """Return the pixels (y, x) that `layout` found. Raises WireError for bytes of another length, before they are
    decompressed."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > MAX_FRAME_BYTES:
        raise WireError("nbytes", f"an image of {nbytes} bytes; at most {MAX_FRAME_BYTES}")
    if not isinstance(held, bytes):
        held = _decompressed(held, dtype, nbytes, decompress)
    if len(held) != nbytes:
        raise WireError("nbytes", f"{len(held)} bytes for an image of {nbytes}")
    return np.frombuffer(held, dtype).reshape(shape)


def _decompressed(held: Any, dtype: np.dtype[Any], nbytes: int, decompress: Any) -> bytes:
    algorithm, size, data = _tagged(held, COMPRESSED, 3, "compression")
    if algorithm not in ALGORITHMS or not isinstance(data, bytes):
        raise WireError("compression", f"compressed by {str(algorithm)[:40]!r}; {' and '.join(ALGORITHMS)} are read")
    if algorithm == "bslz4" and _whole(size) != dtype.itemsize:
        raise WireError("compression", f"elements of {str(size)[:20]} bytes, pixels of {dtype.itemsize}")
    said, block = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:FRAMED_BYTES], "big")
    if len(data) < FRAMED_BYTES or said != nbytes:
        raise WireError("nbytes", f"{said} bytes once decompressed, for an image of {nbytes}")
    if block > MAX_FRAME_BYTES:
        raise WireError("compression", f"blocks of {block} bytes")
    try:
        return bytes(decompress(data, algorithm, elem_size=dtype.itemsize))
    except Exception as error:  # whatever a library says of damaged bytes
        raise WireError("compression", f"damaged: {type(error).__name__}: {str(error)[:80]}") from None


def _tagged(item: Any, tag: int, parts: int, rule: str) -> Sequence[Any]:
    value = getattr(item, "value", None)
    if getattr(item, "tag", None) != tag or not isinstance(value, list | tuple) or len(value) != parts:
        raise WireError(rule, f"no CBOR tag {tag} with {parts} parts where one belongs, but {type(item).__name__}")
    return value


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _positive(value: Any) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value) and 0 < value < 1e300
    return float(value) if known else None


def _rational_ns(value: Any) -> int | None:
    """A time that is a ratio of two integers [s]."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    above, below = _whole(value[0]), _whole(value[1])
    return above * 10**9 // below if above is not None and below and above // below < 10**9 else None


def _fact(value: str | int | float) -> str | float:
    return value[:MAX_FACT] if isinstance(value, str) else float(value) if abs(value) < 1e300 else str(value)[:MAX_FACT]
