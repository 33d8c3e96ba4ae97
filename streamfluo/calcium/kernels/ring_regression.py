"""The ring model of a one-photon background: what lies around a place says what lies on it."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def bin_deviation(frame, mean, out):  # type: ignore[no-untyped-def]
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns); NaN counts as the mean."""
    rows, columns = out.shape
    height, width = frame.shape
    for j in range(rows):
        for i in range(columns):
            total, n = 0.0, 0
            for y in range(j * height // rows, (j + 1) * height // rows):
                for x in range(i * width // columns, (i + 1) * width // columns):
                    d = np.float32(frame[y, x]) - mean[y, x]
                    total += d if d == d else 0.0
                    n += 1
            out[j, i] = total / n


@njit(nogil=True, cache=True)
def take_cells(binned, shape, index, value, count, noise, activity):  # type: ignore[no-untyped-def]
    """Take the cells' light out of a binned frame (rows, columns) of `shape` (y, x), in place.

    Their whitened supports (K, P), the noise (pixels,) that turns them into ADU, their activity (K,).
    """
    rows, columns = binned.shape
    share = rows * columns / (shape[0] * shape[1])
    for k in range(len(activity)):
        for p in range(count[k]):
            at = index[k, p]
            j, i = (at // shape[1]) * rows // shape[0], (at % shape[1]) * columns // shape[1]
            binned[j, i] -= share * value[k, p] * noise[at] * activity[k]


@njit(nogil=True, cache=True)
def ring_mean(binned, inner, outer, out):  # type: ignore[no-untyped-def]
    """Write the mean of binned (rows, columns) over the places inner ≤ distance ≤ outer from each one."""
    rows, columns = binned.shape
    reach = int(np.ceil(outer))
    for j in range(rows):
        for i in range(columns):
            total, n = 0.0, 0
            for y in range(max(0, j - reach), min(rows, j + reach + 1)):
                for x in range(max(0, i - reach), min(columns, i + reach + 1)):
                    apart = (y - j) ** 2 + (x - i) ** 2
                    if inner * inner <= apart <= outer * outer:
                        total += binned[y, x]
                        n += 1
            out[j, i] = total / max(n, 1)


@njit(nogil=True, cache=True)
def subtract_binned(frame, background, out):  # type: ignore[no-untyped-def]
    """Write frame (y, x) less a binned background (rows, columns) read between its places bilinearly, float32."""
    rows, columns = background.shape
    height, width = frame.shape
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        j = min(int(v), max(rows - 2, 0))
        a, up = np.float32(v - j), background[min(j + 1, rows - 1)]
        low = background[j]
        for x in range(width):
            u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            i = min(int(u), max(columns - 2, 0))
            b, n = np.float32(u - i), min(i + 1, columns - 1)
            here = (1 - a) * ((1 - b) * low[i] + b * low[n]) + a * ((1 - b) * up[i] + b * up[n])
            out[y, x] = np.float32(frame[y, x]) - here
