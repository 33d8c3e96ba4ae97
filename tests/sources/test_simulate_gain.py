"""A simulated camera has the gain, offset, read noise and light that it says: photon transfer finds them again."""

import numpy as np
import pytest

from streamfluo import open_source, simulate

LIMIT = 4.5  # standard errors
QUIET = {"illumination": "flat", "shape": (64, 64)}


def z_score(samples, expected):
    """How far the mean of independent samples is from what is expected, in its standard errors."""
    return (np.mean(samples) - expected) / (np.std(samples, ddof=1) / np.sqrt(np.size(samples)))


@pytest.mark.parametrize(("gain", "read", "offset"), [(0.45, 1.6, 100), (2.2, 3.0, 300), (0.2, 0.8, 50)])
def test_the_slope_of_variance_over_mean_is_one_over_the_gain(gain, read, offset):
    frames, t = simulate.gain(
        600, levels=6, min_photons=30, photons=2500, gain_e_per_adu=gain, read_noise_e=read, offset_adu=offset, **QUIET
    )
    stretches = [frames[t["level"] == n] for n in range(6)]
    means = np.array([f.mean() for f in stretches]) - offset
    variances = np.array([f.var(0, ddof=1).mean() for f in stretches])
    expected = t["level_photons"] / gain**2 + (read / gain) ** 2 + 1 / 12
    error = expected * np.sqrt(2 / 99 / 64**2) * 1.02  # of a mean variance of 4096 pixels, 100 frames each
    slope, cov = np.polyfit(means, variances - (read / gain) ** 2 - 1 / 12, 1, w=1 / error, cov="unscaled")
    assert abs(slope[0] - 1 / gain) < LIMIT * np.sqrt(cov[0, 0])
    assert np.all(np.abs(variances - expected) < LIMIT * error)
    assert np.all(np.abs(means - t["level_photons"] / gain) < LIMIT * np.sqrt(expected / 100 / 64**2))


def test_pixels_of_an_scmos_camera_follow_their_own_maps():
    frames, t = simulate.gain(
        900,
        levels=2,
        min_photons=50,
        photons=1000,
        dark_frames=300,
        shape=(64, 64),
        gain_sd=0.15,
        offset_sd_adu=3,
        read_noise_sd=0.35,
        seed=7,
    )
    for level in (-1, 0, 1):
        light = t["illumination"] * (t["level_photons"][level] if level >= 0 else 0)
        mean = t["offset_map"] + light / t["gain_map"]
        variance = (light + t["read_noise_map"] ** 2) / t["gain_map"] ** 2 + 1 / 12
        taken = frames[t["level"] == level].astype(float)
        z = (taken.mean(0) - mean) / np.sqrt(variance / 300)
        assert abs(z.mean()) < LIMIT / np.sqrt(z.size)
        assert z.var() == pytest.approx(1, abs=LIMIT * np.sqrt(2 / z.size))
        assert abs(z_score(taken.var(0, ddof=1) / variance, 1)) < LIMIT


def test_maps_scatter_as_asked_for():
    t = open_source(
        "sim:gain?shape=256x256&frames=1&gain_sd=0.1&offset_sd_adu=5&read_noise_sd=0.35&offset_adu=200&read_noise_e=2"
    ).truth
    n = 256**2
    assert t["gain_map"].mean() == pytest.approx(0.5, abs=LIMIT * 0.05 / np.sqrt(n))
    assert t["gain_map"].std() == pytest.approx(0.05, rel=0.01 + LIMIT / np.sqrt(2 * n))  # cut at 3 sd: 0.7 % less
    assert t["offset_map"].std() == pytest.approx(5, rel=LIMIT / np.sqrt(2 * n))
    logs = np.log(t["read_noise_map"] / 2)
    assert abs(logs.mean()) < LIMIT * 0.35 / np.sqrt(n)
    assert logs.std() == pytest.approx(0.35, rel=LIMIT / np.sqrt(2 * n))


def test_a_ccd_has_the_same_pixels_everywhere():
    t = open_source("sim:gain?frames=1&shape=16x16").truth
    assert (np.ptp(t["gain_map"]), np.ptp(t["offset_map"]), np.ptp(t["read_noise_map"])) == (0, 0, 0)
    assert (t["gain_map"][0, 0], t["offset_map"][0, 0], t["read_noise_map"][0, 0]) == (0.5, 100, 1.5)


# Light


