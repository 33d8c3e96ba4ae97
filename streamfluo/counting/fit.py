"""Maximum-likelihood fits of parameters that all traces share.

The objective is log Σ_n P(n) P(trace | n emitters), summed over traces, and maximised by L-BFGS in log-brightness and
log-odds: with the stated P(n) to find maxima, then with the one of these traces. Gradients follow from Fisher's
identity in one forward–backward pass. Where brightness scatters, each trace has a factor e^u with prior
u ~ N(0, scatter²).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy

from .bounds import blinks
from .initial_values import DUTY_CYCLES, initial_parameters, rescaled, step_parameters
from .kernels.likelihood import Array, EmitterModel, evaluate, log_evidence
from .number_prior import number_prior

MU, MU_BG, SIGMA, P_ON, P_OFF, P_BLEACH = range(6)
SCALES = np.array([0.01, 0.01, 0.05, 0.1, 0.1, 0.3])  # typical errors: unscaled, L-BFGS takes twice the steps
# Maxima of their own, from the best start: twice the number at half the brightness; one emitter more that is always on
# (background − mu) or one less; both. Of eight series of dyes that are mostly on, six ended at one of the last four.
OTHERS = ((2.0, 0), (0.5, 0), (1.0, 1), (1.0, -1), (1.0, 2), (2.0, 1))  # brightness ×, background + this many mu
FACTOR_SCALE, MAX_LOG_FACTOR = 0.02, 1.5
ROUGH_DONE_LIMIT = 0.1
SELDOM, RARER = 0.2, 0.65  # of the rate of going off; of the rate of coming on, beside which another maximum may lie
NEAR, MOST_MAXIMA = 15.0, 4  # nats below the best, beyond which a maximum does not matter
SAME = 1.0  # typical errors, within which two maxima are one
ROUNDS, CLEARLY = 3, 5.0  # of OTHERS, as long as one gains so many nats
START_TRACES = 12  # on which starts are compared
START_FACTORS = np.linspace(-0.6, 0.6, 9)  # log-factors: an ascent from 0 may end at half or twice the brightness
FACTOR_STEPS, WIDENED_STEPS = 6, 3
MIN_SCATTER, NO_SCATTER, DEFAULT_SCATTER = 0.003, 0.02, 0.15


@dataclass(frozen=True)
class Search:
    """Bounds (6, 2) of a fit, of width 0 where a parameter is known, its starts and its convergence.

    `guesses` (k, 6): starting points, of which the `starts` most likely are followed; None: method of moments.
    `free_numbers`: P(n) is estimated along.
    """

    bounds: Array
    starts: int = 3
    guesses: Array | None = None
    max_steps: int = 1000
    done_limit: float = 1e-5
    traces: int = 40
    threads: int = 1
    free_numbers: bool = False


class Maximum(NamedTuple):
    """Parameters (6,) that traces share, the log-factors (n,) of their brightness, and the log-likelihood there."""

    parameters: Array
    factors: Array
    likelihood: float


class Coordinates:
    """Unconstrained coordinates of parameters (…, 6): logarithms and log-odds, in units of a start's typical error.

    Under the camera emission the background is linear, in units of `scale`.
    """

    def __init__(self, model: EmitterModel, bounds: Array, scale: float | Array) -> None:
        self._linear, self._scale = model.camera, np.asarray(scale)
        open_ = (bounds[..., 0] < bounds[..., 1]).reshape(-1, 6).any(0)
        self.free = np.flatnonzero(open_ & (model.bleaching | (np.arange(6) != P_BLEACH)))
        self._bounds = bounds

    def of(self, parameters: Array) -> Array:
        """Return the coordinates (…, free)."""
        q = np.empty(parameters.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            q[..., :P_ON] = np.log(parameters[..., :P_ON])
            q[..., P_ON:] = np.log(parameters[..., P_ON:] / (1 - parameters[..., P_ON:]))
        if self._linear:
            q[..., MU_BG] = parameters[..., MU_BG] / self._scale
        return np.asarray(q[..., self.free] / SCALES[self.free])

    def bounds(self) -> tuple[Array, Array]:
        """Return the lower and upper bounds of the coordinates."""
        return self.of(self._bounds[..., 0]), self.of(self._bounds[..., 1])

    def back(self, q: Array, base: Array) -> Array:
        """Return the parameters at coordinates q; those that are known are taken from `base`."""
        scaled = np.zeros((*q.shape[:-1], 6))
        scaled[..., self.free] = q * SCALES[self.free]
        made = np.concatenate([np.exp(scaled[..., :P_ON]), 1 / (1 + np.exp(-scaled[..., P_ON:]))], axis=-1)
        if self._linear:
            made[..., MU_BG] = scaled[..., MU_BG] * self._scale
        parameters = np.broadcast_to(base, made.shape).copy()
        parameters[..., self.free] = made[..., self.free]
        return np.clip(parameters, self._bounds[..., 0], self._bounds[..., 1])

    def slopes(self, parameters: Array, slopes: Array) -> Array:
        """Return the gradient by coordinates, from that by parameters."""
        by = np.concatenate([parameters[..., :P_ON], parameters[..., P_ON:] * (1 - parameters[..., P_ON:])], axis=-1)
        if self._linear:
            by[..., MU_BG] = self._scale
        return np.asarray((slopes * by * SCALES)[..., self.free])


def shared_evidence(
    x: Array, shared: Array, factors: Array, model: EmitterModel, search: Search
) -> tuple[float, Array, Array]:
    """Return the log evidence of traces (t, n) that share parameters (6,), and its slopes by those and by log-factors.

    factors (n,): log-factors of brightness.
    """
    each = np.tile(shared, (x.shape[1], 1))
    each[:, MU] *= np.exp(factors)
    prior = None
    if search.free_numbers:  # at its maximum P(n) has no slope: that of the evidence is the one at fixed P(n)
        prior, total = number_prior(evaluate(x, each, model, threads=search.threads)[0], model.candidates)
    logs, slopes = evaluate(x, each, model, True, search.threads, prior)
    assert slopes is not None
    summed = slopes.sum(0)
    summed[MU] = (slopes[:, MU] * np.exp(factors)).sum()
    if prior is None:
        total = float(log_evidence(logs, model.candidates).sum())
    return total, summed, slopes[:, MU] * each[:, MU]


def fit_from(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float = 0.0, factors: Array | None = None
) -> Maximum:
    """Return the maximum reached from `start`."""
    n = x.shape[1]
    at = Coordinates(model, search.bounds, float(start[MU]))
    u0 = np.zeros(n) if factors is None else factors
    first = at.of(start)
    free = len(first)

    def loss(q: Array) -> tuple[float, Array]:
        shared = at.back(q[:free], start)
        u = q[free:] * FACTOR_SCALE if scatter else u0
        total, summed, by_factor = shared_evidence(x, shared, u, model, search)
        gradient = at.slopes(shared, summed)
        if scatter:
            total -= (u**2).sum() / (2 * scatter**2)
            gradient = np.concatenate([gradient, (by_factor - u / scatter**2) * FACTOR_SCALE])
        return -total / n, -gradient / n

    q, (low, high) = first, at.bounds()
    if scatter:
        most = np.full(n, MAX_LOG_FACTOR / FACTOR_SCALE)
        q = np.concatenate([first, u0 / FACTOR_SCALE])
        low, high = np.concatenate([low, -most]), np.concatenate([high, most])
    if not len(q):  # all parameters are known
        return Maximum(start, u0, shared_evidence(x, start, u0, model, search)[0])
    options = {"maxiter": search.max_steps, "ftol": search.done_limit * 1e-3, "gtol": 1e-5}
    bounds = list(zip(low, high, strict=True))
    found = scipy.optimize.minimize(
        loss, np.clip(q, low, high), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    u = found.x[free:] * FACTOR_SCALE if scatter else u0
    possible = np.isfinite(found.fun) and np.isfinite(found.x).all()
    return Maximum(at.back(found.x[:free], start), u, -float(found.fun) * n if possible else -np.inf)


@dataclass(frozen=True)
class Pooled:
    """Parameters (6,) that all traces share, the relative scatter of their brightness, the log-likelihood.

    `seen` (t, n): the traces that they are fitted to; `maxima`: those within 15 nats of the best, of those traces.
    """

    parameters: Array
    scatter: float
    likelihood: float
    seen: Array
    maxima: tuple[Maximum, ...]


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # of parameters that make traces impossible
def fit_pooled(
    x: Array, intensity: Array, model: EmitterModel, search: Search, scatter: float | None = 0.0,
    start: Array | None = None,
) -> Pooled | None:  # fmt: skip
    """Return the parameters that all traces share, fitted to at most `search.traces` of them; None: none explain them.

    scatter: relative standard deviation of the traces' brightness; None: estimated. start: initial parameters (6,).
    """
    lively = blinks(x)
    if lively.any():  # traces of background alone say nothing of brightness and rates
        x, intensity = x[:, lively], intensity[:, lively]
    chosen = spread(np.nanmean(x, axis=0), search.traces)
    x, intensity = x[:, chosen], intensity[:, chosen]
    width = DEFAULT_SCATTER if scatter is None else scatter
    if start is None:
        few = spread(np.nanmean(x, axis=0), START_TRACES)
        start = _best_start(x[:, few], intensity, model, search, width)
    parameters, factors = start, fit_factors(x, start, model, width, search.threads) if width else None
    if scatter is None and factors is not None:  # one rough fit suffices: factors scatter far more than they err
        rough_search = replace(search, done_limit=100 * search.done_limit)
        parameters, factors, _ = _fit_widened(x, start, model, rough_search, width, factors)
        parameters, factors, width = _centred(parameters, factors)
        if width > NO_SCATTER:
            factors = fit_factors(x, parameters, model, width, search.threads)
            width = max(width, float(np.std(factors)))
    maxima = _settled(x, _maxima(x, parameters, model, search, width, factors), model, search, width)
    return Pooled(maxima[0].parameters, width, maxima[0].likelihood, x, maxima) if maxima else None


def _settled(
    x: Array, maxima: tuple[Maximum, ...], model: EmitterModel, search: Search, scatter: float
) -> tuple[Maximum, ...]:
    """Return the maxima near the best, each once, where the distribution of numbers is that of the traces.

    Empty: at none of them the traces are possible.
    """
    at = Coordinates(model, search.bounds, float(maxima[0].parameters[MU]))
    kept: list[Maximum] = []
    for one in maxima:
        apart = [np.abs(at.of(one.parameters) - at.of(other.parameters)).max(initial=0.0) for other in kept]
        if one.likelihood > maxima[0].likelihood - NEAR and min(apart, default=SAME) >= SAME:
            kept.append(one)
    free = replace(search, free_numbers=True)
    found = [fit_from(x, one.parameters, model, free, scatter, one.factors) for one in kept[:MOST_MAXIMA]]
    return tuple(one for one in found if np.isfinite(one.likelihood))


def _maxima(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float, factors: Array | None
) -> tuple[Maximum, ...]:
    """`fit_from`, and where that may have ended at another number of emitters, from there too; the likeliest is first.

    A few nats part these maxima, and no rough fit tells them apart.
    """
    best = fit_from(x, start, model, search, scatter, factors)
    every = [best]
    for _ in range(ROUNDS):
        before = best.likelihood
        for other in _other_numbers(best.parameters, search.bounds):
            found = fit_from(x, other, model, search, scatter, best.factors if scatter else factors)
            best = max(best, found, key=lambda one: one.likelihood)
            every.append(found)
        if best.likelihood < before + CLEARLY:
            break
    return tuple(sorted(every, key=lambda one: -one.likelihood))


def _other_numbers(parameters: Array, bounds: Array) -> list[Array]:
    """Return parameters (6,) that explain much the same by another number of emitters.

    Where they are mostly on, one of them passes for background; where they are seldom on, and hardly ever two at once,
    more of them that come on less often look alike.
    """
    on, off = parameters[P_ON], parameters[P_OFF]
    if on > off:
        return [rescaled(parameters, factor, bounds, more) for factor, more in OTHERS]
    others = [parameters.copy(), parameters.copy()] if on < SELDOM * off else []
    for other, factor in zip(others, (RARER, 1 / RARER), strict=False):
        other[P_ON] = np.clip(factor * on, *bounds[P_ON])
    return others


def _best_start(x: Array, intensity: Array, model: EmitterModel, search: Search, scatter: float) -> Array:
    """Return the most likely (6,) of the rough fits from all starts."""
    if search.guesses is None:
        seen = intensity if model.camera else np.log(intensity)
        duties = DUTY_CYCLES[: search.starts]
        guesses = np.array(
            [step_parameters(seen, intensity, model.camera, search.bounds, None)]
            + [initial_parameters(seen, intensity, model.camera, search.bounds, None, d) for d in duties]
        )
    else:
        scores = [log_evidence(evaluate(x, np.tile(g, (x.shape[1], 1)), model)[0], model.candidates).sum()
                  for g in search.guesses]  # fmt: skip
        guesses = search.guesses[np.argsort(scores)[::-1][: search.starts]]
    rough_search = replace(search, done_limit=ROUGH_DONE_LIMIT)

    def rough(guess: Array) -> Maximum:
        # sigma begins wide and is free: compared under a wide sigma, half the brightness wins by hundreds of nats
        wide = _widened(guess, model) if scatter > NO_SCATTER else guess
        return fit_from(x, wide, model, rough_search, scatter)

    def of_median_trace(found: Maximum) -> Array:
        # brightness and the mean factor are degenerate in rough fits
        return rescaled(found.parameters, float(np.exp(np.median(found.factors))), search.bounds)

    best = max((rough(guess) for guess in guesses), key=lambda found: found.likelihood)
    for _ in range(ROUNDS):
        before = best.likelihood
        for factor, more in OTHERS:
            other = rescaled(of_median_trace(best), factor, search.bounds, more)
            best = max(best, rough(other), key=lambda found: found.likelihood)
        if best.likelihood < before + CLEARLY:
            break
    return of_median_trace(best)


def _fit_widened(
    x: Array, start: Array, model: EmitterModel, search: Search, scatter: float, factors: Array | None = None
) -> Maximum:
    """`fit_from` with a widened sigma where brightness scatters; returns the sigma of `start`."""
    wide = _widened(start, model) if scatter > NO_SCATTER else start
    if wide[SIGMA] == start[SIGMA]:
        return fit_from(x, start, model, search, scatter, factors)
    bounds = search.bounds.copy()
    bounds[SIGMA] = wide[SIGMA]
    found = fit_from(x, wide, model, replace(search, bounds=bounds), scatter, factors)
    found.parameters[SIGMA] = start[SIGMA]
    return found


def _widened(parameters: Array, model: EmitterModel) -> Array:
    """Return parameters whose sigma covers the scatter: the gradient vanishes between levels that are far narrower."""
    widened = parameters.copy()
    if model.camera:
        widened[SIGMA] = max(widened[SIGMA], DEFAULT_SCATTER * widened[MU])
    return widened


def _centred(parameters: Array, factors: Array) -> tuple[Array, Array, float]:
    """Return parameters and log-factors relative to the median trace, and the standard deviation of the log-factors.

    Brightness and the mean factor are degenerate in a rough fit. Outlying factors, as of a trace that is fitted with
    half the number of steps, restart at 0.
    """
    middle = float(np.median(factors))
    parameters, factors = parameters.copy(), factors - middle
    parameters[MU] *= np.exp(middle)
    spread = 1.4826 * float(np.median(np.abs(factors)))
    outliers = np.abs(factors) > 3 * max(spread, MIN_SCATTER)
    width = max(float(np.sqrt(np.mean(factors[~outliers] ** 2))), MIN_SCATTER)
    return parameters, np.where(outliers, 0.0, factors), width


def spread(level: Array, count: int) -> Array:
    """Return `count` traces at evenly spaced ranks of their mean level."""
    ranks = np.linspace(0, len(level) - 1, min(count, len(level))).round().astype(int)
    return np.argsort(level, kind="stable")[ranks]


def fit_factors(x: Array, parameters: Array, model: EmitterModel, scatter: float, threads: int = 1) -> Array:
    """Return the maximum a posteriori log-factor (n,) of each trace's brightness, under u ~ N(0, scatter²)."""
    n = x.shape[1]

    def at(u: Array, shared: Array, slopes: bool) -> tuple[Array, Array]:
        each = np.tile(shared, (n, 1))
        each[:, MU] *= np.exp(u)
        logs, by = evaluate(x, each, model, slopes, threads)
        gradient = by[:, MU] * each[:, MU] - u / scatter**2 if by is not None else u
        return log_evidence(logs, model.candidates) - u**2 / (2 * scatter**2), gradient

    u, stages = np.zeros(n), [(parameters, FACTOR_STEPS)]
    if scatter > NO_SCATTER:
        widened = _widened(parameters, model)
        tried = START_FACTORS * max(1.0, scatter / DEFAULT_SCATTER)
        u = tried[np.array([at(np.full(n, each), widened, False)[0] for each in tried]).argmax(0)]
        stages = [(widened, WIDENED_STEPS), *stages] if widened[SIGMA] > parameters[SIGMA] else stages
    for shared, steps in stages:
        gradient = at(u, shared, True)[1]
        step = np.clip(gradient * 1e-4, -scatter / 4, scatter / 4)
        for _ in range(steps):
            by = at(u + step, shared, True)[1]
            curvature = np.maximum((gradient - by) / np.where(step == 0, 1, step), 1 / scatter**2)
            u, gradient = u + step, by
            step = np.clip(gradient / curvature, -scatter / 2, scatter / 2)
    return np.asarray(u)
