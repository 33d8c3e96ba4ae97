"""Parts of one cell are joined, two cells are not; the compactness of footprints, and what it is for."""

from types import SimpleNamespace

import numpy as np
import pytest

import streamfluo
from streamfluo import Block, Spec
from streamfluo.calcium.extract import extraction
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.duplicates import find_duplicate, join
from streamfluo.calcium.extract.extraction import Extraction
from streamfluo.calcium.extract.params import ExtractParams
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.calcium.kernels.compactness import compactness
from streamfluo.simulate import calcium

Y, X = np.mgrid[:25, :25] - 12


def mask(condition):
    return condition.astype(np.float32)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (mask(Y**2 + X**2 <= 81), 1.0),
        (mask((Y**2 + X**2 <= 81) & (Y**2 + X**2 > 36)), 1.0),  # holes count
        (mask((Y / 5) ** 2 + (X / 10) ** 2 <= 1), 0.8),
        (mask((abs(Y) <= 1) & (abs(X) <= 10)), 6 / np.pi * 3 / 21 / (1 + (3 / 21) ** 2)),
        (mask(Y > 99), 0.0),
    ],
)
def test_compactness_is_that_of_the_textbook(image, expected):
    assert compactness(image) == pytest.approx(expected, abs=0.035)


def two_components(first, second, spikes):
    """Components of two images (41, 41) with the same or other activity (2, bins) in noise σ."""
    background = Background((41, 41), 1)
    background.weight[...] = background.noise[...] = 1
    cells = Components((41, 41), (25, 25), 1, 20, 0.0)
    for image in (first, second):
        y, x = np.nonzero(image)
        top, left = cells.corner(y.mean(), x.mean())
        cells.add((top, left), image[top : top + 25, left : left + 25].astype(np.float32), background, 0)
    cells["live_noise"][:] = 1
    s, other = spikes, spikes[::-1]
    cells["own"][:], cells["peak"][:] = (s**2).sum(1), (s**4).sum(1)
    for k in range(2):
        cells.shared[k, 0], cells.theirs[k, 0] = (s[k] * other[k]).sum(), (other[k] ** 2).sum()
    return cells, background


V, U = np.mgrid[:41, :41] - 20
DISC = mask(V**2 + U**2 <= 49)
TOGETHER = np.array([[9.0, 0, 7, 0, 0, 8, 0, 6, 9], [6.0, 0, 5, 0, 0, 6, 0, 4, 6]])
APART = np.array([[9.0, 0, 7, 0, 0, 8, 0, 6, 9], [0, 6.0, 0, 5, 5, 0, 6, 0, 0]])


def test_halves_of_a_cell_that_are_active_together_become_one():
    cells, background = two_components(DISC * (U > 0), DISC * (U <= 0), TOGETHER)
    duplicate = find_duplicate(cells)
    assert (duplicate.whole, duplicate.part) == (0, 1)
    join(cells, background, duplicate)
    image = np.zeros((41, 41))
    top, left = cells.origin[0]
    image[top : top + 25, left : left + 25] = cells.box[0]
    assert np.array_equal(image > 0, DISC > 0)
    ratio = (TOGETHER[1] ** 2).sum() / (TOGETHER[0] * TOGETHER[1]).sum()
    assert image[20, 15] / image[20, 25] == pytest.approx(ratio, rel=1e-5)
    assert cells.energy[0] == pytest.approx((cells.box[0] ** 2).sum())


@pytest.mark.parametrize(
    ("first", "second", "spikes"),
    [
        (DISC * (U > 0), DISC * (U <= 0), APART),  # another activity
        (np.roll(DISC, -7, 1), np.roll(DISC, 8, 1), TOGETHER),  # two bodies
        (DISC * (U > 0), DISC * (U <= 0), TOGETHER[:, :2]),  # one transient: by chance
    ],
    ids=["apart", "two bodies", "one transient"],
)
def test_two_cells_stay_two(first, second, spikes):
    assert find_duplicate(two_components(first, second, spikes)[0]) is None


def test_a_cell_and_the_rim_around_it_become_one():
    """Both are as compact as can be, holes filled; their activities are alike, not the same."""
    alike = np.array([TOGETHER[0], [6.0, 5, 3, 4, 4, 3, 0, 3, 6]])
    core, rim = mask(V**2 + U**2 <= 20), mask((V**2 + U**2 > 20) & (V**2 + U**2 <= 49))
    duplicate = find_duplicate(two_components(core, rim, alike)[0])
    assert (duplicate.whole, duplicate.part) == (0, 1)
    beside = mask(V**2 + (U - 9) ** 2 <= 20)
    assert find_duplicate(two_components(core, beside, alike)[0]) is None


