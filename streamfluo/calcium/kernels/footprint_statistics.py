"""What bins of frames say of components: of their shapes, of their neighbours, and whether they are cells at all."""

import numpy as np
from numba import njit


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


@njit(nogil=True, cache=True)
def weigh_past(  # type: ignore[no-untyped-def]
    k, past, number, share, least, energy, noise, neighbour, overlap, neighbours, recent, own, peak, shared, theirs
):
    """Add the same for component k alone, new, whose activity in the bins before `number` was past (n,), n ≤ B.

    recent (K, B): what the bins before showed of each component, in noise widths, bin b at b mod B; k's is written.
    """
    for back in range(len(past), 0, -1):
        at, activity = (number - back) % recent.shape[1], past[len(past) - back]
        rest = activity
        for n in range(neighbours[k]):
            other = neighbour[k, n]
            rest -= share * abs(overlap[k, n]) / energy[k] * noise[other] * recent[other, at]
        rest = rest / noise[k] if rest >= least * noise[k] else 0.0
        own[k] += rest * rest
        peak[k] += rest**4
        for n in range(neighbours[k]):
            seen = recent[neighbour[k, n], at]
            shared[k, n] += rest * seen
            theirs[k, n] += seen * seen
        recent[k, at] = activity / noise[k] if activity >= least * noise[k] else 0.0


@njit(nogil=True, cache=True)
def standings(own, peak, shared, theirs, touching, neighbours, explained, snr):  # type: ignore[no-untyped-def]
    """Write which part of each component (K,) its touching neighbour most like it explains, and how it stands out.

    `explained`: of Σ squares, by regression on that neighbour, 0 to 1; `snr`: the 4-norm over all bins of what is left.
    """
    for k in range(len(own)):
        most = 0.0
        for n in range(neighbours[k]):
            if touching[k, n] and theirs[k, n] > 0 and own[k] > 0:
                most = max(most, shared[k, n] * shared[k, n] / theirs[k, n] / own[k])
        explained[k] = min(most, 1.0)
        snr[k] = peak[k] ** 0.25 * np.sqrt(1 - explained[k])


@njit(nogil=True, cache=True)
def renew_overlaps(k, box, halo, origin, neighbour, neighbours, overlap, touching):  # type: ignore[no-untyped-def]
    """Renew component k's inner products with its neighbours, and whether they touch, on both sides.

    box, halo (K, h, w), origin (K, 2), the rest (K, N).
    """
    for n in range(neighbours[k]):
        other = neighbour[k, n]
        back = 0
        while neighbour[other, back] != k:
            back += 1
        value = box_overlap(box[k], origin[k], box[other], origin[other])
        touch = box_overlap(halo[k], origin[k], box[other], origin[other]) > 0
        overlap[k, n] = overlap[other, back] = value
        touching[k, n] = touching[other, back] = touch


@njit(nogil=True, cache=True)
def list_support(box, top, left, width, index, value):  # type: ignore[no-untyped-def]
    """List the pixels of a box (h, w) at (top, left) of a frame `width` wide that are not 0; return how many.

    index, value (P,): flat pixel numbers and the values there, 0 behind the last.
    """
    n = 0
    for y in range(box.shape[0]):
        for x in range(box.shape[1]):
            if box[y, x] != 0:
                index[n], value[n] = (y + top) * width + x + left, box[y, x]
                n += 1
    value[n:] = 0
    return n
