"""Activities of overlapping components in one frame: projection and block coordinate descent on the normal equations.

Model of a whitened frame, each pixel in units of its noise σ: w = Σ a_k c_k + Σ b_m f_m + noise, with footprints a_k,
activities c_k, background modes b_m and their activities f_m (Friedrich et al. 2021; Giovannucci et al. 2017, OnACID).
"""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.pixel_rows import add_product, add_scaled

LIMIT = np.float32(1e6)  # σ of whitened pixels: their sums stay finite in float32
ROWS = 4  # the equations of the background modes use every fourth row: more pixels do not improve them


class WhiteningModel(NamedTuple):
    """Mean image, 1 / noise σ, both (y, x) float32, and whitened background modes (M, y, x) float32."""

    mean: Any
    weight: Any
    modes: Any


class Footprints(NamedTuple):
    """Sparse whitened footprints: flat pixel `index` (K, P) int32, `value` (K, P) float32, `pixels` (K,) of each."""

    index: Any
    value: Any
    pixels: Any


class Overlaps(NamedTuple):
    """Inner products of footprints: `energy` (K,) ⟨a_k, a_k⟩; `overlap` (K, N) with the neighbours.

    `neighbour` (K, N) int32 lists the components whose boxes overlap, `neighbours` (K,) counts them; `touching` (K, N)
    bool: the footprints are at most a halo apart.
    """

    energy: Any
    neighbours: Any
    neighbour: Any
    overlap: Any
    touching: Any


class ModeOverlaps(NamedTuple):
    """Inner products with background modes: `footprint` (K, M); of every ROWS-th row `rows` (K, M), `gram` (M, M)."""

    footprint: Any
    rows: Any
    gram: Any


class Design(NamedTuple):
    """Footprints with their inner products: what the normal equations of a frame need."""

    footprints: Footprints
    overlaps: Overlaps
    modes: ModeOverlaps


class Estimate(NamedTuple):
    """Activities of the components (K,) and of the background modes (M,), updated in place; `products` (K,) = ⟨a_k,
    frame⟩ are written."""

    activity: Any
    modes: Any
    products: Any


class Past(NamedTuple):
    """Stored frames (n, pixels) int16 and the `slots` to read, oldest first; frames · `scale` are in noise σ.

    Activities in those frames: `modes` (n, M) of the background modes, `history` (K, n) of the components.
    """

    frames: Any
    slots: Any
    scale: float
    modes: Any
    history: Any


