"""`gain` against the textbook over the whole movie, with a hole in the frames, and simulated truth; what it refuses."""

import re

import numpy as np
import pytest

from streamfluo import Block, Camera, ConfigError, Spec, StateError, create, simulate

HOLE = slice(70, 105)
GAIN = 0.5  # of the simulated cameras unless stated otherwise


def read(movie, camera=None, size=32, hole=None, **params):
    """Push a movie, less the hole, through the operator; return its snapshots."""
    operator = create("gain", Spec(movie.shape[1:], movie.dtype, camera=camera), **params)
    for a, b in ((0, hole.start), (hole.stop, len(movie))) if hole else ((0, len(movie)),):
        for start in range(a, b, size):
            part = movie[start : min(start + size, b)]
            operator.update(Block(start, np.zeros(len(part)), part))
    return operator.read()


def series(frames=300, **params):
    return simulate.gain(frames, **{"shape": (96, 96), "levels": 1, **params})[0]


def dark_series(frames=300, **params):
    return series(frames, dark_frames=frames, seed=99, **params)


def error(found, truth=GAIN):
    """Relative error of the gain, and in standard errors."""
    gain, (low, high) = found["gain_e_per_adu"], found["gain_interval"]
    return gain / truth - 1, (gain - truth) / ((high - low) / (2 * 1.96))


# The textbook


@pytest.mark.parametrize(
    "dtype", ["uint16", "float32", *(pytest.param(t, marks=pytest.mark.slow) for t in ("int16", "uint8"))]
)
def test_mean_and_variance_are_those_of_the_textbook(dtype):
    movie = (series(200) / (16 if dtype == "uint8" else 1)).astype(dtype)
    found, kept = read(movie, hole=HOLE, size=11), np.delete(movie, HOLE, 0).astype(np.longdouble)
    assert found["frames"] == len(kept)
    np.testing.assert_allclose(found["mean"], kept.mean(0).astype(float), rtol=1e-12)
    np.testing.assert_allclose(found["variance"], kept.var(0, ddof=1).astype(float), rtol=1e-9, atol=1e-12)


def test_bins_hold_the_pixels_of_like_brightness():
    movie = series(100)
    found = read(movie, bins=20)
    mean, variance = movie.mean(0).ravel(), movie.var(0, ddof=1).ravel()
    edges = np.linspace(*np.percentile(mean, (0.2, 99.8)), 21)
    place = np.clip(np.searchsorted(edges, mean, "right") - 1, 0, 19)
    for n in range(20):
        assert found["mean_bins"][n] == pytest.approx(mean[place == n].mean(), rel=1e-3)
        assert found["variance_bins"][n] == pytest.approx(variance[place == n].mean(), rel=0.02)
    slope, intercept = found["fit"]
    np.testing.assert_allclose(found["variance_bins_fit"], slope * found["mean_bins"] + intercept)
    assert slope == pytest.approx(1 / found["gain_e_per_adu"])


def test_the_line_is_that_of_a_weighted_fit():
    movie = series(300)
    mean, variance = movie.mean(0).ravel(), movie.var(0, ddof=1).ravel()
    weight = np.ones_like(mean)
    for _ in range(10):
        slope, intercept = np.polyfit(mean, variance, 1, w=weight)
        weight = 1 / np.maximum(slope * mean + intercept, 1)
    assert read(movie)["fit"][0] == pytest.approx(slope, rel=5e-4)


def test_darks_are_averaged_pixel_by_pixel():
    dark = dark_series(50, offset_sd_adu=3)
    found = read(series(100), dark=dark)
    np.testing.assert_allclose(found["offset_map"], dark.mean(0))
    np.testing.assert_allclose(found["variance_map"], dark.var(0, ddof=1))


@pytest.mark.parametrize("hole", [None, HOLE])
def test_the_reference_is_median_mad_and_an_unweighted_line(hole):
    movie = series(150)
    kept = movie if hole is None else np.delete(movie, hole, 0)
    found = read(movie, hole=hole, method="reference", size=7)
    median = np.median(kept, 0)
    variance = (1.4826 * np.median(np.abs(kept - median), 0)) ** 2
    np.testing.assert_array_equal(found["mean"], median)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-14)
    place = np.digitize(median, np.linspace(median.min(), median.max(), 51))
    groups = [place == n for n in np.unique(place) if np.sum(place == n) > 10]
    mean_bins, variance_bins = (np.array([image[g].mean() for g in groups]) for image in (median, variance))
    np.testing.assert_allclose(found["mean_bins"], mean_bins, rtol=1e-12)
    np.testing.assert_allclose(found["variance_bins"], variance_bins, rtol=1e-12)
    low, high = np.percentile(median, (33, 66))
    middle = (mean_bins >= low) & (mean_bins < high)
    slope = np.polyfit(mean_bins[middle], variance_bins[middle], 1)[0]
    assert found["gain_e_per_adu"] == pytest.approx(1 / slope, rel=1e-9)
    assert str(found["status"]).startswith("determined")


