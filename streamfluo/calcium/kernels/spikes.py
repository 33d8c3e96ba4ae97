"""Calcium activity and spikes from a noisy trace, one sample at a time.

First order: c_t = g c_{t−1} + s_t, s ≥ 0, minimising Σ (y − c)² / 2 + λ Σ s by pools of samples that share one decay
(OASIS; Friedrich, Zhou & Paninski 2017, algorithm 1). A pool holds v (its first value), w (Σ g^{2i}) and its length;
only the last ones can still change, so a trace has room for a few dozen, older ones leave at the front.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def push(sample, g, least_spike, value, weight, length, pools):  # type: ignore[no-untyped-def]
    """Append one sample to a trace's pools and merge what violates s ≥ least_spike; return how many pools there are.

    value, weight, length (P,): the pools; `pools` how many of them hold.
    """
    room = len(value)
    if pools == room:
        for p in range(room - 1):
            value[p], weight[p], length[p] = value[p + 1], weight[p + 1], length[p + 1]
        pools -= 1
    value[pools], weight[pools], length[pools] = sample, 1.0, 1
    pools += 1
    while pools > 1:
        last, before = pools - 1, pools - 2
        decay = g ** length[before]
        if value[last] >= decay * max(value[before], 0.0) + least_spike:
            break
        both = weight[before] + decay * decay * weight[last]
        value[before] = (weight[before] * value[before] + decay * weight[last] * value[last]) / both
        weight[before] = both
        length[before] += length[last]
        pools -= 1
    return pools


@njit(nogil=True, cache=True)
def recent(g, value, length, pools, trace, spikes):  # type: ignore[no-untyped-def]
    """Write the newest len(trace) samples of activity and spikes that the pools stand for, the newest last."""
    at = len(trace)
    for p in range(pools - 1, -1, -1):
        first = max(value[p], 0.0)
        start = at - length[p]
        for i in range(max(start, 0), at):
            trace[i] = first * g ** (i - start)
            spikes[i] = 0.0
        if start >= 0:
            before = max(value[p - 1], 0.0) * g ** length[p - 1] if p > 0 else 0.0
            spikes[start] = max(first - before, 0.0) if p > 0 else 0.0
        at = start
        if at <= 0:
            return
    for i in range(at):
        trace[i] = 0.0
        spikes[i] = 0.0


@njit(nogil=True, cache=True)
def first_levels(history):  # type: ignore[no-untyped-def]
    """Return (noise, eighth percentile, median) that a trace begins with, of what is known of its past (n,), n ≥ 1."""
    ordered, steps = np.sort(history), np.sort(np.abs(np.diff(history)))
    noise = max(0.3, _quantile(steps, 0.5) / 0.9539) if len(steps) else 1.0
    return noise, _quantile(ordered, 0.08), _quantile(ordered, 0.5)


@njit(nogil=True, cache=True)
def _quantile(ordered, part):  # type: ignore[no-untyped-def]
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@njit(nogil=True, cache=True)
def _look_at(k, raw, previous, seen, noise):  # type: ignore[no-untyped-def]
    """Count a sample, and move the noise towards the median |difference| of samples."""
    seen[k] += 1
    noise[k] *= 1.01 if abs(raw[k] - previous[k]) > 0.9539 * noise[k] else 1 / 1.01
    previous[k] = raw[k]


@njit(nogil=True, cache=True)
def _move_baseline(k, raw, seen, noise, baseline):  # type: ignore[no-untyped-def]
    """Move a baseline towards the running median, over some 300 samples."""
    step = 1.5 * noise[k] * max(1.0 / 300, 1.0 / (seen[k] + 30.0))
    baseline[k] += step if raw[k] > baseline[k] else -step


@njit(nogil=True, cache=True)
def follow(  # type: ignore[no-untyped-def]
    raw, born, previous, seen, g, sparsity, noise, baseline, value, weight, length, pools, trace, spikes
):
    """Take one sample of each trace that is born (K,): deconvolve it, and track its noise and its baseline.

    The sample less its baseline and λ (1 − g), λ = sparsity · noise, goes to the pools (K, P). `noise` follows the
    median |difference| of samples, `baseline` their running median (a mean of what looks quiet runs away downwards).
    Writes trace and spikes (K,) as they stand with this sample.
    """
    for k in range(len(raw)):
        trace[k] = spikes[k] = 0.0
        if not born[k]:
            continue
        _look_at(k, raw, previous, seen, noise)
        sample = raw[k] - baseline[k] - sparsity * noise[k] * (1 - g[k])
        pools[k] = push(sample, g[k], 0.0, value[k], weight[k], length[k], pools[k])
        last = pools[k] - 1
        now = max(value[k, last], 0.0)
        trace[k] = now * g[k] ** (length[k, last] - 1)
        if length[k, last] == 1 and last > 0:
            spikes[k] = max(now - max(value[k, last - 1], 0.0) * g[k] ** length[k, last - 1], 0.0)
        _move_baseline(k, raw, seen, noise, baseline)


@njit(nogil=True, cache=True)
def follow_low(raw, born, noise, low):  # type: ignore[no-untyped-def]
    """Move each running eighth percentile (K,) towards its trace's: up by 8 parts of a step or down by 92."""
    for k in range(len(raw)):
        if born[k]:
            low[k] += 0.02 * noise[k] * (0.08 if raw[k] > low[k] else -0.92)


