"""The batch functions of SOFI against the textbook, and against a peer's outputs where the peer is right."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamfluo import Block, Camera, FrameError, Spec, analysis, create

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))


def reference(name):
    path = DATA / "reference_outputs" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return np.load(path)


def error(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def through_sofi(movie, first=0, spec=None, **params):
    operator = create("sofi", spec or Spec(movie.shape[1:], movie.dtype), **params)
    for start in range(0, len(movie), 32):
        frames = movie[start : start + 32]
        operator.update(Block(first + start, np.zeros(len(frames)), frames))
    return operator.read()


@pytest.fixture(scope="module")
def movie():
    return reference("sofi64_movie")["mov"]


# The peer where it is right


def test_moments_and_cumulants_are_the_peers_exact_ones(movie):
    peer = reference("pysofi_moments64")
    live, m, k = through_sofi(movie, order=6), analysis.moments(movie, 6), analysis.cumulants(movie, 6)
    for n in range(2, 7):
        for found in (m[n - 1], live[f"m{n}"]):
            assert error(found, peer[f"bm{n}"]) < 1e-9
        for found in (k[n - 1], live[f"k{n}"]):
            assert error(found, peer[f"bk{n}"]) < 1e-9
            assert error(found, peer[f"direct_k{n}"]) < 1e-9
    assert error(live["mean"], peer["mean"]) < 1e-12


@pytest.mark.parametrize(("lags", "frames"), [((0, 1), 300), ((0, 1, 2), 300), ((0, 1, 2, 3), 300), ((0, 0, 0, 0), 300),
                                              ((0, 1, 1, 2, 2, 3), 60)], ids=str)  # fmt: skip
def test_lagged_cumulants_about_the_peers_mean_are_the_peers(movie, lags, frames):
    peer = reference("pysofi_lag64")
    found = analysis.lagged_cumulants(movie, lags, frames=(0, frames), mean=movie[:frames].mean(0))
    for n in range(2, len(lags) + 1):
        assert error(found[n - 2], peer[f"tau{'_'.join(map(str, lags))}_k{n}"]) < 1e-9


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("image", ["avg", "frame0", "rect"])
def test_interpolation_is_the_peers(image, factor):
    peer = reference("pysofi_finterp")
    assert error(analysis.fourier_interpolate(peer[f"in_{image}"], factor), peer[f"{image}_f{factor}"]) < 1e-9


def test_ldrc_is_the_peers():
    peer = reference("pysofi_ldrc")
    assert error(analysis.ldrc(peer["in_k4"], peer["mask"]), peer["out_25"]) < 1e-9
    assert error(analysis.ldrc(peer["in_k4x2"], peer["mask"], (15, 11)), peer["out_x2_15_11"]) < 1e-9


@pytest.mark.parametrize("iterations", [5, 20])
def test_shrinking_kernel_deconvolution_is_the_peers(iterations):
    peer = reference("pysofi_deconvsk")
    found = analysis.shrinking_kernel_deconvolve(peer["im"], peer["psf"], 1.5, iterations)
    assert error(found, peer[f"out_l1p5_n{iterations}"]) < 1e-6


# The peer's faults, by number, with what happens here on the same input


def test_1_moments_are_not_cut_to_whole_numbers(movie):
    peer = reference("pysofi_moments64")
    dim = np.abs(peer["direct_k4"]) < np.median(np.abs(peer["direct_k4"]))
    off = np.median(np.abs(peer["k4"] - peer["direct_k4"])[dim] / np.abs(peer["direct_k4"])[dim])
    ours = np.median(np.abs(analysis.cumulants(movie, 4)[3] - peer["direct_k4"])[dim] / np.abs(peer["direct_k4"])[dim])
    assert off > 0.1
    assert ours < 1e-9


def test_2_order_6_does_not_overflow():
    movie = np.zeros((64, 3, 3), np.uint16)
    movie[::4] = 60_000  # |δI|^6 = 8e27, int64 ends at 9e18
    p = 0.25
    expected = 60_000.0**6 * p * (1 - p) * (1 - 30 * p * (1 - p) + 120 * (p * (1 - p)) ** 2)
    np.testing.assert_allclose(through_sofi(movie, order=6)["k6"], expected, rtol=1e-9)


def test_3_shot_and_read_noise_can_be_taken_out():
    rng = np.random.default_rng(3)
    electrons = rng.poisson(20, (2000, 32, 32)) + rng.normal(0, 1.5, (2000, 32, 32))
    movie = (100 + electrons / 0.5).round().astype("uint16")
    spec = Spec((32, 32), "uint16", camera=Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=1.5))
    assert through_sofi(movie, order=2)["k2"].mean() == pytest.approx(89, rel=0.01)
    for noise in ("camera", "lag"):
        k2 = through_sofi(movie, spec=spec, order=2, noise=noise)["k2"]
        assert abs(k2.mean()) < 4 * k2.std() / 32


def test_4_interpolation_keeps_signs():
    peer = reference("pysofi_finterp")
    found = analysis.fourier_interpolate(peer["in_meansub"], 3)
    assert found.min() < -50
    assert peer["meansub_f3"].min() >= 0
    assert error(np.abs(found), peer["meansub_f3"]) < 1e-9


def test_5_frames_are_interpolated_all_on_one_scale(movie):
    operator = create("interpolate", Spec(movie.shape[1:], "uint16"), factor=2, dtype="float64")
    fine = operator.update(Block(0, np.zeros(9), movie[:9])).block.pixels
    np.testing.assert_allclose(fine[:, ::2, ::2], movie[:9], rtol=1e-12)


def test_6_a_part_of_the_frames_has_its_own_mean(movie):
    peer = reference("pysofi_moments64")
    found = analysis.moments(movie, 4, frames=(100, 700))
    part = movie[100:700].astype(np.longdouble)
    expected = ((part - part.mean(0)) ** 2).mean(0)
    assert error(found[1], expected) < 1e-12
    assert error(peer["m2_f100_700"], expected) > 1e-6
    whole = analysis.moments(movie, 4, frames=(100, 700), mean=movie.mean(0))
    assert np.abs(whole[0]).max() > 0.1  # asked for, and said


def test_7_smoothing_in_time_is_done_where_it_is_asked_for():
    rng = np.random.default_rng(1)
    movie = rng.normal(100, 5, (80, 4, 4))
    kernel = np.array([1, 2, 1]) / 4
    inner = (movie[:-2] + 2 * movie[1:-1] + movie[2:]) / 4
    np.testing.assert_allclose(analysis.filter_time(movie, kernel)[1:-1], inner, rtol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 10, 250])
def test_8_short_signals_keep_their_length(frames):
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


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_9_segments_cover_every_signal_and_none_is_short(signal):
    bounds = analysis.bleaching_segments(signal, 0.1, smooth_frames=51)
    assert bounds[0, 0] == 0
    assert bounds[-1, 1] == 1000
    assert (bounds[1:, 0] == bounds[:-1, 1]).all()
    assert (np.diff(bounds) >= 32).all()


def test_9_a_falling_signal_is_cut_at_each_fraction_of_its_range():
    signal = np.linspace(1000, 0, 1001)
    bounds = analysis.bleaching_segments(signal, 0.25, smooth_frames=1)
    assert bounds[:, 0].tolist() == [0, 250, 500, 750]


def test_10_segments_weigh_as_many_frames_as_they_have():
    rng = np.random.default_rng(2)
    movie = np.concatenate([rng.normal(4000, 40, (320, 6, 6)), rng.normal(1000, 10, (64, 6, 6))]).astype("uint16")
    found = through_sofi(movie, order=2, bleach_fraction=0.5, smooth_frames=64)
    expected = (320 * movie[:320].var(0) + 64 * movie[320:].var(0)) / 384
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


def test_11_every_iteration_of_richardson_lucy_compares_with_the_image():
    rng = np.random.default_rng(5)
    psf = np.outer(*[np.exp(-(np.arange(-3, 4) ** 2) / 3)] * 2)
    psf[1, 2] += 0.3  # not symmetric
    psf /= psf.sum()
    image = gaussian_filter(rng.gamma(1, 100, (14, 17)), 1) + 1
    assert error(analysis.richardson_lucy(image, psf, 8), lucy(image, psf, 8)) < 1e-6


@pytest.mark.parametrize("iterations", [0, 1])
def test_12_constant_windows_and_few_iterations_give_numbers(iterations):
    flat = np.full((30, 30), 3.0)
    flat[20:, 20:] = 5
    psf = np.ones((3, 3))
    assert np.isfinite(analysis.ldrc(flat, flat, (5, 5))).all()
    assert (analysis.ldrc(flat, flat, (5, 5))[:10, :10] == 0).all()
    assert np.isfinite(analysis.shrinking_kernel_deconvolve(flat, psf, 1.5, iterations)).all()
    assert np.isfinite(analysis.richardson_lucy(np.zeros((9, 9)), psf, iterations)).all()
    np.testing.assert_array_equal(analysis.linearise(-flat, 1), -flat)


def test_13_a_frame_late_in_the_movie_costs_what_an_early_one_does():
    operator = create("sofi", Spec((8, 8), "uint16"), order=4)
    frames = np.zeros((32, 8, 8), np.uint16)
    sizes = []
    for k in range(400):
        operator.update(Block(32 * k, np.zeros(32), frames))
        sizes.append(sum(np.asarray(v).nbytes for v in operator.state().values()))
    assert max(sizes[200:]) == max(sizes[20:200])


def test_14_lagged_cumulants_are_about_each_factors_own_mean(movie):
    peer = reference("pysofi_lag64")
    a, b = (movie[lag : 299 + lag].astype(np.longdouble) for lag in (0, 1))
    expected = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    assert error(analysis.lagged_cumulants(movie, (0, 1), frames=(0, 300))[0], expected) < 1e-12
    assert error(through_sofi(movie[:300], order=2, lags=(0, 1))["lag_k2"], expected) < 1e-12
    assert error(peer["tau0_1_k2"], expected) > 1e-6


# What the peer has not


def test_interpolated_values_are_the_sum_of_cosines():
    rng = np.random.default_rng(1)
    image, factor = rng.normal(0, 1, (5, 8)), 3
    found = analysis.fourier_interpolate(image, factor)

    def matrix(n):
        u, j, k = np.arange((n - 1) * factor + 1) / factor, np.arange(n), np.arange(n)
        weight = np.where(k == 0, 1, 2) / n
        return (np.cos(np.pi * np.outer(u + 0.5, k) / n) * weight) @ np.cos(np.pi * np.outer(k, j + 0.5) / n)

    np.testing.assert_allclose(found, matrix(5) @ image @ matrix(8).T, atol=1e-12)
    np.testing.assert_allclose(found[::3, ::3], image, atol=1e-12)


def test_ldrc_is_the_average_over_all_windows():
    rng = np.random.default_rng(1)
    image, mask = rng.gamma(1, 1e6, (12, 15)), rng.gamma(2, 10, (12, 15))
    total, count = np.zeros_like(image), np.zeros_like(image)
    for y in range(12 - 4 + 1):
        for x in range(15 - 5 + 1):
            place = (slice(y, y + 4), slice(x, x + 5))
            w = image[place]
            total[place] += (w - w.min()) / (w.max() - w.min()) * mask[place].max()
            count[place] += 1
    assert error(analysis.ldrc(image, mask, (4, 5)), total / count) < 1e-9


def test_k_statistics_have_no_bias():
    rng = np.random.default_rng(1)
    found = analysis.k_statistics(rng.gamma(2, 3, (6, 300, 300)), 4).mean((1, 2))
    for value, expected, within in zip(found[1:], (18, 108, 972), (0.01, 0.02, 0.08), strict=True):
        assert value == pytest.approx(expected, rel=within)


def test_balance_finds_blinking_out_of_its_cumulants():
    p, brightness, density = 0.15, 300.0, 2.5
    f = p * (1 - p)
    k = [density * brightness**n * f * part for n, part in ((2, 1), (3, 1 - 2 * p), (4, 1 - 6 * f))]
    found = analysis.balance(*(np.full((2, 2), value) for value in k))
    for name, value in {"on_ratio": p, "brightness": brightness, "density": density}.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-10)
    assert np.isnan(analysis.balance(np.zeros((2, 2)), *(np.ones((2, 2)),) * 2).on_ratio).all()


def test_blind_deconvolution_finds_the_psf():
    rng = np.random.default_rng(2)
    truth = np.zeros((60, 60))
    truth[tuple(rng.integers(8, 52, (2, 40)))] = rng.gamma(3, 100, 40)
    wide, narrow = (np.outer(*[np.exp(-(np.arange(-6, 7) ** 2) / (2 * s * s))] * 2) for s in (2.4, 1.6))
    image = gaussian_filter(truth, 1.6, truncate=4)
    _, found = analysis.richardson_lucy(image, wide, 5, blind=True)
    narrow, wide = narrow / narrow.sum(), wide / wide.sum()
    assert np.abs(found - narrow).sum() < 0.5 * np.abs(wide - narrow).sum()


def test_wiener_is_the_filter_of_the_mirrored_image():
    rng = np.random.default_rng(2)
    image = gaussian_filter(rng.normal(0, 1, (20, 24)), 1.5)
    psf = np.outer(*[np.exp(-(np.arange(-2, 3) ** 2) / 2)] * 2)
    found = analysis.wiener(image, psf, 50)
    padded = np.pad(image, 2, "symmetric")
    y, x = (np.fft.fftfreq(n)[:, None] * np.arange(-2, 3) for n in padded.shape)
    transfer = np.exp(-2j * np.pi * y) @ (psf / psf.sum()) @ np.exp(-2j * np.pi * x).T
    expected = np.fft.ifft2(np.fft.fft2(padded) * transfer.conj() / (np.abs(transfer) ** 2 + 1 / 50)).real[2:-2, 2:-2]
    assert error(found, expected) < 1e-9


def test_cross_cumulants_are_covariances_of_neighbours(movie):
    images, offsets = analysis.cross_cumulants(movie[:200], 1)
    live = through_sofi(movie[:200], order=2, cross=1)
    np.testing.assert_array_equal(offsets, live["cross_pairs"])
    assert error(np.nan_to_num(images), np.nan_to_num(live["cross_k2"])) < 1e-9
    y, x = offsets[1]
    pair = movie[:200, 30 + y, 30 + x].astype(float), movie[:200, 30 - y, 30 - x].astype(float)
    assert images[1, 30, 30] == pytest.approx(np.cov(*pair, bias=True)[0, 1], rel=1e-9)


def test_debleaching_takes_each_segments_mean_and_lifts_the_floor():
    rng = np.random.default_rng(2)
    movie = (rng.normal(0, 1, (600, 4, 4)) + 1000 * np.exp(-np.arange(600) / 200)[:, None, None]).astype("float32")
    found = analysis.debleach(movie, 0.25, smooth_frames=51)
    bounds = analysis.bleaching_segments(analysis.total_signal(movie), 0.25, smooth_frames=51)
    expected = np.concatenate([movie[a:b] - movie[a:b].mean(0, dtype=float) for a, b in bounds])
    assert error(found, expected - expected.min()) < 1e-9
    assert found.min() == 0


def test_simple_images():
    movie = np.random.default_rng(1).integers(0, 65536, (7, 3, 4), np.uint16)
    np.testing.assert_array_equal(analysis.minimum_image(movie), movie.min(0))
    np.testing.assert_allclose(analysis.average_image(movie), movie.mean(0))
    np.testing.assert_allclose(analysis.total_signal(movie), [int(f.astype(int).sum()) for f in movie])


REFUSED = {
    "a movie without time": (lambda: analysis.moments(np.zeros((3, 3)), 4), r"a movie is an array \(t, y, x\)"),
    "no frames": (lambda: analysis.cumulants(np.zeros((3, 3, 3)), 4, frames=(5, 9)), "selects none of 3"),
    "lags too long": (lambda: analysis.lagged_cumulants(np.zeros((3, 3, 3)), (0, 3)), "needs more frames"),
    "an even psf": (lambda: analysis.wiener(np.zeros((9, 9)), np.ones((2, 3)), 1), "its sides are odd"),
    "nan": (lambda: analysis.ldrc(np.full((9, 9), np.nan), np.ones((9, 9)), (3, 3)), "81 pixels that are not numbers"),
    "a window too large": (lambda: analysis.ldrc(np.ones((9, 9)), np.ones((9, 9))), "window is"),
    "a factor of a half": (lambda: analysis.fourier_interpolate(np.ones((9, 9)), 0.5), "factor is 1, 2, 3"),
    "an exponent of 1": (lambda: analysis.shrinking_kernel_deconvolve(np.ones((9, 9)), np.ones((3, 3)), 1), "above 1"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_one_line(call, says):
    with pytest.raises(FrameError, match=says):
        call()
