"""A baseline that follows each pixel."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def subtract_baseline(frames, seen, memory, level, baseline, out):  # type: ignore[no-untyped-def]
    """Write frame − baseline + level, the baseline moved towards each frame first by 1 / min(frames seen, memory).

    frames (n, y, x); seen: frames before these; baseline (y, x) is changed; out (n, y, x). NaN moves nothing.
    """
    for t in range(frames.shape[0]):
        rate = 1 / min(seen + t + 1, memory)
        for y in range(frames.shape[1]):
            _follow(frames[t, y], rate, level, baseline[y], out[t, y])


@njit(nogil=True, cache=True)
def _follow(row, rate, level, baseline, out):  # type: ignore[no-untyped-def]
    for i in range(len(baseline)):
        d = np.float64(row[i]) - baseline[i]
        baseline[i] += d * rate if d == d else 0.0
        out[i] = np.float64(row[i]) - baseline[i] + level
