"""The decay time of transients at active places, by the estimator that `extract` uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..calcium.time_constants import DECAYS_S, RISES_S, TimeConstants, costs, decide, prepare

MAX_TRACES = 60
TRIED_S = (0.1, 0.14, *DECAYS_S, 2.4, 3.0)
TRIED_RISES_S = RISES_S[::2]
WITHIN_SIGMA, AROUND_SIGMA = 0.7, 2.5


class Transients(NamedTuple):
    """Traces (t,) of places, run by run, with σ of their noise, and of all the asymmetry of their increments.

    `asymmetry`: skewness of increments over `lag` frames; transients rise faster than they decay, blinking does not.
    """

    traces: list[np.ndarray]
    noise: list[float]
    asymmetry: float


def transients(
    frames: np.ndarray, runs: Sequence[slice], places: np.ndarray, sigma_px: float, lag: int = 1
) -> Transients:
    """Return the traces of places (n, 2) in frames (t, y, x), the mean within a cell less that around it."""
    wanted = max(3, MAX_TRACES // max(len(runs), 1))
    traces, noise, skews = [], [], []
    for y, x in places[:wanted]:
        course = _course(frames, int(y), int(x), sigma_px)
        for run in runs:
            part = course[run]
            part = part[np.isfinite(part)]
            if len(part) < 30:
                continue
            steps = np.diff(part)
            sigma = float(np.median(np.abs(steps - np.median(steps))) / (0.6745 * np.sqrt(2)))
            if sigma > 0:
                traces.append(part)
                noise.append(sigma)
                wide = np.diff(part[: len(part) // lag * lag].reshape(-1, lag).mean(1))
                skews.append(float(np.mean(wide**3) / max(float(np.mean(wide**2)), 1e-30) ** 1.5))
    return Transients(traces, noise, float(np.median(skews)) if skews else float("nan"))


def _course(frames: np.ndarray, y: int, x: int, sigma_px: float) -> np.ndarray:
    reach = int(np.ceil(2 * AROUND_SIGMA * sigma_px))
    top, left = max(0, y - reach), max(0, x - reach)
    cut = frames[:, top : y + reach + 1, left : x + reach + 1]
    dy, dx = np.ogrid[top - y : top - y + cut.shape[1], left - x : left - x + cut.shape[2]]
    r2 = (dy**2 + dx**2) / sigma_px**2
    within, around = np.exp(-r2 / (2 * WITHIN_SIGMA**2)), np.exp(-r2 / (2 * AROUND_SIGMA**2)) * (r2 > 4)
    weights = (within / within.sum() - around / max(around.sum(), 1e-9)).astype(np.float32)
    return np.asarray(np.tensordot(np.nan_to_num(cut, nan=float(np.nanmean(cut))), weights, 2))


def decay_s(found: Transients, interval_s: float) -> tuple[float, str]:
    """Return the decay time [s], or NaN with the reason."""
    if not found.traces:
        return float("nan"), "no place is active for long enough"
    candidates = [TimeConstants(decay, rise) for decay in TRIED_S for rise in TRIED_RISES_S if rise < decay]
    total = np.zeros((len(candidates), 2))
    for trace, sigma in zip(found.traces, found.noise, strict=True):
        fast, interval = prepare(trace, interval_s)
        averaged = sigma * float(np.sqrt(interval_s / interval))
        total += costs(fast, averaged, candidates, interval)
    constants = decide(total / len(found.traces), candidates)
    if not constants.known:
        return float("nan"), "transients do not stand out of noise in the traces of single places"
    if constants.decay_s in (TRIED_S[0], TRIED_S[-1]):
        side = "at most" if constants.decay_s == TRIED_S[0] else "at least"
        return constants.decay_s, f"{side} {constants.decay_s:g} s, the end of what is tried"
    return constants.decay_s, ""
