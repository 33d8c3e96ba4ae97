"""What follows from a footprint that has changed: its list of pixels, its measures, its inner products."""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .compactness import compactness
from .demixing import ROWS
from .footprint_statistics import add_shifted
from .footprints import dilate

HALO_PX = 3


class Measures(NamedTuple):
    """Of each footprint: `centre` (K, 2) of mass, y and x [px]; compactness (K,); whether it lies `at_edge` (K,); F0
    under it (K,); inner products with the background modes, of all rows (K, M) and of every ROWS-th."""

    centre: Any
    compactness: Any
    at_edge: Any
    resting: Any
    mode_overlap: Any
    row_overlap: Any


class Scene(NamedTuple):
    """Mean image and 1 / noise σ (y, x), whitened background modes (M, y, x), observed pixels at an `edge` (y, x) bool,
    and the camera's `offset` [ADU]."""

    mean: Any
    weight: Any
    modes: Any
    edge: Any
    offset: Any


@kernel
def refresh_footprint(k, boxes, footprints, overlaps, measures, scene):  # type: ignore[no-untyped-def]
    """Write the list of pixels, the halo, the measures and the inner products of footprint k, as its box is.

    Fields of `Boxes`, `Footprints`, `Overlaps`, `Measures` and `Scene`. Costs some 25 µs: all but the halo and the
    compactness are sums over the pixels of the footprint, 40 of the 600 of its box.
    """
    (origin, box, halo), (index, value, pixels) = boxes, footprints
    centre, compact, at_edge, resting, mode_overlap, row_overlap = measures
    mean, weight, modes, edge, offset = scene
    top, left, width = origin[k, 0], origin[k, 1], mean.shape[1]
    pixels[k] = _list_pixels(box[k], (top, left), width, index[k], value[k])
    near = np.empty(box[k].shape, np.bool_)
    dilate(box[k], HALO_PX, near)
    for y in range(near.shape[0]):
        for x in range(near.shape[1]):
            halo[k, y, x] = near[y, x]
    compact[k] = compactness(box[k])
    total = across = down = squares = bright = 0.0
    at_edge[k] = False
    for m in range(len(modes)):
        mode_overlap[k, m] = row_overlap[k, m] = 0.0
    for i in range(pixels[k]):
        amount, y, x = np.float64(value[k, i]), index[k, i] // width, index[k, i] % width
        total += amount
        down += amount * y
        across += amount * x
        squares += amount * amount
        bright += amount * ((mean[y, x] - offset) * weight[y, x])
        at_edge[k] |= edge[y, x] and amount > 0
        for m in range(len(modes)):
            product = amount * modes[m, y, x]
            mode_overlap[k, m] += product
            if y % ROWS == 0:
                row_overlap[k, m] += product
    energy = overlaps[0]
    energy[k] = squares
    resting[k] = bright / squares if squares > 0 else 0.0
    centre[k, 0] = down / total if total > 0 else np.float64(top)
    centre[k, 1] = across / total if total > 0 else np.float64(left)
    _overlap_neighbours(k, width, boxes, footprints, overlaps)


@part
def _list_pixels(box, corner, width, index, value):  # type: ignore[no-untyped-def]
    """List the non-zero pixels of a box (h, w) at its corner in a frame `width` wide; return how many.

    index, value (P,): flat pixel numbers and the values there; 0 behind the last.
    """
    n, (top, left) = 0, corner
    for y in range(box.shape[0]):
        for x in range(box.shape[1]):
            if box[y, x] != 0:
                index[n], value[n] = (y + top) * width + x + left, box[y, x]
                n += 1
    for i in range(n, len(value)):
        value[i] = 0
    return n


@part
def _overlap_neighbours(k, width, boxes, footprints, overlaps):  # type: ignore[no-untyped-def]
    """Write footprint k's inner products with its neighbours, and whether they touch, on both sides."""
    (origin, box, halo), (index, value, pixels) = boxes, footprints
    _, neighbours, neighbour, overlap, touching = overlaps
    height, breadth = box.shape[1:]
    for n in range(neighbours[k]):
        other = neighbour[k, n]
        back = 0
        while back < neighbours[other] and neighbour[other, back] != k:
            back += 1
        if back == neighbours[other]:
            continue  # a damaged list: without this bound the search would leave the array
        total, touch = 0.0, False
        for i in range(pixels[k]):
            y, x = index[k, i] // width - origin[other, 0], index[k, i] % width - origin[other, 1]
            if 0 <= y < height and 0 <= x < breadth:
                total += value[k, i] * box[other, y, x]
        for i in range(pixels[other]):
            y, x = index[other, i] // width - origin[k, 0], index[other, i] % width - origin[k, 1]
            if 0 <= y < height and 0 <= x < breadth:
                touch |= halo[k, y, x] > 0 and value[other, i] > 0
        overlap[k, n] = overlap[other, back] = total
        touching[k, n] = touching[other, back] = touch


@kernel
def change_footprint(k, change, boxes, learned, overlaps, scene):  # type: ignore[no-untyped-def]
    """Add a change (h, w) to the box of footprint k, and subtract its mean activity from the mean image.

    Fields of `Boxes` and `Overlaps`. learned: regressions (K, h, w), their moments (K,), mean activity (K,), Σ of
    pairs' products (K, N); what the regressions hold follows. scene: mean image and noise σ (y, x).
    """
    (origin, box, _), (gathered, moment, level, comoment), (mean, noise) = boxes, learned, scene
    top, left = origin[k, 0], origin[k, 1]
    activity, weight = np.float32(level[k]), np.float32(moment[k])
    for y in range(change.shape[0]):
        for x in range(change.shape[1]):
            box[k, y, x] += change[y, x]
            gathered[k, y, x] -= change[y, x] * weight
            mean[top + y, left + x] -= change[y, x] * activity * noise[top + y, left + x]
    correct_neighbours(k, change, boxes, gathered, overlaps, comoment)


@kernel
def correct_neighbours(k, change, boxes, gathered, overlaps, comoment):  # type: ignore[no-untyped-def]
    """Correct the neighbours' regressions `gathered` (K, h, w) for a change (h, w) of footprint k.

    Fields of `Boxes` and `Overlaps`; comoment (K, N): Σ of both activities' products.
    """
    origin, _, _ = boxes
    _, neighbours, neighbour, _, _ = overlaps
    for n in range(neighbours[k]):
        other = neighbour[k, n]
        add_shifted(gathered[other], origin[other], change, origin[k], np.float32(-comoment[k, n]))
