"""Batch deconvolution of a fluorescence trace, with the kernels that run online."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError
from .kernels.spikes import deconvolve_trace, deconvolve_trace_ar2, impulse_response

_WINDOW = 60  # samples of an AR(2) window
_SWEEPS = 4
_LAGS = 10
_ITERATIONS = 3  # of baseline and activity in turn


@dataclass(frozen=True)
class Deconvolved:
    """Result of `deconvolve`: `trace` and `spikes` (T,) without the baseline, and the parameters used."""

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
    noise: float | tuple[float, float] = (0.25, 0.5),
    baseline: float | None = None,
    baseline_window: int | None = None,
    sparsity: float = 5.0,
    least_spike: float = 0.0,
) -> Deconvolved:
    """Return activity c and spikes s of a trace (T,): y = baseline + c + noise, c_t = Σ g_i c_{t−i} + s_t, s ≥ 0.

    `g`: decay per sample, both coefficients for order 2; None: from the autocovariance. `noise`: its σ, or the
    range of frequencies (fractions of the sampling rate) whose power spectrum gives it. `baseline`: None: the median of
    y − c, iterated three times; over a running window of `baseline_window` samples for traces that drift (.baseline is
    then its mean). `sparsity`: λ of the penalty λ Σ s, in noise σ. `least_spike`: smallest spike in noise σ
    (order 1). Raises ConfigError for a trace that is too short or not finite, and for an unstable g.
    Order 1 is exact (OASIS; Friedrich, Zhou & Paninski 2017); order 2 optimises windows of 60 samples.
    """
    y = np.asarray(trace, float)
    if y.ndim != 1 or len(y) < 3 * _LAGS or not np.isfinite(y).all():
        raise ConfigError(f"deconvolve: a trace is finite, (T,), of {3 * _LAGS} samples at least, found {y.shape}")
    if order not in (1, 2):
        raise ConfigError(f"deconvolve: order is 1 or 2, found {order!r}")
    sigma = _noise_sigma(y, noise) if isinstance(noise, tuple) else float(noise)
    level = np.full(len(y), baseline) if baseline is not None else _median(y, baseline_window)
    coefficients = _check_coefficients(order, _estimate_coefficients(y - level, sigma, order) if g is None else g)
    activity = np.zeros(len(y))
    for n in range(_ITERATIONS if baseline is None else 1):
        if n:
            level = _median(y - activity, baseline_window)
        if order == 1:
            activity, spikes = _first_order(y - level, coefficients[0], sigma, sparsity, least_spike)
        else:
            activity, spikes = _second_order(y - level, coefficients, sigma, sparsity)
    return Deconvolved(activity, spikes, float(level.mean()), sigma, coefficients)


def _first_order(
    y: np.ndarray, g: float, noise: float, sparsity: float, min_spike: float
) -> tuple[np.ndarray, np.ndarray]:
    activity, spikes = np.empty((2, len(y)))
    deconvolve_trace(y - sparsity * noise * (1 - g), g, min_spike * noise, activity, spikes)
    return activity, spikes


def _second_order(y: np.ndarray, g: tuple[float, ...], noise: float, sparsity: float) -> tuple[np.ndarray, np.ndarray]:
    response = impulse_response(np.array(g), min(_WINDOW, len(y)))
    activity, spikes = np.empty((2, len(y)))
    deconvolve_trace_ar2(y, response, sparsity * noise * float(response.max()), _SWEEPS, activity, spikes)
    return activity, spikes


def _median(y: np.ndarray, window: int | None) -> np.ndarray:
    return np.full(len(y), np.median(y)) if window is None else ndi.median_filter(y, window, mode="nearest")


def _noise_sigma(y: np.ndarray, band: tuple[float, float]) -> float:
    """Noise σ from the mean power spectral density over a band of frequencies (fractions of the sampling rate)."""
    frequency = np.fft.rfftfreq(len(y))
    power = np.abs(np.fft.rfft(y - y.mean())) ** 2 / len(y)
    return float(np.sqrt(np.mean(power[(frequency > band[0]) & (frequency <= band[1])])))


def _estimate_coefficients(y: np.ndarray, noise: float, order: int) -> tuple[float, ...]:
    """AR coefficients by least squares on the autocovariance at lags 1 to 10, the noise subtracted at lag 0."""
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


def _check_coefficients(order: int, g: float | tuple[float, ...]) -> tuple[float, ...]:
    values = tuple(float(c) for c in np.atleast_1d(g))
    if len(values) != order or not (np.abs(np.roots([1, *(-c for c in values)])) < 1).all():
        raise ConfigError(f"deconvolve: g needs {order} coefficients of a stable process, found {g!r}")
    return values
