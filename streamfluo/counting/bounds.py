"""Bounds of the model parameters, what of the traces is fit to count, and why a trace cannot be counted."""

from __future__ import annotations

import numpy as np

from .kernels.likelihood import Array
from .quantiles import in_order, median, of_rank, percentiles

MIN_NOISE_E = 1e-3
EXTREME_PART, EXTREME_SPANS = 0.003, 2.0  # of the frames at either end, beyond which intensities are cut off
MIN_NOISE_TO_SHOT = 0.1  # of the variance: a camera of 10 e/ADU taken for one of electrons; normalised traces have 1e-3
ROUNDING, LARGEST = 1e-9, 1e60  # of the level, below which it is constant; beyond, fourth powers have no number
BLINKS, SPREADS = 5.0, 15.0  # in standard errors of white noise: one trace in 10⁶


def parameter_bounds(intensity: Array, camera: bool, bleaching: bool, read_noise_e: float | None = None) -> Array:
    """Return the bounds (6, 2) of mu, mu_bg, sigma, p_on, p_off, p_bleach for traces (t, n).

    camera: electrons under the camera emission. read_noise_e [e]: sigma, where it is known.
    """
    low, high = float(np.nanmin(intensity)), float(np.nanmax(intensity))
    span = high - low
    background = (low - span, high) if camera else (1e-3 * low, high)
    sigma = (1e-3 * span, span) if camera else (1e-4, 2.0)
    if camera and read_noise_e is not None:
        sigma = (max(read_noise_e, MIN_NOISE_E),) * 2
    bleach = (1e-7, 0.5) if bleaching else (0.0, 0.0)
    return np.array([(1e-3 * span, 2 * span), background, sigma, (1e-5, 0.99), (1e-5, 0.99), bleach])


def min_frames(bleaching: bool) -> int:
    """Return the number of frames that a trace needs: one more than the model has parameters."""
    return 7 if bleaching else 6


def has_steps(intensity: Array) -> Array:
    """Return which traces (t, n) vary by more than rounding, within what their powers are numbers of."""
    span, largest = np.nanmax(intensity, axis=0) - np.nanmin(intensity, axis=0), np.nanmax(np.abs(intensity), axis=0)
    return np.asarray((span > np.maximum(ROUNDING * largest, 1 / LARGEST)) & (largest < LARGEST))


def trace_error(trace: Array, emission: str, offset: float = 0.0) -> str:
    """Return the reason why a trace (t,) cannot be counted; empty: it can. `offset` [ADU] is the camera's."""
    if not np.isfinite(trace).all():
        bad = np.flatnonzero(~np.isfinite(trace))
        return f"has {len(bad)} values that are not finite, the first at frame {bad[0]}; cut or fill them"
    if trace.max() == trace.min():
        return f"is constant at {trace[0]:g}; an emitter that never blinks cannot be counted"
    if not has_steps(trace[:, None])[0]:
        return (
            f"varies by {np.ptp(trace):g} about {trace[0]:g}, which double precision does not hold; subtract a "
            "constant, or give it in another unit"
        )
    if emission == "lognormal" and trace.min() <= 0:
        return (
            f"has intensities down to {trace.min():g}, of which emission = 'lognormal' has no logarithm; "
            "use emission = 'camera', or subtract less background"
        )
    if emission == "camera" and trace.max() <= offset:
        return f"is never above the camera's offset_adu = {offset:g}; check camera"
    return ""


def without_extremes(intensity: Array) -> Array:
    """Return traces (t, n) whose extreme values are cut off, two spans of the others beyond them.

    One cosmic ray would else set the scale of bounds, starts and outliers. A dye that is on for 0.3 % of the frames,
    or for two of them, is what may be lost.
    """
    ordered, seen = in_order(np.where(np.isfinite(intensity), intensity, np.nan))
    extreme = np.maximum(2, np.ceil(EXTREME_PART * seen).astype(np.int64))
    many = seen > 4 * extreme
    low, high = (of_rank(ordered, np.where(many, rank, 0)) for rank in (extreme, seen - 1 - extreme))
    reach = EXTREME_SPANS * (high - low)
    return np.where(many & (reach > 0), np.clip(intensity, low - reach, high + reach), intensity)


def noise_sd(x: Array) -> Array:
    """Return the noise σ (n,) of traces (t, n) from differences of adjacent frames; in most of them none switches."""
    steps = np.abs(np.diff(x, axis=0))
    return np.asarray(percentiles(steps, (40,))[0] / (0.5244 * np.sqrt(2))) + 1e-12


def blinks(x: Array) -> Array:
    """Return which traces (t, n) are more than white noise: correlated in time, or spread wider than it."""
    d = x - np.nanmean(x, axis=0)
    frames = np.isfinite(d).sum(0)
    variance = np.nanmean(d * d, axis=0) + 1e-300
    correlated = sum(np.nanmean(d[lag:] * d[:-lag], axis=0) for lag in (1, 2, 3)) / variance / np.sqrt(3)
    low, high = percentiles(x, (5, 95))
    spread = ((high - low) / (3.29 * noise_sd(x))) ** 2 - 1
    error = 1 / np.sqrt(np.maximum(frames, 1))
    return np.asarray((correlated > BLINKS * error) | (spread > SPREADS * error))


def shot_noise_error(electrons: Array) -> str:
    """Return the reason why traces (t, n) cannot be electrons, from their noise where they are bright; empty: none."""
    bright = electrons - percentiles(electrons, (1,))[0]
    level = percentiles(bright, (75,))[0]
    pairs = np.where((bright[1:] + bright[:-1]) / 2 >= median(bright), np.diff(bright, axis=0), np.nan)
    variance = (percentiles(np.abs(pairs), (40,))[0] / (0.5244 * np.sqrt(2))) ** 2
    variance = np.where(variance > 0, variance, np.nanmean(pairs**2, axis=0) / 2)
    ratio = np.median(variance / np.maximum(level, 1e-300))
    if not 0 < ratio < MIN_NOISE_TO_SHOT:
        return ""
    return (
        f"noise of variance {np.median(variance):.2g} at {np.median(level):.3g} above the background is less than the "
        "shot noise of electrons (emission = 'camera'): traces are normalised or in other units; give electrons, or "
        "ADU with a camera, or use emission = 'lognormal'"
    )
