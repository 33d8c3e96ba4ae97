"""What a bleaching segment needs beside its sums: each pixel's trend, and the light that fluctuates."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.power_sums import seen_or_zero

TREND_TILE_PX, LANES = 1024, 16


@kernel
def add_trend(frames, times, pivot, trend):  # type: ignore[no-untyped-def]
    """Add Σ time · d of each pixel to trend (p,); return Σ d_p · d_(p+1) over frames and pixels, NaN left out.

    frames (n, p), times (n,), pivot (p,), d = x − pivot. Noise is independent between the neighbours p and p + 1: their
    product keeps the light that fluctuates alone.
    """
    pixels = len(pivot)
    d, near = np.zeros(TREND_TILE_PX + 1), np.zeros(LANES)
    for a in range(0, pixels, TREND_TILE_PX):
        count = min(TREND_TILE_PX, pixels - a)
        reach = min(TREND_TILE_PX + 1, pixels - a)
        d[count:] = 0
        for f in range(frames.shape[0]):
            _subtract(frames[f, a : a + reach], pivot[a : a + reach], d)
            _add_scaled(d, times[f], trend[a : a + count])
            _add_neighbours(d, near)
    return near.sum()


@part
def _subtract(row, pivot, d):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        d[i] = row[i] - pivot[i]


@part
def _add_scaled(d, factor, total):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        total[i] += factor * d[i]


@part
def _add_neighbours(d, lanes):  # type: ignore[no-untyped-def]
    for a in range(0, TREND_TILE_PX, LANES):
        for j in range(LANES):
            lanes[j] += seen_or_zero(d[a + j] * d[a + j + 1])