@kernel
def whiten_rows(frame, model, activity, scale, stored, kept, band):  # type: ignore[no-untyped-def]
    """Write (frame − background − mean) · weight as int16 steps of 1/scale to rows (first, stop) of `stored` (y, x).

    activity: what is expected of the background modes (M,), and the background (rows, columns) [ADU] of a grid of bins,
    which is interpolated bilinearly. Pixels that are NaN, in the frame or by their mean or weight, get the background
    modes at their expected activity. Every ROWS-th row is kept as it is in `kept` (y / ROWS, x) float32.
    Cost at 512 × 512: one pass, bound by the memory read beside the frame.
    """
    (mean, weight, modes), (expected, binned) = model, activity
    height, width = frame.shape
    white, last = np.empty(width, np.float32), -1
    above, below = np.empty(width, np.float32), np.empty(width, np.float32)
    bins, parts = _places_between(width, binned.shape[1])
    for y in range(band[0], band[1]):
        v = min(max((y + 0.5) * len(binned) / height - 0.5, 0.0), len(binned) - 1.0)
        j = min(int(v), max(len(binned) - 2, 0))
        if j != last:
            if j == last + 1 and y > band[0]:
                above, below = below, above
            else:
                _interpolate_row(binned[j], bins, parts, above)
            last = j
            _interpolate_row(binned[min(j + 1, len(binned) - 1)], bins, parts, below)
        between = (above, below, np.float32(v - j))
        unknown = _whiten_row(frame[y], between, mean[y], weight[y], white)
        if unknown:
            _expect_unknown(unknown, modes[:, y], expected, white)
        _quantise_row(white, scale, stored[y])
        if y % ROWS == 0:
            kept[y // ROWS] = white


@kernel
def mode_products(kept, modes, products):  # type: ignore[no-untyped-def]
    """Write the products (M,) of the rows that `whiten_rows` kept with the modes (M, y, x)."""
    sums = np.zeros((len(modes), kept.shape[1]), np.float32)
    for n in range(len(kept)):
        for m in range(len(modes)):
            add_product(kept[n], modes[m, n * ROWS], sums[m])
    for m in range(len(modes)):
        products[m] = _total(sums[m])


@part
def _places_between(width, columns):  # type: ignore[no-untyped-def]
    """Return the bin (x,) whose centre lies before each pixel of a row, and the part of the way to the next one."""
    bins, parts = np.empty(width, np.uint32), np.empty(width, np.float32)
    for x in range(width):
        u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
        bins[x] = min(int(u), max(columns - 2, 0))
        parts[x] = u - bins[x]
    return bins, parts


@kernel
def _interpolate_row(binned, bins, parts, out):  # type: ignore[no-untyped-def]
    """Write a row of bins (columns,), interpolated linearly, to out (x,). Unsigned places: no sign is looked at."""
    after = binned[1:] if len(binned) > 1 else binned
    for x in range(np.uintp(len(out))):
        i = np.uintp(bins[x])
        out[x] = (np.float32(1) - parts[x]) * binned[i] + parts[x] * after[i]


@part
def _whiten_row(frame, between, mean, weight, white):  # type: ignore[no-untyped-def]
    """Write a whitened row, NaN where it is unknown; return in how many pixels.

    between: background above and below (x,), and how far below.
    """
    above, below, a = between
    keep, unknown = np.float32(1) - a, 0
    for i in range(len(white)):
        z = (np.float32(frame[i]) - (keep * above[i] + a * below[i]) - mean[i]) * weight[i]
        unknown += z != z
        z = LIMIT if z > LIMIT else z
        white[i] = -LIMIT if z < -LIMIT else z
    return unknown


@part
def _expect_unknown(unknown, modes, expected, white):  # type: ignore[no-untyped-def]
    """Write modes (M, x) at `expected` (M,) to the so many NaN of a row, mostly at both ends: what motion leaves."""
    x, last = 0, len(white)
    while unknown:  # NaN in white[x:last]
        if not np.isnan(white[last - 1]):
            while not np.isnan(white[x]):
                x += 1
            at = x
            x += 1
        else:
            last -= 1
            at = last
        white[at] = 0
        for m in range(len(modes)):
            white[at] += np.float32(expected[m]) * modes[m, at]
        unknown -= 1


@part
def _quantise_row(white, scale, stored):  # type: ignore[no-untyped-def]
    for i in range(len(white)):
        z = white[i] * scale
        z = z if z < np.float32(32767) else np.float32(32767)
        z = z if z > np.float32(-32767) else np.float32(-32767)
        stored[i] = np.int16(np.int32(np.rint(z)))


@kernel
def sum_frames(stored, slots, scale, modes, mode_activity, total):  # type: ignore[no-untyped-def]
    """Write the sum of the frames in `slots` of stored (n, y, x) int16 steps of 1/scale to total (y, x) float32.

    Subtracts the background modes (M, y, x) times mode_activity (M,).
    """
    counted, steps = np.zeros(total.shape[1], np.int32), np.float32(1 / scale)
    for y in range(total.shape[0]):
        counted[:] = 0
        for j in range(len(slots)):
            _count_steps(stored[slots[j], y], counted)
        row = total[y]
        for x in range(len(row)):
            row[x] = steps * np.float32(counted[x])
        for m in range(len(modes)):
            add_scaled(modes[m, y], np.float32(-mode_activity[m]), row)


@kernel
def _count_steps(stored, counted):  # type: ignore[no-untyped-def]
    for x in range(len(counted)):
        counted[x] += np.int32(stored[x])


@kernel
def inner(a, b, first, step):  # type: ignore[no-untyped-def]
    """Return the inner product of two arrays (y, x) float32 over every `step`-th row from `first` on."""
    sums = np.zeros(a.shape[1], np.float32)  # one sum a column: fast, and the same bits on every machine
    for y in range(first, a.shape[0], step):
        add_product(a[y], b[y], sums)
    return _total(sums)


@kernel
def _total(sums):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(sums)):
        total += sums[i]
    return total


@kernel
def project(frame, scale, footprints, products):  # type: ignore[no-untyped-def]
    """Write ⟨a_k, frame⟩ · scale for each footprint to products (K,). frame (pixels,) float32 or int16."""
    index, value, pixels = footprints
    for k in range(len(products)):
        a = b = c = d = 0.0  # independent sums: one would wait for each addition
        n = pixels[k]
        for i in range(0, n - 3, 4):
            a += value[k, i] * np.float32(frame[index[k, i]])
            b += value[k, i + 1] * np.float32(frame[index[k, i + 1]])
            c += value[k, i + 2] * np.float32(frame[index[k, i + 2]])
            d += value[k, i + 3] * np.float32(frame[index[k, i + 3]])
        for i in range(n - n % 4, n):
            a += value[k, i] * np.float32(frame[index[k, i]])
        products[k] = ((a + b) + (c + d)) * scale


