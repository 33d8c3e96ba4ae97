"""Rates of coming on that differ between fluorophores, or between spots."""

import numpy as np
import pytest

from streamfluo.simulate import Dyes, Light, emitter_traces

SPOTS, FRAMES = 300, 1500


def rates_of(on):
    """Rate (n,) at which traces of one fluorophore come on, and its relative error."""
    rises, off = ((on[:, 1:] > on[:, :-1]).sum(1)), (on[:, :-1] == 0).sum(1)
    return rises / off, 1 / np.sqrt(np.maximum(rises, 1))


@pytest.mark.parametrize("between", ["on_sd", "spot_on_sd"])
@pytest.mark.parametrize("sd", [0.0, 0.4])
def test_rates_scatter_as_they_are_told(between, sd):
    dyes = Dyes(0.05, 0.1, **{between: sd})
    _, on = emitter_traces(np.ones(SPOTS, int), FRAMES, dyes, Light(), seed=41)
    rate, error = rates_of(on)
    scatter = np.log(rate).var() - np.mean(error**2)
    assert scatter == pytest.approx(sd**2, abs=4 * (sd**2 + np.mean(error**2)) * np.sqrt(2 / SPOTS))
    assert np.log(rate).mean() == pytest.approx(np.log(0.05), abs=4 * np.hypot(sd, 0.13) / np.sqrt(SPOTS))


def test_fluorophores_of_a_spot_have_its_rate():
    """Of twelve in a spot, the time on scatters between spots alone, or is averaged away."""
    on = {}
    for between in ("on_sd", "spot_on_sd"):
        dyes = Dyes(0.02, 0.2, **{between: 0.5})
        on[between] = emitter_traces(np.full(150, 12), FRAMES, dyes, Light(), seed=42)[1].mean(1)
    assert on["spot_on_sd"].std() > 2 * on["on_sd"].std()
