"""Batch deconvolution of fluorescence traces: drift removed, one impulse response for all, spikes and their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError
from .expected_rate import expected_rates
from .kernels.impulse_responses import sparse_spikes
from .kernels.spikes import deconvolve_trace
from .spike_rate import LINEAR, calcium_steps, spike_rate
from .time_constants import TimeConstants, estimate, matched_norm, peak

INTERVAL_S = 1 / 30  # where none is given
_LEAST_SAMPLES = 30
_ROUNDS = 150
_SEGMENT = 64  # samples of which each gives a noise power
_CORRELATED = 1.94  # neighbouring frequencies of Hann's window count this many times less (Welch 1967)
_STEPS, _EMPTY = (2, 4, 8, 16), 5.0  # from one to the next: interpolated to 4 times the rate 19, transients up to 2.2
_BASELINE_S = 15.0  # window of the running low quantile; 10 to 30 s differ by .01 in the correlation with real spikes
_BASELINE_QUANTILE = 10.0  # per cent
_BASELINE_SMOOTHING_S = 0.5
_MOST_TRACES = 24  # that decide the time constants: those of the largest transients


@dataclass(frozen=True)
class Deconvolved:
    """Result of `deconvolve`: arrays shaped as the traces (T,) or (K, T), and the parameters used.

    `trace`: activity without baseline; `spikes`: peak height of the transient that begins in each sample; `rate`:
    spikes/s up to a factor, its delay taken out; `baseline` what was subtracted; `noise` σ, a number or (K,). `g`:
    coefficients a sample; `decay_s`, `rise_s` with the given interval. `undetermined`: what could not be estimated, in
    a sentence; else empty.
    """

    trace: np.ndarray
    spikes: np.ndarray
    rate: np.ndarray
    baseline: np.ndarray
    noise: float | np.ndarray
    g: tuple[float, ...]
    decay_s: float
    rise_s: float
    undetermined: str = ""


def deconvolve(
    traces: np.ndarray,
    *,
    interval_s: float | None = None,
    decay_s: float | None = None,
    rise_s: float | None = None,
    order: int | None = None,
    g: float | tuple[float, ...] | None = None,
    noise: float | tuple[float, float] | None = None,
    baseline: float | None = None,
    baseline_window: int | None = None,
    sparsity: float = 5.0,
    least_spike: float = 0.0,
    cooperativity: float | None = None,
) -> Deconvolved:
    """Return activity c, spikes s and their rate of one trace (T,) or of all cells of a recording (K, T).

    y = baseline + c + noise; each spike adds (1 − exp(−t / rise_s)) exp(−t / decay_s), scaled to a peak of s ≥ 0.
    Minimised is Σ (y − baseline − c)² / 2 + λ Σ s, λ = `sparsity` noise σ. `interval_s`: time between samples, 1/30 s
    if none is given. `decay_s`, `rise_s`: None: one value for all traces, estimated under bounds (0.2 to 2 s and 0 to
    0.14 s) from what is faster than 1 s. `order` 2 has a rise, 1 has none; `g`: the coefficients a sample, instead of
    times. `noise`: σ; a range of frequencies (fractions of the sampling rate) whose mean power gives it; None: from
    their upper half, in what the transients leave. `baseline`: a level; None: a running 10th percentile over 15 s or
    `baseline_window` samples. `least_spike`: smallest spike in noise σ (order 1). `cooperativity`: None: `rate` is the
    one expected given the trace, whatever its indicator (`expected_rate`; takes `interval_s` in earnest), with the area
    of the spikes; a number: exponent n of the indicator, fluorescence ~ calciumⁿ, and `rate` the calcium that spikes
    add: 2 is typical of GCaMP, 1 of synthetic dyes. Order 1 is exact (OASIS; Friedrich, Zhou & Paninski 2017), order 2
    accelerated gradient descent. Raises ConfigError for traces that are too short or not finite, and for an unstable g.
    """
    y = np.asarray(traces, float)
    if y.ndim not in (1, 2) or not y.size or y.shape[-1] < _LEAST_SAMPLES or not np.isfinite(y).all():
        raise ConfigError(f"deconvolve: traces are finite, (T,) or (K, T), {_LEAST_SAMPLES} samples or more: {y.shape}")
    interval = INTERVAL_S if interval_s is None else float(interval_s)
    order = _order(order, g, rise_s)
    _check_times(interval_s, decay_s, rise_s, g)
    if cooperativity is not None and not 1 <= cooperativity <= 4:
        raise ConfigError(f"deconvolve: cooperativity is an exponent from 1 to 4, found {cooperativity!r}")
    rows = np.atleast_2d(y)
    sigma = np.array([_noise(row, noise) for row in rows])
    level = np.array([_baseline(row, baseline, baseline_window, interval) for row in rows])
    if g is None:
        rise = 0.0 if order == 1 else rise_s
        constants = _estimated(rows - level, sigma, interval, (decay_s, rise))
        p, q = _factors(constants, interval)
    else:
        p, q = _roots(order, g)
        constants = _constants(p, q, interval)
    activity, spikes = np.empty((2, *rows.shape))
    for n, (row, out, found) in enumerate(zip(rows - level, activity, spikes, strict=True)):
        _solve(row, (p, q), (sigma[n], sparsity, least_spike), (out, found))
        if noise is None:  # once more with the noise of what is left: the rise of transients is no part of it
            sigma[n] = min(sigma[n], noise_sigma(row - out))
            _solve(row, (p, q), (sigma[n], sparsity, least_spike), (out, found))
    if cooperativity is None:
        rate = expected_rates(rows, level, sigma, interval)
        rate *= (spikes.sum(1) / np.maximum(rate.sum(1) * interval, 1e-300))[:, None]
    else:
        steps = calcium_steps(spikes, 0.0, p, LINEAR * sigma / matched_norm(p, q), cooperativity)
        rate = np.array([spike_rate(*row, interval) for row in zip(spikes, steps, sigma, strict=True)])
    said = "" if constants.known else (
        f"deconvolve: no transients in {len(rows)} traces decide rise and decay; typical ones are taken: "
        f"decay_s {constants.decay_s:g}, rise_s {constants.rise_s:g}"
    )  # fmt: skip
    shape = y.shape
    return Deconvolved(
        activity.reshape(shape), spikes.reshape(shape), rate.reshape(shape), level.reshape(shape),
        sigma if y.ndim == 2 else float(sigma[0]), (p,) if order == 1 else (p + q, -p * q),
        constants.decay_s, constants.rise_s, said,
    )  # fmt: skip


def _solve(
    y: np.ndarray, factors: tuple[float, float], penalties: tuple[float, float, float],
    out: tuple[np.ndarray, np.ndarray],
) -> None:  # fmt: skip
    """Write activity and spikes (T,) of a trace without baseline; penalties: noise σ, sparsity, least spike."""
    (p, q), (noise, sparsity, least_spike), (activity, spikes) = factors, penalties, out
    if q == 0:
        deconvolve_trace(y - sparsity * noise * (1 - p), p, least_spike * noise, activity, spikes)
        return
    spikes[:] = 0
    work = np.empty((5, len(y)))
    sparse_spikes(y, (p, q, 1 / peak(p, q), 0.0), sparsity * noise, _ROUNDS, work, spikes)
    activity[:] = work[0]


def _estimated(
    flat: np.ndarray, noise: np.ndarray, interval_s: float, given: tuple[float | None, float | None]
) -> TimeConstants:
    """Time constants that the traces (K, T) without baseline share, from those of the largest transients."""
    usable = noise > 0
    heights = np.where(usable, flat.std(1) / np.where(usable, noise, 1), -1)
    chosen = np.argsort(-heights, kind="stable")[: min(_MOST_TRACES, int(usable.sum()))]
    return estimate(list(flat[chosen]), noise[chosen].tolist(), interval_s, *given)


def _factors(constants: TimeConstants, interval_s: float) -> tuple[float, float]:
    p = float(np.exp(-interval_s / constants.decay_s))
    return p, p * float(np.exp(-interval_s / constants.rise_s)) if constants.rise_s > 0 else 0.0


def _constants(p: float, q: float, interval_s: float) -> TimeConstants:
    return TimeConstants(-interval_s / float(np.log(p)), -interval_s / float(np.log(q / p)) if q > 0 else 0.0)


def _baseline(y: np.ndarray, given: float | None, window: int | None, interval_s: float) -> np.ndarray:
    """Running low quantile (T,) of a smoothed trace, on a grid of half seconds: transients are left standing on it."""
    if given is not None:
        return np.full(len(y), float(given))
    length = _BASELINE_S / interval_s if window is None else float(window)
    smoothing = min(_BASELINE_SMOOTHING_S / interval_s, length / 30)
    step = max(1, round(length / 30))
    coarse = ndi.gaussian_filter1d(y, smoothing)[::step]  # ends are mirrored: repeated, a low first sample weighs half
    size = max(3, round(length / step)) | 1
    low = ndi.percentile_filter(coarse, _BASELINE_QUANTILE, size)
    low = ndi.gaussian_filter1d(low, max(1.0, size / 4))
    return np.interp(np.arange(len(y)), np.arange(0, len(y), step), low)


def _noise(y: np.ndarray, given: float | tuple[float, float] | None) -> float:
    if given is None:
        return noise_sigma(y)
    return _band_noise(y, given) if isinstance(given, tuple) else float(given)


def _band_noise(y: np.ndarray, band: tuple[float, float]) -> float:
    """σ from the mean power over a band of frequencies: noise, and what of the transients lies in it."""
    frequency = np.fft.rfftfreq(len(y))
    power = np.abs(np.fft.rfft(y - y.mean())) ** 2 / len(y)
    return float(np.sqrt(np.mean(power[(frequency > band[0]) & (frequency <= band[1])])))


def noise_sigma(y: np.ndarray) -> float:
    """Return the noise σ of a trace (T,) from the upper half of the frequencies.

    An interpolated trace has next to none there: then that of averages of 2 to 16 samples.
    """
    sigma = _segment_noise(y)
    for step in _STEPS:
        if len(y) >= step * _LEAST_SAMPLES:
            coarse = _segment_noise(y[: len(y) // step * step].reshape(-1, step).mean(1)) * float(np.sqrt(step))
            if coarse <= _EMPTY * sigma:
                break
            sigma = coarse
    return sigma


def _segment_noise(y: np.ndarray) -> float:
    """σ from the median over short segments: a mean took the sharp rise of transients for noise, 24 % more."""
    length = min(_SEGMENT, len(y))
    segments = y[: len(y) // length * length].reshape(-1, length)
    window = np.hanning(length)
    power = np.abs(np.fft.rfft((segments - segments.mean(1, keepdims=True)) * window)) ** 2 / (window**2).sum()
    upper = np.fft.rfftfreq(length) > 0.25
    freedom = 2 * upper.sum() / _CORRELATED  # of the χ² of a segment's mean power, whose median is below its mean
    return float(np.sqrt(np.median(power[:, upper].mean(1)) / (1 - 2 / (9 * freedom)) ** 3))


def _order(order: int | None, g: float | Sequence[float] | None, rise_s: float | None) -> int:
    if order not in (None, 1, 2):
        raise ConfigError(f"deconvolve: order is 1 or 2, found {order!r}")
    if order is not None:
        return order
    return len(np.atleast_1d(g)) if g is not None else 1 if rise_s == 0 else 2


def _check_times(interval_s: float | None, decay_s: float | None, rise_s: float | None, g: object) -> None:
    for name, value, least in (("interval_s", interval_s, 1e-9), ("decay_s", decay_s, 1e-9), ("rise_s", rise_s, 0.0)):
        if value is not None and not (np.isfinite(value) and value >= least):
            raise ConfigError(f"deconvolve: {name} must be a positive time [s], found {value!r}")
    if g is not None and (decay_s is not None or rise_s is not None):
        raise ConfigError("deconvolve: g takes the place of decay_s and rise_s; give one or the other")


def _roots(order: int, g: float | tuple[float, ...]) -> tuple[float, float]:
    """Factors a sample of decay and rise from the coefficients of an autoregressive process."""
    values = tuple(float(c) for c in np.atleast_1d(g))
    roots = np.sort_complex(np.roots([1, *(-c for c in values)]))[::-1] if len(values) == order else np.zeros(0)
    if not (len(roots) and np.isreal(roots).all() and (roots.real > 0).all() and (roots.real < 1).all()):
        raise ConfigError(f"deconvolve: g needs {order} coefficients of a stable process that decays, found {g!r}")
    p, q = float(roots[0].real), float(roots[1].real) if order == 2 else 0.0
    return p, min(q, p * (1 - 1e-6))
