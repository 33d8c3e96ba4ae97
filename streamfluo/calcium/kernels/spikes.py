"""Deconvolution of noisy traces one sample at a time: calcium activity c and spikes s of an AR process.

AR(1): c_t = g c_{t−1} + s_t, s ≥ 0, minimises Σ (y − c)² / 2 + λ Σ s by pools of samples that share one decay (OASIS;
Friedrich, Zhou & Paninski 2017, algorithm 1). A pool holds its first value, weight Σ g^{2i} and length; only the last
pools can still change, so each trace keeps the newest P.
AR(2): the same objective by coordinate descent on the spikes of a window of the newest P samples.
"""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import of_rank

_NOISE_BELOW, _FALL = 4.0, 0.02  # noise σ; part of what is beyond them that a baseline falls by, a sample
SWEEPS = 2  # of coordinate descent a sample, AR(2): the window is warm-started


class Levels(NamedTuple):
    """Running estimates of each trace (K,): last sample, number of samples, noise σ, baseline, 8th percentile."""

    previous: Any
    seen: Any
    noise: Any
    baseline: Any
    low: Any


class Pools(NamedTuple):
    """Pools of each trace: decay g (K,) per sample; value, weight and length (K, P); number of pools in use (K,)."""

    g: Any
    value: Any
    weight: Any
    length: Any
    count: Any


class Windows(NamedTuple):
    """AR(2) windows of the newest P samples of each trace.

    Impulse `response` (P,) and inner `products` (P, P) of the responses to spikes at any two samples; `samples` and
    `spikes` (K, P); `tail` (K, P), what earlier spikes leave in the samples; `slope` (K, P): the responses' products
    with the residual.
    """

    response: Any
    products: Any
    samples: Any
    spikes: Any
    tail: Any
    slope: Any


@part
def new_pools(g, size):  # type: ignore[no-untyped-def]
    """Return empty pools of one trace with decay g for `size` pools."""
    return Pools(
        np.full(1, g), np.zeros((1, size)), np.zeros((1, size)), np.zeros((1, size), np.int64), np.zeros(1, np.int64)
    )


@kernel
def append_sample(sample, g, min_spike, pools, count):  # type: ignore[no-untyped-def]
    """Append a sample to the `count` pools of a trace, merge those that violate s ≥ min_spike; return their number.

    pools: value, weight and length (P,) of one trace.
    """
    value, weight, length = pools
    size = len(value)
    if count == size:
        for p in range(size - 1):  # one array after the other: each loop is vectorised
            value[p] = value[p + 1]
        for p in range(size - 1):
            weight[p] = weight[p + 1]
        for p in range(size - 1):
            length[p] = length[p + 1]
        count -= 1
    value[count], weight[count], length[count] = sample, 1.0, 1
    count += 1
    while count > 1:
        last, before = count - 1, count - 2
        decay = g ** length[before]
        if value[last] >= decay * max(value[before], 0.0) + min_spike:
            break
        both = weight[before] + decay * decay * weight[last]
        value[before] = (weight[before] * value[before] + decay * weight[last] * value[last]) / both
        weight[before] = both
        length[before] += length[last]
        count -= 1
    return count


@kernel
def newest_samples(k, pools, trace, spikes):  # type: ignore[no-untyped-def]
    """Write the newest n samples of trace k's activity and spikes (n,), the newest last; 0 before the oldest pool."""
    decays, values, _, lengths, counts = pools
    g, value, length = decays[k], values[k], lengths[k]
    at = len(trace)
    for p in range(counts[k] - 1, -1, -1):
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


@kernel
def newest_traces(pools, trace, spikes):  # type: ignore[no-untyped-def]
    """`newest_samples` of every trace: trace and spikes (K, n)."""
    for k in range(len(trace)):
        newest_samples(k, pools, trace[k], spikes[k])


@kernel
def deconvolve_trace(samples, g, min_spike, trace, spikes):  # type: ignore[no-untyped-def]
    """Write AR(1) activity and spikes (T,) of samples (T,) without baseline and penalty; exact."""
    pools = new_pools(g, len(samples))
    _, value, weight, length, count = pools
    for sample in samples:
        count[0] = append_sample(sample, g, min_spike, (value[0], weight[0], length[0]), count[0])
    newest_samples(0, pools, trace, spikes)


