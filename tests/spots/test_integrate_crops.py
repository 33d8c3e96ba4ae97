"""`integrate_crops` against the formulas in plain numpy, the reference's own numbers, and simulated truth."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.interpolate import BSpline
from scipy.special import erf

import streamfluo
from streamfluo import ConfigError, FrameError, integrate_crops

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
REFERENCE = DATA / "reference_outputs"
CASES = {
    "iso": {},
    "iso7": {"n": 7, "seed": 31},
    "iso_lowbg": {"bg": 0.5, "seed": 32},
    "iso_hibg": {"bg": 50, "seed": 33},
    "gauss30": {"model": "gauss", "sig": (100, 170), "theta": 30, "seed": 34},
    "gauss0": {"model": "gauss", "sig": (100, 170), "theta": 0, "seed": 35},
}
NOISE = {"gain_e_per_adu": 0.5, "qe": 0.9}


@pytest.fixture(scope="module")
def generators():
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    spec = importlib.util.spec_from_file_location("generators", REFERENCE / "generators.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def light(n, y, x, sigma_y, sigma_x, theta_deg=0.0):
    """The Gaussian of the definition, over pixels that turn with it, (k, n, n)."""
    turn = np.deg2rad(theta_deg)
    dy, dx = np.arange(n)[None, :, None] - y[:, None, None], np.arange(n)[None, None] - x[:, None, None]
    xr, yr = dx * np.cos(turn) - dy * np.sin(turn), dx * np.sin(turn) + dy * np.cos(turn)

    def along(d, s):
        return (erf((d + 0.5) / s / 2**0.5) - erf((d - 0.5) / s / 2**0.5)) / 2

    return along(xr, sigma_x) * along(yr, sigma_y)


def weighted(crops, p, background, gain, qe):
    p = p / p.sum((1, 2), keepdims=True)
    return gain / qe * (p * (crops - background * qe / gain)).sum((1, 2)) / (p**2).sum((1, 2))


def touching_zeros(crop):
    """Zeros that hang together with the border: the reference takes them, also true ones, for padding."""
    parts, _ = ndi.label(crop == 0)
    ring = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, ring[ring > 0])


def draw(k, n=11, photons=(200, 5000), background=5.0, read=1.2, sigma=1.2, seed=1):
    """Crops in ADU (offset 100, .5 e/ADU, QE .9) of spots near the middle, and what they were made of."""
    rng = np.random.default_rng(seed)
    total = np.exp(rng.uniform(*np.log(photons), k))
    y, x = (n - 1) / 2 + rng.uniform(-0.5, 0.5, (2, k))
    electrons = rng.poisson(0.9 * (total[:, None, None] * light(n, y, x, sigma, sigma) + background))
    crops = np.rint(100 + (electrons + read * rng.standard_normal(electrons.shape)) / 0.5).astype(np.int32)
    stated = {"y_nm": y * 100, "x_nm": x * 100, "sigma_x_nm": sigma * 100, "offset_adu": 100, "read_noise_e": read}
    return crops, total, {**stated, **NOISE}


@pytest.mark.parametrize("case", CASES)
def test_weighted_and_border_equal_the_reference(case, generators):
    crops, truth = generators.spots(nsp=3000, **CASES[case])
    expected = np.load(REFERENCE / "smlmlp_spots.npz")
    stated = {"x0": truth["X0"], "y0": truth["Y0"], "x_nm": truth["x_nm"], "y_nm": truth["y_nm"], **NOISE}
    stated |= {"sigma_x_nm": truth["sig"][0], "sigma_y_nm": truth["sig"][1], "theta_deg": truth["theta"]}
    found = integrate_crops(
        crops, model="gauss" if "gauss" in case else "isogauss", background=truth["bg"], **stated
    ).photons
    reference = expected[f"{case}_I"]  # computed in single precision: 1e-7 of a spot in the median, 4e-6 of a dim one
    assert np.abs(found - reference).max() <= 1e-6 * reference.max()
    assert np.median(np.abs(found / reference - 1)) < 2e-7
    padded = np.where([touching_zeros(crop) for crop in crops], np.nan, crops).astype(np.float32)
    reference = expected[f"{case}_U"]
    assert np.abs(integrate_crops(padded, method="border", **NOISE).photons - reference).max() <= 1e-6 * reference.max()


@pytest.mark.parametrize(("model", "theta"), [("isogauss", 0), ("gauss", 0), ("gauss", 30), ("gauss", -75)])
def test_weighted_is_the_formula(model, theta):
    crops, _, stated = draw(200)
    sigma_y = 120 if model == "isogauss" else 170
    p = light(11, stated["y_nm"] / 100, stated["x_nm"] / 100, sigma_y / 100, 1.2, theta)
    found = integrate_crops(crops, model=model, background=3.0, theta_deg=theta, **stated, sigma_y_nm=sigma_y)
    np.testing.assert_allclose(found.photons, weighted(crops - 100.0, p, 3.0, 0.5, 0.9), rtol=1e-8)


def test_the_spline_is_scipys_and_its_photons_are_the_references(generators):
    z, expected = np.load(REFERENCE / "spots_spline_crops.npz"), np.load(REFERENCE / "smlmlp_spots.npz")
    spline = (z["coeffs"].transpose(2, 1, 0), z["tz"], z["ty"], z["tx"])
    stated = {"x_nm": z["x"] * 100, "y_nm": z["y"] * 100, "z_nm": z["z"], "model": "spline", "spline": spline, **NOISE}
    found = integrate_crops(z["crops"], background=5.0, **stated).photons
    np.testing.assert_allclose(found, expected["spline_zyx_zs1_I"], rtol=1e-6)
    named = {"coeffs": spline[0], "tz": z["tz"], "ty": z["ty"], "tx": z["tx"]}
    again = integrate_crops(z["crops"], background=5.0, **{**stated, "spline": named}).photons
    np.testing.assert_array_equal(again, found)
    every = np.arange(-30, 43)

    def rows(at, knots):
        inside = (at >= knots[0]) & (at <= knots[-1])
        out = np.zeros((len(at), len(knots) - 4))
        out[inside] = BSpline.design_matrix(at[inside], knots, 3).toarray()
        return out

    k = 17
    plane = np.tensordot(rows(-z["z"][k : k + 1], z["tz"])[0], spline[0].astype(float), 1)
    p = rows((every - z["y"][k]) * 100, z["ty"]) @ plane @ rows((every - z["x"][k]) * 100, z["tx"]).T
    drawn = 4000 * p / p.sum() + 7.0
    one = {**stated, **{name: stated[name][k] for name in ("x_nm", "y_nm", "z_nm")}}
    total = integrate_crops(drawn[None, 30:43, 30:43] / 0.5 * 0.9, method="ml", **one)
    assert total.photons[0] == pytest.approx(4000, rel=1e-6)
    assert total.background[0] == pytest.approx(7, rel=1e-6)


def test_maximum_likelihood_solves_its_equations():
    crops, _, stated = draw(300, read=2.0)
    found = integrate_crops(crops, method="ml", **stated)
    p = light(11, stated["y_nm"] / 100, stated["x_nm"] / 100, 1.2, 1.2)
    electrons = (crops - 100) * 0.5
    model = 0.9 * (found.photons[:, None, None] * p + found.background[:, None, None])
    variance = 2.0**2 + 0.5**2 / 12 + model
    scores = [(part * (electrons - model) / variance).sum((1, 2)) for part in (p, np.ones_like(p))]
    information = [[(a * b / variance).sum((1, 2)) for a in (p, np.ones_like(p))] for b in (p, np.ones_like(p))]
    covariance = np.linalg.inv(np.moveaxis(np.array(information), -1, 0))
    assert np.abs(scores[0] * np.sqrt(covariance[:, 0, 0])).max() < 2e-3  # in standard errors
    assert np.abs(scores[1] * np.sqrt(covariance[:, 1, 1])).max() < 2e-3
    np.testing.assert_allclose(found.error, np.sqrt(covariance[:, 0, 0]) / 0.9, rtol=0.01)
    np.testing.assert_allclose(found.chi2, ((electrons - model) ** 2 / variance).sum((1, 2)) / 119, rtol=1e-9)


@pytest.mark.parametrize("background", [None, 5.0])
@pytest.mark.parametrize("n", [7, 11])
def test_maximum_likelihood_finds_all_photons_with_their_error(n, background):
    crops, photons, stated = draw(10_000, n=n)
    found = integrate_crops(crops, method="ml", background=background, **stated)
    pull = (found.photons - photons) / found.error
    assert abs((found.photons / photons - 1).mean()) < 0.003
    assert abs(pull.mean()) < 0.06
    assert pull.std() == pytest.approx(1, abs=0.03)
    assert found.chi2.mean() == pytest.approx(1, abs=0.02)


def test_dark_crops_have_no_photons_on_average():
    rng = np.random.default_rng(3)
    crops = rng.poisson(2.0, (5000, 11, 11)) + rng.normal(0, 1.5, (5000, 11, 11))
    found = integrate_crops(crops, x_nm=500, y_nm=500, sigma_x_nm=120, read_noise_e=1.5, method="ml")
    assert abs(found.photons.mean()) < 4 * found.photons.std() / 5000**0.5
    assert (found.photons / found.error).std() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("method", ["ml", "weighted"])
def test_pixels_that_are_missing_leave_no_bias_and_zeros_count(method):
    crops, photons, stated = draw(5000, photons=(800, 5000))
    cut = crops.astype(float)
    cut[:, :, 8:] = np.nan
    found = integrate_crops(cut, method=method, background=5.0, **stated)
    assert abs((found.photons / photons - 1).mean()) < 0.006
    assert ((found.photons - photons) / found.error).std() == pytest.approx(1, abs=0.06)
    nothing = integrate_crops(np.zeros((1, 11, 11)), y_nm=500, x_nm=500, sigma_x_nm=130, background=2.0)
    assert nothing.photons[0] < 0


def test_channels_of_their_own_size_pixel_and_method_come_back_in_the_order_of_detection():
    first, _, stated = draw(30, seed=4)
    second, _, other = draw(20, n=7, seed=5)
    channel = np.random.default_rng(0).permutation([1] * 30 + [2] * 20)
    lists = {name: [stated[name], other[name]] for name in ("x_nm", "sigma_x_nm", "offset_adu")}
    lists["y_nm"] = [stated["y_nm"] * 1.1, np.full(20, np.nan)]
    found = integrate_crops(
        [first, second], channel=channel, method=["weighted", "border"], background=[5.0, None], read_noise_e=1.2,
        pixel_nm=[(110, 100), 100], model=["gauss", "isogauss"], sigma_y_nm=[132, 120], **lists, **NOISE,
    )  # fmt: skip
    alone = integrate_crops(first, background=5.0, **stated)
    np.testing.assert_allclose(found.photons[channel == 1], alone.photons, rtol=1e-9)
    np.testing.assert_array_equal(
        found.photons[channel == 2], integrate_crops(second, method="border", **{**NOISE, "offset_adu": 100}).photons
    )


GOOD = {"x_nm": 500.0, "y_nm": 500.0, "sigma_x_nm": 130.0, "background": 1.0}
BAD = {
    "negative gain": ({"gain_e_per_adu": -1}, "gain"),
    "a psf wider than the crop": ({"sigma_x_nm": 800.0}, "must be positive and fit into a crop"),
    "a width of zero": ({"sigma_x_nm": 0.0}, "must be positive"),
    "a spot outside": ({"x_nm": np.array([500.0, 1500.0, 500.0])}, r"spot 1 lies at \(5.00, 15.00\)"),
    "NaN where a place is needed": ({"y_nm": np.array([500, np.nan, 500])}, "y_nm of crop 1 must be a number"),
    "no place": ({"y_nm": None}, "y_nm of crop 0 must be a number"),
    "no background": ({"background": None}, "needs the background"),
    "a background of NaN": ({"background": np.nan}, "background of crop 0"),
    "a spline without coefficients": ({"model": "spline"}, "needs spline"),
    "a spline without knots": ({"model": "spline", "spline": {"coeffs": np.ones((9, 8, 7))}}, "no tz, ty, tx"),
    "a spline of three arrays": ({"model": "spline", "spline": (1, 2, 3)}, "found 3 arrays"),
    "a spline the wrong way round": (
        {"model": "spline", "spline": (np.ones((9, 8, 7)), np.arange(11), np.arange(12), np.arange(13))},
        r"coefficients \(7, 8, 9\), found \(9, 8, 7\)",
    ),
    "an unknown model": ({"model": "isogaus"}, "did you mean 'isogauss'"),
    "an unknown method": ({"method": "mle"}, "did you mean 'ml'"),
    "too few positions": ({"x_nm": np.ones(2)}, "x_nm needs one number, or one for each of 3 crops"),
    "words": ({"x_nm": "here"}, "x_nm must be numbers"),
    "a channel for one stack": ({"channel": [1, 1, 1]}, "list of stacks"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_in_one_line(case):
    changes, said = BAD[case]
    with pytest.raises((ConfigError, FrameError), match=said) as caught:
        integrate_crops(np.ones((3, 11, 11)), **{**GOOD, **changes})
    assert "\n" not in str(caught.value)


def test_lists_of_unequal_length_and_channels_that_do_not_add_up_are_refused():
    stacks = [np.ones((3, 11, 11)), np.ones((2, 9, 9))]
    with pytest.raises(ConfigError, match="sigma_x_nm is a list of 1, crops are of 2 channels"):
        integrate_crops(stacks, **{**GOOD, "sigma_x_nm": [130.0]})
    with pytest.raises(ConfigError, match=r"names \[1, 4\] detections, crops hold \[3, 2\]"):
        integrate_crops(stacks, **GOOD, channel=[1, 2, 2, 2, 2])
    with pytest.raises(FrameError, match=r"crops are \(n, y, x\), found \(11, 11\)"):
        integrate_crops(np.ones((11, 11)), **GOOD)


def test_no_crops_give_no_photons_and_the_name_is_at_the_top():
    assert integrate_crops(np.ones((0, 11, 11)), **GOOD).photons.shape == (0,)
    assert "integrate_crops" in streamfluo.__all__
