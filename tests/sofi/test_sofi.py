"""`sofi` against the textbook formulas over the whole movie, in long double, with a hole in the frames."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dct
from scipy.io import loadmat
from sofi_oracle import MOVIES, NAMES, SHAPE, correlated, error, joint, kept, lagged_factors, stream, textbook

from streamfluo import Block, Camera, ConfigError, Spec, StateError, create
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.simulate import blinking

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.parametrize(
    "movie",
    [pytest.param(m, id=name, marks=[pytest.mark.slow] if name == "8 bit" else []) for name, m in MOVIES.items()],
)
@pytest.mark.parametrize("size", [1, 11, 32])
def test_every_order_is_the_textbooks(movie, size):
    found = stream(movie, size, order=6).read()
    assert found["frames"] == len(kept(movie))
    expected = textbook(kept(movie), 6)
    assert {name: error(found[name], expected[name]) for name in NAMES} == pytest.approx(
        dict.fromkeys(NAMES, 0), abs=1e-12
    )


def test_orders_to_8():
    movie = MOVIES["telegraph of 5000 ADU"]
    found, expected = stream(movie, order=8).read(), textbook(kept(movie), 8)
    assert max(error(found[f"k{n}"], expected[f"k{n}"]) for n in range(2, 9)) < 1e-11


# Between frames and between pixels


@pytest.mark.parametrize("lags", [(0, 1, 2, 3), (0, 0, 0, 0), (0, 1, 1, 2, 2, 3), (0, 40)], ids=str)
def test_lagged_cumulants_are_the_textbooks(lags):
    movie = MOVIES["telegraph of 5000 ADU"]
    found = stream(movie, order=2, lags=lags).read()
    factors = lagged_factors(movie, lags)
    for n in range(2, len(lags) + 1):
        assert error(found[f"lag_k{n}"], joint(factors[:n])) < 1e-11


@pytest.mark.parametrize("radius", [1, 2])
def test_cross_cumulants_are_the_textbooks(radius):
    movie = correlated()
    found = stream(movie, order=2, cross=radius).read()
    delta = kept(movie).astype(np.longdouble)
    delta = delta - delta.mean(0)
    height, width = SHAPE
    offsets = [tuple(s) for s in found["cross_pairs"].tolist()]
    everywhere = {(y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)} - {(0, 0)}
    assert sorted(offsets + [(-y, -x) for y, x in offsets]) == sorted(everywhere)
    for image, (sy, sx) in zip(found["cross_k2"], offsets, strict=True):
        expected = np.full(SHAPE, np.nan, np.longdouble)
        for y in range(height):
            for x in range(width):
                a, b, c, d = y + sy, x + sx, y - sy, x - sx
                if min(a, c) >= 0 and max(a, c) < height and min(b, d) >= 0 and max(b, d) < width:
                    expected[y, x] = (delta[:, a, b] * delta[:, c, d]).mean()
        assert error(image, expected) < 1e-11


def test_the_grid_of_virtual_pixels_is_made_of_different_pixels_around_them():
    movie = correlated()
    found = stream(movie, order=4, cross=1).read()
    frames = kept(movie).astype(np.longdouble)
    factors = found["cross_factors"]

    def cumulant(*pixels):
        return joint([frames[:, y, x] for y, x in pixels])

    y, x = 4, 6
    two, three, four = (found[f"cross_grid_k{n}"] for n in (2, 3, 4))
    assert two.shape == three.shape == four.shape == (17, 41)
    between = cumulant((y, x), (y, x + 1)) / factors[0, 0, 1]
    assert two[2 * y, 2 * x + 1] == pytest.approx(float(between), rel=1e-10)
    crossing = (cumulant((y, x), (y + 1, x + 1)) + cumulant((y, x + 1), (y + 1, x))) / 2 / factors[0, 1, 1]
    assert two[2 * y + 1, 2 * x + 1] == pytest.approx(float(crossing), rel=1e-10)
    line = cumulant((y, x - 1), (y, x), (y, x + 1)) + cumulant((y - 1, x), (y, x), (y + 1, x))
    assert three[2 * y, 2 * x] == pytest.approx(float(line / 2 / factors[1, 0, 0]), rel=1e-10)
    square = cumulant((y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)) / factors[2, 1, 1]
    assert four[2 * y + 1, 2 * x + 1] == pytest.approx(float(square), rel=1e-10)
    diamond = cumulant((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)) / factors[2, 0, 0]
    assert four[2 * y, 2 * x] == pytest.approx(float(diamond), rel=1e-10)


def test_the_grid_of_blinking_emitters_is_smooth_and_shows_the_psf():
    movie, _ = blinking(frames=3000, shape=(48, 48), seed=2, emitters=60, structure="random", sigma_px=1.3)
    found = stream(movie, 32, hole=slice(0, 0), order=4, cross=1).read()
    # a pixel integrates the psf over its area, which adds 1/12 px² to its variance
    assert found["psf_sigma_px"] == pytest.approx(np.sqrt(1.3**2 + 1 / 12), rel=0.03)
    inner = found["cross_grid_k2"][4:-4, 4:-4]
    totals = [inner[y::2, x::2].sum() for y in (0, 1) for x in (0, 1)]
    np.testing.assert_allclose(totals, np.mean(totals), rtol=0.05)


# Noise


CAMERA = {"offset_adu": 100, "gain_e_per_adu": 0.5, "read_noise_e": 1.5}


@pytest.mark.parametrize(("noise", "within"), [("camera", 4), ("lag", 4)])
def test_shot_and_read_noise_leave_the_background(noise, within):
    rng = np.random.default_rng(3)
    electrons = rng.poisson(20, (4000, 24, 24)) + rng.normal(0, 1.5, (4000, 24, 24))
    movie = (100 + electrons / 0.5).round().astype("uint16")
    spec = Spec((24, 24), "uint16", camera=Camera(**CAMERA))
    kept_k2 = stream(movie, 32, hole=slice(0, 0), spec=spec, order=3).read(["k2"])["k2"]
    assert kept_k2.mean() == pytest.approx((20 + 1.5**2) / 0.25, rel=0.01)
    found = stream(movie, 32, hole=slice(0, 0), spec=spec, order=3, noise=noise).read()
    for n in (2, 3):
        k = found[f"k{n}"]
        assert abs(k.mean()) < within * k.std() / 24, f"order {n}"


def test_factorial_cumulants_are_those_of_the_light():
    rng = np.random.default_rng(4)
    light = rng.choice([5.0, 45.0], (60_000, 4, 4), p=[0.7, 0.3])
    movie = (100 + rng.poisson(light) / 0.5).astype("uint16")
    spec = Spec((4, 4), "uint16", camera=Camera(**CAMERA | {"read_noise_e": 0}))
    found = stream(movie, 32, hole=slice(0, 0), spec=spec, order=4, noise="camera").read()
    p, step = 0.3, 40 / 0.5
    expected = {2: p * (1 - p), 3: p * (1 - p) * (1 - 2 * p), 4: p * (1 - p) * (1 - 6 * p + 6 * p * p)}
    for n, value in expected.items():
        assert found[f"k{n}"].mean() == pytest.approx(value * step**n, rel=0.03)


# What is refused


REFUSED = {
    "an order of one": ({"order": 1}, "order: expected a whole number >= 2"),
    "lags that do not begin at 0": ({"lags": (1, 2)}, "lags are two or more from 0 on"),
    "a radius of three": ({"cross": 3}, "cross is false, 1 or 2"),
    "a camera that is not known": ({"noise": "camera"}, "needs the camera's offset_adu, gain_e_per_adu, read_noise_e"),
    "too few lags": ({"noise": "lag", "lags": (0, 1)}, "needs 4 different lags"),
    "a fraction of one": ({"bleach_fraction": 1.0}, "bleach_fraction"),
}


@pytest.mark.parametrize(("params", "says"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_one_line(params, says):
    with pytest.raises(ConfigError, match="sofi") as caught:
        create("sofi", Spec(SHAPE, "uint16"), **params)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_frame_too_small_for_cross_cumulants_is_refused():
    with pytest.raises(ConfigError, match="cross = 2 needs frames of 5 pixels"):
        create("sofi", Spec((4, 9), "uint16"), cross=2)


def test_a_state_of_another_order_is_refused():
    with pytest.raises(StateError, match="power_sums"):
        create("sofi", Spec(SHAPE, "uint16"), order=4).restore(create("sofi", Spec(SHAPE, "uint16"), order=6).state())


def test_before_the_first_frame_nothing_is_known():
    found = create("sofi", Spec(SHAPE, "uint16"), cross=1, lags=(0, 1)).read()
    assert found["frames"] == 0
    assert all(np.isnan(found[name]).all() for name in ("mean", "k2", "k4", "snr2", "change", "lag_k2", "cross_k2"))


def test_a_pixel_that_is_ever_nan_stays_nan_and_spoils_no_other():
    movie = MOVIES["float"].copy()
    movie[3, 2, 1] = np.nan
    found = stream(movie, order=4).read()
    for name in ("mean", "k2", "k4"):
        np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(kept(movie)).any(0), err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "within"), [("float32", 1e-5), pytest.param("float64", 1e-9, marks=pytest.mark.slow)]
)
def test_interpolated_frames_give_other_cumulants_than_interpolated_images(dtype, within):
    movie = MOVIES["telegraph of 5000 ADU"]
    steps = f'[[step]]\nkind = "interpolate"\nparams = {{ factor = 2, dtype = "{dtype}" }}\n[[step]]\nkind = "sofi"'
    chain = Chain(parse_config(steps), Spec(SHAPE, "uint16"))
    chain.push(Block(0, np.zeros(len(movie)), movie))

    def fine(image, n):  # cosine series of a line at half steps, one coefficient at a time
        at = np.arange(2 * n - 1) / 2 + 0.5
        spectrum = dct(image, 2, axis=-1)
        spectrum[..., 0] /= 2
        return sum(spectrum[..., k, None] * np.cos(np.pi * k * at / n) for k in range(n)) / n

    frames = np.swapaxes(fine(np.swapaxes(fine(movie.astype(float), 21), 1, 2), 9), 1, 2)
    expected = textbook(frames, 4)
    for name in ("mean", "k2", "k4"):
        assert error(chain.read("sofi")[name], expected[name]) < within


def real_blinking():
    """626 frames of blinking microtubules, (t, y, x) float32."""
    path = DATA / "blinking" / "deconSTORM_microtubuledata.mat"
    if not path.exists():
        pytest.skip(f"{path} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return np.ascontiguousarray(np.moveaxis(loadmat(path)["mov"], -1, 0).astype("float32"))


def test_in_real_blinking_noise_goes_with_the_lag_and_blinking_stays_as_long_as_it_remembers():
    """The field has no pixel without blinking: its darkest fifth remembers some five frames, and nothing after 20."""
    movie, none = real_blinking(), slice(0, 0)
    kept_k2 = stream(movie, hole=none, order=2).read(["mean", "k2"])
    dark = kept_k2["mean"] <= np.percentile(kept_k2["mean"], 20)
    next_frame = stream(movie, hole=none, order=2, noise="lag").read(["k2"])["k2"]
    assert 0.3 < next_frame[dark].mean() / kept_k2["k2"][dark].mean() < 0.7
    later = stream(movie, hole=none, order=2, noise="lag", lags=(0, 20)).read(["k2", "snr2"])
    errors = np.abs(later["k2"] / later["snr2"])[dark]
    assert abs(later["k2"][dark].mean()) < 2 * np.sqrt((errors**2).mean())
    assert later["snr2"][dark].max() < 4
    bright = kept_k2["k2"] > np.percentile(kept_k2["k2"], 95)
    np.testing.assert_array_less(0.5 * kept_k2["k2"][bright], next_frame[bright])
