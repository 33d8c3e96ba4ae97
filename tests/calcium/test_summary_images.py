"""Summary images against textbook formulas, and masks against the cells they were made from."""

import numpy as np
import pytest

from streamfluo import ConfigError
from streamfluo.analysis import local_correlation, masks_from_structure, peak_to_noise

MOVIE = np.random.default_rng(0).normal(100, 5, (80, 9, 11)).astype(np.float32)


def test_local_correlation_is_the_mean_coefficient_with_the_neighbours():
    found = local_correlation(MOVIE)
    for y, x in ((0, 0), (4, 5), (8, 10), (0, 7)):
        around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        inside = [(j, i) for j, i in around if 0 <= j < 9 and 0 <= i < 11]
        expected = np.mean([np.corrcoef(MOVIE[:, y, x], MOVIE[:, j, i])[0, 1] for j, i in inside])
        assert found[y, x] == pytest.approx(expected, abs=1e-5)


def test_peak_to_noise_of_noise_and_of_transients():
    random = np.random.default_rng(7)
    movie = random.normal(100, 5, (1000, 9, 11))
    movie[40, 3, 3] += 100
    movie[:, 5, 5] += np.resize(40 * np.exp(-np.arange(50) / 12), 1000)
    found = peak_to_noise(movie)
    assert found[3, 3] == pytest.approx(100 / 5, rel=0.15)
    assert np.median(found) == pytest.approx(3.24, abs=0.2)  # the largest of 1000 normal deviates
    noise = (movie.max(0) - movie.mean(0)) / found
    np.testing.assert_allclose(np.median(noise), 5, rtol=0.02)
    assert 5 < noise[5, 5] < 5 + 2 * 40 / 50 * np.sqrt(np.pi) / 2  # rise and fall add, at most


def test_pixels_that_were_not_seen_are_left_out():
    movie = MOVIE.copy()
    movie[::2, :, 6:] = np.nan
    movie[:78, 0, 0] = np.nan
    seen = local_correlation(movie)
    np.testing.assert_allclose(seen[:, 7:], local_correlation(movie[1::2, :, 6:])[:, 1:], atol=1e-6)
    np.testing.assert_allclose(seen[2:, :5], local_correlation(MOVIE)[2:, :5], atol=1e-6)
    assert np.isnan([seen[0, 0], peak_to_noise(movie)[0, 0], peak_to_noise(movie)[0, 8]]).all()


def test_masks_lie_where_the_cells_are():
    yy, xx = np.mgrid[:80, :80]
    places = [(20, 20), (20, 60), (55, 30), (58, 42)]
    image = sum(np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 18) for y, x in places)
    image = image + np.random.default_rng(1).normal(0, 0.05, image.shape) + yy / 80
    masks = masks_from_structure(image, neuron_sigma_px=4.0)
    assert len(masks) == 4
    for place in places:
        assert sum(mask[place] for mask in masks) == 1


def test_bad_input_is_refused_in_a_line():
    with pytest.raises(ConfigError, match="a movie is"):
        local_correlation(np.zeros((3, 4)))
    with pytest.raises(ConfigError, match="expected a finite image"):
        masks_from_structure(np.zeros(3))
