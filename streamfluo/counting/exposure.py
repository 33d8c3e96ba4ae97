"""Counting where emitters switch within most frames: the light of a frame is integrated over its exposure.

One emitter switches on and off in continuous time at rates (a, b) per frame. The time it is on within a frame, given
its states at both edges, has moments that follow from a matrix exponential (Van Loan 1978); those of n emitters add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import binom

from .bounds import blinks
from .fit import MU, P_OFF, P_ON, Coordinates, Search
from .initial_values import rescaled
from .kernels.exposure import Exposure, exposed_logs, exposed_quantiles
from .kernels.likelihood import Array, EmitterModel, evaluate, in_threads, log_evidence

TRACES = 12  # that parameters are fitted to
STARTS = (1.0, 1.2, 1.5, 2.0)  # of the brightness of the fit of whole frames, which is half the truth at worst
OTHER_DUTY = (0.7, 1.4)  # of p_on: more that are on less often are a maximum of their own
STEPS = 40
WHITE = 0.12  # correlation of scores one frame apart: .06 at most at the truth, .2 at half the brightness
SHORT = 0.5  # p_off: beyond, twice the number half as often is a maximum that nothing contradicts
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

    def scores(self, x: Array, emitters: Array) -> Array:
        """Return the normal score (t, n) of every frame given those before."""
        exposure = exposure_of(_rates(self.parameters[0]), self.model.max_emitters)
        brightness = np.ascontiguousarray(self.parameters[:, :3])
        below = exposed_quantiles(x, brightness, self.model.camera, self.model.mixing, exposure, emitters)
        return np.asarray(ndtri(np.clip(below, 1e-5, 1 - 1e-5)))


def exposure_of(rates: Array, most: int) -> Exposure:
    """Return what happens within a frame, for up to `most` emitters with rates (on, off) per frame."""
    on, off = rates
    generator, lit = np.array([[-on, on], [off, -off]]), np.diag([0.0, 1.0])
    nothing = np.zeros((2, 2))
    blocks = expm(np.block([[generator, lit, nothing], [nothing, generator, lit], [nothing, nothing, generator]]))
    one = blocks[:2, :2]
    mean, square = blocks[:2, 2:4] / one, 2 * blocks[:2, 4:] / one
    variance = np.maximum(square - mean**2, 0)
    shape = (most + 1, most + 1, most + 1)
    steps, light, spread = np.zeros((3, *shape))
    even, ramp, initial = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape[:2])
    every = np.arange(most + 1)
    stays, comes = (binom.pmf(every, every[:, None], p) for p in (one[1, 1], one[0, 1]))
    for n in range(most + 1):
        z = np.arange(n + 1)
        initial[n, : n + 1] = binom.pmf(z, n, on / (on + off))
        stay = z * off + (n - z) * on
        even[n, : n + 1] = np.exp(-stay)
        one_comes = (n - z[:-1]) * on * _mean_exp(-stay[:-1], -stay[1:])
        ramp[n, z[:-1], z[1:]], ramp[n, z[1:], z[:-1]] = one_comes, z[1:] * off * _mean_exp(-stay[1:], -stay[:-1])
        for i in range(n + 1):
            k, c = np.arange(i + 1)[:, None], np.arange(n - i + 1)
            weight = stays[i, : i + 1, None] * comes[n - i, : n - i + 1]
            first, second = (
                k * each[1, 1] + (i - k) * each[1, 0] + c * each[0, 1] + (n - i - c) * each[0, 0]
                for each in (mean, variance)
            )
            np.add.at(steps[n, i], k + c, weight)
            np.add.at(light[n, i], k + c, weight * first)
            np.add.at(spread[n, i], k + c, weight * (second + first**2))
    z = np.arange(most + 1)
    flat, middle = even[:, :, None] * np.eye(most + 1), (z[:, None] + z) / 2
    mixed = np.maximum(steps - flat - ramp, 1e-300)
    # ramps are taken as uniform, which leaves no moments to three switches
    light = np.clip((light - flat * middle) / np.maximum(steps - flat, 1e-300), 0, most)
    spread = (spread - flat * middle**2) / np.maximum(steps - flat, 1e-300) - light**2
    return Exposure(even, ramp, mixed, light, np.clip(spread, 1e-4, most), initial)


def _mean_exp(one: Array, other: Array) -> Array:
    """Return ∫ exp(one · u + other · (1 − u)) du over 0 … 1."""
    apart = one - other
    small = np.abs(apart) < 1e-6
    return np.asarray(np.where(small, np.exp(other), np.exp(other) * np.expm1(apart) / np.where(small, 1, apart)))


def fit_exposed(x: Array, start: Array, scatter: float, model: EmitterModel, search: Search) -> Exposed | None:
    """Return the parameters of traces (t, n), fitted from those (6,) of whole frames or brighter ones.

    None: whole frames are likelier, or nothing is known. scatter: of the brightness between traces. Cost of 12 traces
    of 800 frames and up to 10 emitters: 10 to 25 CPU s.
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

    def climb(first: Array) -> tuple[float, Array]:
        number = model.candidates[logs(first).argmax(1)]
        near = np.clip(np.stack([number - NEAR, number + NEAR], axis=1), model.min_emitters, model.max_emitters)
        found = minimize(
            lambda q: -_evidence(logs(at.back(q, first), near), model), at.of(first), method="L-BFGS-B",
            bounds=list(zip(*at.bounds(), strict=True)), options={"maxiter": STEPS, "ftol": 3e-7, "eps": 0.1},
        )  # fmt: skip
        theta = at.back(found.x, first)
        return _evidence(logs(theta), model), theta

    starts = [rescaled(start, factor, search.bounds) for factor in STARTS]
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
        best = max(best, climb(np.clip(other, *search.bounds.T)), key=lambda each: each[0])
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
    return found.scores(x, model.candidates[found.logs(x).argmax(1)])


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
