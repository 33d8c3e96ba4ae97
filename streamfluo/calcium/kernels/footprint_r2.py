"""Which components a bin of frames shows: those whose image in it is like their footprint."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .footprints import smooth_gaussian

SMOOTHING_PX = 1.0  # single pixels of a bin are noise
REACH_PX = 3  # that it reaches


@kernel
def footprint_r2(residual, activity, noise, boxes, like):  # type: ignore[no-untyped-def]
    """Write for each component (K,) the part of its image that its footprint explains, R² without noise, 1 if inactive.

    Of a bin: its residual (y, x) of this noise σ, activity (K,). The image is activity · footprint + residual where the
    footprint is not 0, all smoothed. A neighbour that is not known yet leaves part of itself in it, and is less alike.
    """
    origin, box, _ = boxes
    work, place = np.empty((5, box.shape[1] * box.shape[2]), np.float32), np.zeros(4, np.int64)
    for k in range(len(activity)):
        like[k] = 1.0
        if activity[k] <= 0:
            continue
        _around(box[k], place)
        first, height, before, width = place[0], place[1], place[2], place[3]
        size = height * width
        rows, image = work[0, :size].reshape((height, width)), work[1, :size].reshape((height, width))
        smooth, shape = work[2, :size].reshape((height, width)), work[3, :size].reshape((height, width))
        footprint = work[4, :size].reshape((height, width))
        top, left = origin[k, 0] + first, origin[k, 1] + before
        for y in range(height):
            for x in range(width):
                footprint[y, x] = box[k, first + y, before + x]
                image[y, x] = residual[top + y, left + x] + np.float32(activity[k]) * footprint[y, x]
        left_over = noise * smooth_gaussian(image, SMOOTHING_PX, rows, smooth)
        smooth_gaussian(footprint, SMOOTHING_PX, rows, shape)
        count, both, own, all_ = 0, 0.0, 0.0, 0.0
        for y in range(height):
            for x in range(width):
                if footprint[y, x] > 0:
                    p, q = np.float64(shape[y, x]), np.float64(smooth[y, x])
                    count += 1
                    both += p * q
                    own += p * p
                    all_ += q * q
        signal = all_ - count * left_over * left_over
        if own * signal > both * both:  # else as alike as noise lets it be
            like[k] = both * both / (own * signal)


@part
def _around(box, place):  # type: ignore[no-untyped-def]
    """Write first row, rows, first column and columns of the part of a box (h, w) that its smoothed footprint needs."""
    height, width = box.shape
    low_y, high_y, low_x, high_x = height, -1, width, -1
    for y in range(height):
        for x in range(width):
            if box[y, x] > 0:
                low_y, high_y = min(low_y, y), max(high_y, y)
                low_x, high_x = min(low_x, x), max(high_x, x)
    place[0], place[2] = max(low_y - REACH_PX, 0), max(low_x - REACH_PX, 0)
    place[1] = max(min(high_y + REACH_PX, height - 1) - place[0] + 1, 0)
    place[3] = max(min(high_x + REACH_PX, width - 1) - place[2] + 1, 0)
