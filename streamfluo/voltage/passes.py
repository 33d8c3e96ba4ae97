"""What a pass learns of one cell: spatial weights, mean spike, matched filter."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_toeplitz, toeplitz

from .kernels.follow import AFTER, BEFORE, JITTER, RESPONSE, TAPS

PRIOR_SPIKES, PRIOR_AROUND = 60.0, 200.0  # that the mask counts for, in the cell and around it
RISE, ROUNDS = 5, 6  # frames before the peak that a waveform is learned from, and rounds of it at a new start
LOADING = 0.02  # of the mean variance, added to each: footprints are known to a few per cent only


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
