"""Rise and decay of an indicator's transients, estimated over all traces of a recording under physical bounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .kernels.impulse_responses import sparse_spikes, subtract_slow

DECAYS_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)  # of indicators in use, OGB-1 to GCaMP6s
RISES_S = (0.0, 0.02, 0.035, 0.05, 0.07, 0.1, 0.14)
SAMPLES_HZ = 20.0  # traces are averaged down to about this rate: a decay of 0.2 s is four samples
SLOW_S = 1.0  # what is slower is left out: drift and slow glow otherwise pass for long decays (233 s were seen)
_SPARSITY = 3.0  # λ in σ of the matched filter
# Nats for log(1 + height in σ) of a transient and for its height: simulated decays within a third, real spikes .840.
# Heights alone (0, 4) gave decays six times too long in strong, dense activity; logarithms alone (6, 0) .832.
_COSTS = (4.0, 1.0)
_ROUNDS = 40
_LEAST_GAIN = 0.002  # nats a sample that transients must explain, else nothing is known; noise alone gives none


class TimeConstants(NamedTuple):
    """Rise and decay of a transient [s] (1 − exp(−t / rise)) exp(−t / decay); `known`: whether traces decided them."""

    decay_s: float
    rise_s: float
    known: bool = True


TYPICAL = TimeConstants(0.7, 0.05, known=False)


def impulse_response(constants: TimeConstants, interval_s: float) -> tuple[float, float, float]:
    """Return p, q and scale of `kernels.impulse_responses`: factors a sample of decay and rise, for a peak of 1."""
    p = float(np.exp(-interval_s / constants.decay_s))
    rising = constants.rise_s > 0
    q = p * float(np.exp(-interval_s / constants.rise_s)) if rising else 0.0
    return p, q, 1 / peak(p, q)


def peak(p: float, q: float) -> float:
    """Return the largest (p^{i+1} − q^{i+1}) / (p − q), i ≥ 0."""
    if q <= 0:
        return 1.0
    at = max(0.0, np.log(np.log(q) / np.log(p)) / np.log(p / q) - 1)
    return float(max((p ** (i + 1) - q ** (i + 1)) / (p - q) for i in (np.floor(at), np.ceil(at))))


def matched_norm(p: float, q: float) -> float:
    """Return √Σ h² of a transient h of peak 1: noise σ divided by it is the standard error of a single height."""
    energy = p * p / (1 - p * p) - 2 * p * q / (1 - p * q) + q * q / (1 - q * q)
    return float(np.sqrt(energy)) / ((p - q) * peak(p, q))


def responses(decay_s: float | None, rise_s: float | None) -> list[TimeConstants]:
    """Return the candidates, those of a given decay or rise only where one is given."""
    decays = DECAYS_S if decay_s is None else (decay_s,)
    rises = RISES_S if rise_s is None else (rise_s,)
    return [TimeConstants(decay, rise) for decay in decays for rise in rises]


def prepare(trace: np.ndarray, interval_s: float) -> tuple[np.ndarray, float]:
    """Return a trace (T,) as `cost` takes it, averaged down to 20 Hz and without what is slow, and its interval [s]."""
    step = max(1, round(1 / interval_s / SAMPLES_HZ))
    count = len(trace) // step
    averaged = np.asarray(trace[: count * step], float).reshape(count, step).mean(1)
    fast = np.empty(count)
    subtract_slow(averaged - averaged.mean(), _keep(interval_s * step), fast)
    return fast, interval_s * step


def cost(fast: np.ndarray, noise: float, constants: TimeConstants, interval_s: float) -> tuple[float, float]:
    """Return what a prepared trace (T,) of noise σ costs in nats a sample, and what of it transients explain.

    The cost is misfit and transients: a decay too short takes them all along a tail, one too long cannot follow it.
    """
    response, energy = _through_filter(constants, interval_s, len(fast))
    penalty = _SPARSITY * noise * energy
    spikes, work = np.zeros(len(fast)), np.empty((5, len(fast)))
    sparse_spikes(fast, response, penalty, _ROUNDS, work, spikes)
    least = 1e-12 * noise**2
    misfit = 0.5 * float(np.log(max(float(((fast - work[0]) ** 2).mean()), least)))
    idle = 0.5 * float(np.log(max(float((fast**2).mean()), least)))
    return misfit + _surprise(spikes / noise) / len(fast), idle - misfit


@lru_cache(maxsize=256)
def _through_filter(constants: TimeConstants, interval_s: float, samples: int) -> tuple[tuple[float, ...], float]:
    """Return the response as `sparse_spikes` takes it, and √Σ h² of one transient h as `prepare` leaves it.

    Kept for the few candidates there are: it takes a third of the time of the cost of a hundred samples.
    """
    p, q, scale = impulse_response(constants, interval_s)
    response = (p, q, scale, _keep(interval_s))
    single, seen = np.zeros((2, samples + 2 * round(SLOW_S / interval_s)))
    times = np.arange(1, len(single) + 1)
    single[:] = scale * (p**times - q**times) / (p - q)
    subtract_slow(single, response[3], seen)
    return response, float(np.sqrt((seen**2).sum()))


def _surprise(spikes: np.ndarray) -> float:
    """Cost of all transients in nats, spikes (T,) in noise σ; neighbouring samples share one transient."""
    inner = spikes[1:-1]
    at_peak = (inner > spikes[:-2]) & (inner >= spikes[2:])
    heights = (spikes[:-2] + inner + spikes[2:])[at_peak]
    return _COSTS[0] * float(np.log1p(heights).sum()) + _COSTS[1] * float(spikes.sum())


def decide(costs: np.ndarray, candidates: Sequence[TimeConstants]) -> TimeConstants:
    """Return the candidate of least cost; costs (candidates, 2): mean over the traces of what `cost` gives.

    Where transients explain nothing, those typical of an indicator, not `known`; given constants stay.
    """
    best = int(np.argmin(costs[:, 0]))
    if costs[best, 1] >= _LEAST_GAIN:
        return candidates[best]
    decays, rises = {c.decay_s for c in candidates}, {c.rise_s for c in candidates}
    return TimeConstants(
        decays.pop() if len(decays) == 1 else TYPICAL.decay_s, rises.pop() if len(rises) == 1 else TYPICAL.rise_s, False
    )


def estimate(
    traces: Sequence[np.ndarray], noise: Sequence[float], interval_s: float,
    decay_s: float | None = None, rise_s: float | None = None,
) -> TimeConstants:  # fmt: skip
    """Return the time constants that all traces (T,) share; noise: σ of each. What is given is not estimated."""
    candidates = responses(decay_s, rise_s)
    if len(candidates) == 1:
        return candidates[0]
    costs = np.zeros((len(candidates), 2))
    for trace, sigma in zip(traces, noise, strict=True):
        fast, interval = prepare(trace, interval_s)
        averaged = sigma * float(np.sqrt(interval_s / interval))
        costs += [cost(fast, averaged, candidate, interval) for candidate in candidates]
    return decide(costs / max(len(traces), 1), candidates)


def _keep(interval_s: float) -> float:
    return float(np.exp(-interval_s / SLOW_S))
