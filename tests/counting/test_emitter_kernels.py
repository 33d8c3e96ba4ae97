"""The kernels of counting against the textbook: transition matrices, emission, forward filter, gradient."""

import numpy as np
import pytest
from emitter_oracle import enumerated, trace_log_likelihood, transitions

from streamfluo.counting.kernels.emission import Emission, EmissionModel, fill_emission
from streamfluo.counting.kernels.forward_backward import step
from streamfluo.counting.kernels.likelihood import EmitterModel, evaluate
from streamfluo.counting.kernels.transitions import StateSpaces, state_count, transition_matrices

TRUE = {"lognormal": (2000.0, 5000.0, 0.05, 0.05, 0.08), "camera": (1000.0, 1000.0, 15.8, 0.05, 0.08)}
WIDTH = {"lognormal": 30000 / 1024, "camera": 15000 / 1024}


def matrices(p_on, p_off, p_bleach, most):
    return transition_matrices(np.array([[p_on], [p_off], [p_bleach]]), StateSpaces(0, most, True))


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


@pytest.mark.parametrize("emitters", range(5))
def test_blinking_matrices_are_sums_over_single_emitters(emitters):
    blinking = matrices(0.07, 0.2, 0.0, 4)[0].blinking[emitters, : emitters + 1, : emitters + 1, 0]
    states, expected_matrix = enumerated(emitters, 0.07, 0.2)
    alive = [n for n, (a, _) in enumerate(states) if a == emitters]
    np.testing.assert_allclose(blinking, expected_matrix[np.ix_(alive, alive)], rtol=0, atol=1e-15)
    np.testing.assert_allclose(blinking, transitions(emitters, 0.07, 0.2), rtol=0, atol=1e-15)


@pytest.mark.parametrize("emitters", range(1, 5))
def test_a_step_with_bleaching_is_a_sum_over_single_emitters(emitters):
    chain, _ = matrices(0.07, 0.2, 0.03, 4)
    states, expected_matrix = enumerated(emitters, 0.07, 0.2, 0.03)
    n = state_count(emitters, True)
    assert n == len(states)
    made = np.empty((n, n))
    for s in range(n):
        state = np.eye(n)[:, [s]].copy()
        bleached, following = np.empty((2, n, 1))
        step(state, chain, emitters, True, bleached, following)
        made[s] = following[:, 0]
    np.testing.assert_allclose(made, expected_matrix, rtol=0, atol=1e-15)


def test_large_matrices_are_stochastic_and_their_slopes_are_finite_differences():
    (at, slopes), (near, _) = matrices(0.05, 0.08, 0.01, 20), matrices(0.05 + 1e-6, 0.08, 0.01, 20)
    np.testing.assert_allclose(at.blinking[20, :, :, 0].sum(1), 1, rtol=1e-13)
    np.testing.assert_allclose(at.blinking[20, :, :, 0], transitions(20, 0.05, 0.08), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(slopes.by_on, (near.blinking - at.blinking) / 1e-6, atol=1e-3)
    near, _ = matrices(0.05, 0.08 + 1e-6, 0.01 + 1e-6, 20)
    np.testing.assert_allclose(slopes.by_off, (near.blinking - at.blinking) / 1e-6, atol=1e-3)
    np.testing.assert_allclose(slopes.by_bleach, (near.bleaching - at.bleaching) / 1e-6, atol=1e-3)


@pytest.mark.parametrize("p_outlier", [0.1, 0.0])
@pytest.mark.parametrize("p_bleach", [0.0, 0.004])
@pytest.mark.parametrize("emission", TRUE)
def test_likelihoods_are_those_of_the_plain_forward_pass(emission, p_bleach, p_outlier):
    x = traces(emission)
    theta = np.array([*TRUE[emission], p_bleach])
    if p_outlier == 0:
        x[7], theta[2] = x[8], theta[2] * 10  # else the likelihood of too few emitters underflows
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
            for k, emitters in enumerate(model.candidates):
                expected = trace_log_likelihood(
                    x[:, n], emitters, emission, parameters[n], width=WIDTH[emission], p_outlier=p_outlier
                )
                assert found[n, k] == pytest.approx(expected, abs=1e-9, rel=1e-13)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("p_bleach", [0.0, 0.004])
@pytest.mark.parametrize("emission", TRUE)
def test_slopes_are_finite_differences(emission, p_bleach, own):
    x = as_seen(traces(emission), emission)
    model = EmitterModel(emission == "camera", p_bleach > 0, 1, 5, WIDTH[emission])
    theta = np.tile([*TRUE[emission], p_bleach], (5, 1)) * [1.03, 0.98, 1.1, 1.2, 0.9, 1]
    if own:
        theta[:, 3] *= np.linspace(0.9, 1.1, 5)

    def mixed(parameters):
        prior = -np.log1p(np.arange(1, 6))
        return np.logaddexp.reduce(evaluate(x, parameters, model)[0] + prior, axis=1)

    _, slopes = evaluate(x, theta, model, slopes=True)
    for k in range(6 if p_bleach else 5):
        h = np.zeros(6)
        h[k] = 1e-5 * theta[0, k]
        expected = (mixed(theta + h) - mixed(theta - h)) / (2 * h[k])
        np.testing.assert_allclose(slopes[:, k], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("emission", TRUE)
def test_parameters_that_are_nan_index_no_power_and_explain_nothing(emission):
    x = as_seen(traces(emission, frames=10, n=2), emission)
    brightness = np.repeat(np.array(TRUE[emission][:3])[:, None], 2, 1)
    brightness[:, 1] = np.nan
    model = EmissionModel(emission == "camera", brightness, (0.0, -10.0))
    filled = Emission(np.empty((10, 3, 2)), np.empty((10, 2)), np.empty((10, 2)))
    fill_emission(x, model, 3, filled)
    np.testing.assert_allclose(filled.probability[..., 1], 1, rtol=1e-12)  # of an outlier, whatever z is
