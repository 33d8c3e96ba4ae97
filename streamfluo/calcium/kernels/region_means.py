"""Means of frames over regions."""

import numpy as np

from ...pixels.kernels.kernel import kernel


@kernel
def region_means(frames, starts, runs, zero, means):  # type: ignore[no-untyped-def]
    """Write the mean of each region's seen pixels to means (t, n) float64, NaN where none was seen.

    `frames` (t, y·x); region n is the pixels of `runs[starts[n]:starts[n + 1]]`, each from its first to one past its
    last; `zero` is what sums begin with, an integer where pixels are: such sums are exact, and vectorised. Costs .7 ns
    a pixel in rings of ten pixels' width, 1 ns where pixels are listed one by one.
    """
    for t in range(frames.shape[0]):
        for n in range(len(starts) - 1):
            total, seen = zero, 0
            for run in range(starts[n], starts[n + 1]):
                for place in range(runs[run, 0], runs[run, 1]):
                    value = frames[t, place]
                    if not np.isnan(value):
                        total += value
                        seen += 1
            means[t, n] = total / seen if seen else np.nan
