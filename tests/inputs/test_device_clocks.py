"""Clocks of inputs: whatever they do, samples get the times at which they were taken, or an error that says so."""

import numpy as np

from streamfluo.session.device_clocks import taken_ns
from streamfluo.session.input_samples import Samples

UTC = 1_790_000_000 * 10**9


def stream(seconds, seed, drift=0.0, own0=1_700_000_000 * 10**9, t0=UTC, every_s=0.05):
    """A stream's own times and when they came, 5 ms late and sometimes more; and when they were taken."""
    rng = np.random.default_rng(seed)
    n = np.arange(round(seconds / every_s))
    taken = t0 + np.rint(n * every_s * 1e9).astype(np.int64)
    own = own0 + np.rint(n * every_s * 1e9 * (1 + drift)).astype(np.int64)
    late = 5e6 + np.abs(rng.normal(0, 1e6, len(n))) + 80e6 * (rng.random(len(n)) < 0.02)
    return own, np.maximum.accumulate(taken + late.astype(np.int64)), taken


def found(*streams):
    own, came, taken = (np.concatenate(part) for part in zip(*streams, strict=True))
    times, error_ns = taken_ns(Samples(came, np.zeros((len(own), 1)), None, own))
    return (times - taken) / 1e6, error_ns / 1e6


def test_a_drift_and_late_deliveries_leave_the_delay_they_have_alike():
    for seed in range(10):
        error_ms, stated_ms = found(stream(60, seed, drift=80e-6))
        assert 5.2 < np.median(error_ms) < 6.2
        assert np.ptp(error_ms) < 0.6
        assert stated_ms < 0.2


def test_a_clock_that_is_set_is_another_one():
    for jump_s in (-30, -2, 2, 3600):
        first = stream(20, 1)
        second = stream(20, 2, own0=first[0][-1] + int((0.05 + jump_s) * 1e9), t0=UTC + 20 * 10**9)
        error_ms, _ = found(first, second)
        assert 5 < error_ms.min() < error_ms.max() < 7


def test_a_machine_that_stood_still_for_two_seconds_is_no_jump():
    own, came, taken = stream(60, 3)
    came = np.maximum(came, np.where((came > UTC + 30e9) & (came < UTC + 32e9), UTC + 32e9, 0).astype(np.int64))
    error_ms, stated_ms = found((own, came, taken))
    assert np.abs(error_ms - 6).max() < 1
    assert stated_ms < 0.3


def test_samples_that_repeat_or_swap_keep_their_times():
    own, came, taken = stream(30, 4)
    order = np.arange(len(own))
    order[[100, 101]] = order[[101, 100]]
    order = np.insert(order, 200, order[199])
    slots = np.insert(np.arange(len(own)), 200, 199)  # the one that is repeated comes twice, one after the other
    error_ms, _ = found((own[order], came[slots] + (np.arange(len(slots)) == 200), taken[order]))
    assert np.abs(error_ms - 6).max() < 1


def test_one_delivery_is_not_known_to_anything():
    own = UTC + np.arange(5) * 10**6
    times, error_ns = taken_ns(Samples(np.full(5, UTC), np.zeros((5, 1)), None, own))
    np.testing.assert_array_equal(np.diff(times), 10**6)
    assert times[-1] == UTC
    assert np.isinf(error_ns)
    nothing = np.empty(0, np.int64)
    assert len(taken_ns(Samples(nothing, np.empty((0, 1)), None, nothing))[0]) == 0
