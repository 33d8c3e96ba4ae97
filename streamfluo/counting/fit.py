"""Fits of emitters to traces: parameters that all traces share, or each trace's own.

Maximum of log Σ_y P(trace | y), summed over traces, by L-BFGS in log-brightness and log-odds; slopes by Fisher's
identity from one forward–backward pass. Where brightness scatters each trace has a factor e^u of its own,
u ~ N(0, scatter²).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from .initial_values import ON_PARTS, guess_parameters
from .kernels.likelihood import Array, EmitterModel, evaluate

MU, MU_BG, SIGMA, P_ON, P_OFF, P_BLEACH = range(6)
REACH = np.array([0.01, 0.01, 0.05, 0.1, 0.1, 0.3])  # how far each may be off: without it L-BFGS takes twice the steps
REACH_FACTOR, MOST_FACTOR = 0.02, 1.5
ROUGHLY = 0.1
FEW = 12  # traces that tell the best start
TRIED = np.linspace(-0.45, 0.45, 7)  # log-factors a trace begins with: uphill from 0 one may end at half or twice
FACTOR_STEPS, BLURRED_STEPS = 6, 3
LEAST_SCATTER, NO_SCATTER, UNKNOWN_SCATTER = 0.003, 0.02, 0.15


@dataclass(frozen=True)
class Search:
    """How a fit is done: ranges (6, 2), of width 0 where a parameter is known; when it is done; how many start.

    `guesses` (k, 6): what to begin with, of which the `starts` likeliest are followed; None: what the moments say.
    """

    bounds: Array
    starts: int = 3
    guesses: Array | None = None
    max_steps: int = 1000
    done_limit: float = 1e-5
    traces: int = 40
    threads: int = 1


class Coordinates:
    """Parameters (…, 6) as numbers the optimiser may move freely: logarithms, log-odds; under the camera's emission the
    background as it is, in units of `scale`. A step of 1 is about how far a start is off."""

    def __init__(self, model: EmitterModel, bounds: Array, scale: float | Array) -> None:
        self._linear, self._scale = model.camera, np.asarray(scale)
        open_ = (bounds[..., 0] < bounds[..., 1]).reshape(-1, 6).any(0)
        self.free = np.flatnonzero(open_ & (model.bleaching | (np.arange(6) != P_BLEACH)))
        self._bounds = bounds

    def of(self, parameters: Array) -> Array:
        q = np.empty(parameters.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            q[..., :P_ON] = np.log(parameters[..., :P_ON])
            q[..., P_ON:] = np.log(parameters[..., P_ON:] / (1 - parameters[..., P_ON:]))
        if self._linear:
            q[..., MU_BG] = parameters[..., MU_BG] / self._scale
        return np.asarray(q[..., self.free] / REACH[self.free])

    def bounds(self) -> tuple[Array, Array]:
        return self.of(self._bounds[..., 0]), self.of(self._bounds[..., 1])

    def back(self, q: Array, base: Array) -> Array:
        whole = np.zeros((*q.shape[:-1], 6))
        whole[..., self.free] = q * REACH[self.free]
        made = np.concatenate([np.exp(whole[..., :P_ON]), 1 / (1 + np.exp(-whole[..., P_ON:]))], axis=-1)
        if self._linear:
            made[..., MU_BG] = whole[..., MU_BG] * self._scale
        parameters = np.broadcast_to(base, made.shape).copy()
        parameters[..., self.free] = made[..., self.free]
        return np.clip(parameters, self._bounds[..., 0], self._bounds[..., 1])

    def slopes(self, parameters: Array, slopes: Array) -> Array:
        by = np.concatenate([parameters[..., :P_ON], parameters[..., P_ON:] * (1 - parameters[..., P_ON:])], axis=-1)
        if self._linear:
            by[..., MU_BG] = self._scale
        return np.asarray((slopes * by * REACH)[..., self.free])


def fit_from(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float = 0.0, factors: Array | None = None
) -> tuple[Array, Array, float]:
    """Return (parameters (6,), log-factors (n,), log-likelihood) at the maximum that this start leads to."""
    n = x.shape[1]
    at = Coordinates(model, search.bounds, float(start[MU]))
    u0 = np.zeros(n) if factors is None else factors
    first = at.of(start)
    free = len(first)

    def loss(q: Array) -> tuple[float, Array]:
        shared = at.back(q[:free], start)
        u = q[free:] * REACH_FACTOR if scatter else u0
        each = np.tile(shared, (n, 1))
        each[:, MU] *= np.exp(u)
        logs, slopes = evaluate(x, each, model, True, search.threads)
        assert slopes is not None
        total = np.logaddexp.reduce(logs, axis=1).sum()
        summed = slopes.sum(0)
        summed[MU] = (slopes[:, MU] * np.exp(u)).sum()
        gradient = at.slopes(shared, summed)
        if scatter:
            total -= (u**2).sum() / (2 * scatter**2)
            by_factor = slopes[:, MU] * each[:, MU] - u / scatter**2
            gradient = np.concatenate([gradient, by_factor * REACH_FACTOR])
        return -float(total) / n, -gradient / n

    q, (low, high) = first, at.bounds()
    if scatter:
        most = np.full(n, MOST_FACTOR / REACH_FACTOR)
        q = np.concatenate([first, u0 / REACH_FACTOR])
        low, high = np.concatenate([low, -most]), np.concatenate([high, most])
    options = {"maxiter": search.max_steps, "ftol": search.done_limit * 1e-3, "gtol": 1e-5}
    bounds = list(zip(low, high, strict=True))
    found = minimize(loss, np.clip(q, low, high), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    u = found.x[free:] * REACH_FACTOR if scatter else u0
    return at.back(found.x[:free], start), u, -float(found.fun) * n


@dataclass(frozen=True)
class Pooled:
    """Parameters (6,) that all traces share, how much brightness scatters between traces, and the log-likelihood."""

    parameters: Array
    scatter: float
    likelihood: float


def fit_pooled(
    x: Array, intensity: Array, model: EmitterModel, search: Search, scatter: float | None = 0.0,
    start: Array | None = None,
) -> Pooled:  # fmt: skip
    """Return what all traces share, from at most `search.traces` of them.

    scatter: of the traces' brightness, relative (1 sd); None: estimated. start: parameters (6,) that are nearly right.
    """
    some = _spread(np.nanmean(x, axis=0), search.traces)
    x, intensity = x[:, some], intensity[:, some]
    width = UNKNOWN_SCATTER if scatter is None else scatter
    if start is None:
        few = _spread(np.nanmean(x, axis=0), FEW)
        start = _best_start(x[:, few], intensity, model, search, width)
    if not width:
        parameters, _, likelihood = fit_from(x, start, model, search)
        return Pooled(parameters, 0.0, likelihood)
    parameters, factors = start, fit_factors(x, start, model, width, search.threads)
    if scatter is None:  # factors are known far better than their scatter: one rough fit tells it
        roughly = replace(search, done_limit=100 * search.done_limit)
        parameters, factors, _ = _fit_blurred(x, start, model, roughly, width, factors)
        parameters, factors, width = _centred(parameters, factors)
        if width > NO_SCATTER:
            factors = fit_factors(x, parameters, model, width, search.threads)
            width = max(width, float(np.std(factors)))
    parameters, _, likelihood = fit_from(x, parameters, model, search, width, factors)
    return Pooled(parameters, width, likelihood)


def _best_start(x: Array, intensity: Array, model: EmitterModel, search: Search, scatter: float) -> Array:
    """The rough fit (6,) that is likeliest."""
    if search.guesses is None:
        seen = intensity if model.camera else np.log(intensity)
        parts = ON_PARTS[: search.starts]
        guesses = np.array([guess_parameters(seen, intensity, model.camera, search.bounds, None, p) for p in parts])
    else:
        scores = [np.logaddexp.reduce(evaluate(x, np.tile(g, (x.shape[1], 1)), model)[0], 1).sum()
                  for g in search.guesses]  # fmt: skip
        guesses = search.guesses[np.argsort(scores)[::-1][: search.starts]]
    roughly = replace(search, done_limit=ROUGHLY)
    rough = [_fit_blurred(x, guess, model, roughly, scatter) for guess in guesses]
    return max(rough, key=lambda found: found[2])[0]


def _fit_blurred(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float, factors: Array | None = None
) -> tuple[Array, Array, float]:
    """`fit_from`, with wide noise where brightness scatters; sigma comes back as it was."""
    wide = _blurred(start, model) if scatter > NO_SCATTER else start
    if wide[SIGMA] == start[SIGMA]:
        return fit_from(x, start, model, search, scatter, factors)
    bounds = search.bounds.copy()
    bounds[SIGMA] = wide[SIGMA]
    found, factors, likelihood = fit_from(x, wide, model, replace(search, bounds=bounds), scatter, factors)
    found[SIGMA] = start[SIGMA]
    return found, factors, likelihood


def _blurred(parameters: Array, model: EmitterModel) -> Array:
    """Parameters with noise as wide as brightness may scatter: levels far narrower hide from each other's slopes."""
    blurred = parameters.copy()
    if model.camera:
        blurred[SIGMA] = max(blurred[SIGMA], UNKNOWN_SCATTER * blurred[MU])
    return blurred


