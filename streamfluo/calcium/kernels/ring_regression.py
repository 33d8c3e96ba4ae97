"""Ring model of the background: a pixel's background is predicted from a ring around it (CNMF-E)."""

import numpy as np

from ...pixels.kernels.kernel import kernel


@kernel
def bin_deviation(frame, mean, weight, out, seen):  # type: ignore[no-untyped-def]
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns), and how much of each is known.

    Pixels that are NaN or of weight 0 (y, x) are not known.
    """
    rows, columns = out.shape
    height, width = frame.shape
    sums, known = np.empty(width, np.float32), np.empty(width, np.float32)
    for j in range(rows):
        sums[:] = 0
        known[:] = 0
        top, bottom = j * height // rows, (j + 1) * height // rows
        for y in range(top, bottom):
            _add_deviation(frame[y], mean[y], weight[y], sums, known)
        for i in range(columns):
            total, n = 0.0, 0.0
            left, right = i * width // columns, (i + 1) * width // columns
            for x in range(left, right):
                total += sums[x]
                n += known[x]
            out[j, i] = total / max(n, 1.0)
            seen[j, i] = n / ((bottom - top) * (right - left))


@kernel
def _add_deviation(frame, mean, weight, sums, known):  # type: ignore[no-untyped-def]
    for x in range(len(sums)):
        d = np.float32(frame[x]) - mean[x]
        is_known = (d == d) & (weight[x] > 0)
        sums[x] += d if is_known else np.float32(0)
        known[x] += np.float32(is_known)


@kernel
def bin_of_pixels(shape, size, out):  # type: ignore[no-untyped-def]
    """Write the flat number of the bin, of a grid (rows, columns) = size, of each pixel of `shape` to out (pixels,)."""
    (height, width), (rows, columns) = shape, size
    for j in range(rows):
        for y in range(j * height // rows, (j + 1) * height // rows):
            for i in range(columns):
                for x in range(i * width // columns, (i + 1) * width // columns):
                    out[y * width + x] = j * columns + i


@kernel
def subtract_components(binned, bin_of, noise, footprints, activity):  # type: ignore[no-untyped-def]
    """Subtract the components from a binned frame (rows, columns), in place.

    Whitened footprints times activity (K,) times the noise σ [ADU] of each bin (rows, columns); bin_of (pixels,).
    """
    index, value, pixels = footprints
    total = np.zeros(binned.size, np.float32)
    for k in range(len(activity)):
        amount = np.float32(activity[k])
        for p in range(pixels[k]):
            total[bin_of[index[k, p]]] += amount * value[k, p]
    share = np.float32(binned.size / len(bin_of))
    for j in range(binned.shape[0]):
        for i in range(binned.shape[1]):
            binned[j, i] -= share * noise[j, i] * total[j * binned.shape[1] + i]


@kernel
def ring_sum(image, inner, outer, out):  # type: ignore[no-untyped-def]
    """Write the sum of an image (rows, columns) over the ring inner ≤ distance ≤ outer around each of its pixels.

    Each row of the ring is a difference of prefix sums.
    """
    rows, columns = image.shape
    reach = int(outer)
    prefix = np.zeros(columns + 2 * reach + 1)
    out[:] = 0
    for y in range(rows):
        for x in range(columns):
            prefix[reach + x + 1] = prefix[reach + x] + image[y, x]
        prefix[reach + columns + 1 :] = prefix[reach + columns]
        for dy in range(max(-reach, -y), min(reach, rows - 1 - y) + 1):
            wide = int(np.sqrt(outer * outer - dy * dy))
            _add_run(prefix, reach, wide, np.float32(1), out[y + dy])
            hole = inner * inner - dy * dy
            if hole > 0:
                _add_run(prefix, reach, int(np.ceil(np.sqrt(hole))) - 1, np.float32(-1), out[y + dy])


@kernel
def _add_run(prefix, reach, half, sign, out):  # type: ignore[no-untyped-def]
    """Add sign × the sums over 2 half + 1 places around each place to out (columns,)."""
    for x in range(len(out)):
        out[x] += sign * np.float32(prefix[x + reach + half + 1] - prefix[x + reach - half])


@kernel
def subtract_binned(frame, background, out):  # type: ignore[no-untyped-def]
    """Write frame (y, x) less a binned background (rows, columns), interpolated bilinearly, as float32."""
    rows, columns = background.shape
    height, width = frame.shape
    wide = np.empty((rows, width), np.float32)
    for x in range(width):
        u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
        i = min(int(u), max(columns - 2, 0))
        b, n = np.float32(u - i), min(i + 1, columns - 1)
        for j in range(rows):
            wide[j, x] = (1 - b) * background[j, i] + b * background[j, n]
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        j = min(int(v), max(rows - 2, 0))
        _subtract_between(frame[y], wide[j], wide[min(j + 1, rows - 1)], np.float32(v - j), out[y])


@kernel
def _subtract_between(frame, above, below, a, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = np.float32(frame[x]) - ((1 - a) * above[x] + a * below[x])
