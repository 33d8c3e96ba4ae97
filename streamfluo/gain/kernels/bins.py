"""Pixels binned by brightness: the points of a photon transfer plot, and the usual batch definition of gain."""

from __future__ import annotations

from typing import Any

import numpy as np

from .photon_transfer import bin_pixels, median_and_mad

SAMPLE_PX = 20_000
FEW_PX = 10
CHUNK_PX = 4096
MAD_SD = 1.4826  # of a normal distribution

Array = np.ndarray[Any, np.dtype[np.float64]]


def sample(values: Array) -> Array:
    """Return a regular subset of about SAMPLE_PX values (p,), for percentiles."""
    return values[:: max(1, len(values) // SAMPLE_PX)]


def equal_bins(x: Array, y: Array, used: np.ndarray, bins: int) -> tuple[Array, Array]:
    """Return the means of x and y (bins,) in bins of equal width in x, over the used pixels (p,).

    Bins of 10 pixels or fewer are left out.
    """
    sums = np.zeros((bins, 6))
    if used.any():
        low, high = np.percentile(sample(x[used]), (0.2, 99.8))
        bin_pixels(x, y, used, low, max(high, low + 1e-9), sums)
    kept = sums[sums[:, 0] > FEW_PX]
    return kept[:, 1] / kept[:, 0], kept[:, 2] / kept[:, 0]


def median_and_variance(frames: np.ndarray) -> tuple[Array, Array]:
    """Return median and (1.4826 · median absolute deviation)² of every pixel of frames (n, p); 6 µs a pixel of 500."""
    pixels = frames.shape[1]
    median, mad = np.empty(pixels), np.empty(pixels)
    for a in range(0, pixels, CHUNK_PX):
        part = slice(a, a + CHUNK_PX)
        ordered = np.sort(np.ascontiguousarray(frames[:, part].T), axis=1)  # numpy's, 9 × as fast as numba's
        median_and_mad(ordered, median[part], mad[part])
    return median, (MAD_SD * mad) ** 2


def reference_gain(median: Array, variance: Array, bins: int) -> tuple[float, tuple[float, float], Array, Array]:
    """Return (gain, (slope, intercept), mean_bins, variance_bins) by the usual batch definition.

    Bins of equal width from the smallest to the largest median, which has its own; bins of 10 pixels or fewer are
    left out; an unweighted line through the bins from the 33rd to below the 66th percentile of the medians.
    """
    known = np.isfinite(median) & np.isfinite(variance)
    median, variance = median[known], variance[known]
    low, high = (median.min(), median.max()) if known.any() else (0.0, 0.0)
    if not high > low:
        return np.nan, (np.nan, np.nan), np.empty(0), np.empty(0)
    edges = np.linspace(low, high, bins + 1)
    place = np.searchsorted(edges, median, "right") - 1
    weights = (np.ones_like(median), median, variance)
    sums = np.array([np.bincount(place, weight, bins + 1) for weight in weights])
    sums = sums[:, sums[0] > FEW_PX]
    mean, spread = sums[1] / sums[0], sums[2] / sums[0]
    lower, upper = np.percentile(median, (33, 66))
    middle = (mean >= lower) & (mean < upper)
    if middle.sum() < 2:
        return np.nan, (np.nan, np.nan), mean, spread
    x, y = mean[middle] - mean[middle].mean(), spread[middle] - spread[middle].mean()
    slope = float(x @ y / (x @ x))
    intercept = float(spread[middle].mean() - slope * mean[middle].mean())
    return (1 / slope if slope else np.nan), (slope, intercept), mean, spread
