"""How numbers of emitters are distributed over traces that share parameters: estimated along with those.

Emitters that are seldom on, and hardly ever two at once, look like fewer that come on more often. Only the prior of the
numbers decides between the two: a fixed one decides wrongly wherever numbers are distributed otherwise.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from .kernels.crosschecks import log_prior
from .kernels.likelihood import Array

PRIOR_TRACES = 3.0  # which the prior counts as much as
STEPS, DONE_NATS = 200, 1e-5


def number_prior(logs: Array, candidates: Array) -> tuple[Array, float]:
    """Return the log-probabilities (candidates,) of the numbers of all traces, and the log evidence under those.

    logs (n, candidates): log-likelihoods. The maximum a posteriori under a Dirichlet prior about `log_prior`, by
    expectation maximisation; the evidence includes that prior.
    """
    stated = np.exp(log_softmax(log_prior(candidates)))
    known, most = PRIOR_TRACES * stated, logs.max(axis=1)
    likelihood = np.exp(logs - most[:, None])
    probabilities, before = stated, -np.inf
    for _ in range(STEPS):
        each = likelihood @ probabilities
        evidence = float(np.log(each).sum() + known @ np.log(probabilities))
        if evidence < before + DONE_NATS:
            break
        before = evidence
        probabilities = (probabilities * (likelihood.T @ (1 / each)) + known) / (len(logs) + PRIOR_TRACES)
    return np.log(probabilities), evidence + float(most.sum())