@kernel
def initial_levels(history):  # type: ignore[no-untyped-def]
    """Return (noise σ, 8th percentile, median) of a trace's history (n,), n ≥ 1."""
    samples, steps = history.copy(), np.abs(history[1:] - history[:-1])
    noise = max(0.3, _quantile(steps, 0.5) / 0.9539) if len(steps) else 1.0
    return noise, _quantile(samples, 0.08), _quantile(samples, 0.5)


@kernel
def _quantile(values, fraction):  # type: ignore[no-untyped-def]
    place = fraction * (len(values) - 1)
    below = int(place)
    low = of_rank(values, below)
    above = min(below + 1, len(values) - 1)
    return low + (place - below) * (of_rank(values[below:], above - below) - low)


@kernel
def _next_noise(noise, step):  # type: ignore[no-untyped-def]
    """Return the noise σ moved towards the median |difference| of samples, of which `step` is the newest."""
    return noise * (1.01 if abs(step) > 0.9539 * noise else 1 / 1.01)


@kernel
def _next_baseline(baseline, sample, noise, seen):  # type: ignore[no-untyped-def]
    """Return the baseline moved towards the running median over about 300 samples.

    Activity is not negative: what lies further below than noise does shows a baseline that began in activity.
    """
    step = 1.5 * noise * max(1.0 / 300, 1.0 / (seen + 30.0))
    below = baseline - _NOISE_BELOW * noise - sample
    return baseline + (step if sample > baseline else -step) - (_FALL * below if below > 0 else 0.0)


@kernel
def _next_low(low, sample, noise):  # type: ignore[no-untyped-def]
    """Return the running 8th percentile moved towards that of the samples."""
    return low + 0.02 * noise * (0.08 if sample > low else -0.92)


@kernel
def deconvolve_samples(samples, present, levels, pools, sparsity, out):  # type: ignore[no-untyped-def]
    """Deconvolve the next sample of each present trace (K,), and update its running levels.

    λ = sparsity · noise σ; it enters as a shift of the sample by λ (1 − g). The baseline is a running median: a mean of
    inactive samples drifts downwards. Writes activity and spikes as of this sample to out (2, K), 0 where absent.
    """
    previous, seen, noise, baseline, low = levels
    g, value, weight, length, count = pools
    trace, spikes = out[0], out[1]
    for k in range(len(samples)):
        trace[k] = spikes[k] = 0.0
        if not present[k]:
            continue
        sample = samples[k]
        seen[k] += 1
        noise[k] = _next_noise(noise[k], sample - previous[k])
        previous[k] = sample
        rest = sample - baseline[k] - sparsity * noise[k] * (1 - g[k])
        count[k] = append_sample(rest, g[k], 0.0, (value[k], weight[k], length[k]), count[k])
        last = count[k] - 1
        now = max(value[k, last], 0.0)
        trace[k] = now * g[k] ** (length[k, last] - 1)
        if length[k, last] == 1 and last > 0:
            spikes[k] = max(now - max(value[k, last - 1], 0.0) * g[k] ** length[k, last - 1], 0.0)
        baseline[k] = _next_baseline(baseline[k], sample, noise[k], seen[k])
        low[k] = _next_low(low[k], sample, noise[k])


@kernel
def deconvolve_history(k, history, levels, pools, sparsity, trace):  # type: ignore[no-untyped-def]
    """Deconvolve all samples (n,) of one trace k; write its activity (n,) as of each sample."""
    own_levels, (g, value, weight, length, count) = _levels_of(k, levels), pools
    own = (g[k : k + 1], value[k : k + 1], weight[k : k + 1], length[k : k + 1], count[k : k + 1])
    present, out = np.ones(1, np.bool_), np.empty((2, 1))
    for j in range(len(history)):
        deconvolve_samples(history[j : j + 1], present, own_levels, own, sparsity, out)
        trace[j] = out[0, 0]


@part
def _levels_of(k, levels):  # type: ignore[no-untyped-def]
    previous, seen, noise, baseline, low = levels
    return previous[k : k + 1], seen[k : k + 1], noise[k : k + 1], baseline[k : k + 1], low[k : k + 1]


