"""Whether fluorophores come on at one rate in all traces, as pooled fits take for granted.

A trace whose fluorophores come on more often than those of others looks like one with more of them; its residuals are
white. What tells is how often several are on at once: the likelihood with a rate for each trace, scattered about a
common one, against that of the common one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, logsumexp

from .bounds import blinks
from .fit import P_ON, spread
from .kernels.likelihood import Array, EmitterModel, evaluate
from .number_prior import number_prior

TRACES = 24
STEP, NODES, SHIFTS = 0.25, 6, 2  # of log-odds; on either side, of a trace's rate; of the common rate
SCATTERS = (0.15, 0.3, 0.5)  # standard deviation of log-odds
CLEARLY = 3.0  # nats; one rate reaches .2 in 16 series, rates that scatter by 30 % 1 to 86


def rates_scatter(x: Array, parameters: Array, model: EmitterModel, threads: int = 1) -> bool:
    """Return whether traces (t, n) are clearly likelier with a rate of coming on for each; parameters (n, 6).

    Where fluorophores are on for less than a tenth of the time, numbers and rates cannot be told apart, and no data say
    so. Cost: that of 17 likelihoods of 24 traces.
    """
    lively = np.flatnonzero(blinks(x))
    if len(lively) < 2 or model.bleaching:
        return False
    few = lively[spread(np.nanmean(x[:, lively], axis=0), TRACES)]
    chosen, each = np.ascontiguousarray(x[:, few]), parameters[few]
    offsets = STEP * np.arange(-NODES - SHIFTS, NODES + SHIFTS + 1)
    logs = []
    for offset in offsets:
        moved = each.copy()
        moved[:, P_ON] = expit(logit(each[:, P_ON]) + offset)
        logs.append(evaluate(chosen, moved, model, threads=threads)[0])

    def evidence(centre: int, scatter: float) -> float:
        near = slice(centre - NODES, centre + NODES + 1)
        weights = -(((offsets[near] - offsets[centre]) / scatter) ** 2) / 2
        marginal = logsumexp(np.array(logs[near]) + (weights - logsumexp(weights))[:, None, None], axis=0)
        return number_prior(marginal, model.candidates)[1]

    centres = range(NODES, NODES + 2 * SHIFTS + 1)
    one = _top(np.array([number_prior(logs[centre], model.candidates)[1] for centre in centres]))
    return max(evidence(centre, scatter) for centre in centres for scatter in SCATTERS) > one + CLEARLY


def _top(values: Array) -> float:
    """Return the maximum of the parabola through the largest of evenly spaced values and its neighbours.

    A common rate is known far better than to a step, and a scatter would make up for the rest.
    """
    k = int(values.argmax())
    if k in (0, len(values) - 1):
        return float(values[k])
    slope, curvature = (values[k + 1] - values[k - 1]) / 2, values[k + 1] - 2 * values[k] + values[k - 1]
    return float(values[k] - slope**2 / (2 * curvature)) if curvature < 0 else float(values[k])
