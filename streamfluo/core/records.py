"""Records: what the journal and the session's values are made of, and what a preview sends.

    magic (8 bytes) · header length (u32) · header · arrays · crc32 of header and arrays (u32) · zeros to 64 bytes

The header is a message of `core/wire.py` in msgpack; it says how many bytes of arrays follow: `nbytes` of an image,
or the sum over `arrays` of a result. A record is whole when its crc agrees; a file of records needs no other index.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from zlib_ng import zlib_ng

from .errors import WireError
from .results import result_nbytes
from .wire import MAX_HEADER_BYTES, Buffer, Image, decode, decode_map, frame_pixels

MAGIC = b"SFLUORC1"
ALIGN = 64

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
        return fields, result_nbytes(fields)
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


def decode_frame(record: Buffer) -> tuple[Image, np.ndarray]:
    """Return a preview's header and its pixels (y, x), a view of the record. Raises WireError if it is damaged."""
    record = memoryview(record)
    body = PREFIX_BYTES + record_layout(record[:PREFIX_BYTES])
    header = record[PREFIX_BYTES:body]
    _, nbytes = record_header(header)
    image, payload = decode(header), record[body : body + nbytes]
    if not isinstance(image, Image) or not is_whole(header, payload, record[body + nbytes :]):
        raise WireError("record", "a preview's record is damaged")
    return image, frame_pixels(image, payload)
