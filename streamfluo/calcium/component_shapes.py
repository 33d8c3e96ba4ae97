"""Where components are and what their edges are, from footprints alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.ndimage
import scipy.sparse

EDGE = 0.2  # of a footprint's peak, at which contours run
CONTOUR_POINTS = 512  # corners of a contour at most


def centres(footprints: scipy.sparse.csc_matrix, shape: tuple[int, int]) -> np.ndarray:
    """Return the centre of mass (K, yx) [px] of footprints (y·x, K), NaN of an empty one."""
    if not footprints.shape[1]:
        return np.empty((0, 2))
    total = np.asarray(footprints.sum(0), float).reshape(-1)
    pixel = np.arange(footprints.shape[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([np.asarray(footprints.T @ at).reshape(-1) / total for at in np.divmod(pixel, shape[1])], 1)


def contours(footprints: scipy.sparse.csc_matrix, shape: tuple[int, int], which: Iterable[int]) -> list[np.ndarray]:
    """Return for each column named in `which` the corners (n, yx) [px] of its contour, along the edges of pixels.

    It runs round the region above a fifth of the peak that the peak lies in; none of an empty footprint. Pixel centres
    are integers.
    """
    from .kernels.outlines import outline

    found = []
    for column in which:
        part = slice(*footprints.indptr[column : column + 2])
        pixel, weight = footprints.indices[part], footprints.data[part]
        line = np.empty((CONTOUR_POINTS, 2), np.float32)
        inside = pixel[weight > EDGE * weight.max(initial=0.0)]
        if not len(inside):
            found.append(line[:0])
            continue
        y, x = np.divmod(inside, shape[1])
        mask = np.zeros((int(np.ptp(y)) + 1, int(np.ptp(x)) + 1), bool)
        mask[y - y.min(), x - x.min()] = True
        peak_y, peak_x = divmod(int(pixel[weight.argmax()]), shape[1])
        regions, _ = scipy.ndimage.label(mask)
        count = outline(regions == regions[peak_y - y.min(), peak_x - x.min()], line)
        found.append(line[:count] + np.array([y.min(), x.min()], np.float32))
    return found
