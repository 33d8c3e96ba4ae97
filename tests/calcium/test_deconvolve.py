"""Batch deconvolution against the constrained solution, the truth, and real spikes."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndi
from scipy.linalg import toeplitz
from scipy.optimize import nnls

from streamfluo import ConfigError
from streamfluo.analysis import deconvolve
from streamfluo.calcium.kernels.spikes import impulse_response
from streamfluo.calcium.spike_rate import calcium_steps

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data")) / "spikefinder"


def recording(g, length=3000, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    spikes = (rng.random(length) < 0.03) * rng.uniform(1, 3, length)
    clean = np.convolve(spikes, impulse_response(np.array(g), length))[:length]
    return 4 + clean + noise * rng.standard_normal(length), clean, spikes


def noise_in(band, clean, noise=0.3):
    """What a power spectrum's mean over a band shows of noise and activity together, and its standard error."""
    frequency = np.fft.rfftfreq(len(clean))
    inside = (frequency > band[0]) & (frequency <= band[1])
    activity = np.mean(np.abs(np.fft.rfft(clean)[inside]) ** 2) / len(clean)
    expected = np.sqrt(noise**2 + activity)
    # a power of known activity in white noise has the variance σ⁴ + 2 σ² activity; d√p = dp / 2√p
    return expected, np.sqrt((noise**4 + 2 * noise**2 * activity) / inside.sum()) / (2 * expected)


def noise_pull(g, band, disturbance=0.0):
    """The mean error of the noise over four recordings, in its standard errors."""
    errors, variances = [], []
    for seed in range(4):
        y, clean, _ = recording(g, seed=seed)
        expected, error = noise_in(band, clean)
        errors.append(deconvolve(y + disturbance, noise=band).noise - expected)
        variances.append(error**2)
    return np.sum(errors) / np.sqrt(np.sum(variances))


@pytest.mark.parametrize(("order", "g"), [(1, (0.9,)), (2, (1.6, -0.63))])
def test_the_truth_comes_out(order, g):
    y, clean, spikes = recording(g)
    found = deconvolve(y, order=order)
    assert np.corrcoef(found.trace, clean)[0, 1] > 0.97
    assert np.corrcoef(found.spikes, spikes)[0, 1] > (0.9 if order == 1 else 0.6)
    assert found.noise == pytest.approx(0.3, rel=0.12)  # the noise's, not that of the transients' rise
    assert abs(noise_pull(g, band=(0.25, 0.5))) < 3
    assert found.baseline.mean() == pytest.approx(4, abs=0.35 if order == 1 else 0.6)
    assert found.g[0] == pytest.approx(g[0], abs=0.08)
    assert not found.undetermined


def test_without_a_penalty_it_is_non_negative_least_squares():
    y, _, _ = recording((0.9,), length=300)
    response = toeplitz(impulse_response(np.array([0.9]), 300), np.zeros(300))
    spikes = nnls(response, y - 4)[0]
    found = deconvolve(y, g=0.9, baseline=4.0, noise=0.3, sparsity=0.0)
    np.testing.assert_allclose(found.trace, response @ spikes, atol=1e-6)


def test_the_noise_comes_from_the_power_spectrum_over_a_range_of_frequencies():
    y, _, _ = recording((0.9,))
    hum = np.cos(0.6 * np.pi * np.arange(len(y)))  # 0.3 of the sampling rate
    assert deconvolve(y + hum).noise > 0.7
    assert abs(noise_pull((0.9,), band=(0.35, 0.5), disturbance=hum)) < 3


def transients(decay_s, rise_s, interval_s, seed, cells=4, seconds=120, noise=0.15):
    """Traces (K, T) of spikes at random times, integrated from a tenth of a sample on, and the spikes' times."""
    rng, fine = np.random.default_rng(seed), 10
    count = int(seconds / interval_s)
    times = np.arange(int(8 * decay_s / interval_s) * fine) * interval_s / fine
    response = (1 - np.exp(-times / rise_s)) * np.exp(-times / decay_s)
    spikes = rng.random((cells, count * fine)) < 0.5 * interval_s / fine
    clean = np.array([np.convolve(row, response / response.max())[: count * fine] for row in spikes.astype(float)])
    y = clean.reshape(cells, count, fine).mean(2) + noise * rng.standard_normal((cells, count))
    return y, spikes.reshape(cells, count, fine).sum(2)


