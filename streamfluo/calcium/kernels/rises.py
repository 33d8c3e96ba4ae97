"""What the samples around one of each trace say for its expected rate: averages, and sums over its past."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part

RISE_BINS = 100
FIRST_RISE, RISE_RATIO = 0.05, 1.15  # of the histogram of rises: first bound [σ], and the next one's ratio


@part
def rise_bin(rise):  # type: ignore[no-untyped-def]
    """Return the bin of the histogram of a rise [σ]; 0 below its first bound."""
    if not rise >= FIRST_RISE:
        return 0
    return min(int(np.floor(np.log(rise / FIRST_RISE) / np.log(RISE_RATIO))) + 1, RISE_BINS)


@kernel
def observe_rises(samples, start, least, averages, learned, parts):  # type: ignore[no-untyped-def]
    """Write averages around the newest n centres of each trace to parts (K, n, 22), and learn from their increments.

    samples (K, S): the last ones, the oldest at `start`, none taken as less than `least` (K,). averages: spans around
    the oldest centre, of intervals, of them all, and after and before a rise: the samples in which each starts and ends
    (B, 2), how much of these lies before that, and one over its length (B, 3); the oldest centre's place, and lags of
    the increments (11,) whose `squares` and cubes are summed. learned: from how many of the newest centres each trace
    learns (K,), its sums (K, 11), histogram (K, bins + 1) of rises, and number of samples (K,). The averages are
    without that of all, which is the last but one; the last is the rise.
    """
    edges, parts_of_samples, centre, lags, squares = averages
    learns, sums, rises, seen = learned
    size, n, last = samples.shape[1], parts.shape[1], parts.shape[2] - 2
    window, total, means = np.zeros(size + 1), np.zeros(size + 1), np.empty(last + 3)
    for k in range(len(parts)):
        for i in range(size - start):
            window[i] = max(samples[k, start + i], least[k])
        for i in range(start):
            window[size - start + i] = max(samples[k, i], least[k])
        for i in range(size):
            total[i + 1] = total[i] + window[i]
        for s in range(n):
            for b in range(last + 3):
                first, stop = edges[b, 0] + s, edges[b, 1] + s
                before, within = parts_of_samples[b, 0], parts_of_samples[b, 1]
                span = total[stop] + within * window[stop] - total[first] - before * window[first]
                means[b] = span * parts_of_samples[b, 2]
            for b in range(last):
                parts[k, s, b] = means[b] - means[last]
            rise = means[last + 1] - means[last + 2]
            parts[k, s, last], parts[k, s, last + 1] = means[last], rise
            if s >= n - learns[k]:
                now = window[centre + s]
                for m in range(len(lags)):
                    step = now - window[centre + s - lags[m]]
                    sums[k, m] += step * step if m < squares else step * step * step
                rises[k, rise_bin(rise)] += 1
                seen[k] += 1


@kernel
def quantile_of_rises(counts, part_below, out):  # type: ignore[no-untyped-def]
    """Write the rise [σ] below which a part of each histogram (K, bins + 1) lies, interpolated within its bin (K,)."""
    for k in range(len(counts)):
        total = 0.0
        for b in range(counts.shape[1]):
            total += counts[k, b]
        left, bin_ = part_below * total, 0
        while bin_ < RISE_BINS and counts[k, bin_] < left:
            left -= counts[k, bin_]
            bin_ += 1
        above = left / counts[k, bin_] if counts[k, bin_] > 0 else 0.0
        out[k] = FIRST_RISE * RISE_RATIO ** (bin_ - 1 + above)
