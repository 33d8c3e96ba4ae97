"""Where components are and what their edges are, from footprints alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.ndimage
import scipy.sparse

EDGE = 0.2  # of a footprint's peak, at which contours run
CONTOUR_POINTS = 512  # corners of a contour at most
SHOWN_POINTS = 120  # of one that is shown while frames come


def footprints_of_boxes(boxes: np.ndarray, corners_px: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csc_matrix:
    """Return footprints (y·x, K) of boxes (K, h, w) whose corners are at (K, yx) of frames of that shape."""
    component, y, x = np.nonzero(boxes)
    corner = np.asarray(corners_px).astype(int)[component]
    pixel = (y + corner[:, 0]) * shape[1] + x + corner[:, 1]
    size = (shape[0] * shape[1], len(boxes))
    return scipy.sparse.csc_matrix((boxes[component, y, x], (pixel, component)), shape=size)


def boxes_of_footprints(footprints: scipy.sparse.csc_matrix, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (K, h, w) float32 of footprints (y·x, K), as large as the largest needs, and corners (K, yx)."""
    columns = [slice(*footprints.indptr[k : k + 2]) for k in range(footprints.shape[1])]
    places = [np.divmod(footprints.indices[column], shape[1]) for column in columns]
    corners = np.array([[y.min(initial=shape[0]), x.min(initial=shape[1])] for y, x in places], np.int64).reshape(-1, 2)
    sides = [max((int(np.ptp(at[axis])) + 1 for at in places if len(at[axis])), default=1) for axis in (0, 1)]
    boxes = np.zeros((len(places), *sides), np.float32)
    for k, ((y, x), (top, left)) in enumerate(zip(places, corners.tolist(), strict=True)):
        boxes[k, y - top, x - left] = footprints.data[columns[k]]
    return boxes, corners


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
