"""Results as messages: a step's values or snapshots as named arrays, in records on disk and in parts on the wire.

Arrays are little-endian and C-order, of one of RESULT_DTYPES, or text: dtype `utf-8`, strings with a zero
between two, `nbytes` of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from .errors import WireError
from .header import Buffer
from .operator import Gives
from .wire import ArrayHeader, Calibration, Message, Result, decode

MAX_ARRAYS = 64
MAX_AXES = 8
MAX_RESULT_BYTES = 1 << 30
MAX_TEXT_BYTES = 32 << 20  # numpy gives every word of an array the room of the longest: 64 times the text beyond this
RESULT_DTYPES = ("|b1", "|u1", "<u2", "<u4", "<i2", "<i4", "<i8", "<f4", "<f8")
TEXT = "utf-8"


def encode_arrays(arrays: Mapping[str, Any], gives: Sequence[Gives] = ()) -> tuple[list[ArrayHeader], list[np.ndarray]]:
    """Return what a result's header says of its arrays, and the arrays as they travel; dims and units from `gives`.

    Raises WireError for a type that results do not carry.
    """
    known = {g.name: g for g in gives}
    headers, parts = [], []
    for name, value in arrays.items():
        array = np.asarray(value)
        dtype, part = TEXT, np.empty(0, np.uint8)
        if array.dtype.kind == "U":
            part = np.frombuffer("\0".join(array.reshape(-1).tolist()).encode(), np.uint8)
        else:
            part = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            dtype = part.dtype.str
            if dtype not in RESULT_DTYPES:
                raise WireError("dtype", f"value {name!r} is {array.dtype}; results are {' '.join(RESULT_DTYPES)}")
        given = known.get(name)
        about = (given.dims, given.unit) if given else ((), "")
        headers.append(ArrayHeader(name, dtype, array.shape, part.nbytes, *about))
        parts.append(part)
    return headers, parts


def array_sizes(fields: Mapping[str, Any]) -> list[tuple[ArrayHeader, int]]:
    """Return (header, bytes) of each array a result's header announces. Raises WireError."""
    entries = fields.get("arrays")
    if not isinstance(entries, list) or len(entries) > MAX_ARRAYS:
        raise WireError("arrays", f"a result has a list of at most {MAX_ARRAYS} arrays")
    try:
        headers = msgspec.convert(entries, list[ArrayHeader])
    except msgspec.ValidationError as error:
        raise WireError("arrays", f"a result's arrays: {error}") from None
    return _sized(headers)


def _sized(headers: Sequence[ArrayHeader]) -> list[tuple[ArrayHeader, int]]:
    sizes, total = [], 0
    for header in headers:
        name, dtype, shape = header.name, header.dtype, header.shape
        if dtype not in (*RESULT_DTYPES, TEXT):
            raise WireError("arrays", f"array {name[:64]!r}: dtype {dtype[:20]!r} is not allowed")
        if len(shape) > MAX_AXES or not all(0 <= n < 2**31 for n in shape):
            raise WireError("shape", f"array {name[:64]!r}: shape {shape!r} is not allowed")
        size = header.nbytes if dtype == TEXT else math.prod(shape) * np.dtype(dtype).itemsize
        total += size
        if size < 0 or total > MAX_RESULT_BYTES:
            raise WireError("nbytes", f"a result of more than {MAX_RESULT_BYTES} bytes")
        sizes.append((header, size))
    return sizes


def result_nbytes(fields: Mapping[str, Any]) -> int:
    """Return how many bytes of arrays follow a result's header. Raises WireError."""
    return sum(size for _, size in array_sizes(fields))


def arrays_in(fields: Mapping[str, Any], payload: Buffer) -> dict[str, np.ndarray]:
    """Return a result record's arrays by name, as views of `payload`. Raises WireError if it is too short."""
    parts, offset = [], 0
    for header, size in array_sizes(fields):
        if offset + size > len(payload):
            raise WireError("nbytes", f"array {header.name!r} ends behind the {len(payload)} bytes there are")
        parts.append(memoryview(payload)[offset : offset + size])
        offset += size
    return {h.name: _view(h, part) for (h, _), part in zip(array_sizes(fields), parts, strict=True)}


def arrays_of(result: Result | Calibration, parts: Sequence[Buffer]) -> dict[str, np.ndarray]:
    """Return a message's arrays by name, as views of its parts. Raises WireError if they do not agree."""
    if len(parts) != len(result.arrays) or len(parts) > MAX_ARRAYS:
        raise WireError("parts", f"a result of {len(result.arrays)} arrays has {len(parts)} parts")
    for (header, size), part in zip(_sized(result.arrays), parts, strict=True):
        if size != len(part):
            raise WireError("nbytes", f"array {header.name[:64]!r} is {size} bytes, its part has {len(part)}")
    return {h.name: _view(h, part) for h, part in zip(result.arrays, parts, strict=True)}


def decode_result(parts: Sequence[Buffer]) -> tuple[Message, dict[str, np.ndarray]]:
    """Return a results endpoint's message (topic, header, arrays) and its arrays by name. Raises WireError."""
    if not 2 <= len(parts) <= 2 + MAX_ARRAYS:
        raise WireError("parts", "a result has a topic, a header and its arrays")
    message = decode(parts[1])
    return message, arrays_of(message, parts[2:]) if isinstance(message, Result) else {}


def _view(header: ArrayHeader, part: Buffer) -> np.ndarray:
    if header.dtype != TEXT:
        return np.frombuffer(part, header.dtype).reshape(header.shape)
    count = math.prod(header.shape)
    try:
        words = bytes(part).decode().split("\0") if count else []
    except UnicodeDecodeError:
        raise WireError("arrays", f"array {header.name[:64]!r} is not utf-8") from None
    if len(words) != count:
        raise WireError("nbytes", f"array {header.name[:64]!r}: {len(words)} strings where {count} should be")
    if (nbytes := 4 * count * max(map(len, words), default=0)) > max(MAX_TEXT_BYTES, 64 * len(part)):
        raise WireError("arrays", f"array {header.name[:64]!r}: its words would take {nbytes >> 20} MiB side by side")
    return np.array(words, str).reshape(header.shape)
