"""Expected firing rates: their inputs against direct averages, and the rates against simulated spikes."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage as ndi

from streamfluo.analysis import deconvolve
from streamfluo.calcium.expected_rate import EDGES_S, RISE_QUANTILE, Averages, expected_rates, windows_of
from streamfluo.calcium.extract.settled_rates import MOST_AHEAD, rise_bin, rise_quantiles


def transients(decay_s, rises_s, hz, seed, power=1.0, cells=6, seconds=120, noise=0.12):
    """Traces (K, T) of an indicator with a rise in stages, and the spikes in each sample, at their own times."""
    rng, fine = np.random.default_rng(seed), 10
    count = int(seconds * hz) * fine
    times = np.arange(int(8 * decay_s * hz) * fine) / hz / fine
    spikes = (rng.random((cells, count)) < 0.6 / hz / fine).astype(float)
    clean = np.array([np.convolve(row, np.exp(-times / (power * decay_s)))[:count] for row in spikes]) ** power
    for rise_s in rises_s:
        kernel = np.exp(-times / rise_s)
        clean = np.array([np.convolve(row, kernel / kernel.sum())[:count] for row in clean])
    y = clean.reshape(cells, -1, fine).mean(2)
    return y + noise * rng.standard_normal(y.shape), spikes.reshape(cells, -1, fine).sum(2)


def smooth(rows, hz):
    return ndi.gaussian_filter1d(rows, 0.1 * hz, axis=1)


def mean_correlation(rates, spikes, hz):
    return np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(smooth(rates, hz), smooth(spikes, hz), strict=True)])


@pytest.mark.parametrize("hz", [7.3, 30, 61, 200])
def test_averages_are_those_of_the_trace_between_the_edges(hz):
    """Of a trace that is known at any time: a ramp averages to its value in the middle."""
    averages = Averages(1 / hz, MOST_AHEAD)
    places = np.arange(-averages.past, averages.ahead + 1) / hz
    found = averages.of(places)[:-2]
    reach = (averages.ahead + 0.5) / hz
    middles = np.array([(a + b) / 2 for a, b in pairwise(EDGES_S)])
    whole = (EDGES_S[0] + min(EDGES_S[-1], reach)) / 2
    inside = np.array(EDGES_S[1:]) <= reach
    np.testing.assert_allclose((found + averages.of(places)[-2])[inside], middles[inside], atol=0.5 / hz)
    assert averages.of(places)[-2] == pytest.approx(whole, abs=0.5 / hz)
    np.testing.assert_allclose(averages.of(np.full(averages.samples, 7.0))[:-2], 0, atol=1e-12)


def test_increments_are_those_from_earlier_samples():
    rng, averages = np.random.default_rng(3), Averages(1 / 20)
    y = rng.standard_normal(200)
    squares, cubes = averages.increments(windows_of(y, averages)[150])
    np.testing.assert_allclose(squares, [(y[150] - y[150 - n]) ** 2 for n in (1, 2, 5, 10, 20, 40)])
    np.testing.assert_allclose(cubes, [(y[150] - y[150 - n]) ** 3 for n in (1, 2, 4, 6, 10)])


def test_the_quantile_of_a_histogram_is_that_of_the_values():
    rises = np.random.default_rng(4).lognormal(1, 1, (3, 4000))
    counts = np.array([np.bincount([rise_bin(rise) for rise in row], minlength=101) for row in rises])
    np.testing.assert_allclose(rise_quantiles(counts), np.quantile(rises, RISE_QUANTILE, axis=1), rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay_s", "rises_s", "hz", "power"),
    [
        (0.4, (0.03,), 30, 1.0),
        pytest.param(1.0, (0.05,), 8, 1.0, marks=pytest.mark.slow),
        pytest.param(0.5, (0.05, 0.02), 60, 1.5, marks=pytest.mark.slow),
        pytest.param(0.4, (0.04, 0.02), 30, 2.0, marks=pytest.mark.slow),
    ],
)
def test_rates_follow_the_spikes_of_indicators_better_than_their_calcium_does_and_have_no_delay(
    decay_s, rises_s, hz, power
):
    """Nothing is stated, neither rise, decay nor exponent. Delay: less than half of the rise and half of a sample."""
    expected, calcium, lags, shifts = [], [], [], np.arange(-6, 7)
    for seed in (41, 42, 43):
        y, spikes = transients(decay_s, rises_s, hz, seed, power, cells=3, seconds=80)
        drifting = y + 5 + 2 * np.sin(np.arange(y.shape[1]) / hz / 15)
        rate = deconvolve(drifting, interval_s=1 / hz).rate
        others = [deconvolve(drifting, interval_s=1 / hz, cooperativity=n).rate for n in (1, 2)]
        expected.append(mean_correlation(rate, spikes, hz))
        calcium.append(max(mean_correlation(one, spikes, hz) for one in others))
        by_shift = [mean_correlation(np.roll(rate, -n, axis=1), spikes, hz) for n in shifts]
        lags.append(shifts[int(np.argmax(by_shift))] / hz)
    assert np.mean(expected) > np.mean(calcium)
    assert abs(np.mean(lags)) <= 0.5 / hz + sum(rises_s) / 2


def test_a_rate_needs_half_a_second_and_no_scale():
    y, _ = transients(0.6, (0.05,), 30, 7, cells=2, seconds=60)
    level, noise = np.zeros_like(y), np.full(2, 0.12)
    rates = expected_rates(y, level, noise, 1 / 30)
    np.testing.assert_allclose(expected_rates(1e4 * y, level, 1e4 * noise, 1 / 30), 1e4 * rates, rtol=1e-3)
    np.testing.assert_allclose(expected_rates(y + 50, level + 50, noise, 1 / 30), rates, rtol=1e-3)
    averages = Averages(1 / 30)
    changed = windows_of(y[0], averages)[600].copy()
    beyond = windows_of(np.where(np.arange(y.shape[1]) > 600 + averages.ahead, 9.0, y[0]), averages)[600]
    np.testing.assert_array_equal(changed, beyond)


def test_a_trace_without_noise_or_spikes_has_no_rate():
    flat = deconvolve(np.ones((2, 400)), interval_s=1 / 30)
    assert (flat.rate == 0).all()


def test_the_area_of_the_expected_rate_is_the_sum_of_the_spikes():
    y, _ = transients(0.6, (0.05,), 30, 8, cells=2)
    found = deconvolve(y, interval_s=1 / 30)
    np.testing.assert_allclose(found.rate.sum(1) / 30, found.spikes.sum(1), rtol=1e-9)
