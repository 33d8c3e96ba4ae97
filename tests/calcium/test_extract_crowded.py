"""Crowded fields: one component for a cell, of the whole cell, also where a part of it was found first."""

import numpy as np
import pytest

import streamfluo
from streamfluo import Block, Spec
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.buffer import Buffer
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.recentring import displaced, recentre
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.calcium.kernels.footprints import update_footprint
from streamfluo.calcium.kernels.residual import STEP
from streamfluo.simulate import calcium

CROWD = {
    "shape": (80, 80), "neurons": 50, "neuron_sigma_px": 3.0, "size_spread": 0.2, "rings": 0.5, "signal": 0.6,
    "photons": 20.0, "spike_rate_hz": 0.2, "decay_s": 0.5, "frame_rate_hz": 15.0, "motion_px": 0.0,
}  # fmt: skip


def cells_of_components(seed):
    """The true cell that each accepted component's trace follows best, of a movie whose truth is known."""
    movie, truth = calcium(frames=1000, seed=seed, **CROWD)
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=1 / 15)
    operator = streamfluo.create("extract", spec, neuron_sigma_px=3.0, decay_s=0.5)
    parts = [operator.update(Block(0, np.arange(len(movie)), movie)), operator.finish()]
    column = {n: np.concatenate([p.values["settled"][n] for p in parts]) for n in ("frame", "id", "trace")}
    quality = dict(zip(MEASURES, operator.read(["quality_now"])["quality_now"].T, strict=True))
    owners = []
    for k in quality["id"][quality["accepted"] > 0]:
        own = column["id"] == k
        frame, trace = column["frame"][own], column["trace"][own]
        like = [np.corrcoef(c[frame], trace)[0, 1] if c[frame].any() else 0 for c in truth["C"]]
        owners.append(int(np.argmax(like)))
    return owners


def found_and_again(seeds):
    """How many of the 50 true cells of each field are found, and how many components more there are."""
    owners = [cells_of_components(seed) for seed in seeds]
    return [len(set(one)) for one in owners], [len(one) - len(set(one)) for one in owners]


@pytest.mark.slow
def test_a_true_cell_of_a_crowded_field_has_one_component():
    """Before boxes followed their footprints 43 and 45 were found, one of each twice."""
    found, again = found_and_again((2,))
    assert min(found) >= 46
    assert sum(again) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_many_crowded_fields_nearly_all_cells_are_found_and_few_twice():
    """Seeds 1 to 6 and 11 to 14: 48.5 in the mean and 6 of 491 twice; before 42.7, and 16 of 443."""
    found, again = found_and_again((1, 3, 4, 5, 6, 11, 12, 13, 14))
    assert np.mean(found) >= 47
    assert sum(again) <= 8


@pytest.mark.parametrize("radius_px", [4, 6, 8])
def test_a_footprint_grows_over_a_cell_that_fills_its_box(radius_px):
    """The box of 19 px has 361 pixels: of a cell of radius 8 px 201 are inside."""
    y, x = np.mgrid[:19, :19] - 9
    cell = np.where(y**2 + x**2 <= radius_px**2, 0.3, 0).astype(np.float32)
    noise = np.random.default_rng(radius_px).normal(0, 0.02, cell.shape)
    footprint = np.where((y**2 + x**2 <= 4), cell, 0).astype(np.float32)
    for _ in range(6):
        new = np.zeros_like(footprint)
        update_footprint(footprint, ((cell + noise - footprint) * 2500).astype(np.float32), 2500.0, 1.5, 2, new)
        footprint = new
    assert np.array_equal(footprint > 0, cell > 0)


def off_centre(stored_bins=40):
    """A component whose footprint lies left in its box, two others, and stored bins that show the rest of its cell."""
    background = Background((40, 60), 1)
    background.weight[...] = background.noise[...] = 1
    cells, buffer = Components((40, 60), (19, 19), 1, 20, 0.0), Buffer((40, 60), 1, 20, 5)
    y, x = np.mgrid[:40, :60]
    cell = np.where((y - 20) ** 2 + (x - 24) ** 2 <= 49, 0.1, 0).astype(np.float32)
    right = np.where(x >= 24, cell, 0)
    cells.add((11, 9), right[11:30, 9:28], background, 0)  # its box ends at column 28
    for corner in ((11, 30), (20, 0)):
        cells.add(corner, np.eye(19, dtype=np.float32), background, 0)
    cells["live_noise"][:] = 1
    cells["moment"][0] = 1e4
    activity = np.zeros(40)
    activity[:stored_bins:4] = 30.0
    cells.recent[0] = activity
    buffer.bins[...] = np.rint(STEP * activity[:, None, None] * np.where(x >= 28, cell, 0))
    buffer.count = 200
    return cells, background, buffer, cell


def test_a_box_moves_onto_its_footprint_and_takes_the_rest_of_the_cell_from_the_stored_bins():
    cells, background, buffer, cell = off_centre()
    before = cells.box[0].copy()
    recentre(cells, background, buffer, 0)
    top, left = cells.origin[0]
    assert (top, left) == (11, 16)
    np.testing.assert_array_equal(cells.box[0], displaced(before, (0, 7)))
    entering = np.s_[:, 12:]  # columns 28 to 34
    np.testing.assert_allclose(cells.gathered[0][entering] / 1e4, cell[11:30, 28:35], atol=2e-3)
    assert not cells.gathered[0][:, :12].any()
    assert cells.energy[0] == pytest.approx((before**2).sum())
    assert sorted(cells.neighbour[0, : cells.neighbours[0]].tolist()) == [1, 2]
    recentre(cells, background, buffer, 0)
    assert tuple(cells.origin[0]) == (11, 16)


def test_neighbours_are_those_of_the_new_box_on_both_sides():
    cells, background, _, _ = off_centre()
    cells.move(0, (11, 40), np.zeros((19, 19), np.float32))
    assert [cells.neighbours[k] for k in range(3)] == [1, 1, 0]
    assert (cells.neighbour[0, 0], cells.neighbour[1, 0]) == (1, 0)
    cells.move(0, (11, 9), np.ones((19, 19), np.float32))
    cells.refresh(0, background)
    assert [cells.neighbours[k] for k in range(3)] == [1, 0, 1]
    assert (cells.neighbour[0, 0], cells.neighbour[2, 0]) == (2, 0)
    assert cells.overlap[0, 0] == cells.overlap[2, 0] == 1  # pixel of the diagonal


def test_pixels_that_the_stored_bins_do_not_show_begin_at_zero():
    cells, background, buffer, _ = off_centre(stored_bins=0)
    recentre(cells, background, buffer, 0)
    assert not cells.gathered[0].any()


def test_what_leaves_a_box_stays_in_the_mean_image():
    cells, background, buffer, _ = off_centre()
    stray = cells.box[0].copy()
    stray[0, 0] = 0.05  # leaves with the first columns
    cells.box[0], cells.level[0] = stray, 2.0
    recentre(cells, background, buffer, 0)
    assert background.mean[11, 9] == pytest.approx(0.05 * 2.0)
    assert np.count_nonzero(background.mean) == 1


@pytest.mark.parametrize("by", [(2, -1), (-3, 2), (0, 4), (9, 0)])
def test_an_image_is_displaced_as_numpys_padding_does(by):
    image = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    padded = np.pad(image, 10)
    expected = padded[10 + by[0] : 15 + by[0], 10 + by[1] : 16 + by[1]]
    np.testing.assert_array_equal(displaced(image, by), expected)
