"""The fourteen faults of the batch reference, and what happens here on the same input."""

import numpy as np
import pytest
from batch_reference import error, reference, through_sofi
from scipy.ndimage import gaussian_filter

from streamfluo import Block, Camera, Spec, analysis, create


def test_moments_are_not_cut_to_whole_numbers():
    """Fault 1: cuts moments to integers: k4 off by 20 %. Here: 1e-9 of the exact cumulant."""
    movie = reference("sofi64_movie")["mov"]
    peer = reference("pysofi_moments64")
    dim = np.abs(peer["direct_k4"]) < np.median(np.abs(peer["direct_k4"]))
    off = np.median(np.abs(peer["k4"] - peer["direct_k4"])[dim] / np.abs(peer["direct_k4"])[dim])
    ours = np.median(np.abs(analysis.cumulants(movie, 4)[3] - peer["direct_k4"])[dim] / np.abs(peer["direct_k4"])[dim])
    assert off > 0.1
    assert ours < 1e-9


def test_order_6_does_not_overflow():
    """Fault 2: order 6 overflows, silently, from |δI| > 1450 on. Here: 60 000 ADU keep nine digits."""
    movie = np.zeros((64, 3, 3), np.uint16)
    movie[::4] = 60_000  # |δI|^6 = 8e27, int64 ends at 9e18
    p = 0.25
    expected = 60_000.0**6 * p * (1 - p) * (1 - 30 * p * (1 - p) + 120 * (p * (1 - p)) ** 2)
    np.testing.assert_allclose(through_sofi(movie, order=6)["k6"], expected, rtol=1e-9)


def test_shot_and_read_noise_can_be_taken_out():
    """Fault 3: k2 keeps shot and read noise. Here: noise = 'camera' or 'lag' leave zero."""
    rng = np.random.default_rng(3)
    electrons = rng.poisson(20, (2000, 32, 32)) + rng.normal(0, 1.5, (2000, 32, 32))
    movie = (100 + electrons / 0.5).round().astype("uint16")
    spec = Spec((32, 32), "uint16", camera=Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=1.5))
    assert through_sofi(movie, order=2)["k2"].mean() == pytest.approx(89, rel=0.01)
    for noise in ("camera", "lag"):
        k2 = through_sofi(movie, spec=spec, order=2, noise=noise)["k2"]
        assert abs(k2.mean()) < 4 * k2.std() / 32


def test_interpolation_keeps_signs():
    """Fault 4: takes |…| after interpolation. Here: signed stays signed."""
    peer = reference("pysofi_finterp")
    found = analysis.fourier_interpolate(peer["in_meansub"], 3)
    assert found.min() < -50
    assert peer["meansub_f3"].min() >= 0
    assert error(np.abs(found), peer["meansub_f3"]) < 1e-9


def test_frames_are_interpolated_all_on_one_scale():
    """Fault 5: rescales each interpolated frame. Here: one scale for all frames."""
    movie = reference("sofi64_movie")["mov"]
    operator = create("interpolate", Spec(movie.shape[1:], "uint16"), factor=2, dtype="float64")
    fine = operator.update(Block(0, np.zeros(9), movie[:9])).block.pixels
    np.testing.assert_allclose(fine[:, ::2, ::2], movie[:9], rtol=1e-12)


def test_a_part_of_the_frames_has_its_own_mean():
    """Fault 6: a part of the frames about the whole's mean. Here: about its own, or the one given."""
    movie = reference("sofi64_movie")["mov"]
    peer = reference("pysofi_moments64")
    found = analysis.moments(movie, 4, frames=(100, 700))
    part = movie[100:700].astype(np.longdouble)
    expected = ((part - part.mean(0)) ** 2).mean(0)
    assert error(found[1], expected) < 1e-12
    assert error(peer["m2_f100_700"], expected) > 1e-6
    whole = analysis.moments(movie, 4, frames=(100, 700), mean=movie.mean(0))
    assert np.abs(whole[0]).max() > 0.1  # asked for, and said


def test_smoothing_in_time_is_done_where_it_is_asked_for():
    """Fault 7: forgets the smoothing kernel. Here: filter_time smooths."""
    rng = np.random.default_rng(1)
    movie = rng.normal(100, 5, (80, 4, 4))
    kernel = np.array([1, 2, 1]) / 4
    inner = (movie[:-2] + 2 * movie[1:-1] + movie[2:]) / 4
    np.testing.assert_allclose(analysis.filter_time(movie, kernel)[1:-1], inner, rtol=1e-12)


def test_short_signals_keep_their_length():
    """Fault 8: short signals change their length. Here: segments cover every frame."""
    for frames in (1, 2, 10, 250):
        bounds = analysis.bleaching_segments(np.linspace(100, 50, frames), 0.1)
        assert bounds[0, 0] == 0
        assert bounds[-1, 1] == frames


SIGNALS = {
    "rising": np.linspace(50, 100, 1000),
    "negative": -np.linspace(50, 100, 1000),
    "a step": np.where(np.arange(1000) < 500, 100.0, 10.0),
    "flat": np.full(1000, 7.0),
    "falling": 100 * np.exp(-np.arange(1000) / 300),
}


