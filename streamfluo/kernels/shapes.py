"""Footprints: refined from the residual where one is proposed, and regressed on as evidence comes in."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def cut_out(stored, order, top, left, step, patch):  # type: ignore[no-untyped-def]
    """Write the box at (top, left) of stored (n, y, x) int16 residuals, in `order`, to patch (bins, h, w) float32."""
    for j in range(len(order)):
        for y in range(patch.shape[1]):
            for x in range(patch.shape[2]):
                patch[j, y, x] = np.float32(stored[order[j], top + y, left + x]) / step


@njit(nogil=True, cache=True)
def activity_of(patch, shape, activity):  # type: ignore[no-untyped-def]
    """Write the least squares activity (bins,) of one shape (h, w) in patch (bins, h, w)."""
    energy = 0.0
    for y in range(shape.shape[0]):
        for x in range(shape.shape[1]):
            energy += shape[y, x] * shape[y, x]
    for j in range(len(patch)):
        total = 0.0
        for y in range(shape.shape[0]):
            for x in range(shape.shape[1]):
                total += shape[y, x] * patch[j, y, x]
        activity[j] = total / energy if energy > 0 else 0.0


@njit(nogil=True, cache=True)
def regress(patch, weights, quiet, slope):  # type: ignore[no-untyped-def]
    """Write slope(y, x) of patch on weights (bins,), level taken from the bins that are quiet; return Σ weights².

    slope = Σ weights (patch − mean of the quiet bins) / Σ weights².
    """
    squares, sums, n = 0.0, 0.0, 0
    for j in range(len(patch)):
        squares += weights[j] * weights[j]
        sums += weights[j]
        n += quiet[j]
    slope[:] = 0
    if squares <= 0:
        return 0.0
    for j in range(len(patch)):
        weight = np.float32(weights[j] - (sums / n if quiet[j] and n else 0.0))
        for y in range(slope.shape[0]):
            for x in range(slope.shape[1]):
                slope[y, x] += weight * patch[j, y, x]
    for y in range(slope.shape[0]):
        for x in range(slope.shape[1]):
            slope[y, x] /= squares
    return squares


@njit(nogil=True, cache=True)
def connected(image, bound, seed_y, seed_x, kept, stack):  # type: ignore[no-untyped-def]
    """Mark in `kept` (h, w) bool the pixels ≥ bound (4-)connected to the seed; return how many. stack (h · w,)."""
    height, width = image.shape
    kept[:] = False
    if image[seed_y, seed_x] < bound:
        return 0
    kept[seed_y, seed_x] = True
    stack[0] = seed_y * width + seed_x
    top, count = 1, 1
    while top:
        top -= 1
        y, x = stack[top] // width, stack[top] % width
        for side in range(4):
            j = y + (side == 0) - (side == 1)
            i = x + (side == 2) - (side == 3)
            if 0 <= j < height and 0 <= i < width and not kept[j, i] and image[j, i] >= bound:
                kept[j, i] = True
                stack[top] = j * width + i
                top += 1
                count += 1
    return count


@njit(nogil=True, cache=True)
def gather_evidence(residual, origin, activity, mean, rate, gathered, energy):  # type: ignore[no-untyped-def]
    """Add (activity − mean) · residual to each component's statistic over its box, and its square to its energy.

    residual (y, x); origin (K, 2) of the boxes; activity, mean, energy (K,); gathered (K, h, w). `mean` moves towards
    activity by rate (K,).
    """
    height, width = gathered.shape[1:]
    for k in range(len(activity)):
        d = activity[k] - mean[k]
        mean[k] += rate[k] * d
        energy[k] += d * d * (1 - rate[k])
        weight = np.float32(d)
        top, left = origin[k, 0], origin[k, 1]
        for y in range(height):
            row, out = residual[top + y, left : left + width], gathered[k, y]
            for x in range(width):
                out[x] += weight * row[x]


@njit(nogil=True, cache=True)
def box_overlap(box_a, origin_a, box_b, origin_b):  # type: ignore[no-untyped-def]
    """Return the inner product of two footprints in boxes (h, w) that begin at their origins (y, x)."""
    height, width = box_a.shape
    dy, dx = origin_b[0] - origin_a[0], origin_b[1] - origin_a[1]
    total = 0.0
    for y in range(max(0, dy), min(height, height + dy)):
        for x in range(max(0, dx), min(width, width + dx)):
            total += box_a[y, x] * box_b[y - dy, x - dx]
    return total


@njit(nogil=True, cache=True)
def add_shifted(box, origin, other, other_origin, factor):  # type: ignore[no-untyped-def]
    """Add factor × another box (h, w) to a box where they overlap, in place."""
    height, width = box.shape
    dy, dx = other_origin[0] - origin[0], other_origin[1] - origin[1]
    for y in range(max(0, dy), min(height, height + dy)):
        for x in range(max(0, dx), min(width, width + dx)):
            box[y, x] += factor * other[y - dy, x - dx]


@njit(nogil=True, cache=True)
def gather_comoments(activity, mean, neighbour, neighbours, comoment):  # type: ignore[no-untyped-def]
    """Add (activity − mean)(its neighbour's) for each pair of neighbours. activity, mean (K,); the rest (K, N)."""
    for k in range(len(activity)):
        d = activity[k] - mean[k]
        for n in range(neighbours[k]):
            other = neighbour[k, n]
            comoment[k, n] += d * (activity[other] - mean[other])


@njit(nogil=True, cache=True)
def weigh_evidence(  # type: ignore[no-untyped-def]
    activity, noise, share, least, energy, neighbour, overlap, neighbours, own, peak, shared, theirs, shown
):
    """Add what a bin says of each component (K,): activity that no neighbour's shape error explains, in noise widths.

    From activity (K,) is taken `share` of what each neighbour's looks like through this footprint; what is left counts
    where it is ≥ least. Sums, for regressions on a neighbour's activity: own (K,) of its squares, peak (K,) of their
    squares, shared (K, N) of its products with each neighbour's, theirs (K, N) of the neighbour's squares.
    shown (K,): the neighbours' view.
    """
    for k in range(len(activity)):
        shown[k] = activity[k] / noise[k] if activity[k] >= least * noise[k] else 0.0
    for k in range(len(activity)):
        rest = activity[k]
        for n in range(neighbours[k]):
            rest -= share * abs(overlap[k, n]) / energy[k] * activity[neighbour[k, n]]
        rest = rest / noise[k] if rest >= least * noise[k] else 0.0
        own[k] += rest * rest
        peak[k] += rest**4
        for n in range(neighbours[k]):
            other = shown[neighbour[k, n]]
            shared[k, n] += rest * other
            theirs[k, n] += other * other