def _centred(parameters: Array, factors: Array) -> tuple[Array, Array, float]:
    """Parameters and log-factors about the typical trace, and the factors' standard deviation.

    Brightness and the mean factor tell the same, and a rough fit leaves it undecided. Factors that have lost their way,
    as by taking every second step for one, begin again at 0.
    """
    middle = float(np.median(factors))
    parameters, factors = parameters.copy(), factors - middle
    parameters[MU] *= np.exp(middle)
    usual = 1.4826 * float(np.median(np.abs(factors)))
    strays = np.abs(factors) > 3 * max(usual, LEAST_SCATTER)
    width = max(float(np.sqrt(np.mean(factors[~strays] ** 2))), LEAST_SCATTER)
    return parameters, np.where(strays, 0.0, factors), width


def _spread(level: Array, count: int) -> Array:
    """Which traces stand for all: so many of them, evenly over their mean levels."""
    ranks = np.linspace(0, len(level) - 1, min(count, len(level))).round().astype(int)
    return np.argsort(level, kind="stable")[ranks]


def fit_factors(x: Array, parameters: Array, model: EmitterModel, scatter: float, threads: int = 1) -> Array:
    """Return the log-factor (n,) of each trace's brightness that is likeliest, u ~ N(0, scatter²) beforehand."""

    n = x.shape[1]

    def at(u: Array, shared: Array, slopes: bool) -> tuple[Array, Array]:
        each = np.tile(shared, (n, 1))
        each[:, MU] *= np.exp(u)
        logs, by = evaluate(x, each, model, slopes, threads)
        gradient = by[:, MU] * each[:, MU] - u / scatter**2 if by is not None else u
        return np.logaddexp.reduce(logs, axis=1) - u**2 / (2 * scatter**2), gradient

    u, stages = np.zeros(n), [(parameters, FACTOR_STEPS)]
    if scatter > NO_SCATTER:
        blurred = _blurred(parameters, model)
        tried = TRIED * max(1.0, scatter / UNKNOWN_SCATTER)
        u = tried[np.array([at(np.full(n, each), blurred, False)[0] for each in tried]).argmax(0)]
        stages = [(blurred, BLURRED_STEPS), *stages] if blurred[SIGMA] > parameters[SIGMA] else stages
    for shared, steps in stages:
        gradient = at(u, shared, True)[1]
        step = np.clip(gradient * 1e-4, -scatter / 4, scatter / 4)
        for _ in range(steps):
            by = at(u + step, shared, True)[1]
            bend = np.maximum((gradient - by) / np.where(step == 0, 1, step), 1 / scatter**2)
            u, gradient = u + step, by
            step = np.clip(gradient / bend, -scatter / 2, scatter / 2)
    return np.asarray(u)
