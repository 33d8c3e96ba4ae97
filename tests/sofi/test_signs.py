"""The picture's sign: that of the light, whatever part of the time emitters are on; and a word where it is noise."""

import numpy as np
import pytest
from seeds import seeds

from streamfluo import Block, Spec, create

SIDE, SIGMA = 28, 1.3


def blinking(on_ratios, seed, frames=1500, photons=500.0, background=20.0):
    """Emitters 7 px apart whose on-ratios take turns: movie, places (e, 2), on-ratios (e,)."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid([6.0, 13.3, 21.2], [6.4, 13.8, 21.0]), axis=-1).reshape(-1, 2)
    ratios = np.resize(on_ratios, len(places))
    on = np.repeat(rng.random((frames // 3, len(places))) < ratios, 3, axis=0)
    at = np.arange(SIDE)
    y, x = (np.exp(-((at - c[:, None]) ** 2) / (2 * SIGMA**2)) for c in places.T)
    spots = y[:, :, None] * x[:, None, :] / (2 * np.pi * SIGMA**2)
    return rng.poisson(background + photons * np.tensordot(on, spots, 1)).astype("uint16"), places, ratios


def picture(movie, order):
    sofi = create("sofi", Spec(movie.shape[1:], "uint16"), order=4, cross=1)
    for start in range(0, len(movie), 32):
        part = movie[start : start + 32]
        sofi.update(Block(start, np.zeros(len(part)), part))
    made = create("reconstruct", Spec(movie.shape[1:], "uint16"), order=order, grid=True, factor=1, psf=SIGMA)
    return made.read(None, sofi.read())


def at_emitters(image, places):
    return np.array([image[y - 2 : y + 3, x - 2 : x + 3].max() for y, x in np.rint(2 * places).astype(int)])


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize(
    ("on_ratio", "signs"), [(0.05, "+++"), (0.12, "+++"), (0.35, "++-"), (0.5, "+?-"), (0.7, "+--"), (0.92, "+-+")]
)
def test_every_emitter_is_in_the_picture_and_the_sign_is_told(on_ratio, signs, order):
    movie, places, _ = blinking([on_ratio], seed=order)
    found, sign = picture(movie, order), signs[order - 2]
    shown = found["linearised"]
    if sign == "?":
        assert "doubtful" in str(found["status"])
        return
    assert (at_emitters(shown, places) > 0.2 * shown.max()).all()
    assert (found["sign"] >= 0).all() if sign == "+" else (found["sign"] <= 0).all()
    assert f"order {order} is {'positive' if sign == '+' else 'negative'} where there is light" in str(found["status"])
    away = np.ones(shown.shape, bool)
    for y, x in np.rint(2 * places).astype(int):
        away[y - 6 : y + 7, x - 6 : x + 7] = False
    assert shown[away].max() < 0.5 * shown.max()


@seeds(1, 2, 3)
def test_of_two_populations_each_has_its_own_sign_and_the_picture_is_called_doubtful(seed):
    movie, places, ratios = blinking([0.06, 0.4], seed)
    found = picture(movie, 4)
    signs = np.array([found["sign"][y, x] for y, x in np.rint(2 * places).astype(int)])
    np.testing.assert_array_equal(signs, np.where(ratios > 0.21, -1, 1))
    assert (at_emitters(found["linearised"], places) > 0.2 * found["linearised"].max()).all()
    assert "doubtful: order 4 is negative in" in str(found["status"])
    assert "order 2 has one sign" in str(found["status"])


@seeds(1, 2, 3)
@pytest.mark.parametrize(("photons", "background"), [(0, 200), (60, 400)])
def test_bright_places_that_are_noise_are_called_so(seed, photons, background):
    movie, _, _ = blinking([0.3], seed, frames=600, photons=photons, background=background)
    assert "noise" in str(picture(movie, 4)["status"])
