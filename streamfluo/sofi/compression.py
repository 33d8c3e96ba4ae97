"""Local compression of an image's dynamic range."""

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d


def compress_locally(image, mask, window):  # type: ignore[no-untyped-def]
    """Return the image with every window stretched to (w − min) / (max − min) · max(mask), averaged over windows.

    image, mask (y, x); window (h, w) at every position inside the image; a pixel is the average over those that cover
    it, and constant windows give zero. Each pixel sums its windows afresh: running sums would spread the rounding
    errors of the brightest windows over the image.
    """
    centre = image.mean()
    low = _window_extremes(minimum_filter1d, image, window) - centre
    high = _window_extremes(maximum_filter1d, image, window) - centre
    top = _window_extremes(maximum_filter1d, mask, window)
    span = high - low
    gain = np.divide(top, span, out=np.zeros_like(span), where=span > 0)
    covered = _sum_covering(np.ones_like(gain), window)
    return ((image - centre) * _sum_covering(gain, window) - _sum_covering(gain * low, window)) / covered


def _window_extremes(extreme, image, window):  # type: ignore[no-untyped-def]
    """Return the extreme of every window inside the image (y − h + 1, x − w + 1)."""
    for axis, side in enumerate(window):
        image = extreme(image, side, axis=axis)
        first = side // 2
        image = np.take(image, np.arange(first, first + image.shape[axis] - side + 1), axis=axis)
    return image


def _sum_covering(values, window):  # type: ignore[no-untyped-def]
    """Return for every pixel the sum over the windows that cover it: (y − h + 1, x − w + 1) → (y, x)."""
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
