"""Parts of matching days against brute force: exclusive pairs, joined cells, maps of fields."""

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from streamfluo.calcium.across_days.association import marginals
from streamfluo.calcium.across_days.clusters import cells_of
from streamfluo.calcium.across_days.field_map import FieldMap, composed, grid_places, interpolation_weights
from streamfluo.calcium.across_days.field_match import fitted
from streamfluo.calcium.across_days.pair_model import fit_pairs
from streamfluo.calcium.across_days.pairs import Pairs, Placed


def enumerated(odds):
    """Marginals by summing over all matchings of rows to columns or to none."""
    n, m = odds.shape
    total, found = 0.0, np.zeros((n, m))
    for choice in product(range(-1, m), repeat=n):
        taken = [c for c in choice if c >= 0]
        if len(set(taken)) < len(taken):
            continue
        weight = np.prod([odds[i, c] for i, c in enumerate(choice) if c >= 0])
        total += weight
        for i, c in enumerate(choice):
            if c >= 0:
                found[i, c] += weight
    return found / total


def summed(odds):
    n, m = odds.shape
    a, b = np.divmod(np.arange(n * m), m)
    kept = odds.ravel() > 0
    found = np.zeros(n * m)
    found[kept] = marginals(a[kept], n + b[kept], odds.ravel()[kept])
    return found.reshape(n, m)


def test_on_a_tree_marginals_are_those_of_all_matchings():
    odds = np.array([[3.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.0, 7.0, 0.2]])
    assert np.allclose(summed(odds), enumerated(odds), atol=1e-5)


def test_with_loops_marginals_are_near_those_of_all_matchings():
    odds = np.random.default_rng(1).lognormal(0, 2, (4, 4))
    found = summed(odds)
    assert np.abs(found - enumerated(odds)).max() < 0.1
    assert found.sum(0).max() <= 1 + 1e-6
    assert found.sum(1).max() <= 1 + 1e-6


def test_odds_beyond_all_numbers_leave_a_probability():
    assert np.isfinite(summed(np.array([[1e300, 1.0], [1e-300, 1e200]]))).all()


def test_no_pairs_are_no_probabilities():
    assert len(marginals(np.empty(0, int), np.empty(0, int), np.empty(0))) == 0


def test_a_cell_takes_the_likelier_of_two_components_of_a_day():
    day, a, b = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3])
    cell = cells_of(day, a, b, np.array([0.9, 0.6, 0.8, 0.55]))
    assert cell[0] == cell[1]
    assert cell[2] != cell[0]


def test_two_components_of_a_day_are_two_cells_however_certain_their_pairs():
    cell = cells_of(np.array([0, 1, 1]), np.array([0, 0]), np.array([1, 2]), np.array([0.9999, 0.9998]))
    assert cell.tolist() == [0, 0, 1]


def test_one_wrong_pair_does_not_join_two_cells():
    """Two cells on three days, and a pair across them that looks certain."""
    day = np.array([0, 1, 2, 0, 1, 2])
    a, b = np.array([0, 0, 1, 3, 3, 4, 2]), np.array([1, 2, 2, 4, 5, 5, 4])
    cell = cells_of(day, a, b, np.array([0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.9]))
    assert cell.tolist() == [0, 0, 0, 1, 1, 1]


def test_components_without_a_pair_are_cells_of_their_own():
    assert cells_of(np.array([0, 0, 1]), np.empty(0, int), np.empty(0, int), np.empty(0)).tolist() == [0, 1, 2]


ROTATED = np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]])
BENT = FieldMap(ROTATED, np.array([3.0, -2.0]), np.random.default_rng(2).normal(0, 0.8, (2, 5, 6)), (4.0, 5.0), 12.0)


@pytest.mark.parametrize("field_map", [FieldMap.identity(), FieldMap(ROTATED, np.array([1.0, 9.0])), BENT])
def test_a_place_comes_back(field_map):
    places = np.random.default_rng(3).uniform(0, 60, (40, 2))
    assert np.allclose(field_map(field_map.to_common(places)), places, atol=1e-3)


