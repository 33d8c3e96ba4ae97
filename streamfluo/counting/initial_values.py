"""Method-of-moments initial values of the model parameters."""

from __future__ import annotations

import numpy as np

from .bounds import noise_sd
from .kernels.likelihood import Array
from .quantiles import median, percentiles

STEP_NOISES, MIN_STEPS = 6.0, 5  # of the noise of a difference, to be a step; of them, for their median
DUTY_CYCLES = (0.4, 0.2, 0.65)  # fraction of the time an emitter is on: three starts, the best fit is kept


def initial_parameters(
    x: Array, intensity: Array, camera: bool, bounds: Array, emitters: int | None, duty: float
) -> Array:
    """Return parameters (6,) with the mean, variance and autocorrelation of traces (t, n), within bounds (6, 2).

    An emitter is on for a fraction `duty` of the time. N emitters have a mean N · duty · mu and a variance
    N · duty · (1 − duty) · mu² above background and noise. emitters None: mu follows from the ratio of the two.
    """
    emitters = None if emitters is None else max(emitters, 1)
    noise = noise_sd(x)
    low, middle = percentiles(intensity, (1,))[0], np.nanmean(intensity, axis=0)
    variance = np.nanvar(intensity, axis=0)
    if camera:
        variance = np.maximum(variance - noise**2, 0.1 * variance)
        low = low + 2 * noise
    else:
        variance = np.maximum(variance - (noise * middle) ** 2, 0.1 * variance)
        low = low * np.exp(2 * noise)
    if emitters is None:
        mu_bg = float(np.nanmin(low))
        mu = float(np.nanmedian(variance / np.maximum(middle - mu_bg, 1e-3 * middle + 1e-12))) / (1 - duty)
    else:
        mu = float(np.nanmedian(np.sqrt(variance / (emitters * duty * (1 - duty)))))
        mu_bg = float(np.nanmedian(np.minimum(middle - emitters * duty * mu, low)))
    sigma = float(np.nanmin(noise)) if x.shape[1] < 4 else float(np.nanpercentile(noise, 25))
    if camera:
        sigma = np.sqrt(max(sigma**2 - max(mu_bg, 0.0), 0.05 * sigma**2))
    leave = float(np.clip(1 - np.nanmedian(_correlation_ratio(intensity)), 0.005, 0.95))
    guess = np.array([mu, mu_bg, sigma, duty * leave, (1 - duty) * leave, 1e-3])
    if not camera:
        guess[1] = max(guess[1], 0.05 * float(np.nanmin(low)))
    return np.clip(guess, bounds[:, 0], bounds[:, 1])


def step_parameters(x: Array, intensity: Array, camera: bool, bounds: Array, emitters: int | None) -> Array:
    """Return parameters (6,) whose mu is the median step between frames of traces (t, n), within bounds (6, 2).

    Steps do not depend on the duty cycle, which the mean (emitters given) or the mean and the variance then tell.
    """
    guess = initial_parameters(x, intensity, camera, bounds, emitters, DUTY_CYCLES[0])
    noise = noise_sd(x) * (1.0 if camera else median(intensity))
    low, high = percentiles(intensity, (1, 99))
    middle = np.nanmean(intensity, axis=0)
    mu_bg = float(np.nanmin(low + (2 * noise if camera else 0)))
    step = median_step(x, intensity)
    mu = float(np.nanmedian(high - low)) / (emitters or 1) if np.isnan(step) else step
    above = np.maximum(middle - mu_bg, 1e-3 * mu)
    if emitters:
        duty = float(np.nanmedian(above)) / (emitters * mu)
    else:
        duty = 1 - float(np.nanmedian((np.nanvar(intensity, axis=0) - noise**2) / (mu * above)))
    duty, leave = float(np.clip(duty, 0.05, 0.95)), guess[3] + guess[4]
    guess[[0, 1, 3, 4]] = mu, mu_bg, duty * leave, (1 - duty) * leave
    return np.clip(guess, bounds[:, 0], bounds[:, 1])


def median_step(x: Array, intensity: Array) -> float:
    """Return the median change of intensity over two frames of traces (t, n) that noise does not make; NaN: too few.

    No model is fitted: where dyes differ, light drifts or frames are lit in part, it is .9 to 1.2 of the brightness.
    """
    steps = np.abs(intensity[2:] - intensity[:-2])[np.abs(x[2:] - x[:-2]) > STEP_NOISES * np.sqrt(2) * noise_sd(x)]
    return float(np.median(steps)) if len(steps) >= MIN_STEPS else np.nan


def rescaled(start: Array, factor: float, bounds: Array, more: float = 0) -> Array:
    """Return parameters (6,) with `factor` times the brightness and a background `more` times mu higher."""
    other = start.copy()
    other[:2] = factor * start[0], start[1] + more * start[0]
    return np.clip(other, bounds[:, 0], bounds[:, 1])


def _correlation_ratio(intensity: Array) -> Array:
    """Return the ratio of the autocovariances at lags 2 and 1: noise has none at either."""
    d = intensity - np.nanmean(intensity, axis=0)
    one, two = np.nanmean(d[1:] * d[:-1], axis=0), np.nanmean(d[2:] * d[:-2], axis=0)
    return np.asarray(np.where(one > 0, two / np.where(one > 0, one, 1), 0.5))
