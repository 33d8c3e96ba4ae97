"""Which components a bin of frames shows: those whose image in it is like their footprint."""

import numpy as np

from ...pixels.kernels.kernel import kernel
from .footprints import smooth_gaussian

SMOOTHING_PX = 1.0  # single pixels of a bin are noise


@kernel
def footprint_r2(residual, activity, noise, boxes, like):  # type: ignore[no-untyped-def]
    """Write for each component (K,) the part of its image that its footprint explains, R² without noise, 1 if inactive.

    Of a bin: its residual (y, x) of this noise σ, activity (K,). The image is activity · footprint + residual where the
    footprint is not 0, all smoothed. A neighbour that is not known yet leaves part of itself in it, and is less alike.
    """
    origin, box, _ = boxes
    height, width = box.shape[1:]
    work = np.empty((4, height, width), np.float32)
    rows, image, smooth, shape = work[0], work[1], work[2], work[3]  # unpacked they would not count as contiguous
    for k in range(len(activity)):
        like[k] = 1.0
        if activity[k] <= 0:
            continue
        top, left = origin[k, 0], origin[k, 1]
        for y in range(height):
            for x in range(width):
                image[y, x] = residual[top + y, left + x] + np.float32(activity[k]) * box[k, y, x]
        left_over = noise * smooth_gaussian(image, SMOOTHING_PX, rows, smooth)
        smooth_gaussian(box[k], SMOOTHING_PX, rows, shape)
        count, both, own, all_ = 0, 0.0, 0.0, 0.0
        for y in range(height):
            for x in range(width):
                if box[k, y, x] > 0:
                    p, q = np.float64(shape[y, x]), np.float64(smooth[y, x])
                    count += 1
                    both += p * q
                    own += p * p
                    all_ += q * q
        signal = all_ - count * left_over * left_over
        if own * signal > both * both:  # else as alike as noise lets it be
            like[k] = both * both / (own * signal)
