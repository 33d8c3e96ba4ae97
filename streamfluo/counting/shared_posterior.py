"""The posterior of parameters that traces share: draws about each maximum of their likelihood.

Under the best parameters alone, counts are too sure where brightness, rates and number trade off. Draws come from a
multivariate t about each maximum, with the curvature there, and are weighted by likelihood over density (importance
sampling; Geweke 1989, Econometrica 57:1317).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, log_softmax, logsumexp

from .fit import MU, P_OFF, P_ON, SCALES, SELDOM, Coordinates, Maximum, Pooled, Search, fit_factors, shared_evidence
from .kernels.crosschecks import log_prior
from .kernels.likelihood import Array, EmitterModel, evaluate
from .number_prior import number_prior

DRAWS = 64  # about each maximum, before they are weighted
SCALE_DRAWS = 24  # about each scale of the numbers
APART = 0.2  # standard deviation of log-odds there, half the distance between scales
DEGREES = 5  # of freedom: tails heavier than those of the posterior
STEP, WIDEST = 0.5, 10.0  # of a difference, and standard deviation at most, in typical errors of a parameter


class Factors:
    """The log-factors (n,) of the brightness of traces x (t, n) under parameters (6,); 0 without scatter.

    Each is found once: with 1000 traces of 200 frames it takes .9 s, a quarter of what `count` learns in.
    """

    def __init__(self, x: Array, scatter: float, model: EmitterModel, threads: int) -> None:
        self._x, self._scatter, self._model, self._threads = x, scatter, model, threads
        self._found: dict[bytes, Array] = {}

    def under(self, parameters: Array) -> Array:
        """Return those under parameters (6,)."""
        if not self._scatter:
            return np.zeros(self._x.shape[1])
        key = parameters.tobytes()
        if key not in self._found:
            self._found[key] = fit_factors(self._x, parameters, self._model, self._scatter, self._threads)
        return self._found[key]


def log_posterior(
    factors: Factors,
    pooled: Pooled,
    model: EmitterModel,
    search: Search,
    draws: int,
    logs_under: Callable[[Array], Array],
) -> Array:
    """Return the log posterior (n, candidates) of the number in the traces of `factors`, the mean over `draws`.

    logs_under: log-likelihoods (n, candidates) under each trace's parameters (n, 6).
    """
    logs = []
    for maximum, several in draw(pooled, model, search, draws):
        scale = factors.under(maximum.parameters)
        logs += [logs_under(of_each(parameters, scale)) for parameters in several]
    every = log_softmax(np.array(logs) + log_prior(model.candidates), axis=2)
    return np.asarray(logsumexp(every, axis=0) - np.log(len(every)))


def of_each(parameters: Array, factors: Array) -> Array:
    """Return each trace's parameters (n, 6), from shared ones (6,) and log-factors (n,)."""
    return np.where(np.arange(6) == MU, np.exp(factors)[:, None], 1.0) * parameters


class Component(NamedTuple):
    """A multivariate t that parameters are drawn from: `draws` of them about `centre` (free,), with a `root` of its
    covariance (free, free)."""

    maximum: Maximum
    centre: Array
    root: Array
    draws: int


def draw(pooled: Pooled, model: EmitterModel, search: Search, draws: int) -> list[tuple[Maximum, Array]]:
    """Return so many draws from the posterior of shared parameters: maxima, with those (k, 6) drawn about each.

    Cost: that of 64 likelihoods for each maximum within 15 nats of the best, and of some 200 where emitters are seldom
    on. The draws are the same in every run.
    """
    at = Coordinates(model, search.bounds, float(pooled.maxima[0].parameters[MU]))
    if not len(at.free):
        return [(pooled.maxima[0], pooled.maxima[0].parameters[None])]
    parts = [part for one in pooled.maxima for part in _components(pooled.seen, one, at, model, search)]
    rng, (low, high) = np.random.default_rng(0), at.bounds()
    drawn = np.concatenate([_drawn(part, rng) for part in parts])
    of_part = np.repeat(np.arange(len(parts)), [part.draws for part in parts])
    base = np.array([part.maximum.parameters for part in parts])[of_part]
    parameters = at.back(drawn, base)
    weights = np.full(len(drawn), -np.inf)
    for j in np.flatnonzero(((drawn >= low) & (drawn <= high)).all(1)):
        factors = parts[of_part[j]].maximum.factors
        logs = evaluate(pooled.seen, of_each(parameters[j], factors), model, threads=search.threads)[0]
        prior = pooled.scatter and -(factors**2).sum() / (2 * pooled.scatter**2)
        weights[j] = number_prior(logs, model.candidates)[1] + prior
    weights -= _log_density(drawn, parts)
    share = np.cumsum(np.exp(weights - logsumexp(weights)))
    kept = np.minimum(np.searchsorted(share, (np.arange(draws) + 0.5) / draws * share[-1]), len(share) - 1)
    which = of_part[kept]
    return [(parts[k].maximum, parameters[kept[which == k]]) for k in np.unique(which)]


