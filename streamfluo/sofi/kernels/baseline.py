"""Baseline of each pixel by double exponential smoothing."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part


@kernel
def subtract_baseline(frames, rates, level, baseline, out):  # type: ignore[no-untyped-def]
    """Write frame − baseline + level, the baseline 2·b − c, where b follows the frames and c follows b.

    Each is an exponential average with the weight `rates` (n,) of a frame; b alone lags a steady slope by 1 / rate
    frames, and c lags b by as many. frames (n, y, x); baseline (2, y, x): b and c, changed, NaN where nothing was seen
    yet; out (n, y, x). NaN and frames of rate 0 leave the baseline as it is.
    """
    for t in range(frames.shape[0]):
        for y in range(frames.shape[1]):
            _follow(frames[t, y], rates[t], level, baseline[0, y], baseline[1, y], out[t, y])


@part
def _follow(row, rate, level, b, c, out):  # type: ignore[no-untyped-def]
    for i in range(len(b)):
        if rate > 0 and b[i] != b[i]:
            b[i] = c[i] = row[i]
        d = np.float64(row[i]) - b[i]
        b[i] += d * rate if d == d else 0.0
        c[i] += (b[i] - c[i]) * rate
        out[i] = np.float64(row[i]) - (2 * b[i] - c[i]) + level
