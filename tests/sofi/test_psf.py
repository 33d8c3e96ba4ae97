"""The width of the PSF that `sofi` estimates: right within 15 %, or undetermined with a sentence."""

import numpy as np
import pytest
from seeds import seeds

from streamfluo import Block, Spec, create
from streamfluo.simulate import blinking

SHAPE, OFFSET = (48, 48), 100.0
PIXEL_VARIANCE = 1 / 12  # [px²], which a pixel that integrates the PSF over its area adds


def recorded(sigma_px, flicker, seed, frames=1000, **params):
    """Return a movie under a lamp whose light has this relative sd, far from zero: the camera's offset stays."""
    movie, _ = blinking(frames=frames, shape=SHAPE, seed=seed, sigma_px=sigma_px, structure="random", **params)
    light = np.clip(1 + flicker * np.random.default_rng(seed + 100).normal(size=frames), 0.05, None)
    return OFFSET + (movie - OFFSET) * light[:, None, None]


def measured(movie, **params):
    sofi = create("sofi", Spec(movie.shape[1:], "float32"), **{"order": 2, "cross": 1, **params})
    for start in range(0, len(movie), 32):
        part = movie[start : start + 32].astype(np.float32)
        sofi.update(Block(start, np.zeros(len(part)), part))
    found = sofi.read(["psf_sigma_px", "psf_status"])
    return float(found["psf_sigma_px"]), str(found["psf_status"])


@pytest.mark.parametrize("flicker", [0, 0.005, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("sigma_px", [1.3, 1.8])
@seeds(0, 1, 2)
def test_a_lamp_that_flickers_does_not_widen_the_psf(sigma_px, flicker, seed):
    found, status = measured(recorded(sigma_px, flicker, seed, emitters=60))
    assert status == "determined"
    assert found == pytest.approx(np.sqrt(sigma_px**2 + PIXEL_VARIANCE), rel=0.15 if flicker else 0.05)


def test_what_bleaches_in_common_does_not_widen_the_psf():
    movie = recorded(1.3, 0, 3, emitters=60)
    light = 0.3 + 0.7 * np.exp(-np.arange(len(movie)) / 400)
    found, _ = measured(OFFSET + (movie - OFFSET) * light[:, None, None])
    assert found == pytest.approx(np.sqrt(1.3**2 + PIXEL_VARIANCE), rel=0.15)


def shimmering(seed=0):
    """A field in which every place fluctuates with those some 15 px around it, as out-of-focus light does."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.full((600, *SHAPE), 500.0)
    for k in range(1, 4):
        for wave in (np.cos(k * np.pi * y / SHAPE[0]), np.cos(k * np.pi * x / SHAPE[1])):
            light += 20 * rng.normal(size=(600, 1, 1)) * wave
    return rng.poisson(np.clip(light, 1, None)).astype(float)


NO_PSF = {
    "noise alone": lambda: np.random.default_rng(1).poisson(300, (600, *SHAPE)).astype(float),
    "light that fluctuates in wide waves": shimmering,
    "a lamp that flickers over no blinking emitter": lambda: np.random.default_rng(2).poisson(
        300 * (1 + 0.1 * np.random.default_rng(3).normal(size=(600, 1, 1))), (600, *SHAPE)
    ),
    "four frames": lambda: recorded(1.3, 0, 4)[:4],
    "frames of 3 × 3 pixels": lambda: recorded(1.3, 0, 5)[:, :3, :3],
}


@pytest.mark.parametrize("movie", NO_PSF.values(), ids=NO_PSF)
def test_without_a_psf_in_the_covariances_it_is_undetermined_and_says_why(movie):
    found, status = measured(movie())
    assert np.isnan(found)
    assert status.startswith("undetermined: ")


def test_what_is_deconvolved_without_an_estimate_is_nan_and_the_status_says_so():
    image = np.random.default_rng(3).gamma(2, 100, (13, 17))
    step = create("reconstruct", Spec((13, 17), "uint16"), order=2)
    for sigma, says, known in ((np.nan, "undetermined: there is no estimate", False), (1.3, "σ = 1.3 px", True)):
        found = step.read(None, {"mean": image, "k2": image, "psf_sigma_px": np.array(sigma)})
        assert says in str(found["status"])
        for name in ("deconvolved", "linearised", "compressed"):
            assert np.isfinite(found[name]).all() == known
        assert np.isfinite(found["cumulant"]).all()
