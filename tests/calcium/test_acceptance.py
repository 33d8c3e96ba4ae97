"""Which cells are proposed, and which components are taken for cells: what rises, is compact, and more than chance."""

import numpy as np
import pytest

from streamfluo.calcium.extract.acceptance import FALSE_PER_PLACE, FALSE_SCALE, FALSE_SHARE, is_cell, least_times
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.footprint_update import update_statistics
from streamfluo.calcium.extract.params import ExtractParams
from streamfluo.calcium.kernels.footprints import factorise

BIN, BINS, SIDE = 5, 200, 40
Y, X = np.mgrid[:13, :13]
ROUND = np.exp(-((Y - 6) ** 2 + (X - 6) ** 2) / 12) * ((Y - 6) ** 2 + (X - 6) ** 2 < 20)
LONG = ROUND * (abs(Y - 6) < 2)
TRANSIENT = np.exp(-np.arange(8) / 2.0)


def accepts(shape, trace_of_bins, corner=(14, 14)):
    """Whether a component of this shape (h, w) and activity [σ of a bin] is a cell after all bins."""
    background = Background((SIDE, SIDE), 1)
    background.initialise(
        np.zeros((SIDE, SIDE), np.float32),
        np.random.default_rng(0).normal(0, 1, (20, SIDE, SIDE)).astype(np.float16),
    )
    cells = Components((SIDE, SIDE), shape.shape, 1, 20, 0.0)
    k = cells.add(corner, shape.astype(np.float32), background, 0)
    cells.live_noise[k] = 1.0
    for number, value in enumerate(trace_of_bins):
        cells.live_seen[k] += BIN
        cells.bin_sum[k] = np.sqrt(BIN) * value
        cells.bin_trace[k] = np.sqrt(BIN) * max(value, 0.0)
        residual = np.zeros((SIDE, SIDE), np.float32)
        update_statistics(cells, residual, number, BIN)
    return bool(is_cell(cells, ExtractParams(), BIN, SIDE * SIDE)[0])


def with_transients(heights, seed=0):
    """Noise of σ 1 with a transient of each of these heights [σ of a bin]."""
    trace = np.random.default_rng(seed).normal(0, 1, BINS)
    for n, height in enumerate(heights):
        trace[20 + 30 * n : 28 + 30 * n] += height * TRANSIENT
    return trace


@pytest.mark.parametrize("seed", range(5))
def test_noise_with_clear_transients_is_a_cell_and_noise_is_none(seed):
    assert accepts(ROUND, with_transients([7, 6, 5], seed))
    assert not accepts(ROUND, with_transients([], seed))


@pytest.mark.parametrize("size", [2.5, 3.5])
def test_what_falls_as_far_as_it_rises_is_no_cell(size):
    wave = size * np.sin(2 * np.pi * np.arange(BINS) / 40) + with_transients([])
    assert not accepts(ROUND, wave)
    assert accepts(ROUND, np.maximum(wave, 0))


def test_a_cell_that_is_active_all_the_time_is_one_though_it_falls_below_its_median():
    activity = np.convolve(np.random.default_rng(4).poisson(3, BINS + 7), TRANSIENT, "valid") * 10
    assert accepts(ROUND, activity - np.median(activity))


PLACES = 2000.0


def test_in_a_field_without_cells_background_is_accepted_as_seldom_as_is_said():
    """Components of background, as many and as strong as in fields without cells: Poisson, with an exponential tail."""
    rng = np.random.default_rng(8)
    fields = [rng.exponential(FALSE_SCALE, rng.poisson(FALSE_PER_PLACE * PLACES)) for _ in range(20_000)]
    wrong = np.mean([bool((times >= least_times(times, PLACES)).any()) for times in fields])
    assert wrong == pytest.approx(FALSE_SHARE, abs=0.004)
    assert least_times(np.array([]), PLACES) == np.inf


def test_alone_more_evidence_is_needed_than_among_cells():
    dim, cells = np.array([1.05]), np.full(40, 3.0)
    assert dim[0] < least_times(dim, PLACES)
    assert dim[0] >= least_times(np.concatenate((dim, cells)), PLACES)
    assert least_times(np.array([0.99, *cells]), PLACES) >= 1
    assert dim[0] < least_times(np.concatenate((dim, cells)), 1000 * PLACES)  # the more places, the more background


def test_at_the_edge_of_what_is_seen_more_is_needed():
    dim = np.zeros(BINS)
    dim[20:60:10] = 4.5  # 4-norm 6.4
    dim[21:61:10] = 3.0
    assert accepts(ROUND, dim)
    assert not accepts(ROUND[3:], dim, corner=(0, 14))
    assert accepts(ROUND[3:], 1.6 * dim, corner=(0, 14))


def test_what_is_less_compact_needs_more():
    dim = np.zeros(BINS)
    dim[20:100:10] = dim[21:101:10] = 3.0  # 4-norm 6
    distance2 = (Y - 6) ** 2 / 6 + (X - 6) ** 2 / 36
    oval = np.exp(-distance2) * (distance2 < 1)  # compactness .75
    assert accepts(ROUND, dim)
    assert not accepts(oval, dim)
    assert accepts(oval, 3 * dim)
    assert not accepts(LONG, 100 * dim)


@pytest.mark.parametrize("highest", [0.0, 3.0, 25.0, 40.0])
def test_the_footprint_of_a_cell_that_is_active_all_the_time_is_proposed(highest):
    """Activity between 0 and so many times the noise of a bin: none lies beyond 2.5 times what all bins scatter by."""
    rng = np.random.default_rng(5)
    cell = (ROUND / np.linalg.norm(ROUND)).astype(np.float32)
    patch = (rng.uniform(0, highest, (40, 1, 1)) * cell + rng.normal(0, 1, (40, 13, 13))).astype(np.float32)
    footprint, slope, activity = cell.copy(), np.empty_like(cell), np.empty(40)
    moment, _ = factorise(patch, ROUND > 0.5, 1.5, footprint, slope, activity)
    alike = float((footprint * cell).sum()) if moment else 0.0
    assert alike > 0.85 if highest > 9 else alike == 0
