"""A header as a plain map, within the limits that are checked before anything is built of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import WireError

MAX_HEADER_BYTES = 64 << 10
MAX_NESTING = 8
MAX_KEYS = 512  # a result of 64 arrays has 391; with 256, records of 42 columns were written and not read
MAX_USER_BYTES, MAX_USER_KEYS = 4 << 10, 128  # of a frame's `user`: the rest is for the header around it
HELD_PER_BYTE = 8  # bytes that Python holds for each byte of a map in msgpack: small maps of numbers

Buffer = bytes | bytearray | memoryview


def decode_map(data: Buffer) -> dict[str, Any]:
    """Return a header as a plain map, within the limits. Raises WireError."""
    if len(data) > MAX_HEADER_BYTES:
        raise WireError("header_size", f"header of {len(data)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    try:
        json = bytes(data[:1]) == b"{"
        fields = msgspec.json.decode(data) if json else msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise WireError("header_syntax", f"header is neither msgpack nor JSON: {error}") from None
    if not isinstance(fields, dict):
        raise WireError("header_syntax", f"header must be a map, found {type(fields).__name__}")
    if _count_keys(fields, 1) > MAX_KEYS:
        raise WireError("keys", f"header with more than {MAX_KEYS} keys")
    return fields


def user_nbytes(user: Mapping[str, Any]) -> int:
    """Return how many bytes a frame's `user` takes in a header. Raises WireError for one that none can carry."""
    try:
        nbytes = len(msgspec.msgpack.encode(user))
        keys = _count_keys(user, 2)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError("user", f"a frame's user is a map of plain values: {str(error)[:200]}") from None
    if nbytes > MAX_USER_BYTES or keys > MAX_USER_KEYS or not all(isinstance(key, str) for key in user):
        raise WireError(
            "user", f"a frame's user has at most {MAX_USER_BYTES} bytes and {MAX_USER_KEYS} keys, which are text; "
            f"found {nbytes} and {keys}",
        )  # fmt: skip
    return nbytes


def _count_keys(value: Any, depth: int) -> int:
    if depth > MAX_NESTING:
        raise WireError("nesting", f"header nested deeper than {MAX_NESTING}")
    if isinstance(value, dict):
        nested = (v for v in value.values() if isinstance(v, dict | list))
        return len(value) + sum(_count_keys(v, depth + 1) for v in nested)
    return sum(_count_keys(v, depth + 1) for v in value if isinstance(v, dict | list))
