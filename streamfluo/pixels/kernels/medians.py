"""Medians of few values by selection, of many by a histogram first.

numpy's functions inside kernels would be compiled for each type of array and for each of their helpers.
"""

import numpy as np

from .kernel import kernel

_BITS = 12  # of a float32's 31 without its sign: eight of the exponent, so the median's bin holds 4 % of white noise


@kernel
def of_rank(values, rank):  # type: ignore[no-untyped-def]
    """Return the value of this rank, from 0, of values (n,) without NaN, in O(n); reorders them.

    Those before it are then not larger, those behind not smaller. Hoare 1961, Commun. ACM 4:321.
    """
    first, last = 0, len(values) - 1
    while first < last:
        pivot = values[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    return values[rank]


@kernel
def median(values):  # type: ignore[no-untyped-def]
    """Return the median of values (n,) without NaN, which it reorders; NaN of none."""
    half = len(values) // 2
    if len(values) == 0:
        return np.nan
    high = of_rank(values, half)
    if len(values) % 2:
        return np.float64(high)
    return (of_rank(values[:half], half - 1) + high) / 2


@kernel
def median_size(image, step):  # type: ignore[no-untyped-def]
    """Return the median of |image[::step, ::step]| of a map (y, x) of finite float32, 0 of none. Two passes."""
    rows, columns = -(-image.shape[0] // step), -(-image.shape[1] // step)
    sample, place = np.empty(rows * columns, np.float32), 0
    for y in range(0, image.shape[0], step):
        for x in range(0, image.shape[1], step):
            sample[place] = abs(image[y, x])
            place += 1
    if not len(sample):  # a rank of none would be read from memory that is not its own
        return np.float32(0)
    keys = sample.view(np.uint32) >> np.uint32(31 - _BITS)  # rise with the value
    counts = np.zeros(1 << _BITS, np.int64)
    for i in range(len(keys)):
        counts[keys[i]] += 1
    low, high = (len(keys) - 1) // 2, len(keys) // 2
    first, below = _bin_of(counts, low)
    last, _ = _bin_of(counts, high)
    inside = sample[(keys >= first) & (keys <= last)]
    return (of_rank(inside, low - below) + of_rank(inside, high - below)) / np.float32(2)


@kernel
def _bin_of(counts, rank):  # type: ignore[no-untyped-def]
    """Return the bin of the value of this rank, and the number of values in the bins below."""
    place = below = 0
    while below + counts[place] <= rank:
        below += counts[place]
        place += 1
    return place, below
