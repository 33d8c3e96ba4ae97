"""Kernels that find spikes in traces: against the batch solutions of the same problem."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.optimize import nnls

from streamfluo.calcium.kernels.spikes import (
    Levels,
    Pools,
    Windows,
    append_sample_ar2,
    deconvolve_samples,
    deconvolve_trace,
    impulse_response,
    initial_levels,
    newest_samples_ar2,
)


def plain(held):
    """A kernel's argument without the names of its fields, nor of those within it."""
    return tuple(map(plain, held)) if isinstance(held, tuple) else held


def calcium(g, length=300, seed=0, rate=0.04, noise=0.5):
    rng = np.random.default_rng(seed)
    spikes = (rng.random(length) < rate) * rng.uniform(1, 4, length)
    clean = np.convolve(spikes, impulse_response(np.atleast_1d(np.array(g, float)), length))[:length]
    return clean + noise * rng.standard_normal(length), clean, spikes


def deconvolved(y, g, min_spike=0.0):
    trace, spikes = np.empty((2, len(y)))
    deconvolve_trace(y, g, min_spike, trace, spikes)
    return trace, spikes


@pytest.mark.parametrize("seed", range(4))
def test_ar1_pools_are_the_constrained_least_squares_solution(seed):
    y, _, _ = calcium(0.9, seed=seed)
    response = toeplitz(impulse_response(np.array([0.9]), len(y)), np.zeros(len(y)))
    spikes = nnls(response, y)[0]
    trace, found = deconvolved(y, 0.9)
    np.testing.assert_allclose(trace, response @ spikes, atol=1e-6)
    np.testing.assert_allclose(found[1:], spikes[1:], atol=1e-6)


def test_a_penalty_on_spikes_is_a_shift_of_the_samples():
    y, _, _ = calcium(0.9, seed=5)
    penalty, n = 2.0, len(y)
    response = toeplitz(impulse_response(np.array([0.9]), n), np.zeros(n))
    gram, right = response.T @ response, response.T @ y - penalty
    root = np.linalg.cholesky(gram).T
    spikes = nnls(root, np.linalg.solve(root.T, right))[0]
    shifted = y - penalty * (1 - 0.9)
    shifted[-1] = y[-1] - penalty
    np.testing.assert_allclose(deconvolved(shifted, 0.9)[0], response @ spikes, atol=1e-5)


def test_the_smallest_spike_is_kept():
    y, _, _ = calcium(0.9, seed=1)
    _, spikes = deconvolved(y, 0.9, min_spike=1.0)
    assert (spikes[(spikes > 0)][1:] >= 1.0 - 1e-9).all()


def test_ar2_windows_approach_the_batch_solution():
    g = (1.6, -0.63)
    y, clean, _ = calcium(g, length=200, noise=0.3)
    n = 60
    response = impulse_response(np.array(g), n)
    responses = toeplitz(response, np.zeros(n))
    windows = Windows(response, responses.T @ responses, *np.zeros((4, 1, n)))
    online, part = [], np.empty(n)
    for sample in y:
        append_sample_ar2(0, sample, 0.0, 30, plain(windows))
        newest_samples_ar2(0, plain(windows), part)
        online.append(part[0])
    matrix = toeplitz(impulse_response(np.array(g), len(y)), np.zeros(len(y)))
    batch = matrix @ nnls(matrix, y)[0]
    found = np.append(online[n - 1 :], part[1:])
    assert np.corrcoef(found, clean)[0, 1] > 0.99 * np.corrcoef(batch, clean)[0, 1]
    assert np.sqrt(np.mean((found - batch) ** 2)) < 0.1 * batch.std()


def test_baseline_and_noise_are_tracked_while_samples_come():
    y, clean, _ = calcium(0.9, length=6000, rate=0.01, noise=0.4)
    y = y + 7 + np.linspace(0, 3, len(y))
    levels = Levels(y[:1].copy(), np.zeros(1, np.int64), np.full(1, 3.0), np.full(1, 5.0), np.full(1, 5.0))
    pools = Pools(
        np.full(1, 0.9), np.zeros((1, 40)), np.zeros((1, 40)), np.zeros((1, 40), np.int64), np.zeros(1, np.int64)
    )
    now, out = np.empty((2, 1)), []
    for sample in y:
        deconvolve_samples(np.array([sample]), np.ones(1, bool), plain(levels), plain(pools), 5.0, now)
        out.append(now[0, 0])
    assert levels.noise[0] == pytest.approx(0.4, rel=0.2)
    assert levels.baseline[0] == pytest.approx(10.0, abs=0.6)
    assert levels.low[0] < levels.baseline[0]
    assert np.corrcoef(out[500:], clean[500:])[0, 1] > 0.9


@pytest.mark.parametrize("length", [1, 2, 99, 100])
def test_initial_levels_are_quantiles_of_the_history(length):
    history = np.random.default_rng(5).normal(3, 2, length)
    noise, low, level = initial_levels(history)
    np.testing.assert_allclose((low, level), np.percentile(history, (8, 50)), rtol=1e-12)
    steps = np.abs(np.diff(history))
    assert noise == pytest.approx(max(0.3, np.median(steps) / 0.9539) if length > 1 else 1.0, rel=1e-12)
