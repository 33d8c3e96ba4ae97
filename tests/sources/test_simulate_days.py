"""`sim:calcium` of an animal on several days: the same cells where they lie on each."""

import numpy as np
import pytest
import scipy.sparse as sp

from streamfluo import ConfigError, open_source
from streamfluo.simulate import calcium

SHAPE = (64, 72)
STILL = {"day_turn_deg": 0.0, "day_shift_px": 0.0, "day_warp_px": 0.0, "day_common": 1.0}


def day(seed, **params):
    _, truth = calcium(frames=1, shape=SHAPE, animal=9, seed=seed, neuron_sigma_px=3.0, motion_px=0.0, **params)
    return truth


def images(truth):
    parts = (truth["A_data"], truth["A_indices"], truth["A_indptr"])
    return sp.csc_matrix(parts, shape=truth["A_shape"]).toarray().T.reshape(-1, *SHAPE)


def test_a_day_that_nothing_moves_shows_the_same_cells_in_the_same_places():
    a, b = day(1, **STILL), day(2, **STILL)
    assert (a["animal_cell"] == b["animal_cell"]).all()
    assert np.allclose(images(a), images(b))
    assert not np.allclose(a["amplitude"], b["amplitude"])


def test_a_cell_is_shifted_as_the_truth_says():
    params = STILL | {"day_shift_px": 3.0, "neurons": 30}
    a, b = day(1, **params), day(2, **params)
    _, row_a, row_b = np.intersect1d(a["animal_cell"], b["animal_cell"], return_indices=True)
    inside = (np.abs(a["position_px"][row_a] - np.array(SHAPE) / 2) < (18, 22)).all(1)
    moved = (b["position_px"][row_b] - a["position_px"][row_a])[inside]
    assert inside.sum() > 5
    assert np.allclose(moved, a["day_shift_px"] - b["day_shift_px"], atol=0.05)


def test_a_field_is_turned_about_its_middle_as_the_truth_says():
    params = STILL | {"day_turn_deg": 5.0}
    a, b = day(1, **params), day(3, **params)
    _, row_a, row_b = np.intersect1d(a["animal_cell"], b["animal_cell"], return_indices=True)
    middle = (np.array(SHAPE) - 1) / 2
    of_a, of_b = (t["position_px"][rows] - middle for t, rows in ((a, row_a), (b, row_b)))
    near = np.hypot(*of_a.T) < 24
    angle = np.radians(float(a["day_turn_deg"] - b["day_turn_deg"]))
    turned = of_a[near] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T
    assert abs(angle) > 0.02
    assert np.abs(turned - of_b[near]).max() < 0.1


def test_half_of_a_days_cells_are_common_where_that_is_asked_for():
    days = [day(seed, **STILL | {"day_common": 0.5, "neurons": 80})["animal_cell"] for seed in range(4)]
    shared = [np.isin(a, b).mean() for a in days for b in days if a is not b]
    assert np.mean(shared) == pytest.approx(0.5, abs=0.06)


def test_an_animal_has_one_slice():
    with pytest.raises(ConfigError, match="animal is of one slice and one channel"):
        calcium(frames=1, animal=1, z=2)


def test_a_series_without_an_animal_is_the_one_it_was():
    plain = "sim:calcium?seed=3&shape=32x32&frames=4"
    with open_source(plain) as source, open_source(f"{plain}&day_common=0.9") as other, open_source(
        f"{plain}&animal=0") as third:  # fmt: skip
        assert source.series.uid != third.series.uid
        assert source.series.uid != other.series.uid
        assert source.series.uid == "aa5484b3e243497bf38b1b2b21a02035"  # as before there were animals
