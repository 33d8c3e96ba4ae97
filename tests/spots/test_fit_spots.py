"""`fit_spots` against scipy's own minimiser, the Cramér–Rao bound, and simulated truth."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import erf

from streamfluo import Camera, ConfigError, FrameError
from streamfluo.analysis import fit_spots

CAMERA = Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=1.2, qe=0.9)


def light(n, y, x, sigma_y, sigma_x):
    def along(centre, s):
        d = np.arange(n) - centre
        return (erf((d + 0.5) / s / 2**0.5) - erf((d - 0.5) / s / 2**0.5)) / 2

    return np.outer(along(y, sigma_y), along(x, sigma_x))


def draw(k, photons=1000, background=5.0, sigma=(1.2, 1.2), n=11, seed=1):
    """Crops in ADU of CAMERA, and their places (k, 2)."""
    rng = np.random.default_rng(seed)
    places = (n - 1) / 2 + rng.uniform(-0.5, 0.5, (k, 2))
    expected = np.stack([photons * light(n, y, x, *sigma) + background for y, x in places])
    electrons = rng.poisson(0.9 * expected) + 1.2 * rng.standard_normal(expected.shape)
    return np.rint(100 + electrons / 0.5).astype(np.int32), places


def bound(photons, background, sigma=1.2, n=11):
    """Cramér–Rao bounds (y, x, photons, background, sigma), averaged over places in a pixel."""
    read2, bounds = 1.2**2 + 0.5**2 / 12, []
    for place in np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)) + (n - 1) / 2:
        at = np.array([*place, photons, background, sigma])

        def model(q):
            return 0.9 * (q[2] * light(n, q[0], q[1], q[4], q[4]) + q[3]).ravel()

        slopes = np.array([(model(at + h) - model(at - h)) / (2 * h.max()) for h in np.diag(1e-4 * np.abs(at))])
        bounds.append(np.sqrt(np.diag(np.linalg.inv(slopes / (model(at) + read2) @ slopes.T))))
    return np.mean(bounds, 0)


@pytest.mark.parametrize("model", ["isogauss", "gauss"])
def test_it_finds_the_maximum_that_scipy_finds(model):
    rng = np.random.default_rng(2)
    widths = (1.2, 1.2) if model == "isogauss" else (1.5, 1.1)
    expected = 2000 * light(11, 5.2, 4.7, *widths) + 4.0
    crops = rng.poisson(expected, (10, 11, 11))  # electrons, no read noise: a plain Poisson likelihood
    found = fit_spots(crops.astype(float), model=model, camera=Camera(0.0, 1.0, 0.0))
    for k, crop in enumerate(crops):

        def cost(q, crop=crop):
            m = q[2] * light(11, q[0], q[1], q[4], q[-1]) + q[3] + 1 / 12
            return np.sum(m - (crop + 1 / 12) * np.log(m))

        start = [5, 5, 2000, 4, 1.2] + [1.2] * (model == "gauss")
        best = minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 9000}).x
        mine = [found.y[k], found.x[k], found.photons[k], found.background[k], *np.atleast_1d(found.sigma[k])]
        mistake = np.abs(np.array(mine) - best)
        errors = [*(e[k] for e in (found.errors.y, found.errors.x, found.errors.photons, found.errors.background))]
        assert (mistake[:4] < 0.01 * np.array(errors)).all()
        assert (mistake[4:] < 0.01 * np.atleast_1d(found.errors.sigma[k])).all()


@pytest.mark.parametrize(("photons", "background"), [(500, 0.5), (500, 5.0), (1500, 50.0), (5000, 5.0)])
def test_it_reaches_the_cramer_rao_bound_and_says_so(photons, background):
    crops, places = draw(4000, photons, background)
    found = fit_spots(crops, camera=CAMERA)
    assert found.converged.all()
    wrong = np.stack([*(np.stack([found.y, found.x]) - places.T), found.photons - photons,
                      found.background - background, found.sigma - 1.2])  # fmt: skip
    ratio = np.sqrt((wrong**2).mean(1)) / bound(photons, background)
    assert (ratio < 1.05).all(), ratio
    errors = np.stack(
        [found.errors.y, found.errors.x, found.errors.photons, found.errors.background, found.errors.sigma]
    )
    np.testing.assert_allclose((wrong / errors).std(1), 1, atol=0.05)
    assert found.chi2.mean() == pytest.approx(1, abs=0.01)


def test_faint_spots_of_known_width_are_fitted_where_a_free_one_runs_away():
    crops, places = draw(4000, 250, 50.0)
    known = fit_spots(crops, camera=CAMERA, sigma_px=1.2, start=places)
    free = fit_spots(crops, camera=CAMERA, start=places)
    assert known.converged.mean() > 0.99
    assert free.converged.mean() > 0.95
    assert np.isnan(known.errors.sigma).all()
    assert (known.sigma == 1.2).all()
    assert known.photons[known.converged].std() < free.photons[free.converged].std()


def test_the_phasor_is_near_the_truth_where_spots_are_bright():
    crops, places = draw(4000, 5000, 5.0)
    found = fit_spots(crops, camera=CAMERA, fit="phasor")
    wrong = np.stack([found.y, found.x]) - places.T
    assert np.sqrt((wrong**2).mean()) < 3 * bound(5000, 5.0)[0]
    assert found.sigma.mean() == pytest.approx(1.2, abs=0.06)
    assert found.photons.mean() == pytest.approx(5000, rel=0.02)


def test_starts_of_every_kind_end_at_the_same_place():
    crops, places = draw(50, 3000)
    first = fit_spots(crops, camera=CAMERA)
    stated = {"y": places[:, 0], "x": places[:, 1], "photons": 2500, "background": 4.0, "sigma": 1.3}
    for start in (places, stated, first):
        again = fit_spots(crops, camera=CAMERA, start=start)
        np.testing.assert_allclose(again.photons, first.photons, rtol=1e-3)
        np.testing.assert_allclose(again.y, first.y, atol=1e-3)


CAMERAS = {
    "sCMOS": lambda rng, m: 100 + (rng.poisson(m) + rng.normal(0, 1.6, m.shape)) / 0.46,
    "EMCCD": lambda rng, m: 200 + (rng.gamma(np.maximum(rng.poisson(m), 1e-9), 300) + rng.normal(0, 40, m.shape)) / 12,
    "CCD": lambda rng, m: 300 + (rng.poisson(m) + rng.normal(0, 6, m.shape)) / 1.7,
}


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize(("photons", "background"), [(500, 5), (1500, 100), (5000, 1), (5000, 10)])
def test_without_a_camera_stated_errors_are_the_real_spread(kind, photons, background):
    rng = np.random.default_rng(31)
    places = 5 + rng.uniform(-0.5, 0.5, (3000, 2))
    expected = np.stack([photons * light(11, y, x, 1.3, 1.3) + background for y, x in places])
    crops = np.rint(CAMERAS[kind](rng, expected))
    found = fit_spots(crops)
    assert found.converged.mean() > 0.99
    for value, error, true in (
        (found.y, found.errors.y, places[:, 0]),
        (found.photons, found.errors.photons, 0),
        (found.sigma, found.errors.sigma, 0),
        (found.background, found.errors.background, 0),
    ):
        sound = found.converged & (np.abs(found.y - 5) < 2) & (found.sigma < 3)
        stated, real = np.sqrt(np.mean(error[sound] ** 2)), (value - true)[sound].std()
        assert stated / real == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("scale", [1e-4, 0.3, 50.0])
def test_without_a_camera_fits_do_not_depend_on_the_unit(scale):
    crops, _ = draw(300, 1500)
    first, scaled = fit_spots(crops), fit_spots(scale * (crops - 100.0))
    np.testing.assert_allclose(scaled.photons, scale * first.photons, rtol=1e-3)
    np.testing.assert_allclose(scaled.errors.photons, scale * first.errors.photons, rtol=1e-2)
    np.testing.assert_allclose(scaled.y, first.y, atol=1e-3)
    assert abs(np.mean(first.photons) * 0.5 / 0.9 - 1500) < 4 * np.std(first.photons) * 0.5 / 0.9 / np.sqrt(300)


def test_without_a_camera_light_is_in_adu_and_errors_are_those_of_the_residuals():
    crops, places = draw(4000, 1500, 1000.0)  # where the background's noise rules
    found = fit_spots(crops, start=places, sigma_px=1.2)
    wrong = found.photons * 0.5 / 0.9 - 1500
    assert abs(wrong.mean()) < 30
    stated = found.errors.photons * 0.5 / 0.9
    assert np.sqrt(np.mean(stated**2)) / wrong.std() == pytest.approx(1, abs=0.06)
    assert (np.abs(wrong) < 1.96 * stated).mean() > 0.91  # each error is good to some 20 %: the tails of Student's t
    assert np.isnan(found.chi2).all()


def test_missing_pixels_are_left_out_and_empty_crops_do_not_converge_to_spots():
    crops, places = draw(2000, 2000)
    cut = crops.astype(float)
    cut[:, :3] = np.nan
    found = fit_spots(cut, camera=CAMERA, start=places)
    assert np.abs(found.photons[found.converged].mean() / 2000 - 1) < 0.01
    dark = fit_spots(np.full((1, 11, 11), np.nan), camera=CAMERA)
    assert not dark.converged[0]


BAD = {
    "no squares": ({"crops": np.ones((2, 9, 11))}, FrameError, "squares"),
    "one crop": ({"crops": np.ones((9, 9))}, FrameError, r"crops are \(n, y, x\)"),
    "model": ({"model": "isogaus"}, ConfigError, "did you mean 'isogauss'"),
    "fit": ({"fit": "mlee"}, ConfigError, "did you mean 'mle'"),
    "maps": ({"camera": Camera(gain_e_per_adu=np.ones((9, 9)))}, ConfigError, "is a map"),
    "start": ({"start": {"photon": 3}}, ConfigError, "did you mean 'photons'"),
    "start of another length": ({"start": np.ones((3, 2))}, ConfigError, r"found \(3, 2\)"),
    "width": ({"sigma_px": 30.0}, ConfigError, "sigma_px"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused(case):
    changes, kind, said = BAD[case]
    with pytest.raises(kind, match=said):
        fit_spots(**{"crops": np.ones((2, 9, 9)), **changes})