def test_segments_cover_every_signal_and_none_is_short():
    """Fault 9: rising, negative, stepped signals break the cut. Here: every signal is covered, no segment short."""
    for signal in SIGNALS.values():
        bounds = analysis.bleaching_segments(signal, 0.1, smooth_frames=51)
        assert bounds[0, 0] == 0
        assert bounds[-1, 1] == 1000
        assert (bounds[1:, 0] == bounds[:-1, 1]).all()
        assert (np.diff(bounds) >= 32).all()


def test_a_falling_signal_is_cut_at_each_fraction_of_its_range():
    signal = np.linspace(1000, 0, 1001)
    bounds = analysis.bleaching_segments(signal, 0.25, smooth_frames=1)
    assert bounds[:, 0].tolist() == [0, 250, 500, 750]


def test_segments_weigh_as_many_frames_as_they_have():
    """Fault 10: segments are averaged unweighted. Here: weighted by frames."""
    rng = np.random.default_rng(2)
    light = np.concatenate([rng.normal(4000, 40, (320, 6, 1)), rng.normal(1000, 10, (64, 6, 1))])
    movie = np.repeat(light, 6, axis=2).astype("uint16")  # neighbours blink together
    found = through_sofi(movie, order=2, bleach_fraction=0.5, smooth_frames=64)

    def variance(part):
        flat = part.reshape(len(part), -1).astype(float)
        trend = np.polyval(np.polyfit(np.arange(len(part)), flat, 1), np.arange(len(part))[:, None])
        return (flat - trend).var(0).reshape(6, 6)

    expected = (320 * variance(movie[:320]) + 64 * variance(movie[320:])) / 384
    assert found["segments"].tolist() == [[0, 320], [320, 384]]
    assert error(found["k2"], expected) < 1e-9


def lucy(image, psf, iterations):
    """Richardson–Lucy by sums over every pixel of the mirrored image."""
    reach = psf.shape[0] // 2

    def blurred(x, kernel):
        padded = np.pad(x, reach, "symmetric")
        return np.array([[(padded[i : i + 2 * reach + 1, j : j + 2 * reach + 1] * kernel[::-1, ::-1]).sum()
                          for j in range(x.shape[1])] for i in range(x.shape[0])])  # fmt: skip

    estimate = image
    for _ in range(iterations):
        estimate = estimate * blurred(image / blurred(estimate, psf), psf[::-1, ::-1])
    return estimate


def test_every_iteration_of_richardson_lucy_compares_with_the_image():
    """Fault 11: Richardson–Lucy compares with its own last output. Here: with the image, each time."""
    rng = np.random.default_rng(5)
    psf = np.outer(*[np.exp(-(np.arange(-3, 4) ** 2) / 3)] * 2)
    psf[1, 2] += 0.3  # not symmetric
    psf /= psf.sum()
    image = gaussian_filter(rng.gamma(1, 100, (14, 17)), 1) + 1
    assert error(analysis.richardson_lucy(image, psf, 8), lucy(image, psf, 8)) < 1e-6


def test_constant_windows_and_few_iterations_give_numbers():
    """Fault 12: NaN on constant windows, at one iteration, at order 1. Here: numbers."""
    flat = np.full((30, 30), 3.0)
    flat[20:, 20:] = 5
    psf = np.ones((3, 3))
    assert np.isfinite(analysis.ldrc(flat, flat, (5, 5))).all()
    assert (analysis.ldrc(flat, flat, (5, 5))[:10, :10] == 0).all()
    for iterations in (0, 1):
        assert np.isfinite(analysis.shrinking_kernel_deconvolve(flat, psf, 1.5, iterations)).all()
        assert np.isfinite(analysis.richardson_lucy(np.zeros((9, 9)), psf, iterations)).all()
    np.testing.assert_array_equal(analysis.linearise(-flat, 1), -flat)


def test_a_frame_late_in_the_movie_costs_what_an_early_one_does():
    """Fault 13: opens the file again for every frame: cost grows with the square. Here: what is kept does not grow."""
    operator = create("sofi", Spec((8, 8), "uint16"), order=4)
    frames = np.zeros((32, 8, 8), np.uint16)
    sizes = []
    for k in range(400):
        operator.update(Block(32 * k, np.zeros(32), frames))
        sizes.append(sum(np.asarray(v).nbytes for v in operator.state().values()))
    assert max(sizes[200:]) == max(sizes[20:200])


def test_lagged_cumulants_are_about_each_factors_own_mean():
    """Fault 14: lagged moments about another range's mean. Here: about each factor's own."""
    movie = reference("sofi64_movie")["mov"]
    peer = reference("pysofi_lag64")
    a, b = (movie[lag : 299 + lag].astype(np.longdouble) for lag in (0, 1))
    expected = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    assert error(analysis.lagged_cumulants(movie, (0, 1), frames=(0, 300))[0], expected) < 1e-12
    assert error(through_sofi(movie[:300], order=2, lags=(0, 1))["lag_k2"], expected) < 1e-12
    assert error(peer["tau0_1_k2"], expected) > 1e-6
