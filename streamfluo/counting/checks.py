"""Whether the model that was fitted could have made a trace: posterior predictive checks of its residuals.

Every frame's intensity has a distribution under the model given the frames before it; its quantile, as a normal score,
is white and normal if the model holds (pseudo-residuals; Zucchini, MacDonald & Langrock 2016, ch. 6). They are mostly
noise and hardly show how emitters switch: those that come on are compared with what the frames before foretell, the
differences of which are uncorrelated too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from scipy.special import ndtr, ndtri

from .kernels.emission import Emission, EmissionModel, fill_emission
from .kernels.likelihood import Array, EmitterModel
from .kernels.predictions import predictions
from .kernels.transitions import LANES, StateSpaces, transition_matrices

CORRELATED = 5.0  # of residuals one frame apart, in standard errors; clean traces reach 3.6 of 20
CORRELATED_LONG = 4.5  # of their sums over lags 2 to LONG_LAGS
LONG_LAGS = 8
UNLIKELY_RESIDUALS = 40.0  # χ² of ten even bins, 9 degrees of freedom: one trace in 10⁵
FAR, UNLIKELY_TAIL = 3.0, 1e-5  # of residuals, and of their number: dyes that switch in pairs are one dye
UNLIKELY_OCCUPANCY = 4.5  # of the mean number on, in standard errors
BACKGROUND_ERROR = 0.02  # of mu: what a shared background may be off by
MEMORY_FRAMES = (32, 128)  # over which emitters that switched on are averaged: under the model they foretell none
CLUSTERED, ALL_CLUSTERED = 4.5, 3.5  # standard errors, of a trace and of all together; clean ones reach 3
MOST_DOUBTFUL = 0.3  # of the traces that share parameters: then those are doubtful, and all traces with them
MEANINGS = {
    "": "",
    "correlated": "what is left follows itself, as where the light drifts or dyes differ",
    "residuals": "what is left has another distribution than the noise of the model",
    "occupancy": "fluorophores are on more or less often than in the others",
    "memory": "they come on in clusters, as from a dark state, or bleach",
    "shared": "parameters come from doubtful ones",
    "rates": "fluorophores of some spots come on more often than those of others",
}
REASONS = tuple(MEANINGS)


class Residuals(NamedTuple):
    """What frames are beyond what those before foretell: arrays (t, n).

    `scores`: normal score of the intensity; NaN: not measured. `switched_on`: emitters that did, less those expected.
    """

    scores: Array
    switched_on: Array


def doubts(
    x: Array, emitters: Array, parameters: Array, model: EmitterModel, pooled: bool,
    integrated: bool | Residuals = False,
) -> Array:  # fmt: skip
    """Return why (n,) the model could not have made a trace, one of REASONS; '': it could.

    `correlated`: residuals follow one another, as where the light drifts or dyes differ. `residuals`: their
    distribution is another. `occupancy`: emitters are on more or less often than shared kinetics say. `memory`: they
    come on in clusters, as where they have a dark state. `shared`: the parameters come from traces of which many are
    doubtful. integrated: frames lit in part were found (and left out, as far as one emitter switched at a time); those
    left make adjacent residuals alike, by up to .3 for five emitters. Or the residuals under a model of such frames.
    """
    told = not isinstance(integrated, bool)
    scores, switched_on = residuals(x, emitters, parameters, model) if isinstance(integrated, bool) else integrated
    seen = np.isfinite(scores)
    frames = np.maximum(seen.sum(0), 1)
    w = np.where(seen, scores, 0.0)
    power = np.maximum((w * w).sum(0) / frames, 1e-12)
    lags = np.array([(w[lag:] * w[:-lag]).sum(0) for lag in range(1, min(LONG_LAGS, len(w) - 1) + 1)])
    lags /= power * np.sqrt(frames)
    long = lags[1:].sum(0) / np.sqrt(max(len(lags) - 1, 1))
    bins = np.clip(np.floor(10 * ndtr(w)), 0, 9)
    counts = np.array([((bins == k) & seen).sum(0) for k in range(10)])
    uneven = ((counts - frames / 10) ** 2).sum(0) / (frames / 10)
    rare = scipy.stats.poisson.sf((np.abs(w) > FAR).sum(0) - 1, 2 * ndtr(-FAR) * frames)
    reason = np.full(x.shape[1], "", "<U10")
    reason[_clustered(switched_on, pooled)] = "memory"
    reason[np.abs(_occupancy(x, emitters, parameters, model)) > UNLIKELY_OCCUPANCY] = "occupancy"
    reason[(uneven > UNLIKELY_RESIDUALS) | (rare < UNLIKELY_TAIL)] = "residuals"
    reason[(np.abs(lags[0]) > CORRELATED) & (told or not integrated) | (np.abs(long) > CORRELATED_LONG)] = "correlated"
    if pooled and np.mean(reason[emitters > 0] != "" if (emitters > 0).any() else [0.0]) > MOST_DOUBTFUL:
        reason[reason == ""] = "shared"
    return reason


def sentence(reasons: Array, half_lit: float) -> str:
    """Return what people read of spots (n,) with reasons (places in REASONS); "" where none is doubtful.

    half_lit: share of the frames, which were left out.
    """
    number = np.bincount(reasons, minlength=len(REASONS))
    doubtful = int(number[1:].sum())
    if not doubtful:
        return ""
    why = "; ".join(f"{MEANINGS[name]} ({n})" for name, n in zip(REASONS[1:], number[1:], strict=True) if n)
    partly = f"; {half_lit:.1%} of the frames are lit in part and left out here, `streamfluo count` models them"
    return (
        f"the numbers of {doubtful} of {len(reasons)} spots are undetermined, as the model could not have made their "
        f"traces: {why}{partly if half_lit else ''}"
    )


def _occupancy(x: Array, emitters: Array, parameters: Array, model: EmitterModel) -> Array:
    """Return how far (n,) the mean intensity lies from the stationary one, in standard errors; 0: bleaching."""
    mu, mu_bg, sigma, p_on, p_off, _ = parameters.T
    if model.bleaching:
        return np.zeros(len(emitters))
    rate, duty = p_on + p_off, p_on / (p_on + p_off)
    intensity = x if model.camera else np.exp(x - sigma**2 / 2)
    frames = np.maximum(np.isfinite(x).sum(0), 1)
    independent = frames * rate / np.maximum(2 - rate, 1e-3)  # correlation of one emitter: (1 − rate)^lag
    noise = np.maximum(mu_bg, 0) + sigma**2 if model.camera else (sigma * np.nanmean(intensity, axis=0)) ** 2
    error = np.sqrt(emitters * duty * (1 - duty) * mu**2 / np.minimum(independent, frames) + noise / frames)
    return np.asarray((np.nanmean(intensity, axis=0) - mu_bg - emitters * duty * mu) / (error + BACKGROUND_ERROR * mu))


def _clustered(switched_on: Array, pooled: bool) -> Array:
    """Return in which traces (n,) emitters come on in clusters.

    A score test of a hidden state: `switched_on` times its recent average sums to 0 if only who is off decides. A dark
    state leaves the number on, and what is seen of one trace, nearly as they are.
    """
    found = np.zeros(switched_on.shape[1], bool)
    for memory in MEMORY_FRAMES:
        lately = scipy.signal.lfilter([1 / memory], [1, 1 / memory - 1], switched_on, axis=0)
        terms = switched_on[1:] * lately[:-1]
        sums, variance = terms.sum(0), (terms**2).sum(0)
        found |= sums > CLUSTERED * np.sqrt(variance)
        if pooled and sums.sum() > ALL_CLUSTERED * np.sqrt(variance.sum()):
            found[:] = True
    return found


def residuals(x: Array, emitters: Array, parameters: Array, model: EmitterModel) -> Residuals:
    """Return the residuals of x (t, n) with its emitters (n,).

    parameters (n, 6). Outliers are left out of the quantile, as most traces have none.
    """
    scores, switched_on = np.full(x.shape, np.nan), np.zeros(x.shape)
    for number in np.unique(emitters).tolist():
        mine = np.flatnonzero(emitters == number)
        for at in range(0, len(mine), LANES):
            lanes = mine[at : at + LANES]
            chosen = np.ascontiguousarray(x[:, lanes])
            scores[:, lanes], switched_on[:, lanes] = _residuals(chosen, number, parameters[lanes].T, model)
    return Residuals(scores, switched_on)


def _residuals(x: Array, emitters: int, parameters: Array, model: EmitterModel) -> Residuals:
    """Return those of traces with the same number of emitters; parameters (6, lane). Bleaching: `switched_on` is 0."""
    frames, lanes = x.shape
    shape = (frames, emitters + 1, lanes)
    emission = Emission(np.empty(shape), np.empty((frames, lanes)), np.empty((frames, lanes)))
    fill_emission(
        x, EmissionModel(model.camera, np.ascontiguousarray(parameters[:3]), model.mixing), emitters + 1, emission
    )
    kinetics = np.ascontiguousarray(parameters[3:])
    transitions, _ = transition_matrices(kinetics, StateSpaces(emitters, emitters, model.bleaching))
    predicted = predictions(emission, transitions, emitters, model.bleaching)
    mean = parameters[0] * np.arange(emitters + 1)[:, None] + parameters[1]
    spread = np.sqrt(np.maximum(mean, 0) + parameters[2] ** 2) if model.camera else parameters[2]
    below = ndtr((x[:, None] - (mean if model.camera else np.log(mean))) / spread)
    scores = ndtri(np.clip((predicted * below).sum(1), 1e-5, 1 - 1e-5))
    switched_on = np.zeros((frames, lanes))
    if not model.bleaching:
        seen = predicted * emission.probability
        scale = seen.sum(1)
        more = np.maximum(np.arange(emitters + 1) - np.arange(emitters + 1)[:, None], 0)
        by_number = np.einsum(
            "til,ijl->tjl", seen[:-1] / scale[:-1, None], transitions.blinking[emitters] * more[..., None]
        )
        switched_on[1:] = (by_number * (emission.probability[1:] / scale[1:, None] - 1)).sum(1)
    return Residuals(scores, switched_on)
