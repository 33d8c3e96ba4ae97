"""All cells, frame by frame: background removed, filtered, spikes declared, statistics gathered."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

RING = 32  # frames of a trace that are kept
IMAGES = 8  # frames of features that are kept
BEFORE, AFTER = 12, 8  # frames of a spike's waveform around its peak
AHEAD = 1  # frames after the peak that the filter looks at; the next one shows that it was a peak
TAPS = BEFORE + 1 + AHEAD
LATENCY = AHEAD + 1  # frames from a spike's peak to its being declared
SETTLED = 4  # frames after which all spikes that reach into a frame are declared
JITTER = 2  # frames that a spike may have been detected too early or too late
WINDOW = BEFORE + 1 + AFTER + 2 * JITTER
KEPT = 128  # spikes whose traces are kept
RESPONSE = 16  # frames in which the filter answers to a spike
TEACHING = 3.0  # noise σ of peaks that a waveform is learned from, declared or not: four of five are spikes at SNR 3
LIKELY, LOBES = 2.5, 8  # noise σ of peaks that may be spikes, and frames around in which the filter answers below 0
MEDIAN_STEP = 0.001  # noise σ by which the running median of the score moves in a frame: it scatters by .025
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
    spikes: np.ndarray  # (K, RING) 1 where one was declared, .5 where a peak only teaches
    quiet: np.ndarray  # (K, RING) trace without spikes
    score: np.ndarray  # (K, 3) of the newest frames that have one, newest last
    middle: np.ndarray  # (K,) running median of the score: spikes lift the trace's mean, the noise's own zero is below
    autocovariance: np.ndarray  # (K, TAPS)
    spike_image: np.ndarray  # (K, M) sum of features at spikes
    windows: np.ndarray  # (K, KEPT, WINDOW) traces around the latest spikes, in a ring
    counts: np.ndarray  # (K, 2) spikes in `spike_image`, and that were put into `windows` so far
    extremes: np.ndarray  # (K, RING) score where it is a peak, above or below 0
    since: np.ndarray  # (K,) frames since the last upward peak beyond LIKELY
    looked: np.ndarray  # (K, 2) frames of `peaks`, and those of them far from such a peak
    peaks: np.ndarray  # (K, 2, BINS) histograms of upward and of downward peaks of the score
    lowpass: np.ndarray  # (K,)
    lag: np.ndarray  # (K,) mean of the trace: what the baseline lags behind while light bleaches
    known: np.ndarray  # (K, 2) int64 frames known in a row, and altogether


class Followed(NamedTuple):
    """What frames are followed with."""

    where: Where
    filters: Filters
    running: Running
    rates: Rates


class FrameValues(NamedTuple):
    """What is said of each frame (t, K): trace, subthreshold of `SETTLED` frames before, score of `AHEAD` frame before,
    score of the spike of `LATENCY` frames before or 0."""

    trace: np.ndarray
    subthreshold: np.ndarray
    score: np.ndarray
    spiked: np.ndarray


@kernel
def follow(frames, valid, first, followed, values):  # type: ignore[no-untyped-def]
    """Take frames (t, y·x) float32 of which `valid` (t,) may be learned from; `first` counts frames since the start.

    A feature is the mean of its pixels above its running baseline; the trace is weights · features above their own
    running mean, so that light that falls linearly leaves none. A frame is unknown that has an unseen pixel in the
    cell, is not valid, or in which all around the cell brightens or dims at once: the trace goes on at its low-passed
    value and nothing is learned. A feature around the cell with an unseen pixel is at its baseline.
    The score at frame c is matched · trace[c − BEFORE … c + AHEAD] less the answer to spikes declared before. A spike
    is a local maximum at or above the threshold. Costs 4 to 5 µs a cell and frame, of 30 features and 700 pixels.
    """
    running, threshold = followed.running, followed.filters.threshold
    mean = np.empty(running.images.shape[2])
    for t in range(len(frames)):
        n = first + t
        for k in range(len(threshold)):
            seen = _means(k, frames[t], followed.where, mean)
            usable = _new_trace(k, n, valid[t] and seen, mean, followed)
            peak = _detect(k, n, followed)
            _settle(k, n, followed)
            run = running.known[k, 0]
            values.trace[t, k] = running.trace[k, n & (RING - 1)] if usable else np.nan
            values.subthreshold[t, k] = running.lowpass[k] if run > SETTLED else np.nan
            scored = run > AHEAD + 1 and threshold[k] == threshold[k] and followed.filters.matched[k, BEFORE] != 0.0
            values.score[t, k] = running.score[k, 2] if scored else np.nan
            judged = scored and run > LATENCY + 2 and running.known[k, 1] > RING and np.isfinite(threshold[k])
            values.spiked[t, k] = peak if judged else np.nan


@part
def _means(k, frame, where, mean):  # type: ignore[no-untyped-def]
    """Take the mean of each feature of cell k; return whether all pixels of the cell are seen."""
    begin, seen = where.cells[k], True
    for m in range(where.cells[k + 1] - begin):
        total = 0.0
        for place in range(where.starts[begin + m], where.starts[begin + m + 1]):
            total += frame[where.pixels[place]]
        mean[m] = total / (where.starts[begin + m + 1] - where.starts[begin + m])
        if m < where.own[k] and not np.isfinite(mean[m]):
            seen = False
    return seen


@part
def _new_trace(k, n, usable, mean, followed):  # type: ignore[no-untyped-def]
    """Put the trace of cell k at frame n in its place, and learn its baseline; return whether the frame is known."""
    where, filters, running, rates = followed
    features, image = where.cells[k + 1] - where.cells[k], n & (IMAGES - 1)
    jump, around = 0.0, 0
    for m in range(where.own[k], features):
        if filters.spread[k, m] > 0 and np.isfinite(mean[m]):
            jump += min(max((mean[m] - running.fast[k, m]) / filters.spread[k, m], -4.0), 4.0)
            around += 1
    if usable and around > 3 and abs(jump) > FLASH * around:
        usable = False
        for m in range(features):
            if np.isfinite(mean[m]):
                moved = rates.fast * (mean[m] - running.fast[k, m])
                running.fast[k, m] += moved
                running.slow[k, m] += moved
    now = running.lowpass[k]
    if usable:
        since = 1.0 / (running.known[k, 1] + 1)
        change, quick = max(rates.slow, since), max(rates.fast, since)
        now = 0.0
        for m in range(features):
            running.images[k, image, m] = 0.0
            if np.isfinite(mean[m]):
                if running.slow[k, m] == 0.0:  # seen for the first time
                    running.slow[k, m] = running.fast[k, m] = mean[m]
                running.slow[k, m] += change * (mean[m] - running.slow[k, m])
                running.fast[k, m] += quick * (mean[m] - running.fast[k, m])
                now += filters.weights[k, m] * (mean[m] - running.slow[k, m])
                running.images[k, image, m] = mean[m] - running.fast[k, m]
        running.lag[k] += change * (now - running.lag[k])
        now -= running.lag[k]
        running.known[k, 0] += 1
        running.known[k, 1] += 1
    else:
        running.images[k, image, :] = 0.0
        running.known[k, 0] = 0
    running.trace[k, n & (RING - 1)], running.spikes[k, n & (RING - 1)] = now, 0.0
    return usable


@part
def _detect(k, n, followed):  # type: ignore[no-untyped-def]
    """Take the filter's score of the frame before n; return that of the spike of LATENCY frames before, or 0."""
    where, filters, running, _ = followed
    centre, run = n - AHEAD, running.known[k, 0]
    found = 0.0
    for i in range(TAPS):
        found += filters.matched[k, i] * running.trace[k, (centre - BEFORE + i) & (RING - 1)]
    for j in range(1, RESPONSE):
        if running.spikes[k, (centre - j) & (RING - 1)] == 1.0:
            found -= filters.response[k, j]
    if run > TAPS:
        running.middle[k] += MEDIAN_STEP if found > running.middle[k] else -MEDIAN_STEP
    found -= running.middle[k]
    running.score[k, 0], running.score[k, 1], running.score[k, 2] = running.score[k, 1], running.score[k, 2], found
    peak = 0.0
    if run > LATENCY + 2 and running.known[k, 1] > RING:
        middle = running.score[k, 1]
        upward = middle > 0 and middle >= running.score[k, 0] and middle > running.score[k, 2]
        downward = middle < 0 and middle <= running.score[k, 0] and middle < running.score[k, 2]
        if upward:
            running.peaks[k, 0, min(int(middle * PER_SIGMA), BINS - 1)] += 1.0
        running.extremes[k, (n - LATENCY) & (RING - 1)] = middle if upward or downward else 0.0
        running.since[k] = 0.0 if upward and middle > LIKELY else running.since[k] + 1.0
        running.looked[k, 0] += 1.0
        running.looked[k, 1] += running.since[k] > 2 * LOBES
        depth, largest = -running.extremes[k, (n - LATENCY - LOBES) & (RING - 1)], 0.0
        if depth > 0:
            for j in range(2 * LOBES + 1):
                largest = max(largest, running.extremes[k, (n - LATENCY - j) & (RING - 1)])
            if largest <= max(LIKELY, 0.6 * depth):  # of spikes that go down, lobes go up
                running.peaks[k, 1, min(int(depth * PER_SIGMA), BINS - 1)] += 1.0
        told, teaches = upward and middle >= filters.threshold[k], upward and middle >= TEACHING
        for j in range(1, LOBES):  # what follows a larger downward peak may be its lobe
            if running.extremes[k, (n - LATENCY - j) & (RING - 1)] < -middle:
                teaches = False
        if told:
            peak = middle
            running.spikes[k, (n - LATENCY) & (RING - 1)] = 1.0
            running.score[k, 2] -= filters.response[k, 1]
        elif teaches:
            running.spikes[k, (n - LATENCY) & (RING - 1)] = 0.5
        if told or teaches:
            running.counts[k, 0] += 1.0
            for m in range(where.cells[k + 1] - where.cells[k]):
                running.spike_image[k, m] += running.images[k, (n - LATENCY) & (IMAGES - 1), m]
    if running.spikes[k, (n - AFTER - JITTER) & (RING - 1)] > 0 and run > WINDOW:
        place = int(running.counts[k, 1]) & (KEPT - 1)
        running.counts[k, 1] += 1.0
        for i in range(WINDOW):
            running.windows[k, place, i] = running.trace[k, (n - WINDOW + 1 + i) & (RING - 1)]
    return peak


