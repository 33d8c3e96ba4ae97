"""Passes over the initial frames are what numpy's single passes make, bit for bit."""

import numpy as np
import pytest

from streamfluo.calcium.kernels.initial_frames import (
    add_initial,
    add_weighed,
    known_or_zero,
    read_half,
    whiten_initial,
)

RNG = np.random.default_rng(2704)


@pytest.mark.parametrize("scale", [1.0, 0.25, 2.0**90])
def test_every_half_precision_number_is_read_exactly(scale):
    stored, out = np.arange(1 << 16).astype(np.uint16), np.empty(1 << 16, np.float32)
    stored.flags.writeable = False
    read_half(stored, np.float32(scale), out.view(np.uint32), out)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = stored.view(np.float16).astype(np.float32) * np.float32(scale)
    np.testing.assert_array_equal(out, expected)
    zeros = expected == 0
    np.testing.assert_array_equal(np.signbit(out[zeros]), np.signbit(expected[zeros]))


def movie_with_gaps(frames: int = 9) -> np.ndarray:
    parts = RNG.normal(0, 3, (frames, 6, 11)).astype(np.float32)
    parts[RNG.random(parts.shape) < 0.2] = np.nan
    parts[2:5, 1, 1] = np.inf
    return parts


def test_sums_count_what_is_known_and_steps_between_frames_that_follow_each_other():
    parts = movie_with_gaps()
    sums, before = np.zeros((4, parts[0].size), np.float32), np.full(parts[0].size, np.nan, np.float32)
    for part in parts:
        add_initial(part.ravel(), before, tuple(sums))
    known = np.isfinite(parts)
    values = np.where(known, parts, 0).astype(float)
    both = known[1:] & known[:-1]
    total, squares, observed, pairs = sums.reshape(4, *parts[0].shape)
    np.testing.assert_allclose(total, values.sum(0), atol=1e-4)
    np.testing.assert_allclose(squares, (both * np.diff(values, axis=0) ** 2).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(observed, known.sum(0))
    np.testing.assert_array_equal(pairs, both.sum(0))


def test_a_window_is_whitened_and_weighed_where_it_is_known():
    part = movie_with_gaps(1)[0]
    mean, weight = RNG.normal(size=(2, *part.shape)).astype(np.float32)
    weight = np.abs(weight)
    weight[2:4, 3] = 0
    window = np.s_[1:5, 2:9]
    whitened, zeroed = np.empty((2, 4, 7), np.float32)
    whiten_initial(part, mean, weight, (1, 2), whitened)
    expected = ((part - mean) * weight)[window]
    np.testing.assert_array_equal(whitened, expected)
    known_or_zero(whitened.ravel(), zeroed.ravel())
    np.testing.assert_array_equal(zeroed, np.nan_to_num(expected))
    spatial, known = np.ones((2, 4, 7), np.float32)
    amounts = np.float32(0.3), np.float32(0.09)
    inside = np.ascontiguousarray(weight[window])
    add_weighed(whitened.ravel(), inside.ravel(), amounts, spatial.ravel(), known.ravel())
    np.testing.assert_array_equal(spatial, 1 + amounts[0] * np.nan_to_num(expected))
    np.testing.assert_array_equal(known, 1 + amounts[1] * (np.isfinite(expected) & (inside > 0)))
