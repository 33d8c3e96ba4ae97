"""Likelihood of traces under every number of emitters, and its derivatives by the parameters, on all cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from ...pixels.kernels.kernel import kernel
from .crosschecks import log_prior
from .emission import Emission, EmissionModel, add_emission_slopes, fill_emission
from .forward_backward import SLOPES, filter_forward, smooth
from .transitions import LANES, StateSpaces, transition_matrices

Array = np.ndarray


@dataclass(frozen=True)
class EmitterModel:
    """The hidden Markov model but for its parameters: emission, bleaching, candidate numbers of emitters, outliers.

    `camera`: camera or lognormal emission. Candidates are min_emitters … max_emitters. Probabilities are those of an
    intensity bin of `width`; an outlier falls into one of `bins` bins with probability `p_outlier`.
    """

    camera: bool
    bleaching: bool
    min_emitters: int
    max_emitters: int
    width: float
    bins: int = 1024
    p_outlier: float = 0.01

    @property
    def mixing(self) -> tuple[float, float]:
        """Logarithms of (1 − p_outlier) · width and of p_outlier / bins."""
        outlier = math.log(self.p_outlier / self.bins) if self.p_outlier > 0 else -math.inf
        return math.log1p(-self.p_outlier) + math.log(self.width), outlier

    @property
    def spaces(self) -> StateSpaces:
        """The state spaces of the candidates."""
        return StateSpaces(self.min_emitters, self.max_emitters, self.bleaching)

    @property
    def candidates(self) -> Array:
        """The candidate numbers of emitters."""
        return np.arange(self.min_emitters, self.max_emitters + 1)


@kernel
def _evaluate_lanes(x, model, kinetics, spaces, prior, with_slopes):  # type: ignore[no-untyped-def]
    """Return logs[n, lane], and the gradient[:, lane] of log Σ_n P(n) P(trace | n), which is 0 unless `with_slopes`.

    prior (candidates,): log P(n).
    """
    frames, lanes = x.shape
    size = spaces.high + 1
    emission = Emission(np.empty((frames, size, lanes)), np.empty((frames, lanes)), np.empty((frames, lanes)))
    fill_emission(x, model, size, emission)
    transitions, transition_slopes = transition_matrices(kinetics, spaces)
    logs, slopes = np.zeros((size, lanes)), np.zeros((SLOPES, lanes))
    filter_forward(emission, transitions, spaces, logs)
    if not with_slopes:
        return logs, slopes
    weights = np.zeros((size, lanes))
    for lane in range(lanes):
        likely = logs[spaces.low :, lane] + prior
        likely = np.exp(likely - likely.max())
        weights[spaces.low :, lane] = likely / likely.sum()
    occupancy = smooth(emission, transitions, transition_slopes, spaces, weights, slopes)
    add_emission_slopes(x, model, emission, occupancy, slopes)
    return logs, slopes


def evaluate(
    x: Array, parameters: Array, model: EmitterModel, slopes: bool = False, threads: int = 1, prior: Array | None = None
) -> tuple[Array, Array | None]:
    """Return log P(trace | n) (n, candidates), and with `slopes` the gradient (n, 6) of log Σ_n P(n) P(trace | n).

    prior (candidates,): log P(n); None: `log_prior`.

    x (t, n): electrons, or the logarithm of intensities. parameters (n, 6): mu, mu_bg, sigma, p_on, p_off, p_bleach;
    kinetics that all traces share cost less. Cost of a trace of 1000 frames and up to 10 emitters: the likelihood
    0.15 ms, the gradient 0.3 ms more.
    """
    count = x.shape[1]
    shared = bool((parameters[:, 3:] == parameters[0, 3:]).all())
    logs = np.empty((model.max_emitters + 1, count))
    gradient = np.empty((SLOPES, count)) if slopes else None
    of_numbers = log_prior(model.candidates) if prior is None else prior
    order = np.argsort(np.nanmean(x, axis=0)) if count > LANES else np.arange(count)  # alike: few numbers have weight

    def work(at: int) -> None:
        mine = order[at : at + LANES]
        chosen = np.ascontiguousarray(parameters[mine].T)
        kinetics = np.ascontiguousarray(chosen[3:, :1] if shared else chosen[3:])
        emission_model = EmissionModel(model.camera, chosen[:3], model.mixing)
        log, slope = _evaluate_lanes(
            np.ascontiguousarray(x[:, mine]), emission_model, kinetics, model.spaces, of_numbers, slopes
        )
        logs[:, mine] = log
        if gradient is not None:
            gradient[:, mine] = slope

    in_threads(work, range(0, count, LANES), threads)
    return logs[model.min_emitters :].T, None if gradient is None else gradient.T


def log_evidence(logs: Array, candidates: Array) -> Array:
    """Return log Σ_n P(n) P(trace | n) (…) of log-likelihoods (…, candidates), but for a constant."""
    return np.asarray(np.logaddexp.reduce(logs + log_prior(candidates), axis=-1))


def binned_logs(edges: Array, parameters: Array, model: EmitterModel) -> Array:
    """Return log P(trace | n) (n, candidates) of binned intensities: the emission is integrated over each bin.

    edges (t, n): lower edges of the bins, `model.width` wide; NaN: not measured. Cost: 10 ms a trace.
    """
    logs = np.zeros((model.max_emitters + 1, edges.shape[1]))
    zs = np.arange(model.max_emitters + 1)
    nothing = np.zeros((len(edges), 1))
    for n, theta in enumerate(parameters):
        mean = theta[0] * zs + theta[1]
        upper = edges[:, n, None] + model.width
        if model.camera:
            wide = np.sqrt(np.maximum(mean, 0) + theta[2] ** 2)
            inside = ndtr((upper - mean) / wide) - ndtr((edges[:, n, None] - mean) / wide)
        else:
            lower = np.log(np.maximum(edges[:, n, None], 1e-12))
            inside = ndtr((np.log(upper) - np.log(mean)) / theta[2]) - ndtr((lower - np.log(mean)) / theta[2])
        probability = (1 - model.p_outlier) * inside + model.p_outlier / model.bins
        probability[np.isnan(edges[:, n])] = 1.0
        transitions, _ = transition_matrices(np.ascontiguousarray(theta[3:, None]), model.spaces)
        log = np.zeros((len(zs), 1))
        emission = Emission(np.ascontiguousarray(probability[..., None]), nothing, nothing)
        filter_forward(emission, transitions, model.spaces, log)
        logs[:, n] = log[:, 0]
    return logs[model.min_emitters :].T


def in_threads(work: Callable[[int], None], items: range, threads: int) -> None:
    """Call `work` on every item, on so many threads; 0: one for each core."""
    threads = threads or os.cpu_count() or 1
    if threads == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))