@part
def append_sample_ar2(k, sample, penalty, sweeps, windows):  # type: ignore[no-untyped-def]
    """Append a sample to trace k's window and update the window's spikes.

    Minimises Σ (sample − tail − Σ spikes · response)² / 2 + penalty · Σ spikes, spikes ≥ 0, by warm-started coordinate
    descent on the normal equations. Their slopes go on from the last sample: what a spike that leaves the window takes
    from the samples in it is their tail's then, so that their residual stays. Cost: P for each spike that changes.
    """
    response, products, window_samples, window_spikes, window_tail, window_slope = windows
    samples, spikes, tail, slope = window_samples[k], window_spikes[k], window_tail[k], window_slope[k]
    n = len(spikes)
    left = spikes[0]
    for i in range(n - 1):
        tail[i] = tail[i + 1] + left * response[i + 1]
    for i in range(n - 1):
        samples[i] = samples[i + 1]
    for i in range(n - 1):
        spikes[i] = spikes[i + 1]
    for i in range(n - 1):
        slope[i] = slope[i + 1]
    tail[n - 1] = tail[n - 2] * response[n - 1] / max(response[n - 2], 1e-12)
    samples[n - 1], spikes[n - 1], slope[n - 1] = sample, 0.0, 0.0
    residual = sample - tail[n - 1]
    for j in range(n - 1):
        if spikes[j] > 0:
            residual -= spikes[j] * response[n - 1 - j]
    for j in range(n):
        slope[j] += residual * response[n - 1 - j]
    active = 0
    for j in range(n):
        active += (slope[j] > penalty) | (spikes[j] > 0)
    for _ in range(sweeps if active else 0):
        for j in range(n - 1, -1, -1):
            if slope[j] > penalty or spikes[j] > 0:
                change = max(spikes[j] + (slope[j] - penalty) / products[j, j], 0.0) - spikes[j]
                spikes[j] += change
                for i in range(n):
                    slope[i] -= change * products[j, i]


@kernel
def newest_samples_ar2(k, windows, trace):  # type: ignore[no-untyped-def]
    """Write the newest m samples of trace k's activity (m,), m ≤ P, the newest last."""
    response, _, _, window_spikes, window_tail, _ = windows
    spikes, tail = window_spikes[k], window_tail[k]
    n, m = len(spikes), len(trace)
    for i in range(m):
        trace[i] = tail[n - m + i]
    for j in range(n):
        if spikes[j] > 0:
            for i in range(max(j, n - m), n):
                trace[i - n + m] += spikes[j] * response[i - j]


@kernel
def newest_traces_ar2(windows, trace, spikes):  # type: ignore[no-untyped-def]
    """`newest_samples_ar2` of every trace: trace and spikes (K, m)."""
    response, _, _, window_spikes, _, _ = windows
    m = trace.shape[1]
    for k in range(len(trace)):
        newest_samples_ar2(k, windows, trace[k])
        spikes[k] = window_spikes[k, len(response) - m :]


@kernel
def impulse_response(g, n):  # type: ignore[no-untyped-def]
    """Return the first n samples of the activity after a spike of an AR process with coefficients g (order,)."""
    response = np.zeros(n)
    response[0] = 1.0
    for i in range(1, n):
        for k in range(min(len(g), i)):
            response[i] += g[k] * response[i - k - 1]
    return response


@kernel
def deconvolve_samples_ar2(samples, present, levels, windows, sparsity, lows):  # type: ignore[no-untyped-def]
    """`deconvolve_samples` for AR(2) traces, of the next n samples (n, K): activity and spikes stand in the windows.

    λ = sparsity · noise σ. Writes the 8th percentile as of each sample to lows (n, K). A trace's window is read once.
    """
    previous, seen, noise, baseline, low = levels
    for k in range(samples.shape[1]):
        for j in range(len(samples)):
            if present[j, k]:
                sample = samples[j, k]
                seen[k] += 1
                noise[k] = _next_noise(noise[k], sample - previous[k])
                previous[k] = sample
                append_sample_ar2(k, sample - baseline[k], sparsity * noise[k], SWEEPS, windows)
                baseline[k] = _next_baseline(baseline[k], sample, noise[k], seen[k])
                low[k] = _next_low(low[k], sample, noise[k])
            lows[j, k] = low[k]