@part
def subtract_modes(products, mode_overlap, modes):  # type: ignore[no-untyped-def]
    """Subtract background modes of known activity (M,) from products (K,). mode_overlap (K, M)."""
    for k in range(len(products)):
        known = 0.0
        for m in range(len(modes)):
            known += mode_overlap[k, m] * modes[m]
        products[k] -= known


@part
def demix(products, overlaps, sweeps, activity):  # type: ignore[no-untyped-def]
    """Update activity (K,) towards the least squares solution, by `sweeps` sweeps of coordinate descent.

    products (K,) = ⟨a_k, frame⟩. Where overlaps are small, a few sweeps from the last frame's solution are enough.
    """
    energy, neighbours, neighbour, overlap, _ = overlaps
    for _ in range(sweeps):
        for k in range(len(products)):
            rest = products[k]
            for n in range(neighbours[k]):
                rest -= overlap[k, n] * activity[neighbour[k, n]]
            activity[k] = rest / energy[k] if energy[k] > 0 else 0.0


@kernel
def demix_stored(stored, slots, scale, design, known, sweeps, activity):  # type: ignore[no-untyped-def]
    """`project`, `subtract_modes` and `demix` of the frames in `slots` (n,) of stored (frames, pixels), in one call.

    known: the modes' activity in each (frames, M), and products (n, K), NaN where they are to be found; activity (n, K)
    is updated. A list of pixels is read once for all frames.
    """
    ((index, value, pixels), overlaps, (mode_overlap, _, _)), (modes, products) = design, known
    for k in range(activity.shape[1]):
        n = pixels[k]
        for j in range(len(slots)):
            if products[j, k] == products[j, k]:
                continue
            slot = slots[j]
            a = b = c = d = 0.0
            for i in range(0, n - 3, 4):
                a += value[k, i] * np.float32(stored[slot, index[k, i]])
                b += value[k, i + 1] * np.float32(stored[slot, index[k, i + 1]])
                c += value[k, i + 2] * np.float32(stored[slot, index[k, i + 2]])
                d += value[k, i + 3] * np.float32(stored[slot, index[k, i + 3]])
            for i in range(n - n % 4, n):
                a += value[k, i] * np.float32(stored[slot, index[k, i]])
            products[j, k] = ((a + b) + (c + d)) * scale
    for j in range(len(slots)):
        subtract_modes(products[j], mode_overlap, modes[slots[j]])
        demix(products[j], overlaps, sweeps, activity[j])


@kernel
def demix_background(products, mode_products, overlaps, mode_overlaps, sweeps, estimate):  # type: ignore[no-untyped-def]
    """Update the activities of background modes and components together, by coordinate descent.

    products (K,) = ⟨a_k, frame⟩; mode_products (M,) = ⟨b_m, frame⟩ over every ROWS-th row.
    """
    activity, modes, _ = estimate
    energy, neighbours, neighbour, overlap, _ = overlaps
    mode_overlap, row_overlap, gram = mode_overlaps
    count = len(modes)
    for _ in range(sweeps):
        for m in range(count):
            rest = mode_products[m]
            for other in range(count):
                rest -= gram[m, other] * modes[other] if other != m else 0.0
            for k in range(len(products)):
                rest -= row_overlap[k, m] * activity[k]
            modes[m] = rest / gram[m, m] if gram[m, m] > 0 else 0.0
        for k in range(len(products)):
            rest = products[k]
            for m in range(count):
                rest -= mode_overlap[k, m] * modes[m]
            for n in range(neighbours[k]):
                rest -= overlap[k, n] * activity[neighbour[k, n]]
            activity[k] = rest / energy[k] if energy[k] > 0 else 0.0


@part
def demix_frame(frame, scale, design, mode_products, sweeps, estimate):  # type: ignore[no-untyped-def]
    """`project` and `demix_background` in one call: frame (pixels,) of int16 steps or float32."""
    footprints, overlaps, mode_overlaps = design
    _, _, products = estimate
    project(frame, scale, footprints, products)
    demix_background(products, mode_products, overlaps, mode_overlaps, sweeps, estimate)


@kernel
def project_past(k, design, past, activity):  # type: ignore[no-untyped-def]
    """Write the activity (n,) of component k in stored frames: its projection less background and neighbours.

    Their activities in those frames are known and are not estimated again.
    """
    (index, value, pixels), (energy, neighbours, neighbour, overlap, _), (mode_overlap, _, _) = design
    frames, slots, scale, modes, history = past
    for j in range(len(slots)):
        slot = slots[j]
        total = 0.0
        for i in range(pixels[k]):
            total += value[k, i] * np.float32(frames[slot, index[k, i]])
        total *= scale
        for m in range(modes.shape[1]):
            total -= mode_overlap[k, m] * modes[slot, m]
        for n in range(neighbours[k]):
            total -= overlap[k, n] * history[neighbour[k, n], slot]
        activity[j] = total / energy[k]
