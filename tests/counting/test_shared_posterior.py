"""Posteriors of numbers over all that is not known of shared parameters, against the integral over one of them."""

import numpy as np
import pytest
from emitter_traces import BRIGHTNESS, simulated
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, logsumexp
from seeds import seeds

from streamfluo.counting import shared_posterior
from streamfluo.counting.bounds import parameter_bounds
from streamfluo.counting.fit import P_ON, Search, fit_pooled
from streamfluo.counting.kernels.likelihood import EmitterModel, evaluate
from streamfluo.counting.number_prior import PRIOR_TRACES, number_prior
from streamfluo.counting.shared_posterior import Factors, draw, log_posterior

MODEL = EmitterModel(True, False, 0, 5, 6.0)


def fitted(known, seed=0):
    """Traces (t, n) that say little of p_on, and their fit where all parameters but those free are known."""
    traces, _ = simulated("camera", [1, 2, 2, 3], 120, seed, (0.02, 0.3, 0.0))
    x = traces.T
    bounds = parameter_bounds(x, True, False)
    bounds[:3] = np.array(BRIGHTNESS["camera"])[:, None]
    bounds[4] = 0.3
    if known:
        bounds[P_ON] = 0.02
    search = Search(bounds)
    return x, fit_pooled(x, x, MODEL, search), search


def under(x, p_on):
    theta = np.tile([*BRIGHTNESS["camera"], p_on, 0.3, 0.0], (x.shape[1], 1))
    return evaluate(x, theta, MODEL)[0]


def evidence(logs):
    """Oracle: the largest log evidence under any distribution of the numbers, with its Dirichlet prior."""
    stated = 1 / (MODEL.candidates + 1)

    def loss(free):
        probabilities = log_softmax(free)
        each = logsumexp(logs + probabilities, axis=1)
        return -each.sum() - PRIOR_TRACES * (stated / stated.sum() * probabilities).sum()

    return -minimize(loss, np.log(stated), options={"gtol": 1e-7}).fun


def logs_of(x):
    return lambda each: evaluate(x, each, MODEL)[0]


@pytest.mark.slow
@seeds(0, 1, 2)
def test_it_is_the_integral_over_what_is_not_known(seed, monkeypatch):
    monkeypatch.setattr(shared_posterior, "SCALE_DRAWS", 150)  # chance is not what is tested
    x, pooled, search = fitted(known=False, seed=seed)
    found = np.exp(log_posterior(Factors(x, pooled.scatter, MODEL, 1), pooled, MODEL, search, 500, logs_of(x)))
    prior = -np.log1p(MODEL.candidates)
    grid = expit(np.linspace(logit(1e-3), logit(0.3), 60))
    logs = np.array([under(x, p) + prior for p in grid])
    weights = np.array([evidence(under(pooled.seen, p)) for p in grid])
    weights = np.exp(weights - logsumexp(weights))
    each = np.exp(logs - logsumexp(logs, axis=2, keepdims=True))
    expected = np.einsum("g,gnk->nk", weights, each)
    best = each[weights.argmax()]
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(best - expected).max() > 0.04  # the best parameters alone tell something else


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_distributed_as_likely_as_can_be(seed):
    logs = np.random.default_rng(seed).normal(0, 3, (20, len(MODEL.candidates)))
    probabilities, found = number_prior(logs, MODEL.candidates)
    assert np.exp(probabilities).sum() == pytest.approx(1)
    assert found == pytest.approx(evidence(logs), abs=1e-3)


@pytest.mark.slow
def test_what_the_numbers_are_does_not_shift_the_rate():
    """Traces of three emitters each: under a fixed prior of 0 … 10 fewer emitters that come on more often win."""
    model = EmitterModel(True, False, 0, 10, 6.0)
    inside = []
    for seed in range(3):
        traces, _ = simulated("camera", [3] * 16, 250, seed, (0.02, 0.5, 0.0))
        x = traces.T
        bounds = parameter_bounds(x, True, False)
        bounds[:3] = np.array(BRIGHTNESS["camera"])[:, None]
        bounds[4] = 0.5
        search = Search(bounds)
        pooled = fit_pooled(x, x, model, search)
        rates = np.concatenate([several[:, P_ON] for _, several in draw(pooled, model, search, 64)])
        inside.append(np.quantile(rates, 0.05) < 0.02 < np.quantile(rates, 0.95))
    assert sum(inside) >= 2


def test_where_all_is_known_it_is_the_posterior_under_that():
    x, pooled, search = fitted(known=True)
    logs = under(x, 0.02) - np.log1p(MODEL.candidates)
    found = log_posterior(Factors(x, pooled.scatter, MODEL, 1), pooled, MODEL, search, 8, logs_of(x))
    np.testing.assert_allclose(found, logs - logsumexp(logs, axis=1, keepdims=True), atol=1e-12)


def test_draws_are_the_same_every_time_and_within_bounds():
    _, pooled, search = fitted(known=False)
    one, other = (draw(pooled, MODEL, search, 16) for _ in range(2))
    assert sum(len(several) for _, several in one) == 16
    for (_, a), (_, b) in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert ((a >= search.bounds[:, 0]) & (a <= search.bounds[:, 1])).all()
