"""Ring model of the background: a pixel's background is predicted from a ring around it (CNMF-E)."""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.pixel_rows import add, add_scaled
from .demixing import inner


class BinnedFootprints(NamedTuple):
    """Of each footprint the runs of pixels in one bin: flat `bin` (K, P) int32, their sum (K, P) float32, `count` (K,).

    Made once for each change of a footprint, some three a frame; of all of them a frame would take .2 ms.
    """

    bin: Any
    sum: Any
    count: Any


@kernel
def bin_deviation_rows(frame, mean, weight, whole, out, seen, band):  # type: ignore[no-untyped-def]
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns), and how much of each is known.

    Pixels that are NaN or of weight 0 (y, x) are not known; `whole` (rows, columns) bool: blocks with none of weight 0.
    Of the rows (first, stop) of blocks.
    """
    rows, columns = out.shape
    height, width = frame.shape
    sums, edges = np.empty(width, np.float32), np.empty(columns + 1, np.int64)
    for i in range(columns + 1):
        edges[i] = i * width // columns
    for j in range(band[0], band[1]):
        sums[:] = 0
        top, bottom = j * height // rows, (j + 1) * height // rows
        for y in range(top, bottom):
            _add_deviation(frame[y], mean[y], sums)
        for i in range(columns):
            left, right = edges[i], edges[i + 1]
            total = 0.0
            for x in range(left, right):
                total += sums[x]
            n = (bottom - top) * (right - left)
            if whole[j, i] and total == total:
                out[j, i], seen[j, i] = total / n, 1.0
            else:
                total, known = _sum_known(
                    frame[top:bottom, left:right], mean[top:bottom, left:right], weight[top:bottom, left:right]
                )
                out[j, i], seen[j, i] = total / max(known, 1), known / n


@part
def _add_deviation(frame, mean, sums):  # type: ignore[no-untyped-def]
    for x in range(len(sums)):
        sums[x] += np.float32(frame[x]) - mean[x]


@part
def _sum_known(frame, mean, weight):  # type: ignore[no-untyped-def]
    """Return the sum of frame − mean over the known pixels of a block (h, w), and how many they are."""
    total, known = 0.0, 0
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            d = np.float32(frame[y, x]) - mean[y, x]
            if d == d and weight[y, x] > 0:
                total += d
                known += 1
    return total, known


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
def bin_footprints(bin_of, footprints, rows, runs):  # type: ignore[no-untyped-def]
    """List the runs of pixels in one bin of the footprints `rows` (n,): BinnedFootprints; bin_of (pixels,)."""
    index, value, pixels = footprints
    bins, sums, count = runs
    for k in rows:
        n, here = 0, -1
        for p in range(pixels[k]):
            there = bin_of[index[k, p]]
            if there != here:  # neighbours in a row share a bin: one sum each
                here, bins[k, n], sums[k, n] = there, there, np.float32(0)
                n += 1
            sums[k, n - 1] += value[k, p]
        count[k] = n


@kernel
def bin_components(pixels, noise, runs, activity, binned):  # type: ignore[no-untyped-def]
    """Write what the components add to a binned frame (rows, columns) [ADU].

    BinnedFootprints times activity (K,) times the noise σ [ADU] of each bin (rows, columns); pixels: of the frame.
    """
    bins, sums, count = runs
    total = np.zeros(binned.size, np.float32)
    for k in range(len(activity)):
        amount = np.float32(activity[k])
        for n in range(count[k]):
            total[bins[k, n]] += amount * sums[k, n]
    share = np.float32(binned.size / pixels)
    for j in range(binned.shape[0]):
        for i in range(binned.shape[1]):
            binned[j, i] = share * noise[j, i] * total[j * binned.shape[1] + i]


@kernel
def known_bins(seen, least, known):  # type: ignore[no-untyped-def]
    """Write which bins (rows, columns) are seen to at least that part, as 1 or 0; return whether any has changed."""
    changed = False
    for j in range(known.shape[0]):
        for i in range(known.shape[1]):
            now = np.float32(seen[j, i] >= least)
            changed |= now != known[j, i]
            known[j, i] = now
    return changed


@kernel
def subtract_binned_modes(binned, known, modes, inverse):  # type: ignore[no-untyped-def]
    """Clear the bins that are not known, and subtract the least squares fit of modes (M, rows, columns), in place.

    The modes are 0 where `known` (rows, columns) is; inverse (M, M): of their inner products.
    """
    for j in range(len(binned)):
        for i in range(binned.shape[1]):
            binned[j, i] *= known[j, i]
    products = np.empty(len(modes))
    for m in range(len(modes)):
        products[m] = inner(modes[m], binned, 0, 1)
    for m in range(len(modes)):
        amount = 0.0
        for other in range(len(modes)):
            amount += inverse[m, other] * products[other]
        for j in range(len(binned)):
            add_scaled(modes[m, j], np.float32(-amount), binned[j])


@kernel
def ring_sum(image, inside, outside, out):  # type: ignore[no-untyped-def]
    """Write the sum of an image (rows, columns) over the ring inside ≤ distance ≤ outside around each of its pixels.

    Each row of the ring is summed once, for the rows as far above and as far below. Cost: one addition a pixel for
    half of the ring's pixels, and for each of its rows.
    """
    rows, columns = image.shape
    reach = int(outside)
    padded, run = np.zeros(columns + 2 * reach, np.float32), np.empty(columns, np.float32)
    out[:] = 0
    for y in range(rows):
        for x in range(columns):
            padded[reach + x] = image[y, x]
        for dy in range(reach + 1):
            hole = inside * inside - dy * dy
            first = int(np.ceil(np.sqrt(hole))) if hole > 0 else 0
            run[:] = 0
            for dx in range(first, int(np.sqrt(outside * outside - dy * dy)) + 1):
                add(padded[reach + dx : reach + dx + columns], run)
                if dx:
                    add(padded[reach - dx : reach - dx + columns], run)
            if y >= dy:
                add(run, out[y - dy])
            if dy and y + dy < rows:
                add(run, out[y + dy])


@kernel
def update_ring(binned, sums, known, memory, ring, slope_sums):  # type: ignore[no-untyped-def]
    """Write the ring's mean of a binned frame, and add the frame to what the slopes are a regression of.

    sums: of the frame over the ring; known: which bins are, as 1 or 0, and how many on the ring; `slope_sums`:
    Σ binned · ring, Σ ring², each frame `memory` of the one before. All (rows, columns).
    """
    (product, square), (here, count) = slope_sums, known
    for j in range(len(binned)):
        for i in range(binned.shape[1]):
            mean = sums[j, i] / max(count[j, i], np.float32(1))
            ring[j, i] = mean
            product[j, i] = memory * product[j, i] + binned[j, i] * mean
            square[j, i] = memory * square[j, i] + here[j, i] * np.float64(mean) * mean
