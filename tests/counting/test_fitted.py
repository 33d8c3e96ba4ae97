"""The states that `count` gives at each frame against the forward filter of the textbook, written out."""

import numpy as np
import pytest
from scipy.stats import norm

from streamfluo import Block, Spec, create

MU, BACKGROUND, SIGMA, P_ON, P_OFF = 60.0, 20.0, 5.0, 0.1, 0.15
SEED = 771_205


def forward_mean(trace, most):
    """The mean intensity of one emitter's states after each frame, with outliers of p 0.01 over 0 to `most`."""
    centre = np.array([BACKGROUND, BACKGROUND + MU])
    spread = np.sqrt(centre + SIGMA**2)
    on = P_ON / (P_ON + P_OFF)
    alpha, step = np.array([1 - on, on]), np.array([[1 - P_ON, P_ON], [P_OFF, 1 - P_OFF]])
    means = []
    for n, value in enumerate(trace):
        alpha = alpha @ step if n else alpha
        alpha = alpha * (0.99 * norm.pdf(value, centre, spread) + 0.01 / most)
        alpha /= alpha.sum()
        means.append(alpha @ centre)
    return np.array(means)


@pytest.mark.parametrize("cut", [1, 40])
def test_fitted_is_the_mean_of_the_states_by_the_forward_filter(cut):
    rng = np.random.default_rng(SEED)
    on = np.cumsum(rng.random((80, 2)) < 0.12, axis=0) % 2
    traces = rng.normal(BACKGROUND + MU * on, np.sqrt(BACKGROUND + MU * on + SIGMA**2))
    parameters = (MU, BACKGROUND, SIGMA, P_ON, P_OFF, 0.0)
    operator = create(
        "count",
        Spec((4, 4), "uint16"),
        min_emitters=1,
        max_emitters=1,
        parameters=parameters,
        update_every=0,
        max_x=100.0,
    )
    fitted = []
    for at in range(0, 80, cut):
        block = Block(at, np.arange(cut), np.zeros((cut, 4, 4), np.uint16))
        fitted.append(operator.update(block, {"photons": traces[at : at + cut]}).values["fitted"])
    expected = np.stack([forward_mean(trace, 100.0) for trace in traces.T], 1)
    np.testing.assert_allclose(np.concatenate(fitted), expected, rtol=1e-3)
