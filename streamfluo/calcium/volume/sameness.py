"""Whether sections of neighbouring slices are of one cell, by their traces, tested against pairs that are not.

Two sections of one cell carry one signal c, each with noise of its own: x_i = g_i c + n_i. Their covariance is g_i g_j
var(c), and the correlation of what they carry

    ρ = cov(x_i, x_j) / √((var x_i - ν_i²) (var x_j - ν_j²)) / γ^δ

is 1, with ν the noise of each (known to the extraction), and γ^δ what the signal correlates with itself δ frames later,
if the slices are taken at different times (γ: the autocovariance of the traces a frame later over their signal's
variance). Cells of their own share neuropil and what of one bleeds into the other: ρ is β / √(1 + β²) where a part β of
a signal as large as the own one comes from the other.

That the covariance is not chance is tested against reference pairs: sections of the same slices too far from each
other to be one cell. Fisher's z = artanh(r) of those has a median, what neuropil and the animal's state share over the
field, and a scatter beyond 1 / √frames, because traces correlate in time; score = (z - median) √frames / scatter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .pair_moments import COUNT, PairMoments

MIN_SCORE = 4.0  # .3 of 10⁴ of a normal tail; largest of 329 pairs that were not one cell: 3.0
ONE_LOOK_SCORE = 3.5  # of a recorded run, which is looked at once and not every 50 frames
SPLIT_SCORE = 2.5  # pairs that are joined stay until they are below it
MIN_SHARED = 0.6  # of ρ: reached where β is .75
PRIOR_PAIRS, PRIOR_MEDIAN, PRIOR_SCATTER = 10, 0.1, 2.0  # of the references, where there are few
LEAST_SIGNAL = 0.05  # part of a trace's variance: noise is not known better
MAX_SHARED = 1.5


class Sameness(NamedTuple):
    """What the traces of each pair (m,) say: correlation of their signals ρ, its standard error, score, frames."""

    shared: np.ndarray
    error: np.ndarray
    score: np.ndarray
    frames: np.ndarray

    def joins(self, min_frames: int, min_score: float) -> np.ndarray:
        """Return which pairs (m,) are one cell, of those that are not joined."""
        sure = (self.score >= min_score) & (self.shared - self.error >= MIN_SHARED)
        return np.asarray(sure & (self.frames >= min_frames))

    def stays(self) -> np.ndarray:
        """Return which pairs (m,) remain one cell, of those that are joined."""
        return np.asarray((self.score >= SPLIT_SCORE) & (self.shared + self.error >= MIN_SHARED))


def sameness(moments: PairMoments, reference: np.ndarray, noise: np.ndarray, delay: np.ndarray) -> Sameness:
    """Return what the traces say of all pairs.

    `reference` (m,) marks pairs that are not of one cell; `noise` (n,) of each trace; `delay` (n,) [frames] when in a
    frame it is taken.
    """
    frames, first, second, covariance = moments.of_pairs()
    i, j = moments.pairs.T
    product = np.sqrt(first * second)
    r = np.clip(covariance / np.maximum(product, 1e-30), -0.999, 0.999)
    median, scatter = _references(np.arctanh(r), frames, reference)
    error_z = scatter / np.sqrt(np.maximum(frames, 1))
    signal = np.sqrt(_signal(first, noise[i]) * _signal(second, noise[j]))
    apart = np.abs(delay[i] - delay[j])
    whole = np.maximum(signal * _autocorrelation(moments, noise) ** apart, 1e-30)
    shared = np.clip(covariance / whole, -MAX_SHARED, MAX_SHARED)
    error = (1 - r**2) * error_z * product / whole
    return Sameness(shared, error, (np.arctanh(r) - median) / error_z, frames)


def signal_variances(moments: PairMoments, noise: np.ndarray) -> np.ndarray:
    """Return the variance (n,) of what each trace carries beside its noise."""
    return _signal(moments.variances(), noise)


def _signal(variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(variance - noise**2, LEAST_SIGNAL * variance))


def _references(z: np.ndarray, frames: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Median and scatter of Fisher's z · √frames of pairs that are none, with a prior's weight of ten pairs."""
    known = reference & (frames > 0)
    count = int(known.sum())
    if not count:
        return PRIOR_MEDIAN, PRIOR_SCATTER
    median = float(np.median(z[known]))
    deviations = (z[known] - median) * np.sqrt(frames[known])
    scatter = max(1.4826 * float(np.median(np.abs(deviations))), 1.0)
    weight = count / (count + PRIOR_PAIRS)
    both = weight * scatter**2 + (1 - weight) * PRIOR_SCATTER**2
    return weight * median + (1 - weight) * PRIOR_MEDIAN, float(np.sqrt(both))


def _autocorrelation(moments: PairMoments, noise: np.ndarray) -> float:
    """What a signal correlates with itself a frame later: the median over traces that carry more signal than noise."""
    variance = moments.variances()
    with np.errstate(invalid="ignore", divide="ignore"):
        of_each = moments.lag_covariances() / signal_variances(moments, noise)
    clear = (moments.own[COUNT] > 0) & (variance > 2 * noise**2) & np.isfinite(of_each)
    return float(np.clip(np.median(of_each[clear]), 0.2, 1.0)) if clear.any() else 1.0