@njit(nogil=True, cache=True)
def recent_all(g, value, length, pools, trace, spikes):  # type: ignore[no-untyped-def]
    """The same as `recent` for every trace: trace and spikes (K, n)."""
    for k in range(len(g)):
        recent(g[k], value[k], length[k], pools[k], trace[k], spikes[k])


@njit(nogil=True, cache=True)
def follow_past(raw, previous, seen, g, sparsity, noise, baseline, low, value, weight, length, pools, trace):  # type: ignore[no-untyped-def]
    """Take all samples (n,) of one trace, whose everything else is (1,) or (1, P): `follow` and `follow_low`.

    Writes its trace (n,) as each sample saw it.
    """
    born, now, spike = np.ones(1, np.bool_), np.empty(1), np.empty(1)
    for j in range(len(raw)):
        sample = raw[j : j + 1]
        follow(sample, born, previous, seen, g, sparsity, noise, baseline, value, weight, length, pools, now, spike)
        follow_low(sample, born, noise, low)
        trace[j] = now[0]


@njit(nogil=True, cache=True)
def push_second(sample, penalty, response, sweeps, samples, spikes, tail):  # type: ignore[no-untyped-def]
    """Append one sample of a second-order trace: c = Σ spikes · response, spikes ≥ 0, over a window of the last n.

    Minimises Σ (sample − c)² / 2 + penalty · Σ spikes by coordinate descent on the spikes of the window (n,), warm-
    started; those that left it have their say through `tail` (n,), what is still there of them. response (n,): what one
    spike leaves behind. Cost: sweeps · n² / 2.
    """
    n = len(samples)
    left = spikes[0]
    for i in range(n - 1):
        tail[i] = tail[i + 1] + left * response[i + 1]
        samples[i], spikes[i] = samples[i + 1], spikes[i + 1]
    tail[n - 1] = tail[n - 2] * response[n - 1] / max(response[n - 2], 1e-12)
    samples[n - 1], spikes[n - 1] = sample, 0.0
    rest = samples - tail
    for j in range(n):
        if spikes[j] > 0:
            for i in range(j, n):
                rest[i] -= spikes[j] * response[i - j]
    for _ in range(sweeps):
        for j in range(n - 1, -1, -1):
            slope, energy = -penalty, 0.0
            for i in range(j, n):
                slope += rest[i] * response[i - j]
                energy += response[i - j] * response[i - j]
            change = max(spikes[j] + slope / energy, 0.0) - spikes[j]
            if change != 0:
                spikes[j] += change
                for i in range(j, n):
                    rest[i] -= change * response[i - j]


@njit(nogil=True, cache=True)
def recent_second(response, spikes, tail, trace):  # type: ignore[no-untyped-def]
    """Write the activity (m,) of the newest m samples of a second-order trace whose window is (n,), m ≤ n."""
    n, m = len(spikes), len(trace)
    for i in range(n - m, n):
        total = tail[i]
        for j in range(i + 1):
            total += spikes[j] * response[i - j]
        trace[i - n + m] = total


@njit(nogil=True, cache=True)
def impulse(g, n):  # type: ignore[no-untyped-def]
    """Return what a spike leaves behind in n samples by an AR process with coefficients g (order,)."""
    response = np.zeros(n)
    response[0] = 1.0
    for i in range(1, n):
        for k in range(min(len(g), i)):
            response[i] += g[k] * response[i - k - 1]
    return response


@njit(nogil=True, cache=True)
def follow_second(  # type: ignore[no-untyped-def]
    raw, born, previous, seen, response, sparsity, noise, baseline, samples, window, tail, trace, spikes
):
    """The same as `follow` for second-order traces with one response (n,); samples, window, tail (K, P), P = n."""
    now = np.empty(1)
    for k in range(len(raw)):
        trace[k] = spikes[k] = 0.0
        if not born[k]:
            continue
        _look_at(k, raw, previous, seen, noise)
        penalty = sparsity * noise[k] * response.max()
        push_second(raw[k] - baseline[k], penalty, response, 2, samples[k], window[k], tail[k])
        recent_second(response, window[k], tail[k], now)
        trace[k], spikes[k] = now[0], window[k, -1]
        _move_baseline(k, raw, seen, noise, baseline)


@njit(nogil=True, cache=True)
def recent_all_second(response, window, tail, trace, spikes):  # type: ignore[no-untyped-def]
    """The same as `recent_second` for every trace: trace and spikes (K, m)."""
    m = trace.shape[1]
    for k in range(len(trace)):
        recent_second(response, window[k], tail[k], trace[k])
        spikes[k] = window[k, len(response) - m :]
