"""Records: what the journal and the session's values are made of, and what a preview sends.

    magic (8 bytes) · header length (u32) · header · arrays · crc32 of header and arrays (u32) · zeros to 64 bytes

The header is a message of `core/wire.py` in msgpack; it says how many bytes of arrays follow: `nbytes` of an image,
or the sum over `arrays` of a result. A record is whole when its crc agrees; a file of records needs no other index.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from zlib_ng import zlib_ng

from .errors import WireError
from .wire import MAX_HEADER_BYTES, Buffer, decode_map

MAGIC = b"SFLUORC1"
ALIGN = 64
MAX_ARRAYS = 64
MAX_AXES = 8
MAX_RESULT_BYTES = 1 << 30
RESULT_DTYPES = ("|b1", "|u1", "<u2", "<u4", "<i2", "<i4", "<i8", "<f4", "<f8")

_PREFIX = struct.Struct("<8sI")
_CRC = struct.Struct("<I")


def encode_record(header: bytes, arrays: Sequence[np.ndarray]) -> list[Buffer]:
    """Return the buffers of one record, ready for `writev`; arrays (C order) are not copied."""
    parts = [memoryview(a.reshape(-1)).cast("B") for a in arrays if a.size]  # type: ignore[arg-type]
    crc = zlib_ng.crc32(header)
    for part in parts:
        crc = zlib_ng.crc32(part, crc)
    length = _PREFIX.size + len(header) + sum(len(p) for p in parts) + _CRC.size
    return [_PREFIX.pack(MAGIC, len(header)) + header, *parts, _CRC.pack(crc) + bytes(-length % ALIGN)]


def record_layout(prefix: Buffer) -> int:
    """Return the header's length from a record's first 12 bytes. Raises WireError if no record begins there."""
    if len(prefix) < _PREFIX.size:
        raise WireError("record", f"{len(prefix)} bytes where a record should begin")
    magic, length = _PREFIX.unpack_from(prefix)
    if magic != MAGIC or not 0 < length <= MAX_HEADER_BYTES:
        raise WireError("record", "no record begins here")
    return int(length)


PREFIX_BYTES = _PREFIX.size


def record_header(header: Buffer) -> tuple[dict[str, Any], int]:
    """Return the header as a map and how many bytes of arrays follow. Raises WireError."""
    fields = decode_map(header)
    if fields.get("type") == "result":
        return fields, sum(n for *_, n in result_arrays(fields))
    nbytes = fields.get("nbytes")
    if not isinstance(nbytes, int) or not 0 <= nbytes <= 1 << 36:
        raise WireError("record", f"a record's nbytes cannot be {nbytes!r}")
    return fields, nbytes


def record_nbytes(header_nbytes: int, payload_nbytes: int) -> int:
    """Return the whole record's length with its padding."""
    length = PREFIX_BYTES + header_nbytes + payload_nbytes + _CRC.size
    return length + -length % ALIGN


def is_whole(header: Buffer, payload: Buffer, tail: Buffer) -> bool:
    """Return whether the crc at the start of `tail` agrees with header and arrays."""
    return len(tail) >= 4 and _CRC.unpack_from(tail)[0] == zlib_ng.crc32(payload, zlib_ng.crc32(header))


def encode_result(series_uid: str, step: str, index: int, count: int, arrays: Mapping[str, np.ndarray]) -> list[Buffer]:
    """Return the buffers of a result record: one step's values for `count` frames from `index` on."""
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    header = msgspec.msgpack.encode(
        {
            "type": "result",
            "series_uid": series_uid,
            "step": step,
            "index": index,
            "count": count,
            "arrays": [{"name": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in stored.items()],
        }
    )
    return encode_record(header, list(stored.values()))


def result_arrays(fields: Mapping[str, Any]) -> list[tuple[str, np.dtype[Any], tuple[int, ...], int]]:
    """Return (name, dtype, shape, bytes) of each array a result header announces. Raises WireError."""
    entries = fields.get("arrays")
    if not isinstance(entries, list) or len(entries) > MAX_ARRAYS:
        raise WireError("arrays", f"a result has a list of at most {MAX_ARRAYS} arrays")
    found, total = [], 0
    for entry in entries:
        name, dtype, shape = (
            (entry.get(k) for k in ("name", "dtype", "shape")) if isinstance(entry, dict) else [None] * 3
        )
        if not isinstance(name, str) or dtype not in RESULT_DTYPES or not isinstance(shape, list):
            raise WireError("arrays", f"array {name!r}: dtype {dtype!r} or shape {shape!r} is not allowed")
        if len(shape) > MAX_AXES or not all(isinstance(n, int) and 0 <= n < 2**31 for n in shape):
            raise WireError("shape", f"array {name!r}: shape {shape!r} is not allowed")
        size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        total += size
        if total > MAX_RESULT_BYTES:
            raise WireError("nbytes", f"a result of more than {MAX_RESULT_BYTES} bytes")
        found.append((name, np.dtype(dtype), tuple(shape), size))
    return found


def decode_result(fields: Mapping[str, Any], payload: Buffer) -> dict[str, np.ndarray]:
    """Return a result's arrays by name, as views of `payload`. Raises WireError if it is too short."""
    arrays, offset = {}, 0
    for name, dtype, shape, size in result_arrays(fields):
        if offset + size > len(payload):
            raise WireError("nbytes", f"array {name!r} ends behind the {len(payload)} bytes there are")
        arrays[name] = np.frombuffer(payload, dtype, count=size // dtype.itemsize, offset=offset).reshape(shape)
        offset += size
    return arrays


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    if array.dtype.str not in RESULT_DTYPES:
        raise WireError("dtype", f"value {name!r} is {array.dtype}; results are {' '.join(RESULT_DTYPES)}")
    return array
