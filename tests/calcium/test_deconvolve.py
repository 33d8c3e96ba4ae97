"""Batch deconvolution against the constrained solution, the truth, and real spikes."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.optimize import nnls

from streamfluo import ConfigError
from streamfluo.analysis import deconvolve
from streamfluo.calcium.kernels.spikes import impulse_response

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
    assert abs(noise_pull(g, band=(0.25, 0.5))) < 3
    assert found.baseline == pytest.approx(4, abs=0.35 if order == 1 else 0.6)
    assert found.g[0] == pytest.approx(g[0], abs=0.08)


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


def test_a_baseline_that_drifts_is_followed():
    y, clean, _ = recording((0.9,))
    drift = 3 * np.sin(np.arange(3000) / 500)
    found = deconvolve(y + drift, g=0.9, baseline_window=201)
    assert np.corrcoef(found.trace, clean)[0, 1] > 0.93


@pytest.mark.parametrize(
    ("trace", "params", "error"),
    [
        (np.zeros((3, 40)), {}, "a trace is finite"),
        (np.full(100, np.nan), {}, "a trace is finite"),
        (np.ones(100), {"order": 3}, "order is 1 or 2"),
        (np.ones(100), {"g": 1.2}, "a stable process"),
        (np.ones(100), {"order": 2, "g": 0.9}, "g needs 2 coefficients"),
    ],
)
def test_bad_input_is_refused_in_a_line(trace, params, error):
    with pytest.raises(ConfigError, match=error):
        deconvolve(trace, **params)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "step", "least"), [(4, 12, 0.3), (5, 4, 0.12)])
def test_real_spikes(dataset, step, least):
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
        inferred = deconvolve(decimated, g=float(np.exp(-step / 100)), baseline_window=int(2000 / step) | 1).spikes
        rate = np.repeat(inferred / step, step).reshape(-1, 4).sum(1)
        found.append(np.corrcoef(rate, truth[:count].reshape(-1, 4).sum(1))[0, 1])
    print(f"dataset {dataset}: mean correlation {np.nanmean(found):.3f}")
    assert np.nanmean(found) > least
