"""Fits of emitters to traces: parameters that all traces share, or each trace's own.

Maximum of log Σ_y P(trace | y), summed over traces, by L-BFGS in log-brightness and log-odds; slopes by Fisher's identity
from one forward–backward pass. Where brightness scatters each trace has a factor e^u of its own, u ~ N(0, scatter²).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from .emitter_likelihood import Array, EmitterModel, evaluate
from .emitter_starts import ON_PARTS, guess_parameters

MU, MU_BG, SIGMA, P_ON, P_OFF, P_BLEACH = range(6)


@dataclass(frozen=True)
class Search:
    """How a fit is done: ranges (6, 2), of width 0 where a parameter is known; when it is done; how many start."""

    bounds: Array
    starts: int = 3
    max_steps: int = 1000
    done_limit: float = 1e-5
    traces: int = 40
    threads: int = 1


class _Coordinates:
    """Parameters as numbers the optimiser may move freely: logarithms, log-odds, the background as it is or its log."""

    def __init__(self, model: EmitterModel, bounds: Array, scale: float) -> None:
        self._camera, self._scale = model.camera, scale
        known = bounds[:, 0] == bounds[:, 1]
        self._free = np.flatnonzero(~known & (np.arange(6) != (P_BLEACH if not model.bleaching else -1)))
        self._bounds = bounds

    def of(self, parameters: Array) -> Array:
        return np.array([self._to(k, parameters[k]) for k in self._free])

    def bounds(self) -> list[tuple[float, float]]:
        return [(self._to(k, self._bounds[k, 0]), self._to(k, self._bounds[k, 1])) for k in self._free]

    def back(self, q: Array, base: Array) -> Array:
        parameters = base.copy()
        for k, value in zip(self._free, q, strict=True):
            if k >= P_ON:
                parameters[k] = 1 / (1 + np.exp(-value))
            else:
                parameters[k] = value * self._scale if self._linear(k) else np.exp(value)
        return np.clip(parameters, self._bounds[:, 0], self._bounds[:, 1])

    def slopes(self, parameters: Array, slopes: Array) -> Array:
        p = parameters
        by = np.array([p[0], self._scale if self._linear(MU_BG) else p[1], p[2], *(p[3:] * (1 - p[3:]))])
        return np.asarray((slopes * by)[self._free])

    def _linear(self, k: int) -> bool:
        return self._camera and k == MU_BG

    def _to(self, k: int, value: float) -> float:
        if k >= P_ON:
            return float(np.log(value / (1 - value)))
        return float(value / self._scale if self._linear(k) else np.log(value))


def fit_from(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float = 0.0, factors: Array | None = None
) -> tuple[Array, Array, float]:
    """Return (parameters (6,), log-factors (n,), log-likelihood) at the maximum that this start leads to."""
    n = x.shape[1]
    at = _Coordinates(model, search.bounds, float(start[MU]))
    u0 = np.zeros(n) if factors is None else factors
    free = len(at.of(start))

    def loss(q: Array) -> tuple[float, Array]:
        shared = at.back(q[:free], start)
        u = q[free:] if scatter else u0
        each = np.tile(shared, (n, 1))
        each[:, MU] *= np.exp(u)
        logs, slopes = evaluate(x, each, model, True, search.threads)
        assert slopes is not None
        total = np.logaddexp.reduce(logs, axis=1).sum()
        by_each = slopes.sum(0)
        by_each[MU] = (slopes[:, MU] * np.exp(u)).sum()
        gradient = at.slopes(shared, by_each)
        if scatter:
            total -= (u**2).sum() / (2 * scatter**2)
            gradient = np.concatenate([gradient, slopes[:, MU] * each[:, MU] - u / scatter**2])
        return -float(total) / n, -gradient / n

    q = np.concatenate([at.of(start), u0]) if scatter else at.of(start)
    bounds = at.bounds() + ([(-1.5, 1.5)] * n if scatter else [])
    options = {"maxiter": search.max_steps, "ftol": search.done_limit * 1e-4, "gtol": 1e-4}
    found = minimize(loss, q, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    u = found.x[free:] if scatter else u0
    return at.back(found.x[:free], start), u, -float(found.fun) * n


def fit_pooled(x: Array, intensity: Array, model: EmitterModel, search: Search) -> tuple[Array, float]:
    """Return the parameters (6,) that all traces share, from at most `search.traces` of them, and their likelihood."""
    some = np.linspace(0, x.shape[1] - 1, min(search.traces, x.shape[1])).round().astype(int)
    some = np.argsort(np.nanmean(x, axis=0), kind="stable")[some]
    x, intensity = x[:, some], intensity[:, some]
    few = np.linspace(0, len(some) - 1, min(len(some), 12)).round().astype(int)
    found = []
    for part in ON_PARTS[: search.starts]:
        start = guess_parameters(x, intensity, model.camera, search.bounds, None, part)
        rough = fit_from(x[:, few], start, model, replace(search, done_limit=1e-1))
        found.append(rough)
    best = max(found, key=lambda f: f[2])[0]
    parameters, _, likelihood = fit_from(x, best, model, search)
    return parameters, likelihood
