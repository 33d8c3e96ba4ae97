"""Ring model of a one-photon background: a pixel's background is predicted from a ring around it (CNMF-E)."""

import numpy as np

from ...pixels.kernels.kernel import kernel


@kernel
def bin_deviation(frame, mean, out):  # type: ignore[no-untyped-def]
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns); NaN counts as 0."""
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


@kernel
def subtract_components(binned, shape, footprints, noise, activity):  # type: ignore[no-untyped-def]
    """Subtract the components from a binned frame (rows, columns) of `shape` (y, x), in place.

    Whitened footprints times the noise σ [ADU] of each pixel (pixels,) times activity (K,).
    """
    index, value, pixels = footprints
    rows, columns = binned.shape
    share = rows * columns / (shape[0] * shape[1])
    for k in range(len(activity)):
        for p in range(pixels[k]):
            at = index[k, p]
            j, i = (at // shape[1]) * rows // shape[0], (at % shape[1]) * columns // shape[1]
            binned[j, i] -= share * value[k, p] * noise[at] * activity[k]


@kernel
def ring_mean(binned, seen, inner, outer, out):  # type: ignore[no-untyped-def]
    """Write the mean of the bins (rows, columns) in the ring inner ≤ distance ≤ outer around each; seen: 1 or 0."""
    rows, columns = binned.shape
    reach = int(np.ceil(outer))
    for j in range(rows):
        for i in range(columns):
            total, n = 0.0, 0
            for y in range(max(0, j - reach), min(rows, j + reach + 1)):
                for x in range(max(0, i - reach), min(columns, i + reach + 1)):
                    apart = (y - j) ** 2 + (x - i) ** 2
                    if inner * inner <= apart <= outer * outer:
                        total += binned[y, x] * seen[y, x]
                        n += int(seen[y, x])
            out[j, i] = total / max(n, 1)


@kernel
def subtract_binned(frame, background, out):  # type: ignore[no-untyped-def]
    """Write frame (y, x) less a binned background (rows, columns), interpolated bilinearly, as float32."""
    rows, columns = background.shape
    height, width = frame.shape
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        j = min(int(v), max(rows - 2, 0))
        a, above, below = np.float32(v - j), background[min(j + 1, rows - 1)], background[j]
        for x in range(width):
            u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            i = min(int(u), max(columns - 2, 0))
            b, n = np.float32(u - i), min(i + 1, columns - 1)
            value = (1 - a) * ((1 - b) * below[i] + b * below[n]) + a * ((1 - b) * above[i] + b * above[n])
            out[y, x] = np.float32(frame[y, x]) - value
