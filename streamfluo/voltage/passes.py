"""What a pass learns of one cell: spatial weights, matched filter, threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_toeplitz, toeplitz
from scipy.special import ndtr

from .kernels.follow import AFTER, BEFORE, BINS, JITTER, PER_SIGMA, RESPONSE, TAPS

PRIOR_SPIKES, PRIOR_AROUND = 60.0, 200.0  # that the mask counts for, in the cell and around it
RISE, ROUNDS = 5, 6  # frames before the peak that a waveform is learned from, and rounds of it at a new start
LOADING = 0.02  # of the mean variance, added to each: footprints are known to a few per cent only
EDGES = np.arange(BINS) / PER_SIGMA  # lower edge of each bin [noise σ]
LOWEST = 2.5  # thresholds below are not considered [noise σ]
WORTH = 0.45  # expected F1 below which spikes are detected as where there are none: most would be noise
SURE = 4.0  # σ of their number by which peaks must exceed the noise
CLEAR = 3.5  # peaks beyond hardly are noise [noise σ]
EMPTY = 4.5  # threshold where nothing stands out of the noise [noise σ]
ENOUGH = 8.0  # spikes that must stand out before a threshold follows them


class Threshold(NamedTuple):
    """Threshold [noise σ]; expected F1, share of false spikes and of missed ones, 0 where not known."""

    level: float
    f1: float
    false: float
    missed: float


def usual_waveforms(frames_per_ms: float) -> list[np.ndarray]:
    """Return spikes (BEFORE + 1 + AFTER,) of peak 1 that rise in .3 ms and fall in 1, 2 or 4 ms, the second first, and
    such as are two frames long before they fall."""
    t = np.arange(-BEFORE, AFTER + 1)
    found = []
    for fall_ms, long in ((2.0, 1), (2.0, 2), (1.0, 1), (4.0, 2)):
        after = np.maximum(t, 0) - np.minimum(np.maximum(t, 0), long - 1)
        wave = np.where(
            t < 0, np.exp(np.minimum(t, 0) / (0.3 * frames_per_ms)), np.exp(-after / (fall_ms * frames_per_ms))
        )
        found.append(np.where(wave > 0.02, wave, 0))
    return found


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
            known = spikes / (spikes + np.where(own, PRIOR_SPIKES, PRIOR_AROUND))
            image = footprint + known * (seen / size - footprint)
    full = np.tril(covariance) + np.tril(covariance, -1).T
    level = float(np.median(np.diag(full)))
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


def mean_waveform(windows: np.ndarray, autocovariance: np.ndarray, begin: list[np.ndarray]) -> np.ndarray:
    """Return the mean spike (BEFORE + 1 + AFTER,) in traces around detected ones (n, WINDOW), peak at BEFORE.

    Each spike may have been detected up to JITTER frames too early or too late, so that a plain mean is blurred, and a
    blurred filter goes on detecting them so. Expectation maximisation over the shifts, in the noise of this
    autocovariance (TAPS,), from each waveform to `begin` with; of what comes out the likeliest. Where hardly any spike
    was detected the first of them, which has peak 1.
    """
    if len(windows) <= 4 or autocovariance[0] <= 0:
        return begin[0]
    shifts = np.arange(2 * JITTER + 1)[:, None] + np.arange(BEFORE - RISE, BEFORE + AFTER + 1)
    parts = windows[:, shifts]  # spike, shift, frame
    column = autocovariance[: parts.shape[2]].copy()
    column[0] *= 1.01
    inverse = np.linalg.inv(toeplitz(column))
    white, best, mean = parts @ inverse, -np.inf, begin[0][BEFORE - RISE :]
    for start in begin:
        wave = start[BEFORE - RISE :] * (parts.mean(0)[JITTER, RISE] / start[BEFORE] if start[BEFORE] == 1 else 1.0)
        for _ in range(ROUNDS if len(begin) > 1 else 2):
            gain = white @ wave - wave @ inverse @ wave / 2
            top = gain.max(1, keepdims=True)
            share = np.exp(gain - top)
            total = share.sum(1, keepdims=True)
            likelihood = float((top + np.log(total)).sum())
            wave = np.einsum("nj,njt->t", share / total, parts) / len(parts)
        if likelihood > best:
            best, mean = likelihood, wave
    whole = np.concatenate((np.zeros(BEFORE - RISE), mean - mean[: RISE - 2].mean()))
    whole[: BEFORE - 2] = 0
    moved = int(np.argmax(whole)) - BEFORE
    return whole if abs(moved) > JITTER else np.roll(whole, -moved)


def threshold_of(upward: np.ndarray, downward: np.ndarray, snr: float) -> Threshold:
    """Return the threshold of the largest expected F1, from histograms of upward and downward peaks (BINS,).

    Downward peaks are the noise's own distribution; beyond its last peaks it goes on as a Gaussian: N(x) of them reach
    x. Spikes reach x with the chance Φ(snr − x), as their scores scatter by one σ around `snr`; how many there are
    follows from what exceeds the noise where most of them do. Of S spikes, with T(x) = S Φ(snr − x), F1(x) =
    2 T / (T + N + S). Where `snr` is not known yet (0) it is as high as peaks exceed the noise
    clearly; where too little does, or F1 would be too low, the threshold is
    EMPTY, or higher where noise reaches that.
    """
    found, noise = upward[::-1].cumsum()[::-1], noise_tail(downward)
    over = found - noise
    clear = over > np.maximum(ENOUGH, SURE * np.sqrt(noise + 1))
    quiet = Threshold(max(EMPTY, float(EDGES[np.argmax(noise < 0.5)])), 0.0, 0.0, 0.0)
    if not clear[EDGES >= LOWEST].any():
        return quiet
    snr = snr or float(EDGES[np.flatnonzero(clear)[-1]])  # as high as spikes are seen
    reach = ndtr(snr - EDGES)
    sure = min(max(LOWEST + 0.5, snr - 1), EMPTY)  # most spikes reach it and little noise
    at = int(sure * PER_SIGMA)
    spikes = max(float(over[at]) / reach[at], 0.0)
    hits = spikes * reach
    f1 = np.where(EDGES >= LOWEST, 2 * hits / np.maximum(hits + noise + spikes, 1e-9), 0)
    best = int(f1.argmax())
    if f1[best] < WORTH:
        return quiet._replace(f1=float(f1[best]))
    false = noise[best] / max(found[best], 1)
    return Threshold(float(EDGES[best]), float(f1[best]), float(min(false, 1)), float(1 - reach[best]))


def opposed(upward: np.ndarray, downward: np.ndarray) -> bool:
    """Return whether downward peaks beyond 3.5 σ outnumber the upward ones fourfold and by 4 σ of their number."""
    up, down = (float(peaks[EDGES >= CLEAR].sum()) for peaks in (upward, downward))
    return down > 4 * up and down - up > 4 * np.sqrt(down + up)


def untruncated(upward: np.ndarray, noise: np.ndarray, level: float) -> float:
    """Return the mean score of all spikes, from the histogram of those that reach `level`: detected ones alone are the
    larger ones. `noise` (BINS,) is how many of the noise's peaks reach each edge.

    A normal distribution of σ 1 cut off at `level` has mean m = d + φ(level − d) / Φ(d − level), solved for d; 0 where
    too few are detected.
    """
    at = round(level * PER_SIGMA)
    over = upward[at:] - (noise[at:] - np.append(noise[at + 1 :], 0))
    if over.sum() < ENOUGH:
        return 0.0
    mean = float((over * (EDGES[at:] + 0.5 / PER_SIGMA)).sum() / over.sum())
    tried = np.arange(level - 1, level + 20, 0.05)
    gap = tried - level
    means = tried + np.exp(-(gap**2) / 2) / np.sqrt(2 * np.pi) / ndtr(gap)
    return float(tried[np.argmin(np.abs(means - mean))])


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
