"""Simulated months of a rig: what is steady warns rarely, what drifts or steps is found, few days say so."""

import numpy as np
import pytest
from seeds import seeds

from streamfluo.catalogue.trend import MIN_DAYS, trend_of

DAY_S = 86400.0


def months(random, days=120, sigma=0.1, **change):
    """Sessions (n,) of a figure on six of ten days, one or two a day: AR(1) noise of days, `drift` and `step` in σ."""
    day = np.flatnonzero(random.random(days) > 0.4)
    phi, noise = change.get("phi", 0.0), random.standard_normal(len(day))
    for n in range(1, len(day)):
        noise[n] = phi * noise[n - 1] + np.sqrt(1 - phi**2) * noise[n]
    at = change.get("at", 0.6) * days
    level = sigma * (noise + change.get("drift", 0.0) * day / days + change.get("step", 0.0) * (day > at))
    times, values = [], []
    for one, value in zip(day, level, strict=True):
        for _ in range(random.integers(1, 3)):
            times.append(DAY_S * (20_000 + one) + random.uniform(30_000, 60_000))
            values.append(float(np.exp(value + 0.3 * sigma * random.standard_normal())))
    return np.array(times), np.array(values)


def verdicts(seed, count, **change):
    random = np.random.default_rng(seed)
    found = [trend_of(*months(random, **change)).verdict for _ in range(count)]
    return {verdict: found.count(verdict) / count for verdict in set(found)}


@seeds(41, 42, 43)
def test_steady_months_warn_rarely(seed):
    assert verdicts(seed, 60).get("steady", 0) >= 0.95
    assert verdicts(seed, 60, phi=0.7, days=200).get("steady", 0) >= 0.85  # half of them, were days independent


@seeds(51, 52, 53)
def test_a_step_of_three_sigma_is_called_one_and_dated(seed):
    random = np.random.default_rng(seed)
    for _ in range(12):
        found = trend_of(*months(random, step=3.0))
        assert found.verdict == "step"
        assert found.change == pytest.approx(np.expm1(0.3), abs=0.18)
        assert 60 <= found.at <= 80  # days since the first that was measured; the step is behind day 72


@seeds(61, 62, 63)
def test_a_drift_of_four_sigma_in_four_months_warns(seed):
    found = verdicts(seed, 40, drift=4.0)
    assert found.get("steady", 0) == 0
    assert found.get("drift", 0) > 0.8
    assert found.get("step", 0) <= 0.05  # the others changed, at once or by and by


@seeds(71, 72, 73)
def test_what_cannot_be_told_apart_is_said_to_have_changed(seed):
    slow, sudden = verdicts(seed, 40, drift=3.0), verdicts(seed, 40, step=1.5)
    assert slow.get("drift", 0) > 0.5
    assert slow.get("step", 0) <= 0.1
    assert sudden.get("step", 0) > 0.5
    assert sudden.get("drift", 0) <= 0.125
    assert slow.get("changed", 0) > 0 < sudden.get("changed", 0)


def test_wild_days_do_not_make_a_step_of_a_drift():
    random = np.random.default_rng(3)
    values = 100 + random.normal(0, 1, 80) + np.linspace(0, 5, 80)
    values[[20, 70]] = 60, 400
    assert trend_of(DAY_S * np.arange(80), values).verdict == "drift"
    stepped = 100 + random.normal(0, 1, 80) + 4 * (np.arange(80) >= 50)
    stepped[[20, 70]] = 60, 400
    found = trend_of(DAY_S * np.arange(80), stepped)
    assert found.verdict == "step"
    assert abs(found.at - 50) <= 3


def test_a_drift_says_how_much_a_month():
    random = np.random.default_rng(3)
    times = DAY_S * np.arange(90)
    found = trend_of(times, 0.5 * np.exp(0.003 * np.arange(90) + 0.01 * random.standard_normal(90)))
    assert found.verdict == "drift"
    assert found.relative
    assert found.change == pytest.approx(np.expm1(0.003 * 30.44), rel=0.05)


def test_values_of_any_sign_change_in_their_unit():
    random = np.random.default_rng(3)
    found = trend_of(DAY_S * np.arange(60), random.normal(0, 1, 60) + 8 * (np.arange(60) >= 30))
    assert (found.verdict, found.relative, found.at) == ("step", False, 30)
    assert found.change == pytest.approx(8, abs=0.7)


@pytest.mark.parametrize("days", [0, 1, MIN_DAYS - 1])
def test_of_few_days_nothing_is_said(days):
    found = trend_of(DAY_S * np.arange(days), np.arange(days) + 1.0)
    assert found.verdict == "undetermined"
    assert len(found.value) == days


def test_sessions_of_one_day_count_once():
    assert trend_of(np.linspace(0, 8 * DAY_S, 500), np.ones(500)).verdict == "undetermined"


def test_what_never_changes_is_steady_and_what_changes_at_last_is_outside():
    times, values = DAY_S * np.arange(50), np.full(50, 0.5)
    assert trend_of(times, values).verdict == "steady"
    values[-1] = 0.6
    found = trend_of(times, values)
    assert found.verdict == "outside"
    assert found.change == pytest.approx(0.2)


def test_one_wild_day_in_the_middle_changes_nothing():
    random = np.random.default_rng(3)
    values = random.normal(100, 1, 60)
    values[30] = 1e6
    assert trend_of(DAY_S * np.arange(60), values).verdict == "steady"


def test_what_is_certain_and_small_does_not_warn():
    values = np.random.default_rng(3).normal(100, 1, 2000) + np.linspace(0, 0.8, 2000)
    assert trend_of(DAY_S * np.arange(2000), values).verdict == "steady"


def test_order_and_unknown_values_do_not_matter():
    random = np.random.default_rng(3)
    times, values = months(random, step=3.0)
    order = random.permutation(len(times))
    mixed = trend_of(np.append(times[order], [np.nan, 1.0]), np.append(values[order], [1.0, np.nan]))
    assert mixed.verdict == trend_of(times, values).verdict
    np.testing.assert_array_equal(mixed.value, trend_of(times, values).value)


def test_a_figure_that_is_alike_on_most_days_is_not_outside_for_a_hair():
    values = np.full(20, 5.0)
    values[[3, 9]], values[-1] = 5.5, 5.1
    assert trend_of(DAY_S * np.arange(20.0), values).verdict == "steady"
    values[-1] = 7.0
    assert trend_of(DAY_S * np.arange(20.0), values).verdict == "outside"
