"""Two arrays beside each other: equal to the bit, or how many numbers differ and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.findings import spelled


@dataclass(frozen=True)
class ArrayDifference:
    """What differs in one array of a step: how many of `count` numbers, the largest and the median difference (of those
    that differ), the correlation of both; `said` in words. A number beside NaN differs, NaN beside NaN does not."""

    step: str
    name: str
    kind: str
    equal: bool
    count: int = 0
    differ: int = 0
    largest: float | None = None
    median: float | None = None
    correlation: float | None = None
    weight: float = 0.0  # the median difference over the scatter: which array differs most
    said: str = ""


def missing(step: str, name: str, kind: str, why: str) -> ArrayDifference:
    """Return what is said of an array that cannot be compared."""
    return ArrayDifference(step, name, kind, False, said=why)


def array_difference(step: str, name: str, kind: str, a: np.ndarray, b: np.ndarray) -> ArrayDifference:
    """Return what differs between two arrays of one shape; of two shapes, that."""
    if a.shape != b.shape:
        return missing(step, name, kind, f"{_shape(a)} and {_shape(b)}")
    if a.dtype == b.dtype and _same_bits(a, b):
        return ArrayDifference(step, name, kind, True, a.size, said="equal to the bit")
    if a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        differ = int(np.sum(a.astype(str) != b.astype(str)))
        said = f"{spelled(differ)} of {spelled(a.size)} texts differ" if differ else "the same texts in another type"
        return ArrayDifference(step, name, kind, not differ, a.size, differ, said=said)
    p, q = a.astype(float).reshape(-1), b.astype(float).reshape(-1)
    both = np.isfinite(p) & np.isfinite(q)
    other = (p != q) & ~(np.isnan(p) & np.isnan(q))
    differ = int(other.sum())
    if not differ:
        said = "equal numbers" if a.dtype == b.dtype else f"equal numbers, as {a.dtype} and {b.dtype}"
        return ArrayDifference(step, name, kind, a.dtype == b.dtype, a.size, said=said)
    size = np.abs(p - q)[other & both]
    known = {"largest": float(size.max()), "median": float(np.median(size))} if len(size) else {}
    said = f"{spelled(100 * differ / a.size)} % of {spelled(a.size)} differ"
    if known:
        said += f", by {spelled(known['median'])} (median), {spelled(known['largest'])} at most"
    correlation = _correlation(p[both], q[both])
    if correlation is not None and correlation < 0.99999:
        said += f", correlation {correlation:.4f}"
    if only := int((np.isfinite(p) != np.isfinite(q)).sum()):
        said += f"; {spelled(only)} known in one alone"
    scatter = float(np.std(p[both])) if both.any() else 0.0
    mean = float(np.mean(np.abs(p - q)[both])) if both.any() else 0.0
    weight = mean / scatter if scatter > 0 else 0.0
    return ArrayDifference(
        step, name, kind, False, a.size, differ, known.get("largest"), known.get("median"), correlation, weight, said
    )


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind not in "biuf":
        return bool(np.array_equal(a, b))
    one, other = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (a, b))
    return bool(np.array_equal(one, other))


def _correlation(p: np.ndarray, q: np.ndarray) -> float | None:
    if len(p) < 3 or not np.ptp(p) > 0 or not np.ptp(q) > 0:
        return None
    with np.errstate(all="ignore"):
        found = float(np.corrcoef(p, q)[0, 1])
    return found if np.isfinite(found) else None


def _shape(array: Any) -> str:
    return " × ".join(str(n) for n in array.shape) or "1"
