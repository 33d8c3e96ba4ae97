"""Records: what the journal and the session's values are made of, and what a preview sends.

    magic (8 bytes) · header length (u32) · crc32 of the header (u32) · header · arrays ·
    crc32 of header and arrays (u32) · zeros to 64 bytes

The header is a message of `core/wire.py` in msgpack; it says how many bytes of arrays follow: `nbytes` of an image,
or the sum over `arrays` of a result. Its own crc is checked before that number decides anything; a record is whole when
the last crc agrees. A file of records needs no other index. Records of version 1, as protocol 1 has them for previews
and as older sessions hold, are without the crc of the header: all of one is checked before it counts.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from zlib_ng import zlib_ng

from .errors import WireError
from .header import MAX_HEADER_BYTES, Buffer, decode_map
from .results import result_nbytes
from .wire import Image, decode, frame_pixels

MAGIC_STEM = b"SFLUORC"
MAGIC, MAGIC_1 = MAGIC_STEM + b"2", MAGIC_STEM + b"1"
ALIGN = 64
Data = Buffer | mmap.mmap
MAX_PAYLOAD_BYTES = 1 << 36

_PREFIX, _PREFIX_1 = struct.Struct("<8sII"), struct.Struct("<8sI")
_CRC = struct.Struct("<I")
CRC_BYTES = _CRC.size


class Record(NamedTuple):
    """Where a record and its parts lie in its file [bytes], and its header as a map."""

    fields: dict[str, Any]
    start: int
    header: int
    payload: int
    end: int
    stop: int


def encode_record(header: bytes, arrays: Sequence[np.ndarray], version: int = 2) -> list[Buffer]:
    """Return the buffers of one record, ready for `writev`; arrays (C order) are not copied."""
    parts = [memoryview(a.reshape(-1)).cast("B") for a in arrays if a.size]  # type: ignore[arg-type]
    crc = header_crc = zlib_ng.crc32(header)
    for part in parts:
        crc = zlib_ng.crc32(part, crc)
    prefix = _PREFIX_1.pack(MAGIC_1, len(header)) if version == 1 else _PREFIX.pack(MAGIC, len(header), header_crc)
    length = len(prefix) + len(header) + sum(len(p) for p in parts) + _CRC.size
    return [prefix + header, *parts, _CRC.pack(crc) + bytes(-length % ALIGN)]


def record_at(data: Data, start: int) -> Record:
    """Return the record that begins at `start`, whose header is whole. Raises WireError if there is none."""
    record, checked = announced_at(data, start)
    if not checked:
        record_payload(data, record)
    return record


def announced_at(data: Data, start: int) -> tuple[Record, bool]:
    """Return the record that a header at `start` announces, and whether the header's own crc was checked.

    Raises WireError.
    """
    prefix = _PREFIX if data[start : start + len(MAGIC)] == MAGIC else _PREFIX_1
    if len(data) - start < prefix.size:
        raise WireError("record", "torn: not even its length is there")
    magic, length, *crc = prefix.unpack_from(data, start)
    if magic not in (MAGIC, MAGIC_1) or not 0 < length <= MAX_HEADER_BYTES:
        raise WireError("record", "no record begins here")
    body = start + prefix.size
    header = data[body : body + length]
    if crc and crc[0] != zlib_ng.crc32(header):
        raise WireError("record", "its header is damaged (crc differs)")
    fields, nbytes = _announced(header)
    end = body + length + nbytes
    stop = end + _CRC.size
    record = Record(fields, start, body, body + length, end, stop + -(stop - start) % ALIGN)
    if record.stop > len(data):
        raise WireError("record", "torn: its end is missing")
    return record, bool(crc)


def record_payload(data: Data, record: Record) -> memoryview:
    """Return a record's arrays as bytes, a view of `data`. Raises WireError if they are damaged."""
    view = memoryview(data)
    payload = view[record.payload : record.end]
    crc = zlib_ng.crc32(payload, zlib_ng.crc32(view[record.header : record.payload]))
    if _CRC.unpack_from(view, record.end)[0] != crc:
        raise WireError("record", "damaged (crc differs)")
    return payload


def decode_frame(data: Data) -> tuple[Image, np.ndarray]:
    """Return a preview's header and its pixels (y, x), a view of the record. Raises WireError if it is damaged."""
    record = record_at(data, 0)
    image = decode(data[record.header : record.payload])
    if not isinstance(image, Image):
        raise WireError("record", "no frame")
    return image, frame_pixels(image, record_payload(data, record))


def _announced(header: Buffer) -> tuple[dict[str, Any], int]:
    """The header as a map and how many bytes of arrays follow."""
    fields = decode_map(header)
    if fields.get("type") == "result":
        return fields, result_nbytes(fields)
    nbytes = fields.get("nbytes")
    if not isinstance(nbytes, int) or not 0 <= nbytes <= MAX_PAYLOAD_BYTES:
        raise WireError("record", f"a record's nbytes cannot be {nbytes!r}")
    return fields, nbytes
