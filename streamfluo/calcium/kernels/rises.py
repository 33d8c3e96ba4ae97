"""What the samples around one of each trace say for its expected rate: averages, and sums over its past."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part

RISE_BINS = 100
FIRST_RISE, RISE_RATIO = 0.05, 1.15  # of the histogram of rises: first bound [σ], and the next one's ratio


@part
def averages_around(window, boxes, out):  # type: ignore[no-untyped-def]
    """Write the averages of a window (S,) over boxes to out (B,).

    boxes: weights (B, S), of which each box has some from `first` (B,) to before `stop` (B,).
    """
    weights, first, stop = boxes
    for b in range(len(out)):
        total = 0.0
        for i in range(first[b], stop[b]):
            total += weights[b, i] * window[i]
        out[b] = total


@part
def rise_bin(rise):  # type: ignore[no-untyped-def]
    """Return the bin of the histogram of a rise [σ]; 0 below its first bound."""
    if not rise >= FIRST_RISE:
        return 0
    return min(int(np.floor(np.log(rise / FIRST_RISE) / np.log(RISE_RATIO))) + 1, RISE_BINS)


@kernel
def observe_rises(samples, start, least, averages, learned, parts):  # type: ignore[no-untyped-def]
    """Write averages around the centre of each trace to parts (K, 22), and learn from the centres' increments.

    samples (K, S): the last ones, the oldest at `start`, none taken as less than `least` (K,). averages: boxes as of
    `averages_around`, of intervals, of them all, and after and before a rise; place of the centre, and lags of the
    increments (11,) whose squares (6) and cubes are summed. learned: which traces learn (K,), their sums (K, 11),
    histograms (K, bins + 1) of rises, and number of samples (K,). The averages are without that of all, which is the
    last but one; the last is the rise.
    """
    boxes, centre, lags, squares = averages
    learns, sums, rises, seen = learned
    size, last = samples.shape[1], parts.shape[1] - 2
    window, means = np.empty(size), np.empty(len(boxes[1]))
    for k in range(len(parts)):
        for i in range(size - start):
            window[i] = max(samples[k, start + i], least[k])
        for i in range(start):
            window[size - start + i] = max(samples[k, i], least[k])
        averages_around(window, boxes, means)
        whole = means[last]
        for b in range(last):
            parts[k, b] = means[b] - whole
        rise = means[last + 1] - means[last + 2]
        parts[k, last], parts[k, last + 1] = whole, rise
        if learns[k]:
            now = window[centre]
            for n in range(len(lags)):
                step = now - window[centre - lags[n]]
                sums[k, n] += step * step if n < squares else step * step * step
            rises[k, rise_bin(rise)] += 1
            seen[k] += 1
