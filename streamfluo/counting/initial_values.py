"""Where a fit of emitters begins: parameters that agree with the moments of the traces."""

from __future__ import annotations

import numpy as np

from .kernels.likelihood import Array

ON_PARTS = (0.4, 0.2, 0.65)  # of the time an emitter is on: three starts, of which the best fit is kept


def guess_parameters(x: Array, intensity: Array, camera: bool, bounds: Array, y: float | None, part: float) -> Array:
    """Return parameters (6,) under which traces (t, n) have the mean, variance and memory they have.

    An emitter is on for `part` of the time. y emitters give a mean y · part · mu and a variance
    y · part · (1 − part) · mu² above background and noise; y None: not known, and the ratio of the two tells mu.
    """
    noise = _noise(x)
    low, middle = np.nanpercentile(intensity, 1, axis=0), np.nanmean(intensity, axis=0)
    variance = np.nanvar(intensity, axis=0)
    if camera:
        variance = np.maximum(variance - noise**2, 0.1 * variance)
        low = low + 2 * noise
    else:
        variance = np.maximum(variance - (noise * middle) ** 2, 0.1 * variance)
        low = low * np.exp(2 * noise)
    if y is None:
        mu_bg = float(np.nanmin(low))
        mu = float(np.nanmedian(variance / np.maximum(middle - mu_bg, 1e-3 * middle + 1e-12))) / (1 - part)
    else:
        mu = float(np.nanmedian(np.sqrt(variance / (y * part * (1 - part)))))
        mu_bg = float(np.nanmedian(np.minimum(middle - y * part * mu, low)))
    sigma = float(np.nanmin(noise)) if x.shape[1] < 4 else float(np.nanpercentile(noise, 25))
    if camera:
        sigma = np.sqrt(max(sigma**2 - max(mu_bg, 0.0), 0.05 * sigma**2))
    leave = float(np.clip(1 - np.nanmedian(_memory(intensity)), 0.005, 0.95))
    guess = np.array([mu, mu_bg, sigma, part * leave, (1 - part) * leave, 1e-3])
    if not camera:
        guess[1] = max(guess[1], 0.05 * float(np.nanmin(low)))
    return np.clip(guess, bounds[:, 0], bounds[:, 1])


def _noise(x: Array) -> Array:
    """Width of the noise of each trace from steps between frames, most of which nothing switches in."""
    steps = np.abs(np.diff(x, axis=0))
    return np.asarray(np.nanpercentile(steps, 40, axis=0) / (0.5244 * np.sqrt(2))) + 1e-12


def _memory(intensity: Array) -> Array:
    """Correlation one frame on of what is correlated at all: the ratio of the autocovariances at lags 2 and 1."""
    d = intensity - np.nanmean(intensity, axis=0)
    one, two = np.nanmean(d[1:] * d[:-1], axis=0), np.nanmean(d[2:] * d[:-2], axis=0)
    return np.asarray(np.where(one > 0, two / np.where(one > 0, one, 1), 0.5))
