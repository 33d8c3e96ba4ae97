"""Light that is added, switched or shut off, other scenes and places: no wrong shift is valid, every good one is."""

import numpy as np
import pytest
import scipy.ndimage as ndi

import streamfluo
from streamfluo import Block, Spec
from streamfluo.motion.banded import misfit
from streamfluo.motion.kernels.gauss_newton import Light, TemplateImages, read_only

SIDE, PAD, SEGMENT, MAX_PX = 96, 40, 20, 8
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)
EVENTS = ("as before", "added", "more", "flickers", "from one side", "shut off", "another scene", "another place")
NOT_THERE = ("shut off", "another scene", "another place")


def scene(rng):
    """A periodic texture with blobs, of mean 1 (y, x), as spline coefficients."""
    y, x = np.mgrid[: SIDE + 2 * PAD, : SIDE + 2 * PAD]
    image = 1 + 0.3 * np.sin(x / rng.uniform(3, 12)) * np.cos(y / rng.uniform(3, 12))
    for _ in range(100):
        at, sigma_px = rng.uniform(0, SIDE + 2 * PAD, 2), rng.uniform(1.5, 5)
        image += rng.uniform(0.1, 0.9) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sigma_px**2))
    return ndi.spline_filter(image)


def lit_movie(seed, photons):
    """Frames (t, y, x) uint16 with an event in every second segment, their shifts [px], and which show the scene."""
    rng = np.random.default_rng(seed)
    tissue, other = scene(rng), scene(rng)
    events = ["as before", "as before"]
    for event in rng.permutation(EVENTS[1:]):
        events += [event, "as before"]
    count = len(events) * SEGMENT
    t, amplitude_px = np.arange(count), rng.uniform(0.5, 3)
    shifts = amplitude_px * np.stack([np.sin(t / rng.uniform(15, 60)), np.cos(t / rng.uniform(15, 60)) - 1], 1)
    adu_per_photon = min(10 ** rng.uniform(-0.7, 0.7), 8000 / photons)
    movie = np.empty((count, SIDE, SIDE), np.uint16)
    for t, shift in enumerate(shifts):
        event = events[t // SEGMENT]
        source = other if event == "another scene" else tissue
        away = np.array([23.0, -26.0]) if event == "another place" else np.zeros(2)
        origin = [Y + PAD - shift[0] - away[0], X + PAD - shift[1] - away[1]]
        light = np.maximum(ndi.map_coordinates(source, origin, order=3, prefilter=False), 0)
        amount = 1 + 3 * (t // SEGMENT % 5) / 5
        if event == "added":
            light = light + amount
        elif event == "more":
            light = 1.8 * light
        elif event == "flickers":
            light = light * np.clip(1 + 0.2 * rng.standard_normal(), 0.65, 1.9)
        elif event == "from one side":
            light = light + amount * X / SIDE
        elif event == "shut off":
            light = 0 * light
        noise = 1.5 * rng.standard_normal(light.shape)
        movie[t] = np.clip(np.rint((rng.poisson(light * photons) + noise) * adu_per_photon + 100), 0, 65535)
    return movie, shifts, ~np.isin(np.repeat(events, SEGMENT), NOT_THERE)


@pytest.mark.parametrize(
    ("seed", "photons"), [(1, 30), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, 300), (3, 10000)))]
)
def test_no_frame_off_by_a_pixel_is_valid_and_every_good_one_is(seed, photons):
    movie, shifts, good = lit_movie(seed, photons)
    motion = streamfluo.create("motion", Spec(movie.shape[1:], "uint16"), max_shift_px=MAX_PX)
    values = motion.update(Block(0, np.zeros(len(movie)), movie)).values
    error = values["shift_px"] - shifts
    error = np.abs(error - np.median(error[: 2 * SEGMENT], axis=0)).max(1)
    valid = values["valid"]
    assert not (valid & ~good).any()
    assert not (valid & (error > 1)).any()
    assert valid[good].mean() > 0.99
    assert np.sqrt((error[valid] ** 2).mean()) < 0.2
    assert not values["restarted"].any()


def test_light_that_fades_to_a_tenth_is_followed():
    rng = np.random.default_rng(4)
    tissue, count = scene(rng), 500
    shifts = 2 * np.stack([np.sin(np.arange(count) / 40), np.cos(np.arange(count) / 25)], 1)
    movie = np.empty((count, SIDE, SIDE), np.uint16)
    for t, (shift, light) in enumerate(zip(shifts, np.geomspace(1, 0.1, count), strict=True)):
        origin = [Y + PAD - shift[0], X + PAD - shift[1]]
        movie[t] = rng.poisson(600 * light * ndi.map_coordinates(tissue, origin, order=3, prefilter=False)) + 100
    motion = streamfluo.create("motion", Spec(movie.shape[1:], "uint16"), max_shift_px=MAX_PX)
    values = motion.update(Block(0, np.zeros(count), movie)).values
    error = values["shift_px"] - shifts
    assert values["valid"].all()
    assert np.sqrt(((error - error.mean(0)) ** 2).mean()) < 0.05