def test_a_sliver_of_a_cell_is_not_a_cell_whatever_its_activity():
    """Half a disc and a bite of it: a part that the whole completes. Two discs that overlap as much are two cells."""
    whole, piece = DISC, DISC * (U > 2)
    cosine = np.sqrt(piece.sum() / whole.sum())
    assert 0.5 < cosine < 0.8
    duplicate = find_duplicate(two_components(whole, piece, APART)[0])
    assert (duplicate.whole, duplicate.part) == (0, 1)
    assert not duplicate.change.any()
    cells, _ = two_components(whole, np.roll(DISC, 5, 1), APART)
    assert cells.overlap[0, 0] / cells.energy[0] == pytest.approx(0.55, abs=0.03)
    assert find_duplicate(cells) is None


@pytest.mark.parametrize(("spread", "joined"), [(0.0, True), (5.0, True), (6.5, False)])
def test_the_surer_two_parts_are_active_together_the_less_must_their_union_gain(spread, joined):
    """Halves of an ellipse that is .03 more compact: with a cosine of .77 they are one cell, with .68 they are not."""
    ellipse = mask((V / 5) ** 2 + (U / 7) ** 2 <= 1)
    other = TOGETHER[1] + spread * np.array([0, 1, 0, 1, 1, 0, 1, 0, 0])
    spikes = np.array([TOGETHER[0], other])
    found = find_duplicate(two_components(ellipse * (U > 0), ellipse * (U <= 0), spikes)[0])
    assert (found is not None) == joined


def test_processes_are_not_accepted_unless_they_are_wanted():
    field = {"neurons": 4, "processes": 8, "signal": 1.0, "spike_rate_hz": 0.4, "frame_rate_hz": 15.0, "motion_px": 0.0}
    movie, _ = calcium(frames=700, shape=(80, 80), seed=4, neuron_sigma_px=2.5, **field)
    strips = {}
    for least in (0.6, 0.0):
        spec = Spec(movie.shape[1:], movie.dtype, interval_s=1 / 15)
        operator = streamfluo.create("extract", spec, neuron_sigma_px=2.5, min_compactness=least)
        operator.update(Block(0, np.arange(len(movie)), movie))
        quality = dict(zip(MEASURES, operator.read(["quality_now"])["quality_now"].T, strict=True))
        assert ((quality["compactness"] > 0) & (quality["compactness"] < 1.05)).all()
        strips[least] = int((quality["accepted"] * (quality["compactness"] < 0.5)).sum())
    assert strips[0.6] <= 1
    assert strips[0.0] >= strips[0.6] + 4


def test_of_two_components_of_the_same_footprint_the_weaker_goes_whatever_their_activity():
    cells, background = two_components(DISC, np.roll(DISC, 1, 0), APART)
    cells["recent"][:, :9] = APART
    duplicate = find_duplicate(cells)
    assert duplicate is not None
    assert (duplicate.whole, duplicate.part) == (0, 1)
    before = cells.box[0].copy()
    join(cells, background, duplicate)
    np.testing.assert_array_equal(cells.box[0], before)
    cells.drop(1)
    assert find_duplicate(cells) is None


def test_a_crowd_of_more_neighbours_than_there_was_room_for_is_compared_and_restored():
    background = Background((41, 41), 1)
    background.weight[...] = background.noise[...] = 1
    cells = Components((41, 41), (25, 25), 1, 20, 0.0)
    for n in range(60):  # the box of each overlaps those of all others
        pixel = np.zeros((25, 25), np.float32)
        pixel[n // 8, 3 * (n % 8)] = 1
        cells.add((n % 16, n // 4), pixel, background, 0)
    assert (cells["neighbours"] == 59).all()
    assert find_duplicate(cells) is None
    again = Components((41, 41), (25, 25), 1, 20, 0.0)
    again.restore(cells.state("cells_"), "cells_", "test")
    np.testing.assert_array_equal(again["overlap"], cells["overlap"])


def test_of_two_that_are_explained_by_each_other_the_brighter_one_stays(monkeypatch):
    left = [0, 1]
    explained = {0: "explained by a neighbour", 1: "explained by a neighbour"}
    monkeypatch.setattr(extraction, "to_remove", lambda *_: explained if len(left) == 2 else {})
    cells = SimpleNamespace(energy=np.array([1.0, 2.0], np.float32))
    known = SimpleNamespace(cells=cells, params=ExtractParams(), _remove=lambda k, reason: left.remove(k))
    Extraction._remove_explained(known)
    assert left == [1]
