"""Posterior summaries of a count, and two model-free cross-checks: bleaching steps and cumulants."""

import math

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import median
from ...pixels.kernels.two_state import balanced

CREDIBLE = 0.9
FLAT_PART = 0.5
STEP_POINTS = 500
SPLIT_PENALTY = 4  # × log(frames): at 2, the best of many split points now and then fits noise


def log_prior(candidates):  # type: ignore[no-untyped-def]
    """Return log P(n) = −log(n + 1): even in the logarithm, so that the answer hangs less on the last candidate."""
    return -np.log1p(candidates)


def posterior(logs, candidates):  # type: ignore[no-untyped-def]
    """Return the posterior (n, candidates) of log-likelihoods (n, candidates) under `log_prior`."""
    logs = logs + log_prior(candidates)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def credible_interval(probabilities, candidates):  # type: ignore[no-untyped-def]
    """Return the shortest interval (n, 2) of candidates, first and last, with a posterior of at least CREDIBLE."""
    found = np.empty((len(probabilities), 2), np.int64)
    total = np.concatenate([np.zeros((len(probabilities), 1)), np.cumsum(probabilities, axis=1)], axis=1)
    for n, sums in enumerate(total):
        best = (len(candidates), 0.0, 0, len(candidates) - 1)
        for low in range(len(candidates)):
            high = int(np.searchsorted(sums, sums[low] + min(CREDIBLE, sums[-1] - 1e-12) - 1e-12)) - 1
            if high < len(candidates):
                best = min(best, (high - low, sums[low] - sums[high + 1], low, high))
        found[n] = candidates[best[2]], candidates[best[3]]
    return found


def joined(one, other):  # type: ignore[no-untyped-def]
    """Return the intervals (n, 2) from the lower first to the higher last number of two."""
    return np.stack([np.minimum(one[:, 0], other[:, 0]), np.maximum(one[:, 1], other[:, 1])], axis=1)


def is_flat(interval, candidates):  # type: ignore[no-untyped-def]
    """Return where (n,) a posterior is flat: its interval holds most candidates, or the last, beyond which none is."""
    wide = interval[:, 1] - interval[:, 0] + 1 > FLAT_PART * len(candidates)
    return wide | (interval[:, 1] == candidates[-1])


def widened(interval, numbers, doubtful, candidates):  # type: ignore[no-untyped-def]
    """Return intervals (n, 2) that go from a third to twice the number (n,) where it is doubtful.

    The posterior holds under a model that those traces contradict. Such fits split levels: the truth is more often far
    below than above.
    """
    low = np.minimum(interval[:, 0], numbers // 3)
    high = np.maximum(interval[:, 1], np.maximum(2 * numbers, 1))
    wide = np.clip(np.stack([low, high], axis=1), candidates[0], candidates[-1])
    return np.where(doubtful[:, None], wide, interval)


def cumulant_count(k2, k3, k4):  # type: ignore[no-untyped-def]
    """Return the number N of two-state emitters with these noise-free cumulants; NaN: no solution (mCOAST 2025).

    k2 = N ε² ρ(1−ρ), k3 = N ε³ ρ(1−ρ)(1−2ρ), k4 = N ε⁴ ρ(1−ρ)(1−6ρ+6ρ²), solved for N.
    """
    return balanced(k2, k3, k4)[2]


def traces_bleaching_steps(record):  # type: ignore[no-untyped-def]
    """Return `bleaching_steps` (n,) of traces (t, n), each averaged to at most STEP_POINTS points."""
    bins = -(-len(record) // STEP_POINTS)
    points = len(record) // bins
    binned = record[: points * bins].reshape(points, bins, record.shape[1])
    seen = np.isfinite(binned)
    sums, nothing = np.where(seen, binned, 0).sum(1), np.full((points, record.shape[1]), np.nan)
    means = np.divide(sums, seen.sum(1), out=nothing, where=seen.any(1))
    return np.array([bleaching_steps(np.ascontiguousarray(trace)) for trace in means.T]).reshape(record.shape[1])


@kernel
def bleaching_steps(trace):  # type: ignore[no-untyped-def]
    """Return the number of emitters that bleached in a trace (t,), from its steps; 0: no step down.

    Segments are split where the residual falls most, as long as an information criterion falls too (Kalafut & Visscher
    2008). The count is the drop from the highest to the last level, in units of the median step down (Hummert et al.
    2021). Cost: frames · splits.
    """
    seen = trace[~np.isnan(trace)]
    frames = len(seen)
    if frames < 4:
        return 0.0
    sums = np.zeros(frames + 1)
    squares = np.zeros(frames + 1)
    for t in range(frames):
        sums[t + 1] = sums[t] + seen[t] - seen[0]
        squares[t + 1] = squares[t] + (seen[t] - seen[0]) ** 2
    edges = np.zeros(frames + 1, np.int64)
    edges[1], count = frames, 1
    residual = squares[frames] - sums[frames] ** 2 / frames
    while count < frames // 4:
        gain, at, after = 0.0, 0, 0
        for k in range(count):
            for t in range(edges[k] + 2, edges[k + 1] - 1):
                here = _explained(sums, edges[k], edges[k + 1])
                split = _explained(sums, edges[k], t) + _explained(sums, t, edges[k + 1])
                if split - here > gain:
                    gain, at, after = split - here, t, k
        if gain <= 0 or residual - gain <= 0:
            break
        if frames * math.log((residual - gain) / residual) + SPLIT_PENALTY * math.log(frames) >= 0:
            break
        for k in range(count, after, -1):
            edges[k + 1] = edges[k]
        edges[after + 1] = at
        residual -= gain
        count += 1
    return _step_count(sums, edges, count)


@kernel
def _explained(sums, start, stop):  # type: ignore[no-untyped-def]
    """Return the sum of squares that the mean of a segment explains."""
    return (sums[stop] - sums[start]) ** 2 / (stop - start)


@part
def _step_count(sums, edges, count):  # type: ignore[no-untyped-def]
    """Return the drop from the highest level to the last, in median steps down."""
    levels = np.empty(count)
    for k in range(count):
        levels[k] = (sums[edges[k + 1]] - sums[edges[k]]) / (edges[k + 1] - edges[k])
    steps = levels[:-1] - levels[1:]
    down = steps[steps > 0]
    if len(down) == 0 or levels.max() <= levels[-1]:
        return 0.0
    return (levels.max() - levels[-1]) / median(down)
