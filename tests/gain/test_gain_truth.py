"""`gain` on the movies that other programs were scored with: error, interval, maps, and the reference's own numbers."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from streamfluo import Block, Camera, Spec, create
from streamfluo.analysis import detect_gain

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
SEEDS = range(2, 7)

# name → (the generator's arguments, whether there are darks, accepted median of the absolute error)
ACCEPTED = {
    "standard": ({}, False, 0.0015),
    "gaussian light": ({"gradient": "gauss"}, False, 0.003),
    "few electrons": ({"emin": 1, "emax": 20}, False, 0.003),
    "5 electrons an ADU": ({"K": 5, "emin": 10, "emax": 400}, False, 0.003),
    "50 frames": ({"nt": 50}, False, 0.006),
    "1 % flicker": ({"flicker": 0.01}, False, 0.002),
    "pixels scatter by 5 %": ({"scmos": True}, False, 0.003),
    "pixels scatter by 15 %": ({"scmos": True, "gain_sd": 0.15}, False, 0.003),
    "pixels scatter by 15 %, darks": ({"scmos": True, "gain_sd": 0.15}, True, 0.003),
    "standard, darks": ({}, True, 0.0015),
    "even light, darks": ({"gradient": "flat"}, True, 0.003),
}

REFERENCE = {
    "std": {},
    "std2": {"seed": 21},
    "std3": {"seed": 22},
    "gaussill": {"gradient": "gauss"},
    "offset0": {"offset": 0},
    "lowlight": {"emin": 1, "emax": 20},
    "coarse": {"K": 5, "emin": 10, "emax": 400},
    "emK2p2": {"K": 2.2},
    "short50": {"nt": 50},
    "flicker1": {"flicker": 0.01},
    "flat": {"gradient": "flat"},
    "scmos": {"scmos": True},
    "scmos_bigsd": {"scmos": True, "gain_sd": 0.15},
    "big": {"n": 512, "nt": 400},
}


def data(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return DATA / name


@pytest.fixture(scope="module")
def generators():
    spec = importlib.util.spec_from_file_location("generators", data("reference_outputs/generators.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(movie, names=None, **params):
    operator = create("gain", Spec(movie.shape[1:], movie.dtype), **params)
    for start in range(0, len(movie), 32):
        part = movie[start : start + 32]
        operator.update(Block(start, np.zeros(len(part)), part))
    return operator.read(names)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("light", "with_dark", "accepted"), ACCEPTED.values(), ids=ACCEPTED)
def test_the_error_of_five_series_is_near_the_statistical_floor(generators, light, with_dark, accepted):
    errors = []
    for seed in SEEDS:
        movie, truth = generators.gain_movie(seed=seed, **light)
        dark = {"dark": generators.gain_dark(truth)} if with_dark else {}
        found = read(movie, **dark)
        errors.append(found["gain_e_per_adu"] / np.median(truth["K"]) - 1)
        if with_dark:
            assert found["offset_adu"] == pytest.approx(np.median(truth["offset"]), rel=0.02)
            assert found["read_noise_e"] == pytest.approx(np.median(truth["read"]), rel=0.02)
    assert np.median(np.abs(errors)) <= accepted


def test_even_light_without_darks_is_undetermined(generators):
    found = read(generators.gain_movie(gradient="flat", n=64, nt=200)[0], ["status", "gain_e_per_adu"])
    assert "undetermined" in str(found["status"])
    assert np.isnan(found["gain_e_per_adu"])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("light", [{}, {"scmos": True}], ids=["like pixels", "per-pixel gains"])
def test_each_pixel_s_gain_is_as_good_as_its_frames_allow(generators, light):
    movie, truth = generators.gain_movie(**light)
    found = read(movie, dark=generators.gain_dark(truth))
    assert np.sqrt(np.mean((found["gain_map"] / truth["K"] - 1) ** 2)) < 1.1 * np.sqrt(2 / len(movie))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_interval_holds_the_truth_in_95_of_100_series():
    rng, frames, shape, gain, inside = np.random.default_rng(1), 60, (48, 48), 0.5, 0
    light = np.broadcast_to(np.linspace(50, 1000, shape[1]), shape)
    for _ in range(1000):
        electrons = rng.poisson(light, (frames, *shape)) + rng.normal(0, 1.5, (frames, *shape))
        found = read(np.rint(100 + electrons / gain).astype(np.uint16), ["gain_interval"])["gain_interval"]
        inside += found[0] <= gain <= found[1]
    assert abs(inside - 950) < 1.96 * np.sqrt(1000 * 0.95 * 0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_gives_the_other_program_s_numbers(generators, name):
    known = np.load(data("reference_outputs/smlmlp_gain.npz"))
    movie = generators.gain_movie(**REFERENCE[name])[0]
    streamed = read(movie, ["gain_e_per_adu", "fit", "mean_bins", "variance_bins"], method="reference")
    batch = detect_gain([movie])
    for gain, mean_bins, variance_bins in (
        (streamed["gain_e_per_adu"], streamed["mean_bins"], streamed["variance_bins"]),
        (batch.gain[0], batch.mean_bins[0], batch.variance_bins[0]),
    ):
        assert gain == pytest.approx(float(known[f"{name}__gain"]), rel=1e-6)
        np.testing.assert_allclose(mean_bins, known[f"{name}__mean_bins"], rtol=1e-6)
        np.testing.assert_allclose(variance_bins, known[f"{name}__var_bins"], rtol=1e-6)
    np.testing.assert_allclose(streamed["fit"][0], known[f"{name}__slope"], rtol=1e-6)


def test_real_hot_pixels_vary_as_their_calibration_says(tmp_path):
    maps = np.load(data("scmos/calib_aligned_to_movie.npz"))
    frames = tifffile.imread(data("scmos/storm_scmos_11x256x256.tif"))
    gain = 1 / maps["gain_adu_per_e"]
    calibration = Camera(maps["offset_adu"] + 10.5, gain, np.sqrt(maps["variance_adu2"]) * gain).save(tmp_path / "c")
    found = read(frames, dark=str(calibration))
    hot = found["variance_map"] > 200
    light = np.maximum(found["mean"] - found["offset_map"], 0) / gain
    expected = found["variance_map"] + light
    assert hot.sum() > 400
    assert np.mean(found["variance"][hot] / expected[hot]) == pytest.approx(1, abs=0.1)