def lag_samples(rate, truth):
    """Where the correlation of rates (K, T) with the truth is highest, from a parabola through three samples."""
    before, now, after = (np.corrcoef(np.roll(rate, -n, axis=1).ravel(), truth.ravel())[0, 1] for n in (-1, 0, 1))
    return 0.5 * (before - after) / (before - 2 * now + after), now


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay_s", "rise_s", "hz"),
    [
        pytest.param(0.4, 0.05, 60, marks=pytest.mark.slow),
        pytest.param(1.2, 0.1, 30, marks=pytest.mark.slow),
        (0.6, 0.02, 10),
    ],
)
def test_one_rise_and_decay_are_estimated_under_drift_and_the_rate_has_no_delay(decay_s, rise_s, hz):
    """Means of five recordings, 3 standard errors of which are left to chance.

    The delay is taken out: what is left is less than half of the rise and half of a sample.
    """
    decays, lags, ratios = [], [], []
    for seed in range(5):
        y, spikes = transients(decay_s, rise_s, 1 / hz, seed)
        drift = 5 + 2 * np.sin(np.arange(y.shape[1]) / hz / 15 + np.arange(len(y))[:, None])
        found = deconvolve(y + drift, interval_s=1 / hz, cooperativity=1)
        known = deconvolve(y + drift, interval_s=1 / hz, decay_s=decay_s, rise_s=rise_s, cooperativity=1)
        decays.append(found.decay_s)
        truth = ndi.gaussian_filter1d(spikes.astype(float), 0.1 * hz, axis=1)
        (lag, reached), (_, possible) = (
            lag_samples(ndi.gaussian_filter1d(one.rate, 0.1 * hz, axis=1), truth) for one in (found, known)
        )
        lags.append(lag)
        ratios.append(reached / possible)
    assert decay_s / 1.5 < np.median(decays) < 1.5 * decay_s
    assert abs(np.mean(lags)) / hz < 0.5 / hz + rise_s / 2 + 3 * np.std(lags) / hz / 2
    assert np.mean(ratios) + 3 * np.std(ratios) / 2 >= 1 - 1e-9  # as with the true rise and decay


def test_the_area_of_the_rate_is_the_sum_of_the_spikes():
    y, _ = transients(0.6, 0.05, 1 / 30, seed=4)
    found = deconvolve(y, interval_s=1 / 30, cooperativity=1)
    np.testing.assert_allclose(found.rate.sum(1) / 30, found.spikes.sum(1), rtol=0.02)


def test_what_a_cooperative_indicator_shows_becomes_calcium():
    """Steps of calcium c, kept by a sample to √0.9, give spikes of linear · ((1 + c / 2 linear)² − 1), kept to 0.9."""
    steps = np.array([0.5, 0, 3, 2, 0, 0, 4, 0, 1])
    spikes, shown, linear = np.zeros(9), 0.4, 0.7
    wanted = []
    for t, step in enumerate(steps):
        calcium = 2 * linear * (np.sqrt(1 + 0.9 * shown / linear) - 1)  # of the activity left
        after = linear * ((1 + (calcium + step) / (2 * linear)) ** 2 - 1)
        spikes[t] = after - 0.9 * shown
        shown = after
        wanted.append(step)
    np.testing.assert_allclose(calcium_steps(spikes[None], 0.4, 0.9, np.array([linear]), 2.0)[0], wanted, atol=1e-12)


