"""Planes that a file does not declare: frames that alternate between two, three or four of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PERIODS = (2, 3, 4)
MIN_CYCLES = 20
SHOWS = 3.0  # times the variance that means of frames of one plane have


def interleaved(frames: np.ndarray, runs: Sequence[slice]) -> int:
    """Return between how many planes the frames (t, y, x) alternate, 1 where they do not.

    An analysis of variance over the phase of a cycle: means over every second, third or fourth frame differ by no more
    than frames of one plane do. What is common to a frame, flicker, is left out.
    """
    run = max(runs, key=lambda r: r.stop - r.start, default=slice(0, 0))
    taken = np.nan_to_num(frames[run][:400, ::2, ::2].astype(np.float32))
    for period in PERIODS:
        cycles = len(taken) // period
        if cycles < MIN_CYCLES:
            continue
        part = taken[: cycles * period] - taken[: cycles * period].mean((1, 2), keepdims=True)
        phases = part.reshape(cycles, period, *part.shape[1:])
        steps = np.diff(phases, axis=0)  # within one phase, so that slow changes count as little as between phases
        within = float((steps**2).mean()) / 2
        between = float(phases.mean(0).var(0, ddof=1).mean()) * cycles
        if within > 0 and between > SHOWS * within:
            return period
    return 1
