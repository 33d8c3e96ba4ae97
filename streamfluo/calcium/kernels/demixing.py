"""Activities of overlapping footprints in one frame: projections, and block coordinate descent on the normal equations.

Frames and footprints are whitened: pixels in units of their noise. A footprint's support is a list: `index` (K, P) flat
pixel numbers, `value` (K, P) float32, `count` (K,) how many of them hold. `neighbour` (K, N), `overlap` (K, N) and
`neighbours` (K,) list for each footprint the others it overlaps, and their inner products with it.
"""

import numpy as np
from numba import njit

from ...pixels.kernels.pixel_rows import add_product, add_scaled

ROWS = 4  # the background's activity is solved for on every fourth row: that is more than enough


@njit(nogil=True, cache=True)
def whiten(frame, mean, weight, modes, expected, scale, stored, products):  # type: ignore[no-untyped-def]
    """Write (frame − mean) · weight as int16 steps of 1/scale to `stored` (y, x); its products with modes to (M,).

    Where the frame is NaN stands what the modes (M, y, x) let expect at their activity `expected` (M,). The products
    are those of every ROWS-th row. Cost at 512 × 512: one pass; what is read besides the frame decides.
    """
    white, sums = np.empty(frame.shape[1], np.float32), np.zeros((len(modes), frame.shape[1]), np.float32)
    for y in range(frame.shape[0]):
        unknown = _whiten_row(frame[y], mean[y], weight[y], white)
        x, last = 0, frame.shape[1]
        while unknown:  # mostly at the ends, where motion correction found nothing
            if not np.isnan(frame[y, last - 1]):
                while not np.isnan(frame[y, x]):
                    x += 1
                at = x
                x += 1
            else:
                last -= 1
                at = last
            white[at] = 0
            for m in range(len(modes)):
                white[at] += np.float32(expected[m]) * modes[m, y, at]
            unknown -= 1
        _keep_row(white, scale, stored[y])
        if y % ROWS == 0:
            for m in range(len(modes)):
                add_product(white, modes[m, y], sums[m])
    for m in range(len(modes)):
        products[m] = _total(sums[m])


@njit(nogil=True, cache=True)
def _whiten_row(frame, mean, weight, white):  # type: ignore[no-untyped-def]
    unknown = 0
    for i in range(len(white)):
        z = (np.float32(frame[i]) - mean[i]) * weight[i]
        known = z == z
        unknown += not known
        white[i] = z if known else np.float32(0)
    return unknown


@njit(nogil=True, cache=True)
def _keep_row(white, scale, stored):  # type: ignore[no-untyped-def]
    for i in range(len(white)):
        z = white[i] * scale
        z = z if z < np.float32(32767) else np.float32(32767)
        z = z if z > np.float32(-32767) else np.float32(-32767)
        stored[i] = np.int16(np.int32(np.rint(z)))


@njit(nogil=True, cache=True)
def sum_frames(stored, slots, scale, modes, amounts, total):  # type: ignore[no-untyped-def]
    """Write the sum of the frames in `slots` of stored (n, y, x) int16 steps of 1/scale to total (y, x) float32.

    Out of it are taken background modes (M, y, x) times amounts (M,).
    """
    for y in range(total.shape[0]):
        row = total[y]
        row[:] = 0
        for j in range(len(slots)):
            add_scaled(stored[slots[j], y], np.float32(1 / scale), row)
        for m in range(len(modes)):
            add_scaled(modes[m, y], np.float32(-amounts[m]), row)


@njit(nogil=True, cache=True)
def inner(a, b, first, step):  # type: ignore[no-untyped-def]
    """Return the inner product of every `step`-th row, from `first` on, of two arrays (y, x) float32."""
    sums = np.zeros(a.shape[1], np.float32)  # of each column: fast, and the same bits on every machine
    for y in range(first, a.shape[0], step):
        add_product(a[y], b[y], sums)
    return _total(sums)


@njit(nogil=True, cache=True)
def _total(sums):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(sums)):
        total += sums[i]
    return total