def _components(x: Array, one: Maximum, at: Coordinates, model: EmitterModel, search: Search) -> list[Component]:
    """Return what to draw from about a maximum.

    Where emitters are seldom on, the numbers of all traces may be scaled, and the rate with them: the posterior then
    has a maximum at every scale.
    """
    centre, root = at.of(one.parameters), _spread(x, one, at, model, search)
    parts = [Component(one, centre, root, DRAWS)]
    if P_ON not in at.free or one.parameters[P_ON] > SELDOM * one.parameters[P_OFF]:
        return parts
    logs = evaluate(x, of_each(one.parameters, one.factors), model, threads=search.threads)[0]
    prior = number_prior(logs, model.candidates)[0]
    number = max(float(np.exp(log_softmax(logs + prior, axis=1)).mean(0) @ model.candidates), 1.0)
    rate = at.free == P_ON
    wide = np.linalg.cholesky(root @ root.T + np.diag(rate * (APART / SCALES[P_ON]) ** 2))
    shifts = np.arange(np.log(number / model.max_emitters), np.log(number) + APART, 2 * APART) / SCALES[P_ON]
    return parts + [Component(one, centre + shift * rate, wide, SCALE_DRAWS) for shift in shifts]


def _drawn(part: Component, rng: np.random.Generator) -> Array:
    """Return coordinates (draws, free) of a multivariate t, the first its centre."""
    normal = rng.normal(size=(part.draws, len(part.centre)))
    normal /= np.sqrt(rng.chisquare(DEGREES, (part.draws, 1)) / DEGREES)
    normal[0] = 0
    return np.asarray(part.centre + normal @ part.root.T)


def _spread(x: Array, one: Maximum, at: Coordinates, model: EmitterModel, search: Search) -> Array:
    """Return a square root (free, free) of the covariance of coordinates at a maximum, from differences of slopes."""
    centre = at.of(one.parameters)
    low, high = at.bounds()
    free = replace(search, free_numbers=True)

    def slopes(q: Array) -> Array:
        shared = at.back(q, one.parameters)
        return at.slopes(shared, shared_evidence(x, shared, one.factors, model, free)[1])

    ends = [
        (np.clip(centre - step, low, high), np.clip(centre + step, low, high)) for step in np.diag([STEP] * len(low))
    ]
    curvature = np.array([(slopes(a) - slopes(b)) / np.abs(b - a).max() for a, b in ends])
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return np.asarray(vectors / np.sqrt(np.maximum(values, WIDEST**-2)))


def _log_density(drawn: Array, parts: list[Component]) -> Array:
    """Return the log density (n,) of the mixture that draws (n, free) come from."""
    free = drawn.shape[1]
    each = []
    for part in parts:
        scaled = np.linalg.solve(part.root, (drawn - part.centre).T)
        norm = gammaln((DEGREES + free) / 2) - gammaln(DEGREES / 2) - free / 2 * np.log(DEGREES * np.pi)
        norm += np.log(part.draws / len(drawn)) - np.linalg.slogdet(part.root)[1]
        each.append(norm - (DEGREES + free) / 2 * np.log1p((scaled**2).sum(0) / DEGREES))
    return np.asarray(logsumexp(each, axis=0))
