"""Spikes behind a trace for one impulse response of rise and decay: the whole trace at once.

The response of a spike is c_i = scale · (p^{i+1} − q^{i+1}) / (p − q), of peak 1; p and q are the factors a sample of
decay and rise, and q = 0 has no rise. It is the difference of two first-order recursions, so that a product with it or
its transpose costs a few operations a sample.
"""

from ...pixels.kernels.kernel import kernel, part


@kernel
def convolve(x, p, q, scale, out):  # type: ignore[no-untyped-def]
    """Write the sum of the responses to x (T,) to out (T,)."""
    slow, fast, factor = 0.0, 0.0, scale / (p - q)
    for t in range(len(x)):
        slow = p * (slow + x[t])
        fast = q * (fast + x[t])
        out[t] = factor * (slow - fast)


@part
def correlate(x, p, q, scale, out):  # type: ignore[no-untyped-def]
    """Write the product of x (T,) with the response at every time, the transpose of `convolve`, to out (T,)."""
    slow, fast, factor = 0.0, 0.0, scale / (p - q)
    for t in range(len(x) - 1, -1, -1):
        slow = p * (slow + x[t])
        fast = q * (fast + x[t])
        out[t] = factor * (slow - fast)


@kernel
def subtract_slow(x, keep, out):  # type: ignore[no-untyped-def]
    """Write x (T,) less its two-sided exponential mean, of `keep` a sample, to out (T,); keep 0 copies.

    A recursion back and one forth: a symmetric matrix, so that it is its own transpose.
    """
    n, mean = len(x), 0.0
    if keep <= 0:
        for t in range(n):
            out[t] = x[t]
        return
    for t in range(n - 1, -1, -1):
        mean = keep * mean + (1 - keep) * x[t]
        out[t] = mean
    mean = 0.0
    for t in range(n):
        mean = keep * mean + (1 - keep) * out[t]
        out[t] = x[t] - mean


@kernel
def sparse_spikes(y, response, penalty, rounds, work, spikes):  # type: ignore[no-untyped-def]
    """Write spikes s (T,) that minimise Σ (y − fit)² / 2 + penalty Σ s, s ≥ 0, and fit (T,) to work[0].

    response: p, q, scale and `keep` of `subtract_slow`, through which the fit goes and y (T,) went. Accelerated
    projected gradient (Beck & Teboulle 2009), restarted where it turns back; `spikes` holds the start. work (5, T).
    """
    p, q, scale, keep = response
    fit, rest, slope, ahead, raw = work[0], work[1], work[2], work[3], work[4]  # unpacked: not taken for contiguous
    gain = scale * p / (1 - p) / (p - q) - scale * q / (1 - q) / (p - q)
    step, momentum = 1.0 / (gain * gain), 1.0
    for t in range(len(y)):
        ahead[t] = spikes[t]
    for _ in range(rounds):
        convolve(ahead, p, q, scale, raw)
        subtract_slow(raw, keep, fit)
        for t in range(len(y)):
            rest[t] = y[t] - fit[t]
        subtract_slow(rest, keep, raw)
        correlate(raw, p, q, scale, slope)
        turned = 0.0
        for t in range(len(y)):
            new = max(ahead[t] + step * (slope[t] - penalty), 0.0)
            rest[t] = new - spikes[t]
            turned += (ahead[t] - new) * rest[t]
            spikes[t] = new
        if turned > 0:
            momentum = 1.0
        after = (1 + (1 + 4 * momentum * momentum) ** 0.5) / 2
        for t in range(len(y)):
            ahead[t] = spikes[t] + (momentum - 1) / after * rest[t]
        momentum = after
    convolve(spikes, p, q, scale, raw)
    subtract_slow(raw, keep, fit)
