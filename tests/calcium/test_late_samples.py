"""Samples that leave the window: what a new component takes them up from, and rates at the last ones of a series."""

import numpy as np
import pytest

from streamfluo.calcium.extract.acceptance import add_component
from streamfluo.calcium.extract.activity import Deconvolution
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.buffer import Buffer
from streamfluo.calcium.extract.components import POOLS, Components
from streamfluo.calcium.extract.proposal import Proposal
from streamfluo.calcium.extract.settled_rates import AT_ONCE, SettledRates

SHAPE, BOX, WINDOW, INTERVAL_S = (24, 24), (13, 13), 60, 1 / 30


def born(settled, rate_samples=1):
    """A component of a field of noise, 60 frames of which are buffered and so many settled."""
    rng = np.random.default_rng(4)
    background = Background(SHAPE, 1)
    background.initialise(np.zeros(SHAPE, np.float32), rng.normal(0, 1, (20, *SHAPE)).astype(np.float16))
    buffer = Buffer(SHAPE, 1, WINDOW, 5)
    buffer.frames[:] = rng.integers(-40, 40, buffer.frames.shape)
    buffer.index[:], buffer.count, buffer.settled = np.arange(WINDOW), WINDOW, settled
    cells = Components(SHAPE, BOX, 1, WINDOW, 0.0, rate_samples)
    y, x = np.mgrid[:13, :13] - 6
    footprint = np.exp(-(y**2 + x**2) / 8).astype(np.float32)
    footprint[footprint < 0.05] = 0
    footprint /= np.linalg.norm(footprint)
    proposal = Proposal((5, 5), footprint, footprint, np.ones(12), 12.0, 0.9, 9.0)
    add_component(cells, background, buffer, proposal, Deconvolution(INTERVAL_S, 0.5, 0.0, 1))
    return cells, buffer


@pytest.mark.parametrize("settled", [0, 7, 40])
def test_a_new_component_goes_on_from_the_oldest_sample_that_is_not_settled(settled):
    cells, _ = born(settled)
    assert cells.late_previous[0] == cells.history[0, settled]
    assert cells.live_previous[0] == cells.history[0, WINDOW - 1]


@pytest.mark.parametrize("more", [0, 1, 3, 4])
def test_each_of_the_last_samples_has_a_rate_when_the_series_ends(more):
    rates = SettledRates(INTERVAL_S)
    cells, buffer = born(0, rates.samples)
    samples, count = np.random.default_rng(1).normal(0, 1, 200), 0
    for size in (7, *[AT_ONCE] * 8, more):
        raw = samples[count : count + size, None]
        cells.late_seen[0] += size
        rates.add(cells, raw, np.ones((size, 1), bool), count, buffer)
        count += size
        rates.rate(cells, count)
    assert rates.rated == count - more
    late = np.arange(rates.rated - rates.averages.ahead, count) % POOLS
    cells.late_rate[0, late] = np.nan
    rates.finish(cells, count)
    assert np.isfinite(cells.late_rate[0, late]).all()
