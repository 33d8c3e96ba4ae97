"""Spikes of a whole fluorescence trace, with the kernels that run online."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError
from .kernels.spikes import impulse, push, push_second, recent, recent_second

_WINDOW = 60  # samples over which second-order spikes are solved for together
_SWEEPS = 4
_LAGS = 10
_ROUNDS = 3  # of baseline and activity in turn


@dataclass(frozen=True)
class Deconvolved:
    """What `deconvolve` found: `trace` and `spikes` (T,) without the baseline, and the settings that were used."""

    trace: np.ndarray
    spikes: np.ndarray
    baseline: float
    noise: float
    g: tuple[float, ...]


def deconvolve(
    trace: np.ndarray,
    *,
    order: int = 1,
    g: float | tuple[float, ...] | None = None,
    noise: float | None = None,
    baseline: float | None = None,
    baseline_window: int | None = None,
    sparsity: float = 5.0,
    least_spike: float = 0.0,
    noise_range: tuple[float, float] = (0.25, 0.5),
) -> Deconvolved:
    """Return denoised activity and spikes of a trace (T,): y = baseline + c + noise, c_t = Σ g_i c_{t−i} + s_t, s ≥ 0.

    `g`: decay per sample, for order 2 both coefficients; None: from the autocovariance. `noise`: its width; None: from
    the power spectrum over `noise_range` (parts of the sampling rate). `baseline` None: the median of what is left, in
    three rounds, for traces that drift over `baseline_window` samples (.baseline is then its mean). `sparsity`: λ of
    the penalty λ Σ s, in noise widths. `least_spike`: smallest spike in noise widths (order 1). Order 1 is exact
    (OASIS; Friedrich, Zhou & Paninski 2017), order 2 solves windows of 60 samples. Cost: 2 µs a sample, order 2 40 µs.
    Raises ConfigError for what cannot be used.
    """
    y = np.asarray(trace, float)
    if y.ndim != 1 or len(y) < 3 * _LAGS or not np.isfinite(y).all():
        raise ConfigError(f"deconvolve: a trace is finite, (T,), of {3 * _LAGS} samples at least, found {y.shape}")
    if order not in (1, 2):
        raise ConfigError(f"deconvolve: order is 1 or 2, found {order!r}")
    sigma = _noise(y, noise_range) if noise is None else float(noise)
    level = np.full(len(y), baseline) if baseline is not None else _median(y, baseline_window)
    coefficients = _checked(order, _estimated(y - level, sigma, order) if g is None else g)
    activity = np.zeros(len(y))
    for n in range(_ROUNDS if baseline is None else 1):
        if n:
            level = _median(y - activity, baseline_window)
        if order == 1:
            activity, spikes = _first_order(y - level, coefficients[0], sigma, sparsity, least_spike)
        else:
            activity, spikes = _second_order(y - level, coefficients, sigma, sparsity)
    return Deconvolved(activity, spikes, float(level.mean()), sigma, coefficients)


def _first_order(y: np.ndarray, g: float, noise: float, sparsity: float, least: float) -> tuple[np.ndarray, np.ndarray]:
    n, pools = len(y), 0
    value, weight, length = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    for sample in y - sparsity * noise * (1 - g):
        pools = push(sample, g, least * noise, value, weight, length, pools)
    activity, spikes = np.empty((2, n))
    recent(g, value, length, pools, activity, spikes)
    return activity, spikes


def _second_order(y: np.ndarray, g: tuple[float, ...], noise: float, sparsity: float) -> tuple[np.ndarray, np.ndarray]:
    n = min(_WINDOW, len(y))
    response = impulse(np.array(g), n)
    penalty = sparsity * noise * float(response.max())
    samples, found, tail = np.zeros((3, n))
    activity, spikes, part = np.zeros(len(y)), np.zeros(len(y)), np.empty(n)
    for t, sample in enumerate(y):
        push_second(sample, penalty, response, _SWEEPS, samples, found, tail)
        if t >= n - 1:
            recent_second(response, found, tail, part)
            activity[t - n + 1], spikes[t - n + 1] = part[0], found[0]
    recent_second(response, found, tail, part)
    activity[len(y) - n :], spikes[len(y) - n :] = part, found
    return activity, spikes


def _median(y: np.ndarray, window: int | None) -> np.ndarray:
    return np.full(len(y), np.median(y)) if window is None else ndi.median_filter(y, window, mode="nearest")


def _noise(y: np.ndarray, band: tuple[float, float]) -> float:
    """Width of the noise from the mean level of the power spectrum at high frequencies."""
    frequency = np.fft.rfftfreq(len(y))
    power = np.abs(np.fft.rfft(y - y.mean())) ** 2 / len(y)
    return float(np.sqrt(np.mean(power[(frequency > band[0]) & (frequency <= band[1])])))


def _estimated(y: np.ndarray, noise: float, order: int) -> tuple[float, ...]:
    """AR coefficients by least squares on the autocovariance at lags 1 to 10, the noise taken out of lag 0."""
    z = y - y.mean()
    cov = np.array([(z[: len(z) - k] * z[k:]).mean() for k in range(_LAGS + order)])
    cov[0] -= noise**2
    rows = np.array([[cov[abs(k - i - 1)] for i in range(order)] for k in range(1, _LAGS + 1)])
    g = np.linalg.lstsq(rows, cov[1 : _LAGS + 1], rcond=None)[0]
    roots = np.roots([1, *(-g)])
    if np.isreal(roots).all() and (roots > 0).all() and (roots < 1).all():
        return tuple(float(c) for c in g)
    decay = float(np.clip(cov[2] / cov[1] if cov[1] > 0 else 0.9, 0.3, 0.98))
    return (decay,) if order == 1 else (decay + 0.3, -0.3 * decay)


def _checked(order: int, g: float | tuple[float, ...]) -> tuple[float, ...]:
    values = tuple(float(c) for c in np.atleast_1d(g))
    if len(values) != order or not (np.abs(np.roots([1, *(-c for c in values)])) < 1).all():
        raise ConfigError(f"deconvolve: g needs {order} coefficients of a process that decays, found {g!r}")
    return values
