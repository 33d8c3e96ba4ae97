"""Ranks and medians within kernels are numpy's, of ties and sorted values too."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamfluo.pixels.kernels.medians import median, of_rank

FLOATS = arrays(np.float64, st.integers(1, 60), elements=st.integers(-9, 9) | st.floats(-1e300, 1e300))


@given(FLOATS, st.data())
def test_a_value_of_a_rank_parts_the_others(values, data):
    rank, given = data.draw(st.integers(0, len(values) - 1)), values.copy()
    found = of_rank(values, rank)
    assert found == np.sort(given)[rank]
    assert (np.sort(values) == np.sort(given)).all()
    assert (values[:rank] <= found).all()
    assert (values[rank:] >= found).all()


@given(FLOATS)
def test_a_median_is_numpys(values):
    assert median(values.copy()) == np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]].sum() / 2


def test_of_no_values_the_median_is_nan():
    assert np.isnan(median(np.empty(0)))
