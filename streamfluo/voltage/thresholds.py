"""Spikes and noise told apart in the heights of a score's peaks: how many spikes, how high, from which threshold on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from .kernels.follow import BINS, PER_SIGMA

EDGES = np.arange(BINS) / PER_SIGMA  # lower edge of each bin [noise σ]
LOWEST = 2.2  # thresholds below are not considered [noise σ]
CLEAR = 3.5  # peaks beyond hardly are noise [noise σ]
EMPTY = 4.5  # threshold where nothing stands out of the noise [noise σ]
ENOUGH, GONE = 10.0, 4.0  # evidence from which on spikes are told, and below which no more: simulated cells
# without any stayed below 6 in 28 times 10 s, and two of 63 others passed 10; of 56 cells of SNR 3 two ended at 14
SHRUNK_BY = 20.0  # peaks that noise of σ 1 counts for
PEAKS = 100  # of noise that a threshold is learned from
DOUBTFUL = 0.6  # expected F1 below which a cell's spikes are said to be doubtful
FITTED = 12  # first bin that is compared: smaller peaks say nothing of spikes
SNRS = np.concatenate((np.arange(1.8, 6, 0.3), np.arange(6, 20, 1.0)))  # that are compared [noise σ]
ROUNDS = 10  # of the number of spikes at each SNR
_SHAPE = np.diff(ndtr(np.append(EDGES, BINS / PER_SIGMA) - SNRS[:, None]), axis=1)  # of spikes' heights (SNR, BINS)
_REACH = ndtr(SNRS[:, None] - EDGES)  # share of spikes that reach an edge
_FLAT = np.gradient(np.log(SNRS))


class Threshold(NamedTuple):
    """Threshold and mean score of spikes [noise σ]; expected F1, share of false spikes and of missed ones; evidence,
    the log of how much likelier the peaks are with spikes than without."""

    level: float
    snr: float
    f1: float
    false: float
    missed: float
    evidence: float


def threshold_of(upward: np.ndarray, downward: np.ndarray) -> Threshold:
    """Return the threshold of the largest expected F1, from histograms of upward and downward peaks (BINS,).

    Upward peaks are those of noise, n(x), which go as far up as down, and S spikes, whose scores scatter by one σ
    around an SNR m: u(x) ~ Poisson(n(x) + S φ(x − m)). S is the likeliest at each m; what m is has a posterior, flat in
    log m before. With T(x) = S Φ(m − x) spikes and N(x) of the
    noise's peaks that reach x, F1(x) = 2 T / (T + N + S), its mean over m is the expected one.
    """
    noise = noise_tail(downward)
    density = np.maximum(noise - np.append(noise[1:], 0), 1e-3)
    some = np.flatnonzero(upward[FITTED:]) + FITTED
    shape, seen, ratio = _SHAPE[:, some], upward[some], _SHAPE[:, some] / density[some]
    inside = _REACH[:, FITTED]
    spikes = np.full(len(SNRS), max(1.0, 0.02 * upward.sum()))
    for _ in range(ROUNDS):
        spikes = np.maximum(spikes * ((shape / (density[some] + spikes[:, None] * shape)) @ seen) / inside, 1e-3)
    likelihood = np.log1p(spikes[:, None] * ratio) @ seen - spikes * inside
    weight = likelihood + np.log(_FLAT)
    if downward.sum() < PEAKS:
        likelihood = np.zeros(len(SNRS))
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    hits = spikes[:, None] * _REACH
    f1 = np.where(EDGES >= LOWEST, weight @ (2 * hits / (hits + noise + spikes[:, None])), 0)
    best = int(f1.argmax())
    false = min(float(noise[best]) / max(float(upward[best:].sum()), 1.0), 1.0)
    missed = float(weight @ (1 - _REACH[:, best]))
    return Threshold(
        float(EDGES[best]), float(weight @ SNRS), float(f1[best]), false, missed, float(weight @ likelihood)
    )


def opposed(upward: np.ndarray, downward: np.ndarray) -> bool:
    """Return whether downward peaks beyond 3.5 σ outnumber the upward ones fourfold and by 3 σ of their number."""
    up, down = (float(peaks[EDGES >= CLEAR].sum()) for peaks in (upward, downward))
    return down > 4 * up and down - up > 3 * np.sqrt(down + up)


def noise_tail(peaks: np.ndarray) -> np.ndarray:
    """Return how many of the noise's peaks reach each edge (BINS,), beyond the last 20 by a Gaussian's tail.

    Of heights beyond x₀ in such a tail x² − x₀² is exponential of mean 2 σ²; σ² is that of the largest tenth, at least
    30, shrunk towards 1 by 20 of them.
    """
    count = peaks[::-1].cumsum()[::-1].astype(float)
    if count[0] < PEAKS:
        return count
    begin = int(np.flatnonzero(count >= max(30.0, 0.1 * count[0]))[-1])
    last = int(np.flatnonzero(count >= 20.0)[-1])
    excess = (EDGES[begin:] + 0.5 / PER_SIGMA) ** 2 - EDGES[begin] ** 2
    variance = (float(peaks[begin:] @ excess) + 2 * SHRUNK_BY) / (2 * (count[begin] + SHRUNK_BY))
    tail = count[last] * np.exp(-(EDGES**2 - EDGES[last] ** 2) / (2 * variance))
    return np.where(np.arange(BINS) <= last, count, tail)
