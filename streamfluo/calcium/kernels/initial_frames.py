"""Passes over the initial frames: read from half precision, summed, whitened, and weighed by a temporal mode.

A fused pass takes a quarter of the time of numpy's single ones, and its results are the same bits.
"""

import numpy as np

from ...pixels.kernels.kernel import kernel
from ...pixels.kernels.medians import of_rank

_EXPONENT = np.uint16(0x7C00)
_TO_SINGLE = np.float32(2.0**112)  # between the exponents' biases, 127 and 15
_LARGEST = np.finfo(np.float32).max


@kernel
def read_half(stored, scale, bits, out):  # type: ignore[no-untyped-def]
    """Write half precision numbers, their bits `stored` (p,) uint16, times a float32 `scale` to out (p,) float32.

    bits (p,) uint32: the same memory as out. Exact, also for subnormal ones; numpy takes seven times as long.
    """
    for i in range(len(stored)):
        half = np.uint32(stored[i])
        single = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | ((half & np.uint32(0x8000)) << np.uint32(16))
        bits[i] = single | np.uint32(0x7F800000) if stored[i] & _EXPONENT == _EXPONENT else single
    for i in range(len(out)):
        out[i] = (out[i] * _TO_SINGLE) * scale


@kernel
def add_initial(part, before, sums):  # type: ignore[no-untyped-def]
    """Add a frame (p,) float32 to the sums (p,): of values, of squared steps, of known pixels, of known pairs.

    before (p,): the frame before, NaN where it is not known; it becomes this one.
    """
    total, squares, observed, pairs = sums
    for i in range(len(part)):
        known = abs(part[i]) < np.inf
        both = known and before[i] == before[i]
        now = part[i] if known else np.float32(0)
        step = now - before[i] if both else np.float32(0)
        total[i] += now
        squares[i] += step * step
        observed[i] += np.float32(known)
        pairs[i] += np.float32(both)
        before[i] = now if known else np.float32(np.nan)


@kernel
def whiten_initial(part, mean, weight, corner, whitened):  # type: ignore[no-untyped-def]
    """Write (part − mean) · weight of the window at `corner` (y, x), as large as `whitened`; NaN where not known."""
    height, width = whitened.shape
    top, left = corner
    for y in range(height):
        inside = slice(left, left + width)
        _whiten_row(part[top + y, inside], mean[top + y, inside], weight[top + y, inside], whitened[y])


@kernel
def _whiten_row(part, mean, weight, whitened):  # type: ignore[no-untyped-def]
    for i in range(len(whitened)):
        z = (part[i] - mean[i]) * weight[i]
        z = _LARGEST if z > _LARGEST else z
        whitened[i] = -_LARGEST if z < -_LARGEST else z


@kernel
def known_or_zero(whitened, out):  # type: ignore[no-untyped-def]
    """Write a whitened frame (p,) to out (p,), 0 where it is not known."""
    for i in range(len(out)):
        out[i] = whitened[i] if whitened[i] == whitened[i] else np.float32(0)


@kernel
def add_weighed(whitened, weight, amounts, spatial, known):  # type: ignore[no-untyped-def]
    """Add a whitened frame (p,) times the first amount to `spatial`, and the second one to `known` where it is."""
    amount, square = amounts
    for i in range(len(whitened)):
        seen = whitened[i] == whitened[i]
        spatial[i] += amount * (whitened[i] if seen else np.float32(0))
        known[i] += square if seen and weight[i] > 0 else np.float32(0)


@kernel
def deviation_quantile(frame, mean, weight, step, fraction):  # type: ignore[no-untyped-def]
    """Return a quantile of |frame − mean| · weight of every step-th pixel that is known, -1 where none is; (y, x) each.

    In numpy, with its copies, it takes twice as long.
    """
    height, width = frame.shape
    found, n = np.empty(-(-height // step) * -(-width // step), np.float32), 0
    for y in range(0, height, step):
        for x in range(0, width, step):
            deviation = abs((np.float32(frame[y, x]) - mean[y, x]) * weight[y, x])
            if weight[y, x] > 0 and deviation < np.inf:
                found[n] = deviation
                n += 1
    return np.float64(of_rank(found[:n], int(fraction * (n - 1)))) if n else -1.0
