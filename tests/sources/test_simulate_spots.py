"""Simulated spots are where the truth says, as bright as it says, and move as they are told."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from streamfluo import open_source, simulate
from streamfluo.sources.simulate import spots
from streamfluo.sources.simulate.psf import draw_spots, spot_images, spread_points
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES

LIMIT = 4.5  # standard errors


def truth_of(**parameters):
    parameters = {"shape": "64x48", "seed": 1} | parameters
    return open_source("sim:spots?" + "&".join(f"{k}={v}" for k, v in parameters.items())).truth


def z_score(samples, expected):
    """How far the mean of independent samples is from what is expected, in its standard errors."""
    return (np.mean(samples) - expected) / (np.std(samples, ddof=1) / np.sqrt(np.size(samples)))


# The image of a point


@pytest.mark.parametrize("sigma", [0.5, 1.3, 4.0])
def test_a_pixel_gets_the_integral_of_the_gaussian_over_its_area(sigma):
    image = draw_spots(np.array([[20.3, 25.6]]), np.array([1.0]), (42, 50), sigma)
    for y, x in [(20, 26), (19, 24), (22, 27)]:
        along_y, along_x = (quad(stats.norm(c, sigma).pdf, p - 0.5, p + 0.5)[0] for p, c in [(y, 20.3), (x, 25.6)])
        assert image[y, x] == pytest.approx(along_y * along_x, rel=1e-5)
    assert image.sum() == pytest.approx(1, abs=2e-6)
    assert (image * np.arange(42)[:, None]).sum() == pytest.approx(20.3, abs=3e-3)  # pixels of 2 sigma shift it
    assert (image * np.arange(50)).sum() == pytest.approx(25.6, abs=3e-3)


def test_points_at_and_beyond_the_border_light_up_what_the_frame_shows_of_them():
    position = np.array([[-0.5, 10], [15.5, 10], [7, -30], [-3, -3]])
    images = spot_images(position, (16, 24), 1.0).toarray()
    assert images.sum(0) == pytest.approx([0.5, 0.5, 0, stats.norm.sf(2.5) ** 2], abs=2e-6)


@pytest.mark.parametrize(("count", "shape"), [(1, (16, 16)), (300, (256, 256)), (77, (40, 300))])
def test_points_are_spread_apart_inside_the_margin(count, shape):
    p = spread_points(count, shape, 5, np.random.default_rng(1))
    assert p.shape == (count, 2)
    assert np.all((p >= np.minimum(5, np.array(shape) / 4)) & (p <= np.array(shape) - 5))
    distance = np.linalg.norm(p[:, None] - p[None], axis=2) + 1e9 * np.eye(count)
    assert distance.min() > 0.4 * np.sqrt((shape[0] - 11) * (shape[1] - 11) / count)


def test_images_that_stay_and_frames_that_move_are_the_same_light():
    rng = np.random.default_rng(1)
    position, photons = rng.random((30, 2)) * [40, 60], rng.random(30) * 1000
    still = (spot_images(position, (40, 60), 1.4) @ photons).reshape(40, 60)
    assert np.allclose(draw_spots(position, photons, (40, 60), 1.4), still, rtol=1e-5, atol=1e-3)


# Frames and their table


@pytest.mark.parametrize(
    "parameters",
    [
        {"background_gradient": 0.8, "spots": 9},
        {"drift_y_px": 0.07, "drift_x_px": -0.2},
        {"motion": "diffusing", "step_px": 0.5},
        {"motion": "random", "photon_distribution": "exponential"},
    ],
)
def test_frames_are_made_of_the_truth(parameters):
    n, shape = 250, (64, 48)
    frames, t = simulate.spots(n, shape=shape, photons=12, seed=4, **parameters)
    photons = np.empty((n, *shape))
    for i in range(n):
        here = t["frame"] == i
        position = np.stack([t["y_px"][here], t["x_px"][here]], 1)
        photons[i] = t["background"] + draw_spots(position, t["photons_spot"][here], shape, 1.3)
    z = (frames - 100.0 - photons / 0.5) / np.sqrt((photons + 1.5**2) / 0.5**2 + 1 / 12)
    if "drift_y_px" in parameters:
        z = z[:, 8:-8, 8:-8]  # spots whose centre is out of view are not in the table
    assert abs(z.mean()) < LIMIT / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=LIMIT * np.sqrt(2.1 / z.size))


def test_photons_summed_over_a_lone_spot_are_poisson_with_the_mean_of_the_truth():
    frames, t = simulate.spots(2000, shape=(24, 24), spots=1, photons=0, read_noise_e=0, gain_e_per_adu=1, seed=3)
    seen = spot_images(t["position_px"], (24, 24), 1.3).sum() * t["spot_photons"][0]
    counts = frames.sum((1, 2)) - 100.0 * 24 * 24
    assert abs(z_score(counts, seen)) < LIMIT
    assert counts.var() == pytest.approx(seen, rel=LIMIT * np.sqrt(2 / 2000))


def test_the_background_runs_linearly_about_its_mean():
    t = truth_of(photons=20, background_gradient=0.5, frames=1)
    assert t["background"].shape == (64, 48)
    assert t["background"].mean() == pytest.approx(20)
    assert (t["background"][0, 0], t["background"][0, -1]) == pytest.approx((10, 30))


# Photons and numbers


@pytest.mark.parametrize("motion", ["fixed", "random"])
def test_photons_have_the_mean_and_the_spread_asked_for(motion):
    t = truth_of(motion=motion, spots=4000, spot_photons=500, spot_photons_sd=0.4, frames=1)
    photons = t["photons_spot"] / 500
    assert abs(z_score(photons, 1)) < LIMIT
    assert abs(z_score((photons - 1) ** 2, 0.16)) < LIMIT


def test_exponential_photons_are_exponential():
    photons = truth_of(motion="random", photon_distribution="exponential", spots=5000, frames=2)["photons_spot"]
    assert stats.kstest(photons, stats.expon(scale=1000).cdf).pvalue > 1e-4


def test_random_spots_are_poisson_in_number_and_anywhere():
    n = 3000
    t = truth_of(motion="random", spots=12, frames=n)
    counts = np.bincount(t["frame"], minlength=n)
    assert abs(counts.mean() - 12) < LIMIT * np.sqrt(12 / n)
    assert counts.var(ddof=1) == pytest.approx(12, rel=LIMIT * np.sqrt((2 + 1 / 12) / n))
    assert stats.kstest(t["y_px"], stats.uniform(-0.5, 64).cdf).pvalue > 1e-4
    assert stats.kstest(t["x_px"], stats.uniform(-0.5, 48).cdf).pvalue > 1e-4
    assert t["position_px"].shape == (0, 2)


# Motion


def test_fixed_spots_stay_where_they_are_and_as_bright():
    t = truth_of(spots=20, frames=50)
    assert np.array_equal(t["y_px"].reshape(50, 20), np.tile(t["position_px"][:, 0], (50, 1)))
    assert np.array_equal(t["photons_spot"].reshape(50, 20), np.tile(t["spot_photons"], (50, 1)))


def test_diffusing_spots_step_as_asked_for_over_the_border_of_chunks_too():
    n = CHUNK_FRAMES + 40
    t = truth_of(motion="diffusing", step_px=0.2, spots=800, shape="512x512", frames=n)
    y = t["y_px"].reshape(n, 800)
    assert np.allclose(y[0], t["position_px"][:, 0])
    inner = y[:, ((y > 2) & (y < 509)).all(0)]  # never at the mirror
    for start, lag in [(0, 1), (500, 20), (CHUNK_FRAMES - 1, 1), (CHUNK_FRAMES - 20, 40)]:
        steps = inner[start + lag] - inner[start]
        assert abs(z_score(steps, 0)) < LIMIT
        assert abs(z_score(steps**2, lag * 0.2**2)) < LIMIT


def test_diffusing_spots_stay_in_the_field_and_fill_it():
    t = truth_of(motion="diffusing", step_px=6, spots=2000, shape="32x32", frames=120)
    y = t["y_px"].reshape(120, 2000)
    assert y.min() >= -0.5
    assert y.max() <= 31.5
    assert stats.kstest(y[-1], stats.uniform(-0.5, 32).cdf).pvalue > 1e-4


def test_drift_moves_spots_by_as_much_each_frame_until_they_come_in_on_the_other_side():
    n = 4000
    t = truth_of(spots=5, drift_y_px=0.25, drift_x_px=-0.125, frames=n)
    for k in range(5):
        mine = t["spot"] == k
        frame, y, x = t["frame"][mine], t["y_px"][mine], t["x_px"][mine]
        step = np.diff(frame) == 1
        assert np.allclose(np.diff(y)[step], 0.25)
        assert np.allclose(np.diff(x)[step], -0.125)
        assert (y[0], x[0]) == pytest.approx(tuple(t["position_px"][k]))
        assert frame[-1] > n / 2  # it comes back
    entered = t["y_px"][np.isin(t["frame"], range(300, 310))]
    assert np.all((entered >= -0.5) & (entered < 63.5))


def test_truth_has_one_row_per_frame_and_spot_unless_there_are_too_many(monkeypatch):
    t = truth_of(spots=7, frames=30)
    assert all(t[name].shape == (210,) for name in ("frame", "spot", "y_px", "x_px", "photons_spot"))
    assert t["position_px"].shape == (7, 2)
    assert (t["sigma_px"], t["photons"], t["gain_e_per_adu"]) == (1.3, 10, 0.5)
    monkeypatch.setattr(spots, "_MAX_TRUTH", 209)
    assert "frame" not in truth_of(spots=7, frames=30)