def test_dark_frames_come_first_and_then_the_levels_in_equal_stretches():
    t = open_source("sim:gain?frames=26&dark_frames=5&levels=3&photons=900&min_photons=9&shape=16x16").truth
    assert t["level"].tolist() == [-1] * 5 + [0] * 7 + [1] * 7 + [2] * 7
    assert np.allclose(t["level_photons"], [9, 90, 900])


def test_levels_begin_again_where_the_series_has_no_end():
    source = open_source("sim:gain?dark_frames=2&levels=2&level_frames=3&shape=16x16")
    for _ in zip(range(11), source.blocks(1), strict=False):
        pass
    assert source.truth["level"].tolist() == [-1, -1, 0, 0, 0, 1, 1, 1, 0, 0, 0]


def test_one_level_is_the_brightest():
    assert open_source("sim:gain?frames=4&levels=1&photons=7&shape=16x16").truth["level_photons"].tolist() == [7]


@pytest.mark.parametrize("illumination", ["flat", "gradient", "gaussian"])
def test_the_light_has_mean_one_and_falls_to_the_fraction_asked_for(illumination):
    light = open_source(f"sim:gain?illumination={illumination}&dim_fraction=0.2&frames=1&shape=65x81").truth[
        "illumination"
    ]
    assert light.mean() == pytest.approx(1, rel=1e-5)
    assert light.min() / light.max() == pytest.approx(1 if illumination == "flat" else 0.2, rel=1e-4)


def test_the_lamp_flickers_as_asked_for_and_frames_follow_it():
    frames, t = simulate.gain(1000, levels=1, photons=400, flicker=0.03, seed=2, **QUIET)
    lamp = t["lamp"]
    assert abs(z_score(lamp, 1)) < LIMIT
    assert lamp.std() == pytest.approx(0.03, rel=LIMIT / np.sqrt(2 * 1000))
    assert abs(np.corrcoef(lamp[1:], lamp[:-1])[0, 1]) < LIMIT / np.sqrt(1000)
    expected = 100 + 400 * lamp / 0.5
    z = (frames.mean((1, 2)) - expected) / np.sqrt(((400 * lamp + 1.5**2) / 0.25 + 1 / 12) / 64**2)
    assert z.var() == pytest.approx(1, abs=LIMIT * np.sqrt(2 / 1000))


# Saturation and what is told


def test_electrons_saturate_at_the_full_well_and_grey_values_at_the_converter():
    well, _ = simulate.gain(40, levels=1, photons=5000, full_well_e=3000, **QUIET)
    assert abs(z_score(well, 100 + 3000 / 0.5)) < LIMIT
    assert well.std() == pytest.approx(np.sqrt((1.5 / 0.5) ** 2 + 1 / 12), rel=LIMIT / np.sqrt(2 * well.size))
    converter, _ = simulate.gain(4, levels=1, photons=5000, bits=12, **QUIET)
    assert np.all(converter == 4095)


@pytest.mark.parametrize(("more", "saturation"), [("", 65535), ("&bits=12", 4095), ("&full_well_e=1000", 2100)])
def test_the_spec_tells_where_the_camera_saturates(more, saturation):
    source = open_source(f"sim:gain?shape=16x16&frames=1{more}")
    assert source.spec.camera.saturation_adu == source.truth["saturation_adu"] == saturation


def test_the_spec_tells_of_the_camera_what_it_is_asked_to():
    none, nominal, maps = (
        open_source(f"sim:gain?shape=16x16&gain_sd=0.1&calibration={told}") for told in ("none", "nominal", "maps")
    )
    assert (none.spec.camera.gain_e_per_adu, none.spec.camera.offset_adu, none.spec.camera.read_noise_e) == (None,) * 3
    assert (nominal.spec.camera.gain_e_per_adu, nominal.spec.camera.offset_adu) == (0.5, 100)
    assert np.array_equal(maps.spec.camera.gain_e_per_adu, maps.truth["gain_map"])


def test_truth_has_one_entry_per_frame_level_or_pixel():
    t = open_source("sim:gain?shape=16x24&frames=30&levels=4").truth
    assert t["level"].shape == t["lamp"].shape == (30,)
    assert t["level_photons"].shape == (4,)
    assert t["gain_map"].shape == t["offset_map"].shape == t["read_noise_map"].shape == (16, 24)
    assert (t["gain_e_per_adu"], t["offset_adu"], t["read_noise_e"], t["photons"]) == (0.5, 100, 1.5, 2000)
