"""Regular lattices, stripes and light too dim: where a shift is not determined no frame is valid, and it is said."""

import numpy as np
import pytest
from moving_tissue import drift, errors_px, record, scene

from streamfluo import Block, Spec, create
from streamfluo.motion.patches import PatchGrid
from streamfluo.motion.repeats import Repeats
from streamfluo.motion.template import Template

SIDE, PAD = 96, 16


def beads(period_px, scatter=0.0, angle=0.3):
    """Beads of one brightness, or of several, on a square lattice, of mean 1 (y, x)."""
    rng, size = np.random.default_rng(1), SIDE + 2 * PAD
    y, x = np.mgrid[:size, :size] - size / 2
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    near = [np.rint(w / period_px).astype(int) for w in (u, v)]
    heights = np.clip(1 + scatter * rng.standard_normal((99, 99)), 0.1, None)[near[0] + 49, near[1] + 49]
    away = (u - near[0] * period_px) ** 2 + (v - near[1] * period_px) ** 2
    image = 0.3 + heights * np.exp(-away / (2 * (0.25 * period_px) ** 2))
    return image / image.mean()


def registered(image, photons, shifts, **params):
    movie = record(image, shifts, photons, seed=3)
    operator = create("motion", Spec(movie.shape[1:], "uint16"), **params)
    return operator, operator.update(Block(0, np.arange(len(movie)), movie)).values


@pytest.mark.parametrize("period_px", [8.0, *(pytest.param(period, marks=pytest.mark.slow) for period in (5.3, 11.7))])
def test_a_regular_lattice_is_not_valid_and_the_period_is_said(period_px):
    shifts = drift(450, seed=2)
    shifts[300:320] += (0.0, 9.5)
    operator, values = registered(beads(period_px), 40, shifts, max_shift_px=8)
    assert not values["valid"][1:].any()
    assert not values["restarted"].any()
    assert f"known up to a period of {period_px:.1f} px" in operator.doubt()


def test_a_largest_shift_below_half_the_period_decides():
    shifts = np.clip(drift(300, seed=2), -2, 2)
    _, values = registered(beads(8.0), 40, shifts, max_shift_px=3)
    assert values["valid"].mean() > 0.99
    assert np.abs(errors_px(values["shift_px"], shifts, 1)).max() < 0.3


def test_beads_of_unequal_brightness_on_a_lattice_have_one_place():
    shifts = drift(300, seed=2)
    shifts[200:220] += (0.0, 5.0)
    _, values = registered(beads(9.0, scatter=0.4), 40, shifts, max_shift_px=10)
    assert values["valid"][10:].mean() > 0.99  # a template of the first few frames is too noisy to tell beads apart
    assert np.abs(errors_px(values["shift_px"], shifts, 1)).max() < 0.3


def test_beads_of_unequal_brightness_at_another_bead_are_not_valid():
    """The frame jumps beyond max_shift_px by three beads: what is inside looks like the template a bead away."""
    shifts = drift(300, seed=2)
    shifts[200:220] += (0.0, 15.0)
    _, values = registered(beads(5.0, scatter=0.35, angle=0.0), 80, shifts, max_shift_px=8)
    error = np.abs(errors_px(values["shift_px"], shifts, 1)).max(1)
    assert not (values["valid"][1:] & (error > 1)).any()
    assert values["valid"][20:200].mean() > 0.95


@pytest.mark.parametrize("waves", [(0, 8), (5, 7)])
def test_the_shift_along_stripes_is_unknown(waves):
    y, x = np.mgrid[: SIDE + 2 * PAD, : SIDE + 2 * PAD] / (SIDE + 2 * PAD)
    stripes = 1 + 0.7 * np.sin(2 * np.pi * (waves[0] * y + waves[1] * x))
    _, values = registered(stripes, 40, drift(200, seed=2), max_shift_px=8)
    assert not values["valid"][1:].any()


def test_frames_too_dim_to_be_known_to_a_pixel_are_not_valid():
    tissue, shifts = scene((64, 64), seed=5), drift(500, seed=6)
    shifts[::7] = np.random.default_rng(7).uniform(-6, 6, (len(shifts[::7]), 2))
    _, values = registered(tissue, 1.5, shifts, max_shift_px=8)
    valid = values["valid"][200:]
    error = np.abs(errors_px(values["shift_px"], shifts, 200)).max(1)
    assert not (valid & (error > 1)).any()


def test_places_are_those_of_the_lattice():
    """Oracle: the vectors of the lattice."""
    image = beads(8.5, angle=0.2)[PAD:-PAD, PAD:-PAD].astype(np.float32) * 1000
    grid = PatchGrid(image.shape)
    template, repeats = Template(image.shape, grid, 200, known=image), Repeats(image.shape, grid, (6.0, 6.0))
    noisy = image + np.random.default_rng(4).normal(0, 30, image.shape).astype(np.float32)
    template.begin(noisy, noisy)
    repeats.renew(template)
    along, across = 8.5 * np.array([(np.sin(0.2), np.cos(0.2)), (np.cos(0.2), -np.sin(0.2))])
    vectors = np.array([i * along + j * across for i in (-1, 0, 1) for j in (-1, 0, 1)])
    assert len(repeats.places) >= 2
    for y, x, similarity, *_ in repeats.places:
        assert np.abs(vectors - (y, x)).max(1).min() < 0.15
        assert similarity > 0.97
    assert repeats.period_px == pytest.approx(8.5, abs=0.1)
