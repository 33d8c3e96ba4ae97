"""All cells, frame by frame: background removed, filtered, spikes declared, statistics gathered."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel

RING = 32  # frames of a trace that are kept
IMAGES = 8  # frames of features that are kept
BEFORE, AFTER = 12, 8  # frames of a spike's waveform around its peak
AHEAD = 1  # frames after the peak that the filter looks at; the next one shows that it was a peak
TAPS = BEFORE + 1 + AHEAD
LATENCY = AHEAD + 1  # frames from a spike's peak to its being declared
SETTLED = 4  # frames after which all spikes that reach into a frame are declared
JITTER = 2  # frames that a spike may have been told too early or too late
WINDOW = BEFORE + 1 + AFTER + 2 * JITTER
KEPT = 128  # spikes whose traces are kept
RESPONSE = 16  # frames in which the filter answers to a spike
FLASH = 2.5  # mean noise σ, each at most 4, by which all that surrounds a cell changes at once: other illumination
BINS, PER_SIGMA = 200, 10  # of the histograms of peaks: a tenth of a noise σ each


class Rates(NamedTuple):
    """What a frame changes of running means, from the frame rate: baseline, fast baseline, covariances, low-pass."""

    slow: float
    fast: float
    covariance: float
    autocovariance: float
    lowpass: float


class Where(NamedTuple):
    """Features: `pixels` (n,) by feature from `starts` (G + 1,) on, those of cell k from `cells[k]` (K + 1,) on, the
    first `own[k]` (K,) of which lie in the cell and the others around it."""

    pixels: np.ndarray
    starts: np.ndarray
    cells: np.ndarray
    own: np.ndarray


class Filters(NamedTuple):
    """What passes change: spatial weights (K, M), noise σ of features around the cell (K, M), 0 where not known,
    matched filter (K, TAPS), waveform (K, BEFORE + 1 + AFTER), the
    filter's answer to a spike (K, RESPONSE), threshold (K,), inf where no spike is to be declared."""

    weights: np.ndarray
    spread: np.ndarray
    matched: np.ndarray
    waveform: np.ndarray
    response: np.ndarray
    threshold: np.ndarray


class Running(NamedTuple):
    """What frames change, of K cells with at most M features each; see `follow` for how."""

    slow: np.ndarray  # (K, M) baseline of features
    fast: np.ndarray  # (K, M) their baseline over a few spikes
    images: np.ndarray  # (K, IMAGES, M) features above `fast`
    covariance: np.ndarray  # (K, M, M) of those away from spikes, its lower half
    weight: np.ndarray  # (K, 2) sum of weights of covariance and autocovariance
    trace: np.ndarray  # (K, RING)
    spikes: np.ndarray  # (K, RING) 1 where one was declared
    quiet: np.ndarray  # (K, RING) trace without spikes
    score: np.ndarray  # (K, 3) of the newest frames that have one, newest last
    autocovariance: np.ndarray  # (K, TAPS)
    spike_image: np.ndarray  # (K, M) sum of features at spikes
    windows: np.ndarray  # (K, KEPT, WINDOW) traces around the latest spikes, in a ring
    counts: np.ndarray  # (K, 2) spikes in `spike_image`, and that were put into `windows` so far
    peaks: np.ndarray  # (K, 2, BINS) histograms of upward and of downward peaks of the score
    lowpass: np.ndarray  # (K,)
    lag: np.ndarray  # (K,) mean of the trace: what the baseline lags behind while light bleaches
    known: np.ndarray  # (K, 2) int64 frames known in a row, and altogether


class Values(NamedTuple):
    """What is said of each frame (t, K): trace, subthreshold of `SETTLED` frames before, score of `AHEAD` frame before,
    score of the spike of `LATENCY` frames before or 0."""

    trace: np.ndarray
    subthreshold: np.ndarray
    score: np.ndarray
    spiked: np.ndarray


