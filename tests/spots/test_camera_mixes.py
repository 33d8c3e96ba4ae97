"""`spots` where the camera is told partly as numbers and partly as maps, and behind an EM register."""

from itertools import product

import numpy as np
import pytest
from scipy.special import erf

from streamfluo import Block, Camera, Spec, create
from streamfluo.spots.kernels.crops import Crop, cut_crop
from streamfluo.spots.sensor import sensor

MIXES = list(product((False, True), repeat=3))
NAMES = ("offset_adu", "gain_e_per_adu", "read_noise_e")
LEVELS = (100.0, 0.5, 1.5)


def light(shape, y, x, sigma=1.3):
    def along(centre, n):
        d = np.arange(n) - centre
        return (erf((d + 0.5) / sigma / 2**0.5) - erf((d - 0.5) / sigma / 2**0.5)) / 2

    return np.outer(along(y, shape[0]), along(x, shape[1]))


def told(maps, mix):
    """A camera of maps (3, y, x), each told as a map or as its one value."""
    values = (m if mapped else float(m[0, 0]) for m, mapped in zip(maps, mix, strict=True))
    return Camera(**dict(zip(NAMES, values, strict=True)))


@pytest.mark.parametrize("mix", MIXES)
def test_a_crop_takes_each_map_at_its_own_place(mix):
    rng, shape = np.random.default_rng(1), (37, 53)
    maps = [v * (1 + 0.1 * rng.random(shape)) if m else np.full(shape, v) for v, m in zip(LEVELS, mix, strict=True)]
    frame = rng.integers(90, 500, shape).astype(np.float32)
    known = sensor(told(maps, mix), 1 / 12, 450.0, shape)
    crop = Crop(np.zeros((11, 16)), np.zeros((11, 16)), 11, 1.0, False)
    assert cut_crop(frame, (30, 45), known, crop) == (7 * 8, (frame[30:, 45:] >= 450).sum())
    offset, gain, read = (m[30:, 45:] for m in maps)
    np.testing.assert_allclose(crop.electrons[:7, :8], (frame[30:, 45:] - offset) * gain, rtol=1e-4)
    np.testing.assert_allclose(crop.variance[:7, :8], read**2 + gain**2 / 12, rtol=1e-6)
    assert np.isinf(crop.variance[7:]).all()
    assert np.isinf(crop.variance[:, 8:]).all()


def pulls(mix, known, side, frames):
    """Photons less their truth in standard errors, and χ², of two spots in a movie of which each fact varies or not."""
    rng, shape = np.random.default_rng(2), (side, side)
    scatter = (np.round(rng.normal(0, 3, shape)), 1 + 0.05 * rng.standard_normal(shape), rng.uniform(0.7, 1.3, shape))
    offset, gain, read = (v if m else np.full(shape, v[0, 0]) for v, m in zip(scatter, mix, strict=True))
    maps = [100 + offset, 0.5 * gain, 1.5 * read]
    places = np.array([[15.3, side - 20.9], [side - 9.8, side - 10.4]])
    expected = 1000 * sum(light(shape, *place) for place in places) + 5
    electrons = rng.poisson(expected, (frames, *shape)) + maps[2] * rng.standard_normal((frames, *shape))
    movie = np.rint(maps[0] + electrons / maps[1]).astype(np.uint16)
    params = {"spots": places} if known else {"false_alarms": 0.01}
    operator = create("spots", Spec(shape, "uint16", camera=told(maps, mix)), **params)
    table = operator.update(Block(0, np.arange(frames), movie)).values["spots"]
    assert len(table["photons"]) == pytest.approx(2 * frames, abs=2)
    return (table["photons"] - 1000) / table["error"], table["chi2"]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("known", [True, False])
def test_photons_are_right_whatever_is_told_as_a_map(mix, known):
    pull, chi2 = pulls(mix, known, 64, 40)
    assert np.median(pull) == pytest.approx(0, abs=0.5)
    assert np.percentile(pull, 84) - np.percentile(pull, 16) == pytest.approx(2, abs=0.7)
    assert np.median(chi2) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("known", [True, False])
def test_a_camera_of_four_million_pixels_is_read_within_its_maps(mix, known):
    pull, chi2 = pulls(mix, known, 2048, 1)
    assert np.abs(pull).max() < 5
    assert np.median(chi2) == pytest.approx(1, abs=0.4)