@pytest.mark.parametrize(("seed", "photons"), [(1, 100), (2, 2000)])
def test_single_frames_in_a_third_of_the_light_are_valid_at_their_place_alone(seed, photons):
    rng = np.random.default_rng([40, seed])
    tissue, other, count = scene(rng), scene(rng), 160
    shifts = 2 * np.stack([np.sin(np.arange(count) / 30), np.cos(np.arange(count) / 20) - 1], 1)
    dim, where = rng.random(count) < 0.4, rng.integers(0, 3, count)  # here; another scene; another place
    dim[:60] = False
    movie = np.empty((count, SIDE, SIDE), np.uint16)
    for t, shift in enumerate(shifts):
        away = np.array([23.0, -26.0]) if dim[t] and where[t] == 2 else np.zeros(2)
        origin = [Y + PAD - shift[0] - away[0], X + PAD - shift[1] - away[1]]
        shown = other if dim[t] and where[t] == 1 else tissue
        light = np.maximum(ndi.map_coordinates(shown, origin, order=3, prefilter=False), 0)
        light *= rng.uniform(0.25, 0.48) if dim[t] else 1
        movie[t] = rng.poisson(photons * light) + np.rint(1.5 * rng.standard_normal(light.shape)) + 100
    motion = streamfluo.create("motion", Spec(movie.shape[1:], "uint16"), max_shift_px=MAX_PX)
    values = motion.update(Block(0, np.zeros(count), movie)).values
    error = values["shift_px"] - shifts
    error = np.abs(error - np.median(error[10:60], axis=0)).max(1)
    valid, good = values["valid"], ~dim | (where == 0)
    assert not (valid & ~good).any()
    assert valid[good].mean() > 0.96
    assert error[valid].max() < 0.5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_a_field_in_shadow_is_valid_where_its_shift_is_right_alone(seed):
    rng = np.random.default_rng([20, seed])
    tissue, count, side = scene(rng), 140, 64
    shifts = 2 * np.stack([np.sin(np.arange(count) / 30), np.cos(np.arange(count) / 20) - 1], 1)
    movie = np.empty((count, side, side), np.uint16)
    for t, shift in enumerate(shifts):
        origin = [Y[:side, :side] + PAD - shift[0], X[:side, :side] + PAD - shift[1]]
        light = np.maximum(ndi.map_coordinates(tissue, origin, order=3, prefilter=False), 0)
        light *= (X[:side, :side] > side / 2) if 80 <= t < 100 else 1
        movie[t] = rng.poisson(5 * light) * 4 + np.rint(2 * rng.standard_normal(light.shape)) + 100
    values = (
        streamfluo.create("motion", Spec(movie.shape[1:], "uint16"), max_shift_px=MAX_PX)
        .update(Block(0, np.zeros(count), movie))
        .values
    )
    error = values["shift_px"] - shifts
    error = np.abs(error - np.median(error[10:80], axis=0)).max(1)
    assert not (values["valid"][1:] & (error[1:] > 1)).any()
    assert not values["restarted"].any()


def missing(frame, template, sigma):
    """`missing_structure` of a frame (64, 64) at its place, its blocks' levels as they are, in every row."""
    levels = (frame - template).reshape(4, 16, 4, 16).mean((1, 3)).astype(np.float32)
    steps, scale = np.zeros((3, 64, 64), np.int8), np.zeros((4, 4, 3), np.float32)
    images = TemplateImages(template, steps, scale, np.ones((4, 64), np.float32), np.array([0, 64] * 2))
    light = Light(np.float32(1), np.float32(0), np.float32(0), levels)
    expected, seen = (tuple(light), np.zeros((2, 4, 4), np.float32)), (read_only(frame), (0, 64, 0, 64))
    told = 1, np.full((4, 4), sigma**2), np.zeros((4, 4, 5)), np.zeros((4, 4, 3, 3))
    return misfit(seen, images, np.zeros((4, 4, 2), np.int64), expected, told)[0]


@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_noise_light_and_active_cells_are_no_missing_structure(sigma):
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    texture = 8 * np.sin(x / 2) * np.cos(y / 2)
    template = (texture + 100).astype(np.float32)
    contrast = (texture**2).sum() / sigma**2
    cell = 30 * np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 18)
    for added in (0, 40, x, cell):  # of three times the noise
        frame = (template + added + 3 * sigma * rng.standard_normal((64, 64))).astype(np.float32)
        assert missing(frame, template, sigma) < 0.05 * contrast
    noise = sigma * rng.standard_normal((64, 64))
    dark = (np.where(x < 32, 100.0, template) + noise).astype(np.float32)
    assert 0.1 * contrast < missing(dark, template, sigma) < 0.5 * contrast
