"""The Gauss–Newton images of the template in steps of whole numbers are those of the formula, within half a step."""

import numpy as np
import pytest

from streamfluo.motion.interpolation_weights import SIX
from streamfluo.motion.kernels.template_images import build_images
from streamfluo.motion.smoothing import noise_shares

HEIGHT, WIDTH, BLOCK = 40, 56, 16  # the last blocks are smaller
SECANT = (0.777406986, -0.178185210, 0.021856049)


def built(image):
    """Steps times scale (3, y, x), the steps, and H (by, bx, 3, 3) of an image without smoothing, noise of 4 ADU²."""
    rows, columns = -(-HEIGHT // BLOCK), -(-WIDTH // BLOCK)
    steps, scale = np.zeros((3, HEIGHT, WIDTH), np.int8), np.zeros((rows, columns, 3), np.float32)
    limit, window = np.ones((rows, WIDTH), np.float32), np.array([0, HEIGHT, 0, WIDTH])
    matrix, bias = np.zeros((rows, columns, 3, 3)), np.zeros((rows, columns))
    counts = np.full(HEIGHT, 10**9), np.full(WIDTH, 10**9), 10**9  # a template without noise of its own
    noise = np.tile([4.0, 0.0, 1.0], (columns, 1))
    for by in range(rows):
        template = image, steps, scale, limit, window
        build_images(template, np.ones(1, np.float32), noise, by, (matrix, bias), (counts, noise_shares(SIX)[0]))
    return steps * scale.transpose(2, 0, 1).repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :HEIGHT, :WIDTH], steps, matrix


def blocks(image):
    return [image[..., y : y + BLOCK, x : x + BLOCK] for y in range(0, HEIGHT, BLOCK) for x in range(0, WIDTH, BLOCK)]


def scene(pedestal):
    return (pedestal + np.random.default_rng(5).normal(0, 30, (HEIGHT, WIDTH))).astype(np.float32)


def test_they_are_slopes_and_image_less_their_means_over_the_variance():
    image = scene(500)
    found, steps, _ = built(image)
    wide = np.pad(image.astype(float), 1, mode="edge")
    slope_y, slope_x = (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2, (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2
    for part, taken, *others in zip(*map(blocks, (found, steps, slope_y, slope_x, image)), strict=True):
        for j, other in enumerate(others):
            expected = (other - other.mean()) / 4
            assert np.abs(part[j] - expected).max() <= 1.01 * np.abs(expected).max() / 127
            assert np.abs(taken[j]).max() == 127
            assert abs(int(taken[j].astype(int).sum())) <= 5  # each column within half a step; single pixels: 14


@pytest.mark.parametrize("pedestal", [0, 20_000])
def test_h_is_that_of_the_images_in_steps_whatever_light_all_pixels_share(pedestal):
    image = scene(pedestal)
    found, _, matrix = built(image)
    wide = np.pad(image.astype(float), 3, mode="edge")
    slopes = [np.zeros(image.shape), np.zeros(image.shape), image.astype(float)]
    for k, weight in enumerate(SECANT):
        ahead, behind = 4 + k, 2 - k
        slopes[0] += weight * (wide[ahead : ahead + HEIGHT, 3:-3] - wide[behind : behind + HEIGHT, 3:-3])
        slopes[1] += weight * (wide[3:-3, ahead : ahead + WIDTH] - wide[3:-3, behind : behind + WIDTH])
    parts = list(zip(*map(blocks, (found, *slopes)), strict=True))
    for h, (part, *others) in zip(matrix.reshape(-1, 3, 3), parts, strict=True):
        expected = np.array([[(v * (g - g.mean() * (k == 2))).sum() for k, g in enumerate(others)] for v in part])
        np.testing.assert_allclose(h, expected, atol=2e-3 * np.diag(expected).max())