def test_one_map_after_another_is_their_composition():
    places = grid_places((50, 60))
    other = FieldMap(ROTATED.T, np.array([-4.0, 2.5]))
    assert np.allclose(composed(other, FieldMap(ROTATED, np.ones(2)), (50, 60))(places),
                       FieldMap(ROTATED, np.ones(2))(other(places)))  # fmt: skip
    bent = composed(other, BENT, (50, 60))(places) - BENT(other(places))
    assert np.sqrt((bent**2).mean()) < 0.25  # of displacements of 0.8 px, on a grid of its own


def test_a_map_of_binned_pixels_is_the_same_map():
    places = np.random.default_rng(3).uniform(0, 60, (40, 2))
    small = BENT.of_binned(3)
    assert np.allclose(small((places - 1) / 3) * 3 + 1, BENT(places))
    assert np.allclose(small.of_pixels(3)(places), BENT(places))


def test_weights_interpolate_a_plane_exactly():
    y, x = np.mgrid[:20, :30]
    places = np.random.default_rng(3).uniform(-2, 32, (200, 2))
    weights = interpolation_weights(places, (20, 30))
    inside = ((places >= 0) & (places <= (19, 29))).all(1)
    assert np.allclose((weights @ (2 * y + 3 * x).ravel())[inside], (places @ (2, 3))[inside], atol=1e-3)
    assert not weights[~inside].nnz


@pytest.mark.parametrize("model", ["rigid", "affine", "piecewise"])
def test_a_fit_is_not_moved_by_wrong_patches(model):
    at = grid_places((7, 7)) * 15.0
    there = FieldMap(ROTATED, np.array([2.0, 3.0]))(at)
    wrong = there.copy()
    wrong[::8] += 9
    found = fitted(model, at, wrong, np.ones(len(at)), 15.0)
    good = np.ones(len(at), bool)
    good[::8] = False
    assert np.abs(found(at) - there)[good].max() < 0.4


def two_days(seed, cells=70, side=180, radius=4.5, sd=0.4):
    """Components of two days, at least a radius apart, half of them on both and there `sd` px apart along each axis.

    Footprints correlate as Gaussians of their distance would, and a little less, as noise has it.
    """
    rng = np.random.default_rng(seed)
    place = [rng.uniform(0, side, 2)]
    while len(place) < 3 * cells // 2:
        new = rng.uniform(0, side, 2)
        if np.hypot(*(np.array(place) - new).T).min() > radius:
            place.append(new)
    half = cells // 2
    true = np.concatenate([np.arange(2 * half), np.arange(half), np.arange(2 * half, 3 * half)])
    where = np.array(place)[true] + rng.normal(0, sd, (4 * half, 2))
    day = np.repeat([0, 1], 2 * half)
    distance = np.hypot(*(where[:, None] - where[None]).transpose(2, 0, 1))
    a, b = np.nonzero(np.triu(distance < 4 * radius, 1))
    apart = distance[a, b]
    correlation = 1 - (1 - np.exp(-(apart**2) / radius**2) + 0.02) * np.exp(rng.normal(0, 0.3, len(a)))
    seen = np.ones((2, len(day)), bool)
    nothing = csc_matrix((1, len(day)))
    components = Placed(day, np.arange(len(day)), where, nothing, seen, seen, (0, 0), (side, side), side**2.0, radius)
    return components, Pairs(a, b, apart, np.clip(correlation, 0, 1)), true


def test_as_many_pairs_are_one_cell_as_the_probabilities_say_near_and_far():
    near, far = [], []
    for seed in range(12):
        components, pairs, true = two_days(seed)
        fit = fit_pairs(components, pairs, components.radius_px)
        same, apart = true[fit.pairs.a] == true[fit.pairs.b], fit.pairs.distance / components.radius_px
        near.append((fit.probability[apart < 0.5].sum(), same[apart < 0.5].sum()))
        far.append(fit.probability[apart > 0.8].sum())
        assert not same[apart > 0.8].any()
    said, true = np.sum(near, 0)
    assert said == pytest.approx(true, rel=0.02)
    assert np.sum(far) < 2.5  # with heavier tails or a fiftieth of strays 4, with both 6
