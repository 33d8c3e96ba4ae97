"""Counting where emitters switch within most frames: the light of a frame is integrated over its exposure.

One emitter switches on and off in continuous time at rates (a, b) per frame. The time it is on within a frame, given
its states at both edges, has moments that follow from a matrix exponential (Van Loan 1978); those of n emitters add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy
from scipy.special import ndtri

from .bounds import blinks
from .checks import Residuals
from .fit import MU, P_OFF, P_ON, Coordinates, Search
from .initial_values import rescaled
from .kernels.crosschecks import posterior
from .kernels.exposure import Exposure, exposed_logs, exposed_residuals, fill_mixtures
from .kernels.likelihood import Array, EmitterModel, evaluate, in_threads, log_evidence

TRACES = 12  # that parameters are fitted to
STARTS = (1.0, 1.2, 1.5, 2.0)  # of the brightness of the fit of whole frames, which is half the truth at worst
OTHER_DUTY = (0.7, 1.4)  # of p_on: more that are on less often are a maximum of their own
STEPS = 40
WHITE = 0.12  # correlation of scores one frame apart: .06 at most at the truth, .2 at half the brightness
SHORT = 0.5  # p_off: beyond, twice the number half as often is a maximum that nothing contradicts
LIKELY = 1e-4  # of a number: less is left out of slopes
APART = 0.1  # of the points whose difference is a slope, in typical errors of a parameter
NEAR = 3  # numbers on either side of the most likely one, of each trace
OUTLIERS = 0.01  # at most: with .1, a tenth of the frames lit in part would be outliers, and numbers one too low
FACTORS = np.linspace(-2, 2, 9)  # of the scatter of brightness


@dataclass(frozen=True)
class Exposed:
    """Parameters (n, 6) of traces whose frames are integrated; p_on, p_off: from edge to edge of a frame."""

    parameters: Array
    model: EmitterModel

    def logs(self, x: Array, threads: int = 1) -> Array:
        """Return log P(trace | n) (n, candidates)."""
        return _logs(x, self.parameters, self.model, threads)

    def residuals(self, x: Array, emitters: Array) -> Residuals:
        """Return the residuals of x (t, n) with its emitters (n,)."""
        exposure = exposure_of(_rates(self.parameters[0]), self.model.max_emitters)
        brightness = np.ascontiguousarray(self.parameters[:, :3])
        below, switched_on = exposed_residuals(x, brightness, self.model.camera, self.model.mixing, exposure, emitters)
        return Residuals(ndtri(np.clip(below, 1e-5, 1 - 1e-5)), switched_on)


@lru_cache(maxsize=16)
def _exposure(on: float, off: float, most: int) -> Exposure:
    generator, lit = np.array([[-on, on], [off, -off]]), np.diag([0.0, 1.0])
    nothing = np.zeros((2, 2))
    blocks = scipy.linalg.expm(
        np.block([[generator, lit, nothing], [nothing, generator, lit], [nothing, nothing, generator]])
    )
    one = blocks[:2, :2]
    mean, square = blocks[:2, 2:4] / one, 2 * blocks[:2, 4:] / one
    every = np.arange(most + 1)
    stays, comes = (scipy.stats.binom.pmf(every, every[:, None], p) for p in (one[1, 1], one[0, 1]))
    stay = np.maximum(every * off + (every[:, None] - every) * on, 0.0)  # [n, i]
    up = (every[:, None] - every[:-1]) * on * _mean_exp(-stay[:, :-1], -stay[:, 1:])
    down = every[1:] * off * _mean_exp(-stay[:, 1:], -stay[:, :-1])
    possible = every <= every[:, None]
    ramp = np.zeros((most + 1, most + 1, most + 1))
    ramp[:, every[:-1], every[1:]] = np.where(possible[:, 1:], up, 0)
    ramp[:, every[1:], every[:-1]] = np.where(possible[:, 1:], down, 0)
    initial = scipy.stats.binom.pmf(every, every[:, None], on / (on + off))
    mixed, light, variance = np.zeros((3, *ramp.shape))
    found = Exposure(np.where(possible, np.exp(-stay), 0), ramp, mixed, light, variance, initial)
    fill_mixtures(stays, comes, mean, np.maximum(square - mean**2, 0), found)
    return found


def exposure_of(rates: Array, most: int) -> Exposure:
    """Return what happens within a frame, for up to `most` emitters with rates (on, off) per frame."""
    return _exposure(float(rates[0]), float(rates[1]), most)


def _mean_exp(one: Array, other: Array) -> Array:
    """Return ∫ exp(one · u + other · (1 − u)) du over 0 … 1."""
    apart = one - other
    small = np.abs(apart) < 1e-6
    return np.asarray(np.where(small, np.exp(other), np.exp(other) * np.expm1(apart) / np.where(small, 1, apart)))


def fit_exposed(
    x: Array, start: Array, step: float, scatter: float, model: EmitterModel, search: Search
) -> Exposed | None:
    """Return the parameters of traces (t, n), fitted from those (6,) of whole frames, from brighter ones or `step`.

    None: whole frames are likelier, or nothing is known. step: of the intensity, NaN where none is seen. scatter: of
    the brightness between traces. Cost of 12 traces of 800 frames and up to 10 emitters: 5 to 10 CPU s.
    """
    lively = np.flatnonzero(blinks(x))
    if not len(lively):
        return None
    ranks = np.unique(np.linspace(0, len(lively) - 1, TRACES).round().astype(int))
    few = lively[np.argsort(np.nanmean(x[:, lively], axis=0))[ranks]]
    chosen, whole = np.ascontiguousarray(x[:, few]), model
    model = replace(model, p_outlier=min(model.p_outlier, OUTLIERS))
    at = Coordinates(model, search.bounds, float(start[MU]))

    def logs(theta: Array, numbers: Array | None = None) -> Array:
        return _logs(chosen, np.tile(theta, (len(few), 1)), model, search.threads, numbers)

    def climb(first: Array, reach: int = NEAR) -> tuple[float, Array]:
        number = model.candidates[logs(first).argmax(1)]
        near = np.clip(np.stack([number - reach, number + reach], axis=1), model.min_emitters, model.max_emitters)
        low, high = at.bounds()

        def loss(q: Array) -> tuple[float, Array]:
            every = logs(at.back(q, first), near)
            few, apart = _likely(every, model), np.where(q + APART < high, APART, -APART)
            here = _evidence(np.where(_within(few, model), every, -np.inf), model)
            moved = [_evidence(logs(at.back(each, first), few), model) for each in q + np.diag(apart)]
            return -_evidence(every, model), -(np.array(moved) - here) / apart

        bounds, options = list(zip(low, high, strict=True)), {"maxiter": STEPS, "ftol": 1e-6, "maxls": 8}
        found = scipy.optimize.minimize(loss, at.of(first), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        theta = at.back(found.x, first)
        return _evidence(logs(theta), model), theta

    brighter = [*STARTS, step / float(start[MU])] if step > 0 else [*STARTS]
    starts = [rescaled(start, factor, search.bounds) for factor in brighter]
    tried = [_evidence(_logs(chosen, np.tile(each, (len(few), 1)), whole, search.threads), whole) for each in starts]
    alike = evaluate(chosen, np.tile(start, (len(few), 1)), whole, threads=search.threads)[0]
    if max(tried) < _evidence(alike, whole):
        return None
    best = climb(starts[int(np.argmax(tried))])
    scores = _scores(chosen, best[1], model)
    if abs(np.nanmean(scores[1:] * scores[:-1])) > WHITE or best[1][P_OFF] > SHORT:
        return None
    for factor in OTHER_DUTY:
        other = best[1] * np.where(np.arange(6) == P_ON, factor, 1.0)
        _, first = climb(np.clip(other, *search.bounds.T), 0)  # with other numbers, steps may lead back across
        best = max(best, climb(first), key=lambda each: each[0])
    each = np.tile(best[1], (x.shape[1], 1))
    if scatter > 0:
        factors, evidence = np.exp(FACTORS * scatter), []
        for factor in factors:
            scaled = each * np.where(np.arange(6) == MU, factor, 1.0)
            evidence.append(log_evidence(_logs(x, scaled, model, search.threads), model.candidates))
        each[:, MU] *= factors[np.argmax(np.array(evidence) - FACTORS[:, None] ** 2 / 2, axis=0)]
    return Exposed(each, model)


def _scores(x: Array, theta: Array, model: EmitterModel) -> Array:
    """Return the normal scores (t, n) of traces with the parameters (6,), and the most likely number of each."""
    found = Exposed(np.tile(theta, (x.shape[1], 1)), model)
    return found.residuals(x, model.candidates[found.logs(x).argmax(1)]).scores


def _within(numbers: Array, model: EmitterModel) -> Array:
    """Return which candidates (n, candidates) lie within numbers (n, first and last)."""
    return np.asarray((model.candidates >= numbers[:, :1]) & (model.candidates <= numbers[:, 1:]))


def _likely(logs: Array, model: EmitterModel) -> Array:
    """Return the first and last number (n, 2) that matters to each trace."""
    likely = posterior(logs, model.candidates) > LIKELY
    last = len(model.candidates) - 1 - likely[:, ::-1].argmax(1)
    return model.min_emitters + np.stack([likely.argmax(1), last], axis=1)


def _evidence(logs: Array, model: EmitterModel) -> float:
    return float(log_evidence(logs, model.candidates).sum())


def _rates(parameters: Array) -> Array:
    """Return the rates (on, off) per frame of probabilities from edge to edge."""
    both = parameters[[P_ON, P_OFF]]
    total = min(float(both.sum()), 0.99)
    return np.asarray(both / both.sum() * -np.log1p(-total))


def _logs(x: Array, parameters: Array, model: EmitterModel, threads: int, numbers: Array | None = None) -> Array:
    """Return log P(trace | n) (n, candidates); −inf beyond `numbers` (n, first and last)."""
    exposure = exposure_of(_rates(parameters[0]), model.max_emitters)
    brightness = np.ascontiguousarray(parameters[:, :3])
    logs = np.empty((x.shape[1], model.max_emitters + 1))
    if numbers is None:
        numbers = np.tile(model.candidates[[0, -1]], (x.shape[1], 1))

    def work(n: int) -> None:
        one = slice(n, n + 1)
        trace = np.ascontiguousarray(x[:, one])
        logs[one] = exposed_logs(trace, brightness[one], model.camera, model.mixing, exposure, numbers[one])

    in_threads(work, range(x.shape[1]), threads)
    return logs[:, model.min_emitters :]
