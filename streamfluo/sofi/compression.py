"""Local compression of an image's dynamic range."""

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d


def compress_locally(image, mask, window):  # type: ignore[no-untyped-def]
    """Return the image with every window stretched to (w − min) / (max − min) · max(mask), averaged over windows.

    image, mask (y, x); window (h, w), moved by one pixel at a time inside the image; a pixel is the average over those
    that cover it, and constant windows give zero. Sums over windows are taken anew for each pixel: running sums would
    carry the rounding of the brightest windows through the image.
    """
    centre = image.mean()
    low = _slide(minimum_filter1d, image, window) - centre
    high = _slide(maximum_filter1d, image, window) - centre
    top = _slide(maximum_filter1d, mask, window)
    span = high - low
    gain = np.divide(top, span, out=np.zeros_like(span), where=span > 0)
    covered = _spread(np.ones_like(gain), window)
    return ((image - centre) * _spread(gain, window) - _spread(gain * low, window)) / covered


def _slide(extreme, image, window):  # type: ignore[no-untyped-def]
    """The extreme of every window inside the image (y − h + 1, x − w + 1)."""
    for axis, side in enumerate(window):
        image = extreme(image, side, axis=axis)
        first = side // 2
        image = np.take(image, np.arange(first, first + image.shape[axis] - side + 1), axis=axis)
    return image


def _spread(values, window):  # type: ignore[no-untyped-def]
    """For every pixel the sum over the windows that cover it: (y − h + 1, x − w + 1) → (y, x)."""
    for axis, side in enumerate(window):
        shape = list(values.shape)
        shape[axis] += side - 1
        total = np.zeros(shape)
        for shift in range(side):
            place = [slice(None)] * 2
            place[axis] = slice(shift, shift + values.shape[axis])
            total[tuple(place)] += values
        values = total
    return values
