"""Clocks: how one runs against another, from times that both gave to the same things."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLIP, PASSES = 2.5, 10  # residuals beyond so many σ are down-weighted (Huber 1964)
MIN_DRIFT_S = 5.0  # over less than this no drift is fitted: 1 ms of jitter would look like 200 ppm


class Clock(NamedTuple):
    """Another clock against ours: it is at `theirs_ns` when ours is at `ours_ns`, and runs (1 + drift) as fast.

    `error_ns` is the standard error of a time that is converted, where it is largest: at the ends of what was seen.
    """

    ours_ns: float
    theirs_ns: float
    drift: float
    error_ns: float

    def theirs(self, ours_ns: np.ndarray) -> np.ndarray:
        """Return times on the other clock [ns] at these of ours."""
        return self.theirs_ns + (np.asarray(ours_ns, float) - self.ours_ns) * (1 + self.drift)


def fit_clock(ours_ns: np.ndarray, theirs_ns: np.ndarray) -> Clock:
    """Return the clock that gave `theirs_ns` (n,) to what ours gave `ours_ns` (n,), by robust linear regression.

    Times that are late by a varying delay shift it by the delay's median; a shared pulse has none. Raises ValueError
    for fewer than two times.
    """
    if len(ours_ns) < 2:
        raise ValueError(f"two clocks are compared by two times or more, found {len(ours_ns)}")
    ours, theirs = (np.asarray(t, np.int64) for t in (ours_ns, theirs_ns))
    middle, level = int(np.median(ours)), int(np.median(theirs - ours))  # exact: 53 bits are 104 days of ns
    x, y = (ours - middle).astype(float), (theirs - ours - level).astype(float)
    with_drift = np.ptp(ours) >= MIN_DRIFT_S * 1e9
    design = np.column_stack((np.ones(len(x)), x / 1e9 if with_drift else np.zeros(len(x))))
    weights, solution = np.ones(len(x)), np.zeros(2)
    for _ in range(PASSES):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        residual = y - design @ solution
        scale = 1.4826 * np.median(np.abs(residual - np.median(residual)))
        weights = 1 / np.maximum(1, np.abs(residual) / (CLIP * scale)) if scale > 0 else np.ones(len(x))
    spread = np.sqrt((weights * x**2).sum())
    far = np.abs(x).max() / spread if with_drift and spread > 0 else 0.0
    error_ns = scale * np.hypot(1 / np.sqrt(weights.sum()), far)
    return Clock(float(middle), middle + level + solution[0], solution[1] / 1e9, float(error_ns))
