"""What motion compares pixels with: their eight neighbours, and the means of small squares, as written down plainly."""

import itertools

import numpy as np
import pytest

from streamfluo.motion.hot_pixels import _SORTED, _around
from streamfluo.motion.search import _LOCAL_PX, _without_local_means

SHAPES = [(2, 2), (3, 9), (17, 40), (33, 5), (300, 130)]


def test_the_pairs_sort_whatever_is_to_be_sorted():
    for bits in itertools.product((0, 1), repeat=8):  # what sorts zeros and ones sorts all (Knuth)
        values = list(bits)
        for one, other in _SORTED:
            values[one], values[other] = min(values[one], values[other]), max(values[one], values[other])
        assert values == sorted(bits)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_neighbours_of_a_pixel_are_ranked(shape, dtype):
    rng = np.random.default_rng(sum(shape))
    image = rng.poisson(50, shape).astype(dtype)
    if dtype != "uint16":
        image[rng.random(shape) < 0.05] = np.nan
    padded = np.nan_to_num(np.pad(image.astype(np.float32), 1, mode="reflect"))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(*shape, 9)
    near = np.delete(windows, 4, axis=2)
    around = _around(image)
    np.testing.assert_array_equal(around.pixels, image.astype(np.float32))
    np.testing.assert_array_equal(around.least, near.min(2))
    np.testing.assert_array_equal(around.median, np.median(near, axis=2))
    np.testing.assert_array_equal(around.largest, near.max(2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_mean_of_each_square_is_subtracted(shape):
    image = np.random.default_rng(1).gamma(2, 50, shape).astype(np.float32)
    expected = image.astype(float)
    for y in range(0, shape[0], _LOCAL_PX):
        for x in range(0, shape[1], _LOCAL_PX):
            part = expected[y : y + _LOCAL_PX, x : x + _LOCAL_PX]
            part -= part.mean()
    np.testing.assert_allclose(_without_local_means(image), expected, atol=2e-4)
