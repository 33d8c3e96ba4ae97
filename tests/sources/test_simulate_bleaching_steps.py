"""Fluorophores of a spot switch, bleach and shine as the chain that counting assumes."""

import numpy as np
import pytest
from scipy import stats

from streamfluo import open_source, simulate
from streamfluo.sources.simulate.psf import spot_images
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES

LIMIT = 4.5  # standard errors


def truth_of(**parameters):
    parameters = {"shape": "32x32", "spots": 600, "seed": 1, "p_bleach": 0} | parameters
    return open_source("sim:bleaching-steps?" + "&".join(f"{k}={v}" for k, v in parameters.items())).truth


def z_score(samples, expected):
    """How far the mean of independent samples (along axis 0) is from what is expected, in its standard errors."""
    return (samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))


def test_numbers_of_fluorophores_are_even_between_the_limits():
    y = truth_of(spots=2000, min_y=2, max_y=6, frames=1)["y"]
    counts = np.bincount(y, minlength=7)
    assert counts[:2].sum() == 0
    assert stats.chisquare(counts[2:]).pvalue > 1e-4


@pytest.mark.parametrize(("p_on", "p_off"), [(0.05, 0.08), (0.6, 0.2), (0.01, 0.09)])
def test_numbers_on_have_the_mean_and_the_memory_of_the_chain(p_on, p_off):
    t = truth_of(p_on=p_on, p_off=p_off, frames=1500)
    p, lags = p_on / (p_on + p_off), np.array([0, 1, 2, 5, 10])
    away = t["on"].astype(float) - t["y"] * p
    assert abs(z_score((t["on"] / t["y"]).mean(0), p)) < LIMIT
    products = [(away[: len(away) - m] * away[m:]).mean(0) / t["y"] for m in lags]
    assert np.abs(z_score(np.stack(products, 1), p * (1 - p) * (1 - p_on - p_off) ** lags)).max() < LIMIT


@pytest.mark.parametrize("frame", [pytest.param(0, marks=pytest.mark.slow), CHUNK_FRAMES - 1])
def test_the_number_in_the_next_frame_is_the_sum_of_two_binomials(frame):
    t = truth_of(spots=5000, shape="8x8", min_y=3, max_y=3, p_on=0.2, p_off=0.3, frames=CHUNK_FRAMES + 1)
    before, after = t["on"][frame], t["on"][frame + 1]
    for z in range(4):
        law = np.convolve(stats.binom.pmf(range(z + 1), z, 0.7), stats.binom.pmf(range(4 - z), 3 - z, 0.2))
        counts = np.bincount(after[before == z], minlength=4)
        assert stats.chisquare(counts, law * counts.sum()).pvalue > 1e-4


def test_fluorophores_survive_as_the_chain_with_bleaching_says():
    on, off, bleach = 0.1, 0.2, 0.01
    t = truth_of(p_on=on, p_off=off, p_bleach=bleach, frames=1200)
    step = np.array([[1 - on, on], [(1 - bleach) * off, (1 - bleach) * (1 - off)]])
    total = t["y"].sum()
    for frame in (1, 30, 300, CHUNK_FRAMES + 5):
        state = np.array([2 / 3, 1 / 3]) @ np.linalg.matrix_power(step, frame)
        for count, p in [(t["alive"][frame].sum(), state.sum()), (t["on"][frame].sum(), state[1])]:
            assert abs(count - total * p) < LIMIT * np.sqrt(total * p * (1 - p))


def test_spots_lose_fluorophores_in_steps_and_never_gain_one():
    t = truth_of(p_bleach=0.008, frames=CHUNK_FRAMES + 200)
    assert np.all(t["on"] <= t["alive"])
    assert np.array_equal(t["alive"][0], t["y"])
    assert np.all(np.diff(t["alive"].astype(int), axis=0) <= 0)
    assert 0 < t["alive"][-1].sum() < t["y"].sum() / 10


def test_without_switching_all_are_on_and_every_drop_of_light_is_a_bleaching_step():
    t = truth_of(p_on=0, p_off=0, p_bleach=0.01, frames=300)
    assert np.array_equal(t["on"], t["alive"])
    assert np.array_equal(t["light"], (t["alive"] * 500.0).astype(np.float32))
    life = 300 - (t["alive"] == 0).sum(0)[t["y"] == 1]
    expected = (1 - 0.99**300) / 0.01  # mean of a geometric life that is watched for 300 frames
    assert abs(z_score(life, expected)) < LIMIT


# Light


def test_log_normal_light_scatters_by_sigma_about_the_light_of_those_on():
    t = truth_of(emission="lognormal", spot_background=1250, noise_sigma=0.05, frames=400)
    logs = np.log(t["light"] / (500 * t["on"].astype(float) + 1250)).ravel()
    assert abs(z_score(logs, 0)) < LIMIT
    assert logs.std() == pytest.approx(0.05, rel=LIMIT / np.sqrt(2 * logs.size))
    grid = logs.reshape(400, -1)
    assert abs(z_score((grid[1:] * grid[:-1]).ravel(), 0)) < LIMIT


def test_with_log_normal_light_and_no_read_noise_a_spot_adds_up_to_its_light():
    frames, t = simulate.bleaching_steps(
        300, shape=(24, 24), spots=1, emission="lognormal", read_noise_e=0, photons=4, spot_background=1e4, seed=2
    )
    summed = (frames.sum((1, 2)) - 100.0 * 24**2) * 0.5 - 4 * 24**2
    rounding = 0.5 * np.sqrt(24**2 / 12)
    bias = (summed - t["light"][:, 0]).mean()
    assert np.abs(summed - t["light"][:, 0]).max() < 24**2 * 0.25
    assert abs(bias) < 10 * rounding


def test_frames_are_made_of_the_truth_plus_the_noise_of_the_camera():
    frames, t = simulate.bleaching_steps(
        300, shape=(64, 48), photons=8, spot_background=50, brightness_sd=0.3, min_y=2, seed=6
    )
    photons = 8 + t["light"].astype(float) @ spot_images(t["position_px"], (64, 48), 1.3).toarray().T
    z = (frames.reshape(300, -1) - 100.0 - photons / 0.5) / np.sqrt((photons + 1.5**2) / 0.5**2 + 1 / 12)
    assert abs(z.mean()) < LIMIT / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=LIMIT * np.sqrt(2.1 / z.size))


def test_light_is_the_number_on_times_the_brightness_of_the_spot():
    t = truth_of(spots=2000, brightness_sd=0.3, spot_background=20, frames=3)
    assert np.allclose(t["light"], t["on"] * t["brightness"] + 20, rtol=1e-6)
    brightness = t["brightness"] / 500
    assert abs(z_score(brightness, 1)) < LIMIT
    assert abs(z_score((brightness - 1) ** 2, 0.09)) < LIMIT


def test_spots_keep_clear_of_the_border_and_truth_has_one_entry_per_frame_and_spot():
    t = open_source("sim:bleaching-steps?shape=128x96&frames=50").truth
    assert t["on"].shape == t["alive"].shape == t["light"].shape == (50, 12)
    assert t["position_px"].shape == (12, 2)
    assert np.all((t["position_px"] >= 6.5) & (t["position_px"] <= np.array([127, 95]) - 6.5))
    assert (t["p_on"], t["p_off"], t["p_bleach"]) == (0.05, 0.08, 0.002)
