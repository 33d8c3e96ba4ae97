"""The kernels of counting next to the textbook: matrices, light, filter, slopes."""

import numpy as np
import pytest
from emitter_oracle import enumerated, trace_log_likelihood, transitions

from streamfluo.counting.kernels.forward_backward import step
from streamfluo.counting.kernels.likelihood import EmitterModel, evaluate
from streamfluo.counting.kernels.transitions import fill_matrices, state_count

TRUE = {"lognormal": (2000.0, 5000.0, 0.05, 0.05, 0.08), "camera": (1000.0, 1000.0, 15.8, 0.05, 0.08)}
WIDTH = {"lognormal": 30000 / 1024, "camera": 15000 / 1024}


def matrices(p_on, p_off, p_bleach, most):
    size = most + 1
    blinking, by_on, by_off = np.zeros((3, size, size, size, 1))
    bleaching, by_bleach = np.zeros((2, size, size, 1))
    fill_matrices(np.array([[p_on], [p_off], [p_bleach]]), 0, most, blinking, by_on, by_off, bleaching, by_bleach)
    return blinking, by_on, by_off, bleaching, by_bleach


def traces(emission, frames=300, n=5, seed=0):
    rng = np.random.default_rng(seed)
    mu, mu_bg, sigma, *_ = TRUE[emission]
    z = np.repeat(rng.integers(0, 5, (frames // 10, n)), 10, axis=0)
    mean = mu * z + mu_bg
    if emission == "lognormal":
        x = mean * np.exp(sigma * rng.normal(size=mean.shape))
    else:
        x = rng.poisson(mean) + sigma * rng.normal(size=mean.shape)
    x[7] *= 3  # an outlier
    return x


def as_seen(x, emission):
    return np.log(x) if emission == "lognormal" else x


@pytest.mark.parametrize("y", range(5))
def test_transitions_are_those_of_every_fate_walked_through(y):
    blinking = matrices(0.07, 0.2, 0.0, 4)[0][y, : y + 1, : y + 1, 0]
    states, walked = enumerated(y, 0.07, 0.2)
    alive = [n for n, (a, _) in enumerate(states) if a == y]
    np.testing.assert_allclose(blinking, walked[np.ix_(alive, alive)], rtol=0, atol=1e-15)
    np.testing.assert_allclose(blinking, transitions(y, 0.07, 0.2), rtol=0, atol=1e-15)


@pytest.mark.parametrize("y", range(1, 5))
def test_a_step_with_bleaching_is_that_of_every_fate_walked_through(y):
    blinking, _, _, bleaching, _ = matrices(0.07, 0.2, 0.03, 4)
    states, walked = enumerated(y, 0.07, 0.2, 0.03)
    n = state_count(y, True)
    assert n == len(states)
    made = np.empty((n, n))
    for s in range(n):
        state = np.eye(n)[:, [s]].copy()
        between, later = np.empty((2, n, 1))
        step(state, blinking, bleaching, y, True, between, later)
        made[s] = later[:, 0]
    np.testing.assert_allclose(made, walked, rtol=0, atol=1e-15)


def test_large_matrices_are_still_probabilities_and_know_their_slopes():
    at, near = matrices(0.05, 0.08, 0.01, 20), matrices(0.05 + 1e-6, 0.08, 0.01, 20)
    np.testing.assert_allclose(at[0][20, :, :, 0].sum(1), 1, rtol=1e-13)
    np.testing.assert_allclose(at[0][20, :, :, 0], transitions(20, 0.05, 0.08), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(at[1], (near[0] - at[0]) / 1e-6, atol=1e-3)
    near = matrices(0.05, 0.08 + 1e-6, 0.01 + 1e-6, 20)
    np.testing.assert_allclose(at[2], (near[0] - at[0]) / 1e-6, atol=1e-3)
    np.testing.assert_allclose(at[4], (near[3] - at[3]) / 1e-6, atol=1e-3)


@pytest.mark.parametrize("p_outlier", [0.1, 0.0])
@pytest.mark.parametrize("p_bleach", [0.0, 0.004])
@pytest.mark.parametrize("emission", TRUE)
def test_likelihoods_are_those_of_the_plain_forward_pass(emission, p_bleach, p_outlier):
    x = traces(emission)
    theta = np.array([*TRUE[emission], p_bleach])
    if p_outlier == 0:
        x[7], theta[2] = x[8], theta[2] * 10  # else nothing is left in float64 where y is far too small
    x[100:103, 1] = np.nan
    model = EmitterModel(emission == "camera", p_bleach > 0, 1, 4 if p_bleach else 10, WIDTH[emission], 1024, p_outlier)
    each = np.tile(theta, (5, 1))
    each[:, 0] *= np.linspace(0.9, 1.1, 5)
    own = each.copy()
    own[:, 3] *= np.linspace(0.9, 1.1, 5)
    for parameters in (each, own):
        found, _ = evaluate(as_seen(x, emission), parameters, model)
        single, _ = evaluate(as_seen(x[:, :1], emission), parameters[:1], model)
        np.testing.assert_allclose(single, found[:1], rtol=0, atol=1e-9)
        for n in range(5):
            for k, y in enumerate(model.candidates):
                expected = trace_log_likelihood(
                    x[:, n], y, emission, *parameters[n], width=WIDTH[emission], p_outlier=p_outlier
                )
                assert found[n, k] == pytest.approx(expected, abs=1e-9, rel=1e-13)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("p_bleach", [0.0, 0.004])
@pytest.mark.parametrize("emission", TRUE)
def test_slopes_are_those_of_small_steps(emission, p_bleach, own):
    x = as_seen(traces(emission), emission)
    model = EmitterModel(emission == "camera", p_bleach > 0, 1, 5, WIDTH[emission])
    theta = np.tile([*TRUE[emission], p_bleach], (5, 1)) * [1.03, 0.98, 1.1, 1.2, 0.9, 1]
    if own:
        theta[:, 3] *= np.linspace(0.9, 1.1, 5)

    def mixed(parameters):
        return np.logaddexp.reduce(evaluate(x, parameters, model)[0], axis=1)

    _, slopes = evaluate(x, theta, model, slopes=True)
    for k in range(6 if p_bleach else 5):
        h = np.zeros(6)
        h[k] = 1e-5 * theta[0, k]
        expected = (mixed(theta + h) - mixed(theta - h)) / (2 * h[k])
        np.testing.assert_allclose(slopes[:, k], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