def test_bursts_of_a_cooperative_indicator_count_by_their_spikes():
    """Fluorescence calcium² of pairs of bursts of 1 to 6 spikes: the rate's share of each is nearer to its spikes."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        spikes = np.zeros(6000)
        spikes[np.arange(60, 5900, 120)] = rng.integers(1, 7, 49)
        calcium = np.convolve(spikes, np.exp(-np.arange(300) / 30))[:6000]  # 1 s at 30 Hz: its square has half
        y = calcium**2 + 0.2 * rng.standard_normal(6000)
        counts, real = {}, spikes[spikes > 0]
        for n in (1, 2):
            rate = deconvolve(y, interval_s=1 / 30, decay_s=0.5, rise_s=0, cooperativity=n).rate
            counts[n] = np.corrcoef([rate[t - 20 : t + 21].sum() for t in np.flatnonzero(spikes)], real)[0, 1]
        gains.append(counts[2] - counts[1])
    assert np.mean(gains) - 3 * np.std(gains) / 2 > 0


def test_traces_of_noise_alone_decide_no_time_constants():
    found = deconvolve(np.random.default_rng(0).standard_normal((3, 2000)), interval_s=0.05)
    assert "no transients in 3 traces" in found.undetermined
    assert found.spikes.mean() < 0.05
    given = deconvolve(np.random.default_rng(0).standard_normal(2000), interval_s=0.05, decay_s=1.5, rise_s=0.1)
    assert (given.decay_s, given.rise_s, given.undetermined) == (1.5, 0.1, "")


def test_an_interpolated_trace_has_the_noise_of_what_it_was_made_of():
    """0.15 at 10 Hz is 0.3 at 40 Hz; the filter of the interpolation takes a part of it."""
    from scipy.signal import resample  # a second to import, in each process that lists the tests

    for seed in range(5, 11):
        y, _ = transients(0.6, 0.05, 1 / 10, seed, cells=1)
        dense = resample(y[0], 4 * y.shape[1])
        assert deconvolve(dense, interval_s=0.025).noise == pytest.approx(0.25, rel=0.3)


def test_a_baseline_that_drifts_is_followed():
    y, clean, _ = recording((0.9,))
    drift = 3 * np.sin(np.arange(3000) / 500)
    found = deconvolve(y + drift, g=0.9, baseline_window=201)
    assert np.corrcoef(found.trace, clean)[0, 1] > 0.93


@pytest.mark.parametrize(
    ("trace", "params", "error"),
    [
        (np.zeros((3, 4, 40)), {}, "traces are finite"),
        (np.zeros((0, 40)), {}, "traces are finite"),
        (np.full(100, np.nan), {}, "traces are finite"),
        (np.ones(100), {"order": 3}, "order is 1 or 2"),
        (np.ones(100), {"g": 1.2}, "a stable process"),
        (np.ones(100), {"order": 2, "g": 0.9}, "g needs 2 coefficients"),
        (np.ones(100), {"g": (1.2, -0.8)}, "a stable process that decays"),
        (np.ones(100), {"interval_s": 0}, "interval_s must be a positive time"),
        (np.ones(100), {"g": 0.9, "decay_s": 1.0}, "give one or the other"),
        (np.ones(100), {"cooperativity": 0.5}, "an exponent from 1 to 4"),
    ],
)
def test_bad_input_is_refused_in_a_line(trace, params, error):
    with pytest.raises(ConfigError, match=error):
        deconvolve(trace, **params)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "step", "least"), [(4, 12, 0.4), (5, 4, 0.37)])
def test_spikefinder(dataset, step, least):
    """Spikefinder traces decimated to what they resolve, correlated with the real spikes in 40 ms."""
    if not DATA.exists():
        pytest.skip(f"no recordings at {DATA}")
    traces, spikes = (
        np.genfromtxt(DATA / f"{dataset}.train.{kind}.csv", delimiter=",", skip_header=1)
        for kind in ("calcium", "spikes")
    )
    found = []
    for trace, truth in zip(traces.T, spikes.T, strict=True):
        count = int(np.isfinite(trace).sum()) // (4 * step) * 4 * step
        decimated = trace[:count].reshape(-1, step).mean(1)
        rate = deconvolve(decimated, interval_s=step / 100).rate
        dense = np.interp(np.arange(count) + 0.5, (np.arange(len(rate)) + 0.5) * step, rate)
        real = truth[:count].reshape(-1, 4).sum(1)
        if real.any():
            found.append(np.corrcoef(dense.reshape(-1, 4).mean(1), real)[0, 1])
    print(f"dataset {dataset}: mean correlation {np.mean(found):.3f}")
    assert np.mean(found) > least
