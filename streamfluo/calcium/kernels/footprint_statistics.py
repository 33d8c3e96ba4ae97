"""Sufficient statistics of the components: regressions of the residual on activity, overlaps, and evidence."""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel

NEIGHBOUR_SHARE = 0.3  # fraction of a neighbour's activity that errors of its footprint may add
COMPARABLE = 0.5  # of a component's SNR, that a neighbour has which may explain it
MIN_ACTIVITY = 2.5  # noise σ above which a bin counts as active


class Regression(NamedTuple):
    """Regression of the residual on activity: Σ d · residual (K, h, w), Σ d² (K,), d = activity − mean (K,)."""

    origin: Any  # (K, 2) of the boxes, y and x
    mean: Any
    gathered: Any
    moment: Any


class Boxes(NamedTuple):
    """Footprints in boxes (K, h, w), the same dilated by a halo, and the boxes' origins (K, 2)."""

    origin: Any
    box: Any
    halo: Any


class Evidence(NamedTuple):
    """Sums over bins of r, the activity in noise σ that no neighbour explains, and of the neighbours' s.

    `recent` (K, B): s of the newest bins, bin b at b mod B; `square` (K,) Σ r², `fourth` (K,) Σ r⁴, `product` (K, N)
    Σ r s, `neighbour_square` (K, N) Σ s²; `falls` (K,) Σ r⁴ of falls below the baseline, which no cell has.
    """

    recent: Any
    square: Any
    fourth: Any
    product: Any
    neighbour_square: Any
    falls: Any


@kernel
def update_regression(residual, activity, rate, regression):  # type: ignore[no-untyped-def]
    """Add (activity − mean) · residual over each component's box, and (activity − mean)² to its moment.

    residual (y, x); activity (K,). The mean moves towards activity by rate (K,).
    """
    origin, mean, gathered, moment = regression
    height, width = gathered.shape[1:]
    for k in range(len(activity)):
        d = activity[k] - mean[k]
        mean[k] += rate[k] * d
        moment[k] += d * d * (1 - rate[k])
        weight = np.float32(d)
        top, left = origin[k, 0], origin[k, 1]
        for y in range(height):
            row, out = residual[top + y, left : left + width], gathered[k, y]
            for x in range(width):
                out[x] += weight * row[x]


@kernel
def add_shifted(box, origin, other, other_origin, factor):  # type: ignore[no-untyped-def]
    """Add factor × another box (h, w) to a box where they overlap, in place."""
    height, width = box.shape
    dy, dx = other_origin[0] - origin[0], other_origin[1] - origin[1]
    for y in range(max(0, dy), min(height, height + dy)):
        for x in range(max(0, dx), min(width, width + dx)):
            box[y, x] += factor * other[y - dy, x - dx]


@kernel
def update_comoments(activity, mean, neighbours, neighbour, comoment):  # type: ignore[no-untyped-def]
    """Add the co-moment of activity − mean (K,) of each pair of neighbours to comoment (K, N)."""
    for k in range(len(activity)):
        d = activity[k] - mean[k]
        for n in range(neighbours[k]):
            other = neighbour[k, n]
            comoment[k, n] += d * (activity[other] - mean[other])


@kernel
def update_evidence(activity, known, noise, slot, overlaps, evidence):  # type: ignore[no-untyped-def]
    """Add a bin to the evidence of each component: its activity (K,) that no neighbour's footprint error explains.

    Of each neighbour's activity NEIGHBOUR_SHARE times the relative overlap is subtracted; the rest counts from
    MIN_ACTIVITY noise σ (K,) on. The bin is written to column `slot` of evidence.recent, as 0 where what is seen is not
    the component, known (K,) bool: for its neighbours it was not active.
    """
    recent = evidence[0]
    energy, neighbours, neighbour, overlap, _ = overlaps
    for k in range(len(activity)):
        seen = known[k] and activity[k] >= MIN_ACTIVITY * noise[k]
        recent[k, slot] = activity[k] / noise[k] if seen else 0.0
    for k in range(len(activity)):
        rest = activity[k]
        for n in range(neighbours[k]):
            share = NEIGHBOUR_SHARE * abs(overlap[k, n]) / energy[k]
            rest -= share * activity[neighbour[k, n]]
        _add_bin(k, rest, noise[k], slot, overlaps, evidence)