def test_the_reference_says_when_it_looks_at_some_frames_only():
    movie = series(300)
    found = read(movie, method="reference", sample_mib=1)  # 56 frames of 96 × 96 × 2 bytes
    assert "approximate: medians of every 8th frame" in str(found["status"])
    np.testing.assert_array_equal(found["mean"], np.median(movie[::8], 0))


# The truth


CASES = {
    "a gradient": ({}, {}),
    "a gradient, with darks": ({}, {"dark": True}),
    "gaussian light": ({"illumination": "gaussian"}, {}),
    "few electrons": ({"photons": 10}, {}),
    "many electrons an ADU": ({"gain_e_per_adu": 5.0}, {}),
    "50 frames": ({"frames": 50}, {}),
    "illumination that flickers": ({"flicker": 0.01}, {}),
    "illumination that flickers a lot": ({"flicker": 0.05}, {}),
    "eight levels": ({"frames": 800, "levels": 8}, {}),
    "even light, with darks": ({"illumination": "flat"}, {"dark": True}),
    "even light, with the offset": ({"illumination": "flat"}, {"dark": 100.0}),
    "per-pixel gains": ({"gain_sd": 0.05, "offset_sd_adu": 2, "read_noise_sd": 0.35}, {}),
    "per-pixel gains, with darks": ({"gain_sd": 0.15, "offset_sd_adu": 2, "read_noise_sd": 0.35}, {"dark": True}),
    "a full well": ({"full_well_e": 2500}, {}),
    "a converter at its end": ({"bits": 12, "offset_adu": 400, "photons": 1400}, {}),
}


@pytest.mark.parametrize(("light", "params"), CASES.values(), ids=CASES)
def test_the_gain_is_the_camera_s_within_its_interval(light, params):
    camera = {k: v for k, v in light.items() if k in ("gain_e_per_adu", "gain_sd", "offset_sd_adu", "read_noise_sd")}
    if params.get("dark") is True:
        maps = simulate.gain(1, shape=(96, 96), levels=1, seed=0, **camera)[1]
        noise = np.random.default_rng(5).normal(size=(300, 96, 96)) * maps["read_noise_map"] / maps["gain_map"]
        params = {"dark": np.rint(maps["offset_map"] + noise).astype(np.uint16)}
    movie, truth = simulate.gain(**{"frames": 300, "shape": (96, 96), "levels": 1, **light})
    found = read(movie, **params)
    assert str(found["status"]).startswith("determined")
    off, in_errors = error(found, np.median(truth["gain_map"]))
    assert abs(in_errors) < 4
    assert abs(off) < 0.015


def test_darks_determine_offset_and_read_noise():
    found = read(series(read_noise_e=2.5, offset_adu=120), dark=dark_series(read_noise_e=2.5, offset_adu=120))
    assert found["offset_adu"] == pytest.approx(120, rel=1e-3)
    assert found["read_noise_e"] == pytest.approx(2.5, rel=0.02)
    for name in ("offset_adu", "read_noise_e"):
        assert np.isnan(read(series())[name])  # a line alone cannot tell them apart


def test_the_gain_map_is_as_good_as_its_frames_allow():
    movie, truth = simulate.gain(400, shape=(96, 96), levels=1, photons=1000)
    rmse = np.sqrt(np.mean((read(movie)["gain_map"] / truth["gain_map"] - 1) ** 2))
    assert rmse < 1.1 * np.sqrt(2 / 400)


def test_drifting_illumination_is_reported_and_corrected():
    light = np.linspace(1, 0.7, 300)[:, None, None] * np.linspace(50, 2000, 96)
    rng, shape = np.random.default_rng(2), (300, 96, 96)
    movie = np.rint(100 + (rng.poisson(np.broadcast_to(light, shape)) + rng.normal(0, 1.5, shape)) / GAIN)
    found = read(movie.astype(np.uint16))
    assert "drifts" in str(found["status"])
    assert abs(error(found)[1]) < 4


def test_pixels_cut_off_at_zero_are_left_out():
    found = read(series(offset_adu=0, photons=400, dim_fraction=0.005))
    assert "cut off at zero" in str(found["status"])
    assert abs(error(found)[1]) < 4


def test_pixels_that_are_no_number_are_left_out():
    movie = series(100, flicker=0.02).astype(np.float32)
    movie[3, 5, 5], movie[50, 6, 6] = np.nan, np.inf
    found = read(movie)
    assert str(found["status"]).startswith("determined")
    assert abs(error(found)[1]) < 4
    assert found["flicker"] == pytest.approx(0.02, rel=0.3)


