"""Clocks against each other: offset and drift, with an error that holds."""

import numpy as np
import pytest

from streamfluo.session.clocks import fit_clock

UTC = 1_790_000_000 * 10**9


def pair(seed, seconds=60.0, every_s=1 / 30, jitter_ms=1.0, drift=50e-6, late=0.0):
    """Times of shared pulses on two clocks, and the truth: theirs of ours."""
    rng = np.random.default_rng(seed)
    ours = UTC + np.round(np.arange(0, seconds, every_s) * 1e9).astype(np.int64)
    exact = (ours - UTC) * (1 + drift) + 7.25e9
    jitter = rng.normal(0, jitter_ms * 1e6, len(ours))
    jitter[rng.random(len(ours)) < late] += 40e6
    return ours, np.rint(exact + jitter).astype(np.int64), exact


@pytest.mark.parametrize("late", [0.0, 0.03])
@pytest.mark.parametrize("drift", [50e-6, -50e-6, 0.0])
def test_two_clocks_agree_to_a_fifth_of_a_millisecond_after_a_minute(drift, late):
    for seed in range(20):
        ours, theirs, exact = pair(seed, drift=drift, late=late)
        clock = fit_clock(ours, theirs)
        assert np.abs(clock.theirs(ours) - exact).max() < 0.2e6
        assert clock.error_ns < 0.06e6
        assert abs(clock.drift - drift) < 5e-6


def test_the_error_that_it_states_is_the_one_that_it_makes():
    found, stated = [], []
    for seed in range(300):
        ours, theirs, exact = pair(seed, seconds=20, every_s=0.2)
        clock = fit_clock(ours, theirs)
        found.append(clock.theirs(ours)[0] - exact[0])
        stated.append(clock.error_ns)
    assert np.std(found) == pytest.approx(np.mean(stated), rel=0.15)


def test_over_seconds_no_drift_is_made_of_jitter():
    ours, theirs, _ = pair(1, seconds=2, drift=0.0)
    assert fit_clock(ours, theirs).drift == 0


def test_one_time_is_none():
    with pytest.raises(ValueError, match="two times or more, found 1"):
        fit_clock(np.array([1]), np.array([2]))
