"""Timestamps of which some are wrong: one costs itself, not the others."""

import numpy as np
import pytest

from streamfluo import open_source

h5py = pytest.importorskip("h5py")
TIMES_S = 0.05 * np.arange(40) + np.random.default_rng(3).uniform(0, 0.01, 40)


def opened(folder, times_s):
    with h5py.File(folder / "m.nwb", "w") as file:
        series = file.create_group("acquisition/scope")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series["data"] = np.zeros((40, 16, 12), np.uint16)
        series["timestamps"] = times_s
    with open_source(folder / "m.nwb") as source:
        block = next(source.blocks(40))
        return source.spec.interval_s, (block.times_ns - block.times_ns[20]) / 1e9, source.series.user


@pytest.mark.parametrize("at", [0, 7, 39])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -5.0, 1e6], ids=str)
def test_one_wrong_time_costs_itself(tmp_path, at, value):
    times_s = TIMES_S.copy()
    times_s[at] = value
    if (at, value) == (39, 1e6):
        pytest.skip("a pause before the last frame is possible")
    interval_s, found_s, user = opened(tmp_path, times_s)
    assert interval_s == pytest.approx(0.05, rel=0.02)
    others = np.arange(40) != at
    assert found_s[others] == pytest.approx((TIMES_S - TIMES_S[20])[others], abs=1e-8)
    assert (np.diff(found_s) > 0).all()
    if not (at == 0 and value in (0.0, -5.0)):  # which may be when it began
        assert user == {"timestamps": f"1 of 40 were wrong, the first of frame {at}"}


def test_times_that_run_backwards_are_none(tmp_path):
    interval_s, found_s, user = opened(tmp_path, TIMES_S[::-1])
    assert interval_s is None
    assert not found_s.any()
    assert user == {}


def test_right_times_are_as_they_are(tmp_path):
    interval_s, found_s, user = opened(tmp_path, TIMES_S)
    assert found_s == pytest.approx(TIMES_S - TIMES_S[20], abs=1e-8)
    assert interval_s == pytest.approx(0.05, rel=0.02)
    assert user == {}
