"""The batch functions of SOFI against the textbook, and against a peer's outputs where the peer is right."""

import numpy as np
import pytest
from batch_reference import error, reference, through_sofi
from scipy.ndimage import gaussian_filter

from streamfluo import FrameError, Spec, analysis
from streamfluo.sofi.kernels.products import add_products
from streamfluo.sofi.product_sums import ProductSums


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
    "nan": (lambda: analysis.ldrc(np.full((9, 9), np.nan), np.ones((9, 9)), (3, 3)), "81 pixels that are not finite"),
    "a window too large": (lambda: analysis.ldrc(np.ones((9, 9)), np.ones((9, 9))), "window is"),
    "a factor of a half": (lambda: analysis.fourier_interpolate(np.ones((9, 9)), 0.5), "factor is 1, 2, 3"),
    "an exponent of 1": (lambda: analysis.shrinking_kernel_deconvolve(np.ones((9, 9)), np.ones((3, 3)), 1), "above 1"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_one_line(call, says):
    with pytest.raises(FrameError, match=says):
        call()


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_frames_fewer_than_the_largest_lag_are_not_read(frames):
    """The kernel as plain Python, which tells of an index outside an array."""
    sums = ProductSums(Spec((2, 3), "float32"), [((0, 0, 0), (1, 0, 0), (3, 0, 0))])
    add_products.py_func(np.ones((frames, 6), np.float32), 0, sums.pivot, sums._table, sums.sums, sums.own(), (0, 1))
    assert not sums.sums.any()
