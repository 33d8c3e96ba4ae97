"""What motion correction did not see, and frames it does not trust, on their way through a chain."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from motion.moving_tissue import drift, errors_px, record, rmse_px, scene
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from streamfluo import Block, Chain, ConfigError, Spec, create
from streamfluo.core import unseen
from streamfluo.core.unseen import known_pixels, seen_parts, valid_frames
from streamfluo.engine.config import parse_config
from streamfluo.simulate import calcium
from streamfluo.simulate import spots as simulate_spots

SHAPE = (112, 128)
TISSUE, TRUTH = scene(SHAPE, seed=21), drift(300, seed=22)


@cache
def recorded():
    """The movie most tests look at; made when the first of them asks."""
    return record(TISSUE, TRUTH, photons=20, seed=23)


def through(toml, movie, size=7):
    """Push a movie through a chain; return it and the Output of every step for each block."""
    chain = Chain(parse_config(toml), Spec(movie.shape[1:], movie.dtype, interval_s=0.03))
    outputs = [
        dict(chain.push(Block(t, np.arange(t, t + len(part)), part)))
        for t in range(0, len(movie), size)
        if len(part := movie[t : t + size])
    ]
    return chain, outputs


MOTION = '[[step]]\nkind = "motion"\nparams = { init_frames = 50 }\n'


def test_frames_that_motion_does_not_trust_are_learned_from_by_no_step_after_it():
    movie = recorded().copy()
    movie[150:170] = 7  # a closed shutter
    chain, outputs = through(MOTION + '[[step]]\nkind = "moments"\n[[step]]\nkind = "moments"\nafter = "source"', movie)
    valid = np.concatenate([o["motion"].values["valid"] for o in outputs])
    assert not valid[150:170].any()
    assert chain.step("moments").givers == {"valid": ("motion", "valid")}
    assert chain.read("moments")["frames"] == valid.sum()
    assert chain.read("moments")["min"][50, 60] > 100
    assert chain.step("moments-2").givers == {}, "its frames did not come through motion"
    assert chain.read("moments-2")["frames"] == 300


def test_validity_ends_where_a_step_hands_on_frames_of_its_own():
    chain, _ = through(
        MOTION + '[[step]]\nkind = "bin"\nparams = { bin_frames = 5 }\n[[step]]\nkind = "moments"', recorded()[:100]
    )
    assert chain.step("bin").givers == {"valid": ("motion", "valid")}
    assert chain.step("moments").givers == {}
    assert chain.read("moments")["frames"] == 20


def test_another_value_may_be_named_as_validity_and_a_wrong_name_is_refused():
    chain, _ = through(MOTION + '[[step]]\nkind = "moments"\ninputs = { valid = "motion.restarted" }', recorded()[:30])
    assert chain.read("moments")["frames"] == 0
    with pytest.raises(ConfigError, match="no input 'vald'; did you mean 'valid'"):
        through('[[step]]\nkind = "moments"\ninputs = { vald = "motion.valid" }', recorded()[:1])


def test_parts_are_the_runs_of_frames_to_learn_from():
    pixels = np.ones((8, 2, 2), np.float32)
    pixels[3] = np.nan
    block, declared = Block(10, np.arange(8), pixels), np.array([0, 1, 1, 1, 1, 0, 1, 1])
    assert [(p.index, len(p)) for p in seen_parts(block, {"valid": declared})] == [(11, 2), (14, 1), (16, 2)]
    assert valid_frames(block, {}).tolist() == [True] * 3 + [False] + [True] * 4


@pytest.mark.parametrize("mode", ["rigid", "piecewise"])
def test_frames_with_an_unseen_rim_are_registered_as_well_as_what_was_seen_of_them(mode):
    top, left = 9, 12
    rimmed = recorded().astype(np.float32)
    rimmed[:, :top] = rimmed[:, :, :left] = np.nan
    rimmed[:, -5:] = np.nan
    errors = []
    for movie in (rimmed, np.ascontiguousarray(rimmed[:, top:-5, left:])):
        operator, shifts = create("motion", Spec(movie.shape[1:], "float32"), mode=mode), []
        for t in range(300):
            output = operator.update(Block(t, [t], movie[t : t + 1]))
            shifts.append(output.values["shift_px"][0])
            assert output.values["valid"].all()
            assert np.isnan(output.block.pixels).mean() < 0.35
        errors.append(rmse_px(errors_px(shifts, TRUTH, 50)))
    assert errors[0] < 1.1 * errors[1]


def test_spots_beside_an_unseen_rim_are_those_of_the_cropped_frames():
    movie, _ = simulate_spots(frames=12, shape=(70, 90), seed=31)
    rim, pixels = (11, 6), 60 * 90
    rimmed = movie.astype(np.float32)
    rimmed[:, : rim[0]] = rimmed[:, :, : rim[1]] = np.nan
    cropped = np.ascontiguousarray(rimmed[:, rim[0] :, rim[1] :])
    found = []
    for frames in (rimmed, cropped):
        rate = 2.0 * frames[0].size / pixels  # the same for each pixel
        operator = create("spots", Spec(frames.shape[1:], "float32"), sigma_px=1.3, false_alarms=rate)
        found.append(operator.update(Block(0, np.arange(12), frames)).values["spots"])
    assert found[1].rows > 50
    for name in found[1]:
        offset = {"y_px": rim[0], "x_px": rim[1]}.get(name, 0)
        np.testing.assert_allclose(found[0][name] - offset, found[1][name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_pixels_that_a_frame_does_not_show_are_nan_unless_another_border_is_asked_for():
    operator = create("motion", Spec(recorded().shape[1:], recorded().dtype), init_frames=50)
    height, width = recorded().shape[1:]
    y, x = np.ogrid[:height, :width]
    for t in range(0, 100, 5):
        output = operator.update(Block(t, np.arange(t, t + 5), recorded()[t : t + 5]))
        for pixels, (dy, dx) in zip(output.block.pixels, output.values["shift_px"], strict=True):
            top, left = y + dy, x + dx
            outside = (top < 0) | (top > height - 1) | (left < 0) | (left > width - 1)
            assert np.isnan(pixels[outside]).all()
            assert np.isfinite(pixels).mean() > 0.7


@pytest.mark.parametrize("background", ["ring", "low_rank"])
def test_cells_beside_an_unseen_rim_are_those_of_the_cropped_frames(background):
    movie, _ = calcium(frames=400, shape=(75, 78), seed=6, motion_px=0.0, neuron_sigma_px=2.5, neuropil_follows=0.5)
    rimmed = movie.astype(np.float32)
    rimmed[:, :8] = rimmed[:, :, :6] = np.nan
    found = []
    for frames, corner in ((rimmed, (8, 6)), (np.ascontiguousarray(rimmed[:, 8:, 6:]), (0, 0))):
        operator = create("extract", Spec(frames.shape[1:], "float32"), neuron_sigma_px=2.5, background=background)
        operator.update(Block(0, np.arange(400), frames))
        found.append(np.nanmean(operator.read(["contours"])["contours"], axis=1) - corner)
    apart, _ = cKDTree(found[1]).query(found[0])
    assert len(found[1]) > 12
    assert abs(len(found[0]) - len(found[1])) <= 2
    assert (apart < 2).sum() >= len(found[0]) - 2


def test_no_cell_is_found_in_the_rim_that_motion_leaves():
    movie, truth = calcium(frames=600, shape=(112, 112), seed=4, motion_px=4.0, neuron_sigma_px=3.0)
    chain, _ = through(MOTION + '[[step]]\nkind = "extract"\nparams = { neuron_sigma_px = 3.0 }', movie, size=1)
    snapshots = chain.read("extract")
    outlines, unseen = snapshots["contours"], np.isnan(snapshots["background"])
    assert 0.02 < unseen.mean() < 0.3
    points = np.rint(outlines[np.isfinite(outlines).all(-1)]).astype(int)
    beyond_px = distance_transform_edt(unseen)[points[:, 0], points[:, 1]]
    assert beyond_px.max() < 1.5  # an outline runs around the pixels
    distance, _ = cKDTree(truth["position_px"]).query(np.nanmean(outlines, axis=1))
    assert len(outlines) > 20
    assert distance.max() < 5  # with border = "copy" 25 outlines along the border belong to no cell


def test_a_block_is_looked_at_once_and_what_is_cut_or_made_of_it_is_known_as_far_as_it_is_the_same(monkeypatch):
    looked = []
    odd = unseen._has_odd_pixels
    monkeypatch.setattr(unseen, "_has_odd_pixels", lambda frame: looked.append(1) or odd(frame))
    block = Block(3, np.arange(4), np.ones((4, 5, 6), np.float32))
    assert known_pixels(block) is block
    assert known_pixels(block) is block
    assert known_pixels(block.cut(4, 6)).index == 4
    assert len(looked) == 4
    pixels = block.pixels.copy()
    pixels[2, 0, 0] = np.inf
    other = known_pixels(replace(block, pixels=pixels))  # other pixels are looked at again
    assert np.isnan(other.pixels[2, 0, 0])
    assert known_pixels(other) is other
    assert len(looked) == 4 + 3
