"""A rate of spikes from deconvolved ones: smoothed as far as noise leaves their times uncertain."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi

SHARPEST_S, WIDEST_S = 0.05, 0.13  # σ of the Gaussian; best on real spikes of high, and of low signal-to-noise ratio
_HALF = 15.0  # typical height of a spike in noise σ of one second, at which the variance doubles


def smoothing_s(spikes: np.ndarray, noise: float, interval_s: float) -> float:
    """Return σ [s] of the Gaussian that makes a rate of spikes (T,): .05 s above the noise, up to .13 s near it."""
    total = float(spikes.sum())
    if not (total > 0 and noise > 0):
        return SHARPEST_S
    height = float((spikes**2).sum()) / total / (noise * float(np.sqrt(interval_s)))
    return min(WIDEST_S, SHARPEST_S * float(np.sqrt(1 + (_HALF / height) ** 2)))


def spike_rate(spikes: np.ndarray, noise: float, interval_s: float) -> np.ndarray:
    """Return the rate (T,) of spikes (T,), spikes/s in the unit of their height; its peaks lie at the spikes."""
    rate: np.ndarray = ndi.gaussian_filter1d(spikes, smoothing_s(spikes, noise, interval_s) / interval_s) / interval_s
    return rate
