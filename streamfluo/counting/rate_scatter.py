"""Whether fluorophores come on at one rate in all traces, as pooled fits take for granted, and what numbers hang on it.

A trace whose fluorophores come on more often than those of others looks like one with more of them; its residuals are
white. What tells is how often several are on at once: the likelihood with a rate for each trace, scattered about a
common one, against that of the common one. Where they are seldom on, hardly anything tells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, logit, logsumexp

from .bounds import blinks
from .fit import P_ON, spread
from .kernels.crosschecks import log_prior
from .kernels.likelihood import Array, EmitterModel, evaluate
from .number_prior import number_prior

TRACES = 24  # that tell how rates scatter
STEP, NODES, SHIFTS = 0.25, 6, 2  # of log-odds; on either side, of a trace's rate; of the common rate
SCATTERS = (0.15, 0.3, 0.5)  # standard deviation of log-odds
CLEARLY = 3.0  # nats; one rate reaches .2 in 16 series, rates that scatter by 30 % 1 to 86
ALLOWED, DENIED = 0.3, 6.0  # scatter at most that intervals hold for, and nats below the likeliest, where they need not
THREE_POINTS = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))  # of a normal distribution (Gauss–Hermite)
CENTRES = range(NODES, NODES + 2 * SHIFTS + 1)
OFFSETS = STEP * np.arange(-NODES - SHIFTS, NODES + SHIFTS + 1)


class RateScatter(NamedTuple):
    """`told`: traces are clearly likelier with a rate of coming on for each than with one.

    `posterior` (n, candidates): of the number in each trace, if rates scatter as much as the traces do not deny.
    """

    told: bool
    posterior: Array


def rate_scatter(x: Array, parameters: Array, model: EmitterModel, threads: int = 1) -> RateScatter | None:
    """Return what traces (t, n) with the parameters (n, 6) say of the scatter of rates; None: nothing.

    Cost: that of three likelihoods, and of 17 of 24 traces.
    """
    lively = np.flatnonzero(blinks(x))
    if len(lively) < 2 or model.bleaching:
        return None
    few = lively[spread(np.nanmean(x[:, lively], axis=0), TRACES)]
    chosen, each = np.ascontiguousarray(x[:, few]), parameters[few]
    logs = np.array([_logs(chosen, each, offset, model, threads) for offset in OFFSETS])

    def evidence(centre: int, scatter: float) -> float:
        return number_prior(_marginal(logs, centre, scatter), model.candidates)[1]

    found = {s: np.array([evidence(centre, s) for centre in CENTRES]) for s in (0.0, *SCATTERS)}
    best = {s: float(values.max()) if s else _top(values) for s, values in found.items()}
    likeliest = max(best.values())
    most = max((s for s in best if s <= ALLOWED and best[s] > likeliest - DENIED), default=ALLOWED)
    middle = OFFSETS[CENTRES[int(found[most].argmax())]]
    parts = [_logs(x, parameters, middle + most * at, model, threads) + np.log(weight) for at, weight in THREE_POINTS]
    posterior = np.exp(log_softmax(logsumexp(parts, axis=0) + log_prior(model.candidates), axis=1))
    return RateScatter(max(best[s] for s in SCATTERS) > best[0.0] + CLEARLY, np.asarray(posterior))


def _logs(x: Array, parameters: Array, offset: float, model: EmitterModel, threads: int) -> Array:
    """Return log-likelihoods (n, candidates) where the log-odds of coming on are so much larger."""
    moved = parameters.copy()
    moved[:, P_ON] = expit(logit(moved[:, P_ON]) + offset)
    return np.asarray(evaluate(x, moved, model, threads=threads)[0])


def _marginal(logs: Array, centre: int, scatter: float) -> Array:
    """Return log-likelihoods (n, candidates) over rates that scatter about OFFSETS[centre], of those at each offset."""
    if not scatter:
        return np.asarray(logs[centre])
    near = slice(centre - NODES, centre + NODES + 1)
    weights = log_softmax(-(((OFFSETS[near] - OFFSETS[centre]) / scatter) ** 2) / 2)
    return np.asarray(logsumexp(logs[near] + weights[:, None, None], axis=0))


def _top(values: Array) -> float:
    """Return the maximum of the parabola through the largest of evenly spaced values and its neighbours.

    A common rate is known far better than to a step, and a scatter would make up for the rest.
    """
    k = int(values.argmax())
    if k in (0, len(values) - 1):
        return float(values[k])
    slope, curvature = (values[k + 1] - values[k - 1]) / 2, values[k + 1] - 2 * values[k] + values[k - 1]
    return float(values[k] - slope**2 / (2 * curvature)) if curvature < 0 else float(values[k])