@kernel
def add_past_evidence(k, past, number, noise, overlaps, evidence):  # type: ignore[no-untyped-def]
    """Add to the evidence of the new component k its activity past (n,), n ≤ B, in the bins before `number`."""
    recent = evidence[0]
    energy, neighbours, neighbour, overlap, _ = overlaps
    for back in range(len(past), 0, -1):
        slot, activity = (number - back) % recent.shape[1], past[len(past) - back]
        rest = activity
        for n in range(neighbours[k]):
            other = neighbour[k, n]
            share = NEIGHBOUR_SHARE * abs(overlap[k, n]) / energy[k]
            rest -= share * noise[other] * recent[other, slot]
        _add_bin(k, rest, noise[k], slot, overlaps, evidence)
        recent[k, slot] = activity / noise[k] if activity >= MIN_ACTIVITY * noise[k] else 0.0


@kernel
def update_falls(below, noise, slot, overlaps, evidence):  # type: ignore[no-untyped-def]
    """Add a bin to the falls of each component: how far its raw activity lies below the baseline (K,).

    After `update_evidence`: a neighbour's footprint error explains as much of a fall as of a rise.
    """
    for k in range(len(below)):
        _add_fall(k, below[k], noise, slot, overlaps, evidence)


@kernel
def add_past_falls(k, below, number, noise, overlaps, evidence):  # type: ignore[no-untyped-def]
    """Add to the falls of the new component k how far it lay below its baseline (n,), n ≤ B, before bin `number`."""
    size = evidence[0].shape[1]
    for back in range(len(below), 0, -1):
        _add_fall(k, below[len(below) - back], noise, (number - back) % size, overlaps, evidence)


@kernel
def _add_fall(k, below, noise, slot, overlaps, evidence):  # type: ignore[no-untyped-def]
    recent, falls = evidence[0], evidence[5]
    energy, neighbours, neighbour, overlap, _ = overlaps
    for n in range(neighbours[k]):
        other = neighbour[k, n]
        below -= NEIGHBOUR_SHARE * abs(overlap[k, n]) / energy[k] * noise[other] * recent[other, slot]
    if below >= MIN_ACTIVITY * noise[k]:
        falls[k] += (below / noise[k]) ** 4


@kernel
def _add_bin(k, rest, noise, slot, overlaps, evidence):  # type: ignore[no-untyped-def]
    recent, square, fourth, product, neighbour_square, _ = evidence
    _, neighbours, neighbour, _, _ = overlaps
    rest = rest / noise if rest >= MIN_ACTIVITY * noise else 0.0
    square[k] += rest * rest
    fourth[k] += rest**4
    for n in range(neighbours[k]):
        other = recent[neighbour[k, n], slot]
        product[k, n] += rest * other
        neighbour_square[k, n] += other * other


@kernel
def component_snr(evidence, overlaps, explained, snr):  # type: ignore[no-untyped-def]
    """Write the fraction of each component (K,) explained by a touching neighbour, and the SNR of the rest.

    `explained`: largest R² of a regression on one neighbour of comparable SNR, as a small piece of a cell shows all
    that the cell does; `snr`: 4-norm over bins times √(1 − explained).
    """
    _, square, fourth, product, theirs, _ = evidence
    _, neighbours, neighbour, _, touching = overlaps
    for k in range(len(snr)):
        most = 0.0
        for n in range(neighbours[k]):
            comparable = fourth[neighbour[k, n]] >= COMPARABLE**4 * fourth[k]
            if comparable and touching[k, n] and theirs[k, n] > 0 and square[k] > 0:
                most = max(most, product[k, n] * product[k, n] / theirs[k, n] / square[k])
        explained[k] = min(most, 1.0)
        snr[k] = fourth[k] ** 0.25 * np.sqrt(1 - explained[k])
