"""What a pass learns of one cell: spatial weights, matched filter, threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_toeplitz

from .kernels.follow import AFTER, BEFORE, BINS, PER_SIGMA, RESPONSE, TAPS

PRIOR_SPIKES = 20.0  # that the mask, or a usual waveform, counts for
LOADING = 0.02  # of the mean variance, added to each: footprints are known to a few per cent only
EDGES = np.arange(BINS) / PER_SIGMA  # lower edge of each bin [noise σ]
LOWEST = 2.5  # thresholds below are not considered [noise σ]
EMPTY = 4.5  # threshold where nothing stands out of the noise [noise σ]
ENOUGH = 8.0  # spikes that must stand out before a threshold follows them


class Threshold(NamedTuple):
    """Threshold [noise σ]; expected F1, share of false spikes and of missed ones; how many peaks exceed the noise."""

    level: float
    f1: float
    false: float
    missed: float
    found: float


def usual_waveform(frames_per_ms: float) -> np.ndarray:
    """Return a spike of a millisecond's rise and two of fall, peak 1, around its peak (BEFORE + 1 + AFTER,)."""
    t = np.arange(-BEFORE, AFTER + 1) / frames_per_ms
    wave = np.where(t < 0, np.exp(-((t / 0.8) ** 2)), np.exp(-t / 2.0))
    return np.where(wave > 0.02, wave, 0)


def spatial_weights(
    covariance: np.ndarray, footprint: np.ndarray, spike_image: np.ndarray, spikes: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (M,) and the image of a spike (M,) that they answer to.

    `covariance` (M, M) lower half, of frames without spikes; `footprint` (M,) 1 in the cell and 0 around it;
    `spike_image` (M,) sum over `spikes`. The weights are those of least variance among all that give an image's own
    amplitude, its mean over the cell: w = S⁻¹a / (aᵀS⁻¹a), with the mean image of spikes shrunk towards the mask.
    """
    own = footprint > 0
    image = footprint.copy()
    if spikes > 0:
        seen = spike_image / spikes
        size = seen[own].mean()
        if size > 0:
            image = (PRIOR_SPIKES * footprint + spikes * seen / size) / (PRIOR_SPIKES + spikes)
    full = np.tril(covariance) + np.tril(covariance, -1).T
    level = np.trace(full) / len(full)
    if level <= 0:
        return footprint / own.sum(), image
    full[np.diag_indices_from(full)] += LOADING * level
    solved = cho_solve(cho_factor(full, lower=True), image)
    return solved / (image @ solved) * image[own].mean(), image


def matched_filter(autocovariance: np.ndarray, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the whitened matched filter (TAPS,) of a waveform, in noise σ, and its answer to one (RESPONSE,).

    h = C⁻¹s / √(sᵀC⁻¹s), C the Toeplitz matrix of the noise's autocovariance (TAPS,): hᵀe has variance 1 without
    spikes and the largest mean at one.
    """
    column = autocovariance.copy()
    column[0] *= 1.01
    part = waveform[:TAPS]
    solved = solve_toeplitz(column, part)
    power = part @ solved
    if not (column[0] > 0 and np.isfinite(power) and power > 0):
        return np.zeros(TAPS), np.zeros(RESPONSE)
    filter_ = solved / np.sqrt(power)
    padded = np.concatenate((waveform, np.zeros(RESPONSE)))
    response = np.array([filter_ @ padded[j : j + TAPS] for j in range(RESPONSE)])
    return filter_, response


def mean_waveform(spike_wave: np.ndarray, spikes: float, usual: np.ndarray) -> np.ndarray:
    """Return the mean trace around spikes (BEFORE + 1 + AFTER,), shrunk towards the usual shape; that of peak 1 where
    none was seen. What lies before the rise is the trace's mean then, and taken off."""
    if spikes <= 0:
        return usual
    wave = spike_wave / spikes
    wave = wave - wave[: BEFORE - 5].mean()
    wave[: BEFORE - 5] = 0
    size = wave[BEFORE]
    if size <= 0:
        return usual
    return np.asarray((PRIOR_SPIKES * size * usual + spikes * wave) / (PRIOR_SPIKES + spikes))


def threshold_of(upward: np.ndarray, downward: np.ndarray) -> Threshold:
    """Return the threshold of the largest expected F1, from histograms of upward and downward peaks (BINS,).

    Downward peaks are the noise's own distribution; beyond its last peaks it goes on as a Gaussian. At a threshold x
    D(x) peaks are found, N(x) of them expected to be noise; of S spikes, as many as exceed the noise at the best place,
    F1 = 2 (D − N) / (D + S).
    """
    found, noise = upward[::-1].cumsum()[::-1], noise_tail(downward)
    over = found - noise
    error = np.sqrt(found + noise + 1)
    spikes = max(float((over - error)[EDGES >= 1.5].max()), 0.0)
    f1 = np.where(EDGES >= LOWEST, 2 * np.maximum(over, 0) / np.maximum(found + max(spikes, 1e-9), 1), 0)
    best = int(f1.argmax())
    exceeds = over[best]
    if exceeds < max(ENOUGH, 4 * np.sqrt(noise[best] + 1)):
        return Threshold(EMPTY, float("nan"), float("nan"), float("nan"), 0.0)
    false = float(noise[best] / found[best])
    return Threshold(
        float(EDGES[best]), float(f1[best]), false, float(max(0.0, 1 - exceeds / max(spikes, exceeds))), float(exceeds)
    )


def noise_tail(peaks: np.ndarray) -> np.ndarray:
    """Return how many of the noise's peaks reach each edge (BINS,), beyond the last 20 by a Gaussian's tail."""
    count = peaks[::-1].cumsum()[::-1].astype(float)
    total = count[0]
    if total < 100:
        return count
    last = int(np.flatnonzero(count >= max(20.0, 0.01 * total))[-1])
    early = int(np.flatnonzero(count >= 0.15 * total)[-1])
    if last <= early or count[last] >= count[early]:
        return count
    slope = np.log(count[early] / count[last]) / (EDGES[last] ** 2 - EDGES[early] ** 2)
    tail = count[last] * np.exp(-slope * (EDGES**2 - EDGES[last] ** 2))
    return np.where(np.arange(BINS) <= last, count, tail)
