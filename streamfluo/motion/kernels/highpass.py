"""High-pass filter: an image minus its Gaussian blur, by three box filters."""

import math

import numpy as np

from ...pixels.kernels.kernel import kernel, part

PASSES = 3  # of a box make a Gaussian to within 3 % (Wells 1986)


def box_radius_px(sigma_px: float) -> int:
    """Return the radius [px] of the box that, applied three times, approximates a Gaussian of sigma_px."""
    return max(1, round((math.sqrt(12 * sigma_px**2 / PASSES + 1) - 1) / 2))


@kernel
def high_pass(image, radius, scratch, out):  # type: ignore[no-untyped-def]
    """Write image minus its blur by three boxes of (2·radius + 1)² pixels, edges repeated, NaN as 0 in the blur.

    image (y, x); scratch (2, y, x) float32; out (y, x) float32. Cost at 512 × 512: 2 rfft2.
    """
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            value = np.float32(image[y, x])
            out[y, x] = value
            scratch[0, y, x] = value if value == value else np.float32(0)
    for _ in range(PASSES):
        _along_columns(scratch[0], radius, scratch[1])
        _along_rows(scratch[1], radius, scratch[0])
    for y in range(height):
        for x in range(width):
            out[y, x] -= scratch[0, y, x]


@part
def _along_columns(image, radius, out):  # type: ignore[no-untyped-def]
    height, width = image.shape
    total = np.zeros(width)
    for k in range(-radius, radius + 1):
        total += image[min(max(k, 0), height - 1)]
    scale = 1 / (2 * radius + 1)
    for y in range(height):
        entering, leaving = image[min(y + radius + 1, height - 1)], image[max(y - radius, 0)]
        for x in range(width):
            out[y, x] = total[x] * scale
            total[x] += np.float64(entering[x]) - np.float64(leaving[x])  # exact: in float32 the sum would drift


@part
def _along_rows(image, radius, out):  # type: ignore[no-untyped-def]
    height, width = image.shape
    scale = 1 / (2 * radius + 1)
    for y in range(height):
        row = image[y]
        total = 0.0
        for k in range(-radius, radius + 1):
            total += row[min(max(k, 0), width - 1)]
        for x in range(width):
            out[y, x] = total * scale
            total += np.float64(row[min(x + radius + 1, width - 1)]) - np.float64(row[max(x - radius, 0)])
