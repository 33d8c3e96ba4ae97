"""Quantiles of many traces at once are numpy's of each, to the bit."""

import numpy as np
import pytest

from streamfluo.counting.bounds import EXTREME_PART, EXTREME_SPANS, without_extremes
from streamfluo.counting.quantiles import median, percentiles


def traces(frames, seed):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 50.0, (frames, 40)).round(rng.integers(0, 8))
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:, 3], x[1:, 4], x[2:, 5] = np.nan, np.nan, np.nan
    return x


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("frames", [1, 2, 5, 60, 333])
def test_they_are_numpys_of_each_trace(frames):
    x = traces(frames, frames)
    percents = (1, 5, 25, 40, 75, 99, 100)
    for found, percent in zip(percentiles(x, percents), percents, strict=True):
        np.testing.assert_array_equal(found, np.nanpercentile(x, percent, axis=0))
    np.testing.assert_array_equal(median(x), np.nanmedian(x, axis=0))


@pytest.mark.parametrize("frames", [5, 9, 700])
def test_extreme_values_are_cut_off_trace_by_trace(frames):
    x = traces(frames, 1)
    x[2, 7], x[4, 8], x[3, 9], x[1, 10] = 1e7, -1e7, np.inf, -np.inf
    expected = x.copy()
    for n in range(x.shape[1]):
        seen = np.sort(x[np.isfinite(x[:, n]), n])
        at = max(2, int(np.ceil(EXTREME_PART * len(seen))))
        if len(seen) > 4 * at and (reach := EXTREME_SPANS * (seen[-1 - at] - seen[at])) > 0:
            expected[:, n] = np.clip(x[:, n], seen[at] - reach, seen[-1 - at] + reach)
    np.testing.assert_array_equal(without_extremes(x), expected)
    assert (frames < 700) == (expected[2, 7] == 1e7)
