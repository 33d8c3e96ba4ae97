"""What goes to a page: a header in JSON, and arrays behind it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

ALIGNED = 8  # bytes: the page lays typed arrays over what came
LARGEST = 1e38  # of a float32, with room for a page's arithmetic


def packed(kind: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray | bytes] | None = None) -> bytes:
    """Return a message: length of the header (u4, little-endian), the header in JSON, arrays at multiples of 8 bytes.

    The header's `arrays` has for each name its dtype, shape, and its place behind the header [bytes].
    """
    places, parts, at = {}, [], 0
    for name, array in (arrays or {}).items():
        told = ("|u1", [len(array)]) if isinstance(array, bytes) else (array.dtype.str, list(array.shape))
        data = array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes()
        places[name] = [*told, at]
        padding = -len(data) % ALIGNED
        parts += [data, bytes(padding)]
        at += len(data) + padding
    header = json.dumps({"kind": kind, **plain(fields), "arrays": places}, ensure_ascii=False).encode()
    header += b" " * (-(len(header) + 4) % ALIGNED)
    return b"".join([struct.pack("<I", len(header)), header, *parts])


def as_float32(values: Any) -> np.ndarray:
    """Return values as float32; what is infinite, or too large for it, is NaN, and the page draws nothing there."""
    values = np.asarray(values, float)
    return np.where(np.abs(values) <= LARGEST, values, np.nan).astype("<f4")


def plain(value: Any) -> Any:
    """Return what JSON has a word for: numbers that are none become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