# Undetermined


def moving_bar():
    movie = series(300, offset_adu=300)
    for t, frame in enumerate(movie):
        frame[:, t // 4 % 80 : t // 4 % 80 + 15] += 800
    return movie


UNKNOWN = {
    "even light without darks": (lambda: series(illumination="flat"), {}, "too even"),
    "no light": (lambda: dark_series(), {}, "too even"),
    "too few frames": (lambda: series(19), {}, "19 frames are too few"),
    "too few electrons": (lambda: series(30, photons=1, shape=(32, 32)), {}, "too few frames or electrons|too even"),
    "everything saturated": (lambda: np.full((50, 32, 32), 4095, np.uint16), {}, "show no noise"),
    "saturation stated": (lambda: series(50), {"saturation_adu": 150.0}, "saturate"),
    "saturation under illumination that flickers": (
        lambda: np.minimum(series(200, flicker=0.05), 6000),
        {},
        "pixels saturate while the illumination",
    ),
    "noise below the grey steps": (lambda: series(photons=40, gain_e_per_adu=20), {}, "rounding"),
    "a sample that moves": (moving_bar, {}, "change slowly"),
    "dark and light swapped": (lambda: dark_series(), {"dark": np.full((96, 96), 900.0)}, "no brighter than the dark"),
}


@pytest.mark.parametrize(("movie", "params", "reason"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_undetermined_is_nan_with_a_reason(movie, params, reason):
    found = read(movie(), **params)
    assert re.match(f"undetermined: .*({reason})", str(found["status"]))
    assert np.isnan(found["gain_e_per_adu"])
    assert np.isnan(found["gain_interval"]).all()
    assert np.isnan(found["gain_map"]).all()
    assert np.isnan(found["read_noise_e"])


def test_before_the_first_frame_nothing_is_known():
    found = create("gain", Spec((4, 5), "uint16")).read()
    assert (found["frames"], str(found["status"])) == (0, "undetermined: no frames yet")
    assert np.isnan(found["mean"]).all()


# What is stated


def test_the_offset_of_the_stream_s_camera_is_used():
    even = series(illumination="flat")
    found = read(even, camera=Camera(offset_adu=100.0))
    assert str(found["status"]).startswith("determined")
    assert found["offset_adu"] == 100


def test_darks_come_from_files(tmp_path):
    dark, light = dark_series(60), series(100)
    np.save(tmp_path / "dark.npy", dark)
    np.save(tmp_path / "offset.npy", dark.mean(0))
    Camera(offset_adu=dark.mean(0), gain_e_per_adu=GAIN, read_noise_e=1.5).save(tmp_path / "calibration.npz")
    frames, offset, camera = (
        read(light, dark=str(tmp_path / name)) for name in ("dark.npy", "offset.npy", "calibration.npz")
    )
    np.testing.assert_allclose(frames["offset_map"], offset["offset_map"])
    np.testing.assert_allclose(frames["offset_map"], camera["offset_map"])
    assert np.isnan(offset["variance_map"]).all()
    np.testing.assert_allclose(camera["variance_map"], 9 + 1 / 12)


BAD_DARKS = {
    "no such file": ("nowhere.npy", "nowhere.npy cannot be read"),
    "no camera": ("nowhere.npz", "nowhere.npz cannot be read"),
    "text": ("camera", "dark must be an offset"),
    "another shape": (np.zeros((3, 4)), r"dark is \(3, 4\), the frames are \(8, 9\)"),
    "one frame": (np.zeros((1, 8, 9)), "at least 2 frames, found 1"),
    "not finite": (np.nan, "not finite"),
    "four axes": (np.zeros((2, 2, 8, 9)), "4 axes"),
    "a list of words": (["a"], "dark must be an offset"),
}


@pytest.mark.parametrize(("dark", "message"), BAD_DARKS.values(), ids=BAD_DARKS)
def test_darks_that_make_no_sense_are_refused(dark, message):
    with pytest.raises(ConfigError, match=message):
        create("gain", Spec((8, 9), "uint16"), dark=dark)


@pytest.mark.parametrize("params", [{"bins": 3}, {"method": "best"}, {"saturation_adu": -1}, {"sample_mib": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(ConfigError, match=next(iter(params))):
        create("gain", Spec((8, 9), "uint16"), **params)


def test_a_state_of_another_operator_is_refused():
    with pytest.raises(StateError, match="gain: state 'pivot'"):
        create("gain", Spec((8, 9), "uint16")).restore(create("moments", Spec((8, 9), "uint16")).state())
    reference = create("gain", Spec((8, 9), "uint16"), method="reference")
    with pytest.raises(StateError, match="the sample of frames"):
        reference.restore(create("gain", Spec((8, 9), "uint16")).state())
