"""Values of every frame as a page draws them: on a fixed grid of frames, so that what is new can be sent alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..viewer.traces import Trace
from .messages import as_float32

WINDOW_S = 30.0
WINDOW_FRAMES = 900  # where the interval is not known
MAX_COLUMNS = 960  # of a window: a page has hardly more pixels for them; 30 frames a second are drawn as they are


class Columns(NamedTuple):
    """The least and the greatest value of each curve in each column of `each` frames: (columns, curves), float32.

    Column c holds the frames from c · each on; NaN where none came.
    """

    first: int
    each: int
    low: np.ndarray
    high: np.ndarray


def frames_each(interval_s: float | None) -> int:
    """Return how many frames a column holds, so that a window of 30 s has MAX_COLUMNS at most."""
    frames = WINDOW_S / interval_s if interval_s and interval_s > 0 else WINDOW_FRAMES
    return max(1, -(-int(min(frames, 1e9)) // MAX_COLUMNS))


def columns_since(trace: Trace, first: int, each: int, curves: Sequence[int]) -> Columns | None:
    """Return the columns from `first` on that are complete, a window of them at most; None where there is none.

    What is newest follows with the next look: a column that grows would have to be sent again.
    """
    indices, _ = trace.since()
    if not len(indices):
        return None
    stop = (int(indices[-1]) + 1) // each
    first = max(first, stop - MAX_COLUMNS, int(indices[0]) // each)
    if first >= stop:
        return None
    indices, rows = trace.since(first * each)
    kept = indices < stop * each
    at, rows = indices[kept] // each - first, as_float32(rows[kept][:, list(curves)])
    if each == 1:
        low = np.full((stop - first, len(curves)), np.nan, np.float32)
        low[at] = rows
        return Columns(first, each, low, low)
    low, high = (np.full((stop - first, len(curves)), empty, np.float32) for empty in (np.inf, -np.inf))
    known = np.isfinite(rows)
    np.minimum.at(low, at, np.where(known, rows, np.float32(np.inf)))
    np.maximum.at(high, at, np.where(known, rows, np.float32(-np.inf)))
    for edge in (low, high):
        edge[~np.isfinite(edge)] = np.nan
    return Columns(first, each, low, high)
