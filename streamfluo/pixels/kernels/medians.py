"""Medians by histogram, sorting the bin of the median alone."""

import numpy as np

from .kernel import kernel

_BITS = 12  # of a float32's 31 without its sign: eight of the exponent, so the median's bin holds 4 % of white noise


@kernel
def median_size(image, step):  # type: ignore[no-untyped-def]
    """Return the median of |image[::step, ::step]| of a map (y, x) of finite float32. Two passes over the values."""
    rows, columns = -(-image.shape[0] // step), -(-image.shape[1] // step)
    sample, place = np.empty(rows * columns, np.float32), 0
    for y in range(0, image.shape[0], step):
        for x in range(0, image.shape[1], step):
            sample[place] = abs(image[y, x])
            place += 1
    keys = sample.view(np.uint32) >> np.uint32(31 - _BITS)  # rise with the value
    counts = np.zeros(1 << _BITS, np.int64)
    for i in range(len(keys)):
        counts[keys[i]] += 1
    low, high = (len(keys) - 1) // 2, len(keys) // 2
    first, below = _bin_of(counts, low)
    last, _ = _bin_of(counts, high)
    inside = np.sort(sample[(keys >= first) & (keys <= last)])
    return (inside[low - below] + inside[high - below]) / np.float32(2)


@kernel
def _bin_of(counts, rank):  # type: ignore[no-untyped-def]
    """Return the bin of the value of this rank, and the number of values in the bins below."""
    place = below = 0
    while below + counts[place] <= rank:
        below += counts[place]
        place += 1
    return place, below
