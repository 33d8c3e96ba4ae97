"""The posterior of parameters that traces share: draws about each maximum of their likelihood.

Under the best parameters alone, counts are too sure where brightness, rates and number trade off. Draws come from a
multivariate t about each maximum, with the curvature there, and are weighted by likelihood over density (importance
sampling; Geweke 1989, Econometrica 57:1317).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, log_softmax, logsumexp

from .fit import MU, Coordinates, Maximum, Pooled, Search, fit_factors, shared_evidence
from .kernels.crosschecks import log_prior
from .kernels.likelihood import Array, EmitterModel, evaluate, log_evidence

NEAR = 15.0  # nats below the best, beyond which a maximum does not matter
MOST_MAXIMA = 4
DRAWS = 64  # about each maximum, before they are weighted
DEGREES = 5  # of freedom: tails heavier than those of the posterior
STEP, WIDEST = 0.5, 10.0  # of a difference, and standard deviation at most, in typical errors of a parameter


def log_posterior(
    x: Array, pooled: Pooled, model: EmitterModel, search: Search, draws: int, logs_under: Callable[[Array], Array]
) -> Array:
    """Return the log posterior (n, candidates) of the number in traces x (t, n), the mean over so many `draws`.

    logs_under: log-likelihoods (n, candidates) under each trace's parameters (n, 6).
    """
    logs = []
    for maximum, several in draw(pooled, model, search, draws):
        scale = factors(x, maximum.parameters, pooled.scatter, model, search.threads)
        logs += [logs_under(of_each(parameters, scale)) for parameters in several]
    every = log_softmax(np.array(logs) + log_prior(model.candidates), axis=2)
    return np.asarray(logsumexp(every, axis=0) - np.log(len(every)))


def factors(x: Array, parameters: Array, scatter: float, model: EmitterModel, threads: int) -> Array:
    """Return the log-factors (n,) of the traces' brightness under parameters (6,), 0 without scatter."""
    return fit_factors(x, parameters, model, scatter, threads) if scatter else np.zeros(x.shape[1])


def of_each(parameters: Array, factors: Array) -> Array:
    """Return each trace's parameters (n, 6), from shared ones (6,) and log-factors (n,)."""
    return np.where(np.arange(6) == MU, np.exp(factors)[:, None], 1.0) * parameters


def draw(pooled: Pooled, model: EmitterModel, search: Search, draws: int) -> list[tuple[Maximum, Array]]:
    """Return so many draws from the posterior of shared parameters: maxima, with those (k, 6) drawn about each.

    Cost: that of 64 likelihoods for each maximum within 15 nats of the best. The draws are the same in every run.
    """
    best = pooled.maxima[0].likelihood
    near = [m for m in pooled.maxima if m.likelihood > best - NEAR][:MOST_MAXIMA]
    at = Coordinates(model, search.bounds, float(near[0].parameters[MU]))
    centres = np.array([at.of(m.parameters) for m in near])
    free = centres.shape[1]
    if not free:
        return [(near[0], near[0].parameters[None])]
    roots = np.array([_spread(pooled.seen, m, at, model, search) for m in near])
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(len(near), DRAWS, free)) / np.sqrt(
        rng.chisquare(DEGREES, (len(near), DRAWS, 1)) / DEGREES
    )
    drawn = centres[:, None] + np.einsum("mij,mkj->mki", roots, normal)
    drawn[:, 0] = centres
    low, high = at.bounds()
    weights = np.full((len(near), DRAWS), -np.inf)
    parameters = np.array([at.back(q, m.parameters) for q, m in zip(drawn, near, strict=True)])
    for k, one in enumerate(near):
        prior = pooled.scatter and -(one.factors**2).sum() / (2 * pooled.scatter**2)
        for j in np.flatnonzero(((drawn[k] >= low) & (drawn[k] <= high)).all(1)):
            logs = evaluate(pooled.seen, of_each(parameters[k, j], one.factors), model, threads=search.threads)[0]
            weights[k, j] = log_evidence(logs, model.candidates).sum() + prior
    weights -= _log_density(drawn, centres, roots)
    share = np.exp(weights - logsumexp(weights)).ravel()
    chosen = np.searchsorted(np.cumsum(share), (np.arange(draws) + 0.5) / draws * share.sum())
    which, kept = np.unravel_index(np.minimum(chosen, share.size - 1), weights.shape)
    return [(near[k], parameters[k, kept[which == k]]) for k in np.unique(which)]


def _spread(x: Array, one: Maximum, at: Coordinates, model: EmitterModel, search: Search) -> Array:
    """Return a square root (free, free) of the covariance of coordinates at a maximum, from differences of slopes."""
    centre = at.of(one.parameters)
    low, high = at.bounds()

    def slopes(q: Array) -> Array:
        shared = at.back(q, one.parameters)
        return at.slopes(shared, shared_evidence(x, shared, one.factors, model, search.threads)[1])

    ends = [
        (np.clip(centre - step, low, high), np.clip(centre + step, low, high)) for step in np.diag([STEP] * len(low))
    ]
    curvature = np.array([(slopes(a) - slopes(b)) / np.abs(b - a).max() for a, b in ends])
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return np.asarray(vectors / np.sqrt(np.maximum(values, WIDEST**-2)))


def _log_density(drawn: Array, centres: Array, roots: Array) -> Array:
    """Return the log density (maxima, draws) of the mixture that draws (maxima, draws, free) come from."""
    free = centres.shape[1]
    parts = []
    for centre, root in zip(centres, roots, strict=True):
        scaled = np.linalg.solve(root, (drawn - centre).reshape(-1, free).T)
        norm = gammaln((DEGREES + free) / 2) - gammaln(DEGREES / 2) - free / 2 * np.log(DEGREES * np.pi)
        norm -= np.linalg.slogdet(root)[1]
        parts.append(norm - (DEGREES + free) / 2 * np.log1p((scaled**2).sum(0) / DEGREES))
    return np.asarray(logsumexp(parts, axis=0) - np.log(len(centres))).reshape(drawn.shape[:2])
