"""Whether fluorophores come on at one rate in all traces."""

import numpy as np
import pytest
from emitter_traces import BRIGHTNESS, simulated

from streamfluo import counting
from streamfluo.counting.kernels.likelihood import EmitterModel
from streamfluo.counting.rate_scatter import rates_scatter

EMITTERS = [1, 2, 3, 4] * 5
MODEL = EmitterModel(True, False, 0, 8, 6.0)


def traces(seed, scatter, p_off=0.1, p_on=0.1, frames=500):
    """Traces (n, t) whose rate of coming on scatters in its logarithm."""
    rates = p_on * np.exp(scatter * np.random.default_rng(seed).normal(size=len(EMITTERS)))
    each = [simulated("camera", [n], frames, 100 * seed + k, (rate, p_off, 0.0))[0][0]
            for k, (n, rate) in enumerate(zip(EMITTERS, rates, strict=True))]  # fmt: skip
    return np.array(each)


def parameters(p_on=0.1, p_off=0.1):
    return np.tile([*BRIGHTNESS["camera"], p_on, p_off, 0.0], (len(EMITTERS), 1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("p_on", "p_off"), [(0.1, 0.1), (0.02, 0.3), (0.2, 0.03)])
def test_one_rate_is_not_doubted(seed, p_on, p_off):
    x = traces(seed, 0.0, p_off, p_on)
    for taken in (0.8, 1.0, 1.25):  # a fit may lie off
        assert not rates_scatter(np.ascontiguousarray(x.T), parameters(taken * p_on, p_off), MODEL)


@pytest.mark.parametrize("seed", range(3))
def test_rates_that_scatter_are_told(seed):
    assert rates_scatter(np.ascontiguousarray(traces(seed, 0.4).T), parameters(), MODEL)


def test_nothing_is_said_of_background_alone():
    noise = np.random.default_rng(0).normal(500, 20, (300, 5))
    assert not rates_scatter(noise, parameters()[:5], MODEL)


def test_counts_are_doubtful_then():
    x = traces(1, 0.3)
    found = counting.estimate_y(x, 8, emission="camera")
    assert found.doubtful.all()
    assert "rates" in found.doubts
    low, high = found.credible_interval.T
    assert np.mean((low <= EMITTERS) & (high >= EMITTERS)) >= 0.85