@part
def _settle(k, n, followed):  # type: ignore[no-untyped-def]
    """Learn from the frame SETTLED before n: the trace without spikes, how noise goes together in time and in space."""
    where, filters, running, rates = followed
    settled, run = n - SETTLED, running.known[k, 0]
    rest = running.trace[k, settled & (RING - 1)]
    near = 0.0
    for j in range(LATENCY - SETTLED, AFTER + 1):
        if running.spikes[k, (settled - j) & (RING - 1)] == 1.0:
            rest -= filters.waveform[k, BEFORE + j]
            near += 1.0
    running.quiet[k, settled & (RING - 1)] = rest
    if run > SETTLED:
        running.lowpass[k] += rates.lowpass * (rest - running.lowpass[k])
    if run > TAPS + SETTLED:
        running.weight[k, 1] = rates.autocovariance * running.weight[k, 1] + 1.0
        for i in range(TAPS):
            product = rest * running.quiet[k, (settled - i) & (RING - 1)]
            running.autocovariance[k, i] = rates.autocovariance * running.autocovariance[k, i] + product
    if run > SETTLED and near == 0.0:
        running.weight[k, 0] = rates.covariance * running.weight[k, 0] + 1.0
        old = running.images[k, settled & (IMAGES - 1)]
        for i in range(where.cells[k + 1] - where.cells[k]):
            row, value = running.covariance[k, i], old[i]
            for j in range(i + 1):
                row[j] = rates.covariance * row[j] + value * old[j]
