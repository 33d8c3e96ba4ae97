"""Blinking emitters switch, bleach and shine as their rates, brightness and places say."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import erf

from streamfluo import open_source, simulate
from streamfluo.sources.simulate import blinking
from streamfluo.sources.simulate.blinking import BlinkingParams, _draw_filament
from streamfluo.sources.simulate.camera import generator
from streamfluo.sources.simulate.telegraph import BLEACHED, OFF, ON, Rates, equilibrium, run_telegraph
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES

LIMIT = 4.5  # standard errors


def truth_of(**parameters):
    parameters = {"shape": "16x16", "emitters": 2000, "seed": 1} | parameters
    return open_source("sim:blinking?" + "&".join(f"{k}={v}" for k, v in parameters.items())).truth


def z_score(samples, expected):
    """How far the mean of independent samples (along axis 0) is from what is expected, in its standard errors."""
    return (samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))


def generator_matrix(rates):
    q = np.zeros((3, 3))
    q[OFF, ON], q[ON, OFF], q[ON, BLEACHED] = rates.on, rates.off, rates.bleach
    return q - np.diag(q.sum(1))


def autocovariance(p, x, lags):
    """Of a telegraph process averaged over frames, x = (k_on + k_off) · frame."""
    later = (1 - np.exp(-x)) ** 2 / x**2 * np.exp(-(lags - 1.0) * x)
    return p * (1 - p) * np.where(lags == 0, 2 * (x - 1 + np.exp(-x)) / x**2, later)


# Switching


@pytest.mark.parametrize(("k_on", "k_off"), [(2.5, 7.5), (40, 10), (200, 600), (0.2, 0.1)])
def test_emitters_are_on_for_the_equilibrium_part_of_the_time(k_on, k_off):
    on = truth_of(k_on_hz=k_on, k_off_hz=k_off, frames=1500, emitters=800)["on_fraction"]
    assert abs(z_score(on.mean(0, dtype=float), k_on / (k_on + k_off))) < LIMIT


@pytest.mark.parametrize(("k_on", "k_off"), [(2.5, 7.5), (30, 20), (100, 300)])
def test_the_autocovariance_decays_by_the_sum_of_the_rates_and_is_averaged_over_the_exposure(k_on, k_off):
    on = truth_of(k_on_hz=k_on, k_off_hz=k_off, frames=2500, emitters=800)["on_fraction"].astype(float)
    p, lags = k_on / (k_on + k_off), np.array([0, 1, 2, 3, 5, 8, 13])
    products = [((on[: len(on) - m] - p) * (on[m:] - p)).mean(0) for m in lags]
    z = z_score(np.stack(products, 1), autocovariance(p, (k_on + k_off) / 50, lags))
    assert np.abs(z).max() < LIMIT


@pytest.mark.slow
def test_switching_goes_on_over_the_border_of_chunks_as_within_them():
    t = truth_of(emitters=20_000, k_on_hz=1, k_off_hz=1, frames=CHUNK_FRAMES + 20)["on_fraction"].astype(float)
    before, after = t[CHUNK_FRAMES - 1] - 0.5, t[[CHUNK_FRAMES, CHUNK_FRAMES + 15]] - 0.5
    z = z_score((before * after).T, autocovariance(0.5, 2 / 50, np.array([1, 16])))
    assert np.abs(z).max() < LIMIT


def test_states_after_many_short_calls_are_those_of_the_rate_equations():
    rates, rng = Rates(0.3, 0.7, 0.05), generator(1, 0)
    state, n = equilibrium(rates, 30_000, rng), 30_000
    occupied = np.array([0.7, 0.3, 0])
    for _ in range(6):
        state = run_telegraph(state, rates, 3, rng)[2]
        occupied = occupied @ expm(3 * generator_matrix(rates))
        counts = np.bincount(state, minlength=3)
        assert np.all(np.abs(counts - n * occupied) < LIMIT * np.sqrt(n * occupied * (1 - occupied)))


def test_emitters_survive_as_the_rate_equations_say():
    t = truth_of(emitters=5000, k_on_hz=10, k_off_hz=30, k_bleach_hz=0.5, frames=2500)
    q = generator_matrix(Rates(10, 30, 0.5))
    for frame in (50, 500, 1023, 1100, 2400):
        alive = ([0.75, 0.25, 0] @ expm(q * frame / 50))[:2].sum()
        survivors = (t["bleached_at"] > frame).sum()
        assert abs(survivors - 5000 * alive) < LIMIT * np.sqrt(5000 * alive * (1 - alive))


def test_a_bleached_emitter_stays_dark_and_its_last_frame_is_lit_in_part():
    t = truth_of(k_on_hz=0, k_off_hz=0, k_bleach_hz=0.2, frames=1200)
    on, at = t["on_fraction"], t["bleached_at"]
    expected = np.clip(at - np.arange(1200)[:, None], 0, 1)
    assert np.allclose(on, expected, atol=1e-5)
    assert 0 < np.isinf(at).sum() < 100


@pytest.mark.parametrize(("k_on", "k_off", "on"), [(0, 5, 0), (5, 0, 1), (0, 0, 1)])
def test_without_a_rate_back_emitters_stay_where_equilibrium_puts_them(k_on, k_off, on):
    assert np.all(truth_of(k_on_hz=k_on, k_off_hz=k_off, frames=30)["on_fraction"] == on)


# Light


def image_of(position, shape, sigma):
    edges = [np.arange(side + 1) - 0.5 for side in shape]
    y, x = (np.diff(erf((e - c) / (np.sqrt(2) * sigma))) / 2 for e, c in zip(edges, position, strict=True))
    return np.outer(y, x)


def test_frames_are_made_of_the_truth():
    frames, t = simulate.blinking(300, shape=(40, 32), seed=2, k_bleach_hz=0.3, brightness_sd=0.4, photons=15)
    images = np.stack([image_of(p, (40, 32), 1.3).ravel() for p in t["position_px"]])
    photons = 15 + (t["on_fraction"] * t["brightness"]) @ images
    z = (frames.reshape(300, -1) - 100.0 - photons / 0.5) / np.sqrt((photons + 1.5**2) / 0.5**2 + 1 / 12)
    assert abs(z.mean()) < LIMIT / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=LIMIT * np.sqrt(2.1 / z.size))


@pytest.mark.slow
def test_the_second_cumulant_of_one_emitter_at_lag_one_is_free_of_shot_noise():
    x = 10 / 50
    frames, t = simulate.blinking(20_000, shape=(8, 8), emitters=1, structure="random", photons=10, seed=4)
    image = image_of(t["position_px"][0], (8, 8), 1.3)
    y, x_px = np.unravel_index(image.argmax(), image.shape)
    trace = frames[:, y, x_px] * 0.5
    mean = 50 + 10 + 400 * 0.25 * image.max()
    batches = np.array([np.mean((b[1:] - mean) * (b[:-1] - mean)) for b in np.split(trace, 40)])
    expected = (400 * image.max()) ** 2 * autocovariance(0.25, x, np.array([1]))[0]
    assert abs(z_score(batches, expected)) < LIMIT
    noise = np.array([np.mean((b - mean) ** 2) for b in np.split(trace, 40)])
    shot = 10 + 100 * image.max() + 1.5**2 + 0.5**2 / 12
    lag0 = (400 * image.max()) ** 2 * autocovariance(0.25, x, np.array([0]))[0]
    assert abs(z_score(noise, lag0 + shot)) < LIMIT


def test_brightness_has_the_mean_and_the_spread_asked_for():
    b = truth_of(emitters=20_000, brightness_sd=0.5, frames=1)["brightness"] / 400
    assert abs(z_score(b, 1)) < LIMIT
    assert abs(z_score((b - 1) ** 2, 0.25)) < LIMIT


# Places


def test_emitters_of_a_stiff_filament_lie_on_a_line_of_the_width_asked_for():
    t = truth_of(shape="256x256", emitters=3000, filaments=3, persistence_px=1e6, width_px=0.5, frames=1)
    for f in range(3):
        points = t["position_px"][t["filament"] == f]
        inner = points[((points > 3) & (points < 252)).all(1)]
        across = np.linalg.svd(inner - inner.mean(0), full_matrices=False)[2][1]
        assert ((inner - inner.mean(0)) @ across).std() == pytest.approx(0.5, abs=0.15)


@pytest.mark.slow
def test_directions_along_a_filament_forget_each_other_over_the_persistence_length():
    params = BlinkingParams(shape=(2000, 2000), persistence_px=50)
    angles = [_draw_filament(params, generator(seed, 0))[1:301, 2] for seed in range(600)]
    turned = np.array([a[150] - a[50] for a in angles if len(a) == 300])
    assert abs(z_score(np.cos(turned), np.exp(-100 / (2 * 50)))) < LIMIT


def test_random_emitters_are_everywhere_alike():
    p = truth_of(shape="64x64", structure="random", emitters=16_000, frames=1)["position_px"]
    counts = np.histogram2d(*p.T, bins=8, range=[(-0.5, 63.5)] * 2)[0]
    assert np.sum((counts - 250) ** 2 / 250) < 63 + LIMIT * np.sqrt(2 * 63)


def test_a_long_series_of_many_emitters_leaves_the_on_fractions_out(monkeypatch):
    monkeypatch.setattr(blinking, "_MAX_TRUTH", 2000 * 40)
    assert "on_fraction" in truth_of(frames=40)
    longer = truth_of(frames=41)
    assert "on_fraction" not in longer
    assert longer["on_emitters"].shape == (41,)


def test_truth_has_one_entry_per_frame_or_emitter():
    t = truth_of(frames=40, emitters=7)
    assert t["on_fraction"].shape == (40, 7)
    assert t["position_px"].shape == (7, 2)
    assert t["brightness"].shape == t["filament"].shape == t["bleached_at"].shape == (7,)
    assert np.allclose(t["on_emitters"], t["on_fraction"].sum(1), rtol=1e-6)
    assert (t["k_on_hz"], t["k_off_hz"], t["k_bleach_hz"], t["frame_rate_hz"]) == (2.5, 7.5, 0, 50)
