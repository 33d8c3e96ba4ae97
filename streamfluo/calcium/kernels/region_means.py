"""Means of frames over regions."""

import numpy as np

from ...pixels.kernels.kernel import kernel


@kernel
def region_means(frames, starts, pixels, means):  # type: ignore[no-untyped-def]
    """Write the mean of each region's seen pixels to means (t, n) float64, NaN where none was seen.

    `frames` (t, y·x); the pixels of region n are `pixels[starts[n]:starts[n + 1]]`. Costs about 1 ns a pixel.
    """
    for t in range(frames.shape[0]):
        for n in range(len(starts) - 1):
            total, seen = 0.0, 0
            for place in range(starts[n], starts[n + 1]):
                value = np.float64(frames[t, pixels[place]])
                if not np.isnan(value):
                    total += value
                    seen += 1
            means[t, n] = total / seen if seen else np.nan
