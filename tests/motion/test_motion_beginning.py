"""Beginnings that single frames cannot carry: dim tissue, dark frames, one-photon light; and what never takes hold."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from moving_tissue import bound_px, drift, errors_px, record, rmse_px, scene

from streamfluo import Block, Spec, create


def registered(movie, **params):
    operator = create("motion", Spec(movie.shape[1:], "uint16", interval_s=0.05), **params)
    return operator, operator.update(Block(0, np.arange(len(movie)), movie)).values


@pytest.mark.parametrize(
    ("photons", "dark"),
    [(1.0, 120), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in [(1.0, 0), (4.0, 120), (200.0, 120)])],
)
def test_dim_tissue_and_dark_beginnings_take_hold_within_200_frames(photons, dark):
    count, tissue = dark + 300, scene((192, 192), seed=21)
    truth = drift(count, seed=22)
    movie = record(tissue, truth, photons, seed=23, illumination=np.arange(count) >= dark)
    operator, values = registered(movie)
    late = values["valid"][dark + 200 :]
    assert late.mean() > 0.95
    errors = errors_px(values["shift_px"], truth, dark + 200)[late]
    assert rmse_px(errors) < 1.7 * bound_px(tissue, photons)
    assert not values["valid"][1:dark].any()
    assert operator.doubt() == ""


def one_photon(structure, seed, count=300, side=128):
    """Weak structure on a bright background that does not move: frame-to-frame correlation .005 to .03."""
    tissue = scene((side, side), seed)
    tissue = 1 + structure * (tissue / ndi.gaussian_filter(tissue, 20) - 1)
    truth = drift(count, seed)
    return record(tissue, truth, 100, seed), truth


def test_one_photon_frames_too_noisy_one_by_one_take_hold():
    movie, truth = one_photon(0.16, seed=31)
    _, values = registered(movie, highpass_sigma_px=3)
    late = values["valid"][200:]
    assert late.mean() > 0.95
    assert rmse_px(errors_px(values["shift_px"], truth, 200)[late]) < 0.5


def test_a_template_that_frames_do_not_confirm_begins_again():
    """A flash that shows other tissue first: nothing is known of it afterwards."""
    tissue, truth = scene((96, 96), seed=41), drift(150, seed=42)
    movie = record(tissue, truth, 30, seed=43)
    movie[0] = record(scene((96, 96), seed=44), truth[:1], 3000, seed=45)[0]
    _, values = registered(movie)
    assert values["valid"][60:].all()
    assert rmse_px(errors_px(values["shift_px"], truth, 60)) < 2 * bound_px(tissue, 30)


@pytest.mark.slow
def test_frames_that_show_next_to_nothing_are_not_valid_against_one_template_after_another():
    """A count is a third of a photon: of four movies 52 frames were valid against templates of 1 to 3."""
    y, x = np.mgrid[:64, :64]
    light, like_one = 0.38 * (1 + 0.3 * np.sin(x / 6) * np.cos(y / 5)), 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        electrons = rng.poisson(light, (300, 64, 64)) + 1.3 * rng.standard_normal((300, 64, 64))
        _, values = registered(np.rint(0.33 * electrons + 100).astype(np.uint16), max_shift_px=8)
        like_one += int((values["valid"] & ~values["restarted"])[1:].sum())
    assert like_one <= 6


def test_frames_without_a_place_are_doubted_in_a_sentence():
    rng = np.random.default_rng(51)
    noise = rng.normal(100, 20, (450, 32, 32)).clip(0).astype(np.uint16)
    operator = create("motion", Spec((32, 32), "uint16", interval_s=0.05))
    doubts = []
    for t in range(0, 450, 50):
        operator.update(Block(t, np.arange(t, t + 50), noise[t : t + 50]))
        doubts.append(operator.doubt())
    assert doubts[:-2] == [""] * 7  # the first 200 frames may be needed to begin
    assert doubts[-1] == doubts[-2]
    assert doubts[-1].startswith("0 of the 200 frames up to frame 399 could be registered")