@kernel
def follow(frames, valid, first, where, filters, running, rates, values):  # type: ignore[no-untyped-def]
    """Take frames (t, y·x) float32 of which `valid` (t,) may be learned from; `first` counts frames since the start.

    A feature is the mean of its pixels above its running baseline; the trace is weights · features above their own
    running mean, so that light that falls linearly leaves none. A frame is unknown that has an unseen pixel in the
    cell, is not valid, or in which all around the cell brightens or dims at once: the trace goes on at its low-passed
    value and nothing is learned. A feature around the cell with an unseen pixel is at its baseline.
    The score at frame c is matched · trace[c − BEFORE … c + AHEAD] less the answer to spikes declared before. A spike
    is a local maximum at or above the threshold. Costs 4 to 5 µs a cell and frame, of 30 features and 700 pixels.
    """
    pixels, starts, cells, own = where
    weights, spread, matched, waveform, response, threshold = filters
    (
        slow, fast, images, covariance, weight, trace, spikes, quiet, score, autocovariance, spike_image, windows,
        counts, peaks, lowpass, lag, known,
    ) = running  # fmt: skip
    slow_rate, fast_rate, kept, kept_auto, low_rate = rates
    out_trace, out_low, out_score, out_spiked = values
    mean = np.empty(images.shape[2])
    for t in range(frames.shape[0]):
        n = first + t
        here, image = n & (RING - 1), n & (IMAGES - 1)
        frame = frames[t]
        for k in range(len(own)):
            begin, features = cells[k], cells[k + 1] - cells[k]
            usable = valid[t]
            for m in range(features):
                total = 0.0
                for place in range(starts[begin + m], starts[begin + m + 1]):
                    total += frame[pixels[place]]
                mean[m] = total / (starts[begin + m + 1] - starts[begin + m])
                if m < own[k] and not np.isfinite(mean[m]):
                    usable = False
            jump, around = 0.0, 0
            for m in range(own[k], features):
                if spread[k, m] > 0 and np.isfinite(mean[m]):
                    jump += min(max((mean[m] - fast[k, m]) / spread[k, m], -4.0), 4.0)
                    around += 1
            if usable and around > 3 and abs(jump) > FLASH * around:
                usable = False
                for m in range(features):
                    if np.isfinite(mean[m]):
                        moved = fast_rate * (mean[m] - fast[k, m])
                        fast[k, m] += moved
                        slow[k, m] += moved
            now = lowpass[k]
            if usable:
                past = known[k, 1]
                change = max(slow_rate, 1.0 / (past + 1))
                quick = max(fast_rate, 1.0 / (past + 1))
                now = 0.0
                for m in range(features):
                    if np.isfinite(mean[m]):
                        if slow[k, m] == 0.0:  # seen for the first time
                            slow[k, m] = fast[k, m] = mean[m]
                        slow[k, m] += change * (mean[m] - slow[k, m])
                        fast[k, m] += quick * (mean[m] - fast[k, m])
                        now += weights[k, m] * (mean[m] - slow[k, m])
                        images[k, image, m] = mean[m] - fast[k, m]
                    else:
                        images[k, image, m] = 0.0
                lag[k] += change * (now - lag[k])
                now -= lag[k]
                known[k, 0] += 1
                known[k, 1] += 1
            else:
                images[k, image, :] = 0.0
                known[k, 0] = 0
            trace[k, here] = now
            spikes[k, here] = 0.0
            run = known[k, 0]

            # the filter's score of the frame before
            centre = n - AHEAD
            found = 0.0
            for i in range(TAPS):
                found += matched[k, i] * trace[k, (centre - BEFORE + i) & (RING - 1)]
            for j in range(1, RESPONSE):
                if spikes[k, (centre - j) & (RING - 1)] > 0:
                    found -= response[k, j]
            score[k, 0], score[k, 1], score[k, 2] = score[k, 1], score[k, 2], found
            peak = 0.0
            if run > LATENCY + 2 and known[k, 1] > RING:
                middle = score[k, 1]
                upward = middle > 0 and middle >= score[k, 0] and middle > score[k, 2]
                downward = middle < 0 and middle <= score[k, 0] and middle < score[k, 2]
                if upward or downward:
                    bin_ = min(int(abs(middle) * PER_SIGMA), BINS - 1)
                    peaks[k, 0 if upward else 1, bin_] += 1.0
                if upward and middle >= threshold[k]:
                    peak = middle
                    spikes[k, (n - LATENCY) & (RING - 1)] = 1.0
                    score[k, 2] -= response[k, 1]
                    counts[k, 0] += 1.0
                    for m in range(features):
                        spike_image[k, m] += images[k, (n - LATENCY) & (IMAGES - 1), m]
            if spikes[k, (n - AFTER - JITTER) & (RING - 1)] > 0 and run > WINDOW:
                place = int(counts[k, 1]) & (KEPT - 1)
                counts[k, 1] += 1.0
                for i in range(WINDOW):
                    windows[k, place, i] = trace[k, (n - WINDOW + 1 + i) & (RING - 1)]

            # what is settled: the trace without spikes, and how noise goes together in time and in space
            settled = n - SETTLED
            rest = trace[k, settled & (RING - 1)]
            near = 0.0
            for j in range(LATENCY - SETTLED, AFTER + 1):
                if spikes[k, (settled - j) & (RING - 1)] > 0:
                    rest -= waveform[k, BEFORE + j]
                    near += 1.0
            quiet[k, settled & (RING - 1)] = rest
            if run > SETTLED:
                lowpass[k] += low_rate * (rest - lowpass[k])
            if run > TAPS + SETTLED:
                weight[k, 1] = kept_auto * weight[k, 1] + 1.0
                for i in range(TAPS):
                    autocovariance[k, i] = (
                        kept_auto * autocovariance[k, i] + rest * quiet[k, (settled - i) & (RING - 1)]
                    )
            if run > SETTLED and near == 0.0:
                weight[k, 0] = kept * weight[k, 0] + 1.0
                old = images[k, settled & (IMAGES - 1)]
                for i in range(features):
                    row, value = covariance[k, i], old[i]
                    for j in range(i + 1):
                        row[j] = kept * row[j] + value * old[j]

            out_trace[t, k] = now if usable else np.nan
            out_low[t, k] = lowpass[k] if run > SETTLED else np.nan
            scored = run > AHEAD + 1 and threshold[k] == threshold[k] and matched[k, BEFORE] != 0.0
            out_score[t, k] = score[k, 2] if scored else np.nan
            out_spiked[t, k] = peak if scored and run > LATENCY + 2 and known[k, 1] > RING else np.nan
            if not np.isfinite(threshold[k]):
                out_spiked[t, k] = np.nan
