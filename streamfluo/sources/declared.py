"""What a file declares, checked against the bytes it has before memory is asked for; its numbers, before they are used.

A few bytes can declare any size. Deflate makes at most 1032 bytes of one, other codecs do better on black frames alone;
so what is more than that many times the file is refused, unless it is small enough to do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from ..core.stored_arrays import MAX_RATIO

HARMLESS_BYTES = 32 << 20  # a frame of 4096 × 4096 in 16 bits: it may be black, and packed into nothing
MAX_CHUNKS = 1 << 16  # that make up one frame or volume
MAX_TIME_NS = 1 << 62  # 146 years
HARMLESS_PLANES = 1 << 20  # 24 MB of numbers and times


def check_declared(path: Path, what: str, nbytes: int) -> None:
    """Raise SourceError if `what` takes so many bytes that they cannot be packed into the file or folder at `path`."""
    if nbytes > HARMLESS_BYTES and nbytes > MAX_RATIO * (stored := _stored_nbytes(path)):
        raise SourceError(
            f"{path}: {what} would take {nbytes} bytes, of {stored} stored; its sizes are damaged, copy it again"
        )


def check_chunks(path: Path, chunk: Sequence[int], shape: Sequence[int], itemsize: int) -> None:
    """Raise SourceError for chunks (time first) that are larger than the file allows, or too many for one frame."""
    check_declared(path, "a chunk", math.prod(chunk) * itemsize)
    count = math.prod(-(-size // side) for size, side in zip(shape[1:], chunk[1:], strict=True))
    if count > MAX_CHUNKS:
        raise SourceError(f"{path}: a frame in {count} chunks, at most {MAX_CHUNKS} are read; write it in larger ones")


def check_planes(path: Path, planes: int) -> None:
    """Raise SourceError if there are no planes, or more than bytes in the file or folder at `path`."""
    if planes < 1:
        raise SourceError(f"{path}: holds no frame; nothing was written to it, record or copy it again")
    if planes > HARMLESS_PLANES and planes > (stored := _stored_nbytes(path)):
        raise SourceError(f"{path}: {planes} planes cannot lie in {stored} bytes; its sizes are damaged, copy it again")


def positive(value: Any) -> float | None:
    """Return a positive, finite number, None for anything else that metadata may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if 0 < number < math.inf else None


def facts_of_times(at_s: np.ndarray) -> dict[str, Any]:
    """Return interval (the median), times and what was wrong with them, as Stack names them, of times (t,) [s]; nothing
    where they do not run forwards."""
    at_s, wrong = mended_times(at_s)
    if not (len(at_s) > 1 and (np.diff(at_s) > 0).all() and np.abs(at_s[[0, -1]]).max() * 1e9 < MAX_TIME_NS):
        return {}
    facts: dict[str, Any] = {"interval_s": float(np.median(np.diff(at_s)))}
    facts["times_ns"] = np.rint(at_s * 1e9).astype(np.int64)
    if len(wrong):
        facts["user"] = {"timestamps": f"{len(wrong)} of {len(at_s)} were wrong, the first of frame {wrong[0]}"}
    return facts


def mended_times(at_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return times (t,) [s] with single ones that are none, or out of order, put between those beside them; and which.

    At an end the median of the other intervals is added. Times that are wrong side by side stay as they are.
    """
    times, inside = at_s.copy(), np.isfinite(at_s)
    step = np.diff(at_s)
    typical = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    padded = np.concatenate([[at_s[1] - 2 * typical], at_s, [at_s[-2] + 2 * typical]]) if len(at_s) > 2 else at_s
    if len(at_s) < 3:
        return times, np.empty(0, int)
    before, after = padded[:-2], padded[2:]
    with np.errstate(invalid="ignore"):
        wrong = (after > before) & ~(inside & (before < at_s) & (at_s < after))
    times[wrong] = (before[wrong] + after[wrong]) / 2
    return times, np.flatnonzero(wrong)


@contextmanager
def in_one_line(where: str) -> Iterator[None]:
    """Turn whatever a library raises on bytes that it cannot take into a SourceError: `where`, and its first line."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise SourceError(f"{where}: {first}") from None


def nbytes_of(path: Path) -> int:
    """Return how long a file is, 0 where there is none (any more: writers give their files other names)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _stored_nbytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(nbytes_of(file) for file in files if file.is_file())
