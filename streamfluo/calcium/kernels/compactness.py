"""How compact a footprint is: a cell body is, a strip of a process is not."""

import numpy as np

from ...pixels.kernels.kernel import kernel
from .footprints import EDGE_FRACTION


@kernel
def compactness(box):  # type: ignore[no-untyped-def]
    """Return area² / (2π · second moment) of a footprint (h, w) above a fifth of its peak, holes filled.

    1 for a disc, 2ab / (a² + b²) for an ellipse of half axes a and b, near 1.9 times width by length for a strip; 0 for
    an empty footprint. Source: Žunić, Hirota, Rosin 2010, Pattern Recognition 43:47.
    """
    height, width = box.shape
    outside = np.zeros((height, width), np.bool_)
    stack = np.empty(height * width, np.int64)
    peak = box[0, 0]
    for y in range(height):
        for x in range(width):
            peak = max(peak, box[y, x])
    threshold = EDGE_FRACTION * peak
    top = 0
    for y in range(height):
        for x in range(width):
            edge = y == 0 or x == 0 or y == height - 1 or x == width - 1
            if edge and not box[y, x] > threshold:
                outside[y, x] = True
                stack[top] = y * width + x
                top += 1
    while top:
        top -= 1
        y, x = stack[top] // width, stack[top] % width
        for side in range(4):
            j, i = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
            if 0 <= j < height and 0 <= i < width and not outside[j, i] and not box[j, i] > threshold:
                outside[j, i] = True
                stack[top] = j * width + i
                top += 1
    n, sy, sx, squares = 0, 0.0, 0.0, 0.0
    if threshold > 0:
        for y in range(height):
            for x in range(width):
                if not outside[y, x]:
                    n += 1
                    sy += y
                    sx += x
                    squares += y * y + x * x
    if n == 0:
        return 0.0
    moment = squares - (sy * sy + sx * sx) / n + n / 6  # a pixel is a square: each has 1/12 along both axes
    return n * n / (2 * np.pi * moment)
