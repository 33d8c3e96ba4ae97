"""Quantiles of many traces at once.

numpy's own that know NaN go from trace to trace in Python: while a count was learned from 1000 spots beside the frames,
each of those 6000 steps held Python's lock anew, and a frame waited up to 130 ms for its turns.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def in_order(x: Array) -> tuple[Array, Array]:
    """Return the values of traces (t, n) in rising order (n, t), NaN last, and how many are numbers (n,)."""
    ordered = np.sort(x.T, axis=1)
    return ordered, x.shape[0] - np.isnan(ordered).sum(1)


def of_rank(ordered: Array, rank: Array) -> Array:
    """Return the value of a rank (n,), from 0, of each trace of `in_order`."""
    return np.asarray(np.take_along_axis(ordered, rank[:, None], axis=1)[:, 0])


def percentiles(x: Array, percents: tuple[float, ...]) -> list[Array]:
    """Return percentiles (n,) of traces (t, n), linear between values as numpy.nanpercentile; NaN of no value.

    Cost: one sort of all traces.
    """
    ordered, seen = in_order(x)
    found = []
    for percent in percents:
        at = np.maximum(seen - 1, 0) * (percent / 100)
        below = np.floor(at).astype(np.int64)
        low, high = of_rank(ordered, below), of_rank(ordered, np.minimum(below + 1, np.maximum(seen - 1, 0)))
        part, step = at - below, high - low
        found.append(np.where(part >= 0.5, high - step * (1 - part), low + step * part))  # as numpy rounds
    return found


def median(x: Array) -> Array:
    """Return the median (n,) of traces (t, n) as numpy.nanmedian; NaN of no value."""
    ordered, seen = in_order(x)
    return (of_rank(ordered, np.maximum(seen - 1, 0) // 2) + of_rank(ordered, np.minimum(seen // 2, len(x) - 1))) / 2