@njit(nogil=True, cache=True)
def project(frame, scale, index, value, count, products):  # type: ignore[no-untyped-def]
    """Write ⟨footprint, frame⟩ · scale for each footprint. frame (pixels,) of float32 or int16; products (K,)."""
    for k in range(len(products)):
        a, b = 0.0, 0.0
        n = count[k]
        for i in range(0, n - 1, 2):
            a += value[k, i] * np.float32(frame[index[k, i]])
            b += value[k, i + 1] * np.float32(frame[index[k, i + 1]])
        if n % 2:
            a += value[k, n - 1] * np.float32(frame[index[k, n - 1]])
        products[k] = (a + b) * scale


@njit(nogil=True, cache=True)
def take_modes(products, mode_overlap, modes):  # type: ignore[no-untyped-def]
    """Take what background modes (M,) of known activity say out of products (K,): overlaps (K, M)."""
    for k in range(len(products)):
        known = 0.0
        for m in range(len(modes)):
            known += mode_overlap[k, m] * modes[m]
        products[k] -= known


@njit(nogil=True, cache=True)
def demix(products, energy, neighbour, overlap, neighbours, lower, sweeps, activity):  # type: ignore[no-untyped-def]
    """Move `activity` (K,) towards the least squares solution with activity ≥ lower (−inf: free), in `sweeps` sweeps.

    products (K,) = ⟨footprint, frame⟩, energy (K,) = ⟨footprint, footprint⟩. Block coordinate descent with blocks of
    one; where overlaps are small a few sweeps from the last frame's solution are enough.
    """
    for _ in range(sweeps):
        for k in range(len(products)):
            rest = products[k]
            for n in range(neighbours[k]):
                rest -= overlap[k, n] * activity[neighbour[k, n]]
            activity[k] = max(rest / energy[k], lower[k]) if energy[k] > 0 else 0.0


@njit(nogil=True, cache=True)
def demix_known_background(  # type: ignore[no-untyped-def]
    frame, scale, index, value, count, mode_overlap, modes, energy, neighbour, overlap, neighbours, lower, sweeps,
    activity,
):  # fmt: skip
    """`project`, `take_modes` and `demix` in one: frame (pixels,), modes (M,) of known activity."""
    products = np.empty(len(activity))
    project(frame, scale, index, value, count, products)
    take_modes(products, mode_overlap, modes)
    demix(products, energy, neighbour, overlap, neighbours, lower, sweeps, activity)


@njit(nogil=True, cache=True)
def demix_background(  # type: ignore[no-untyped-def]
    products, mode_products, energy, neighbour, overlap, neighbours, mode_overlap, row_overlap, mode_gram, lower,
    sweeps, activity, modes,
):  # fmt: skip
    """The same with background modes (M,) that overlap all footprints: `mode_overlap` (K, M).

    The modes' own equations are those of every ROWS-th row: `mode_products` (M,), `mode_gram` (M, M), and `row_overlap`
    (K, M) with the footprints.
    """
    count = len(modes)
    for _ in range(sweeps):
        for m in range(count):
            rest = mode_products[m]
            for other in range(count):
                rest -= mode_gram[m, other] * modes[other] if other != m else 0.0
            for k in range(len(products)):
                rest -= row_overlap[k, m] * activity[k]
            modes[m] = rest / mode_gram[m, m] if mode_gram[m, m] > 0 else 0.0
        for k in range(len(products)):
            rest = products[k]
            for m in range(count):
                rest -= mode_overlap[k, m] * modes[m]
            for n in range(neighbours[k]):
                rest -= overlap[k, n] * activity[neighbour[k, n]]
            activity[k] = max(rest / energy[k], lower[k]) if energy[k] > 0 else 0.0


@njit(nogil=True, cache=True)
def back_fill(  # type: ignore[no-untyped-def]
    stored, slots, scale, index, value, mode_overlap, modes, neighbour, overlap, history, energy, activity
):
    """Write one footprint's activity (n,) in the frames kept in `slots` of stored (frames, pixels) int16.

    index, value (pixels of it,); its overlaps with the modes (M,) and with neighbours (N,), whose activity was
    modes (frames, M) and history (K, frames). What those explain is taken out; they are not solved for again.
    """
    for j in range(len(slots)):
        slot = slots[j]
        total = 0.0
        for i in range(len(index)):
            total += value[i] * np.float32(stored[slot, index[i]])
        total *= scale
        for m in range(len(mode_overlap)):
            total -= mode_overlap[m] * modes[slot, m]
        for n in range(len(neighbour)):
            total -= overlap[n] * history[neighbour[n], slot]
        activity[j] = total / energy
