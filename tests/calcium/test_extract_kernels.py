"""The kernels of `extract` against textbook solutions that share no code with them.

Called as kernels call each other, with plain tuples: for named ones each would be compiled once more, 6 s in all.
"""

import numpy as np
import pytest
import scipy.ndimage as ndi

from streamfluo.calcium.banded import WhiteRows, whiten
from streamfluo.calcium.kernels.background_modes import temporal_modes
from streamfluo.calcium.kernels.demixing import (
    Design,
    Estimate,
    Footprints,
    ModeOverlaps,
    Overlaps,
    Past,
    WhiteningModel,
    demix,
    demix_background,
    demix_frame,
    demix_stored,
    project,
    project_past,
)
from streamfluo.calcium.kernels.footprint_statistics import (
    Evidence,
    Regression,
    add_past_evidence,
    add_past_falls,
    component_snr,
    update_comoments,
    update_falls,
    update_regression,
)
from streamfluo.calcium.kernels.footprints import (
    connected_region,
    dilate,
    smooth_gaussian,
    spatial_correlation,
    update_footprint,
)
from streamfluo.calcium.kernels.outlines import outline
from streamfluo.calcium.kernels.residual import rows_of, smooth
from streamfluo.pixels.kernels.medians import median_size


def plain(held):
    """A kernel's argument without the names of its fields, nor of those within it."""
    return tuple(map(plain, held)) if isinstance(held, tuple) else held


def overlapping(count=6, side=24, seed=0):
    """Overlapping Gaussian footprints (count, side²), and a frame of them with noise."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    centres = rng.uniform(6, side - 6, (count, 2))
    images = np.array([np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 8).ravel() for y, x in centres])
    images[images < 0.02] = 0
    activity = rng.exponential(5, count) * (rng.random(count) > 0.4)
    return images, activity @ images + rng.standard_normal(side * side)


def in_steps(frame):
    """A whitened frame as it is stored, in int16 steps of 1/256, and what it then holds."""
    stored = np.rint(frame * 256).astype(np.int16)
    return stored, stored / 256


def design(images, modes):
    """Footprints (count, pixels) and background modes (M, pixels) as kernels take them."""
    count, pixels = images.shape
    index, value = np.zeros((count, pixels), np.int32), np.zeros((count, pixels), np.float32)
    for k, image in enumerate(images):
        at = np.flatnonzero(image)
        index[k, : len(at)], value[k, : len(at)] = at, image[at]
    gram = images @ images.T
    others = np.array([[j for j in range(count) if j != k] for k in range(count)], np.int32)
    overlap = np.take_along_axis(gram, others, 1)
    footprints = Footprints(index, value, np.count_nonzero(images, axis=1).astype(np.int32))
    neighbours = np.full(count, count - 1, np.int32)
    overlaps = Overlaps(np.diag(gram).copy(), neighbours, others, overlap, overlap > 0)
    across = images @ modes.T
    return Design(footprints, overlaps, ModeOverlaps(across, across, modes @ modes.T))


NO_MODES = np.zeros((0, 24 * 24))


def two_modes(pixels):
    return np.array([np.ones(pixels), np.linspace(-1, 1, pixels)])


@pytest.mark.parametrize("seed", range(5))
def test_demixing_is_least_squares(seed):
    images, frame = overlapping(seed=seed)
    stored, frame = in_steps(frame)
    known = design(images, NO_MODES)
    products, found = np.empty(len(images)), np.zeros(len(images))
    project(stored, 1 / 256, plain(known.footprints), products)
    np.testing.assert_allclose(products, images @ frame, rtol=1e-5, atol=1e-4)
    demix(images @ frame, plain(known.overlaps), 2000, found)
    np.testing.assert_allclose(found, np.linalg.lstsq(images.T, frame, rcond=None)[0], atol=1e-7)


def test_background_and_components_are_demixed_together():
    images, frame = overlapping()
    modes = two_modes(images.shape[1])
    stored, frame = in_steps(frame + 3 * modes[0] - 2 * modes[1])
    known, estimate = design(images, modes), Estimate(np.zeros(len(images)), np.zeros(2), np.zeros(len(images)))
    demix_background(images @ frame, modes @ frame, plain(known.overlaps), plain(known.modes), 3000, plain(estimate))
    expected = np.linalg.lstsq(np.vstack([images, modes]).T, frame, rcond=None)[0]
    np.testing.assert_allclose(np.concatenate(estimate[:2]), expected, atol=1e-6)
    again = Estimate(np.zeros(len(images)), np.zeros(2), np.zeros(len(images)))
    demix_frame(stored, 1 / 256, plain(known), modes @ frame, 3000, plain(again))
    np.testing.assert_allclose(np.concatenate(again[:2]), expected, atol=1e-3)


def test_components_of_stored_frames_are_demixed_while_the_background_is_known():
    images, frame = overlapping()
    modes, amounts = two_modes(images.shape[1]), np.array([[3.0, -2.0], [0.0, 0.0], [-1.0, 0.5]])
    frames = [in_steps(factor * frame + part @ modes) for factor, part in zip((1, 0, -2), amounts, strict=True)]
    stored, slots, found = np.stack([steps for steps, _ in frames]), np.array([2, 0]), np.zeros((2, len(images)))
    unknown = np.full(found.shape, np.nan)
    demix_stored(stored, slots, 1 / 256, plain(design(images, modes)), (amounts, unknown), 3000, found)
    for slot, one in zip(slots, found, strict=True):
        expected = np.linalg.lstsq(images.T, frames[slot][1] - amounts[slot] @ modes, rcond=None)[0]
        np.testing.assert_allclose(one, expected, atol=1e-3)


def test_products_with_stored_frames_that_are_known_are_not_found_again():
    images, frame = overlapping()
    modes, slots = two_modes(images.shape[1]), np.array([1, 0])
    stored = np.stack([in_steps(factor * frame)[0] for factor in (1, -2)])
    products, found = np.full((2, len(images)), np.nan), np.zeros((2, 2, len(images)))
    scale, known = 1 / 256, plain(design(images, modes))
    demix_stored(stored, slots, scale, known, (np.zeros((2, 2)), products.copy()), 3000, found[0])
    for row, slot in zip(products, slots, strict=True):
        project(stored[slot], scale, known[0], row)
    products[1, 0] = np.nan
    demix_stored(stored, slots, scale, known, (np.zeros((2, 2)), products.copy()), 3000, found[1])
    np.testing.assert_array_equal(*found)
    products[0, 1] += 1
    demix_stored(stored, slots, scale, known, (np.zeros((2, 2)), products.copy()), 3000, found[1])
    assert (found[0, 0] != found[1, 0]).any()


def test_the_past_of_a_footprint_is_its_projection_less_known_activities():
    rng = np.random.default_rng(2)
    stored = rng.integers(-500, 500, (7, 40)).astype(np.int16)
    images = np.zeros((4, 40))
    images[0, [3, 8, 9]], images[1:, 8:12] = (0.5, 0.7, 0.2), rng.random((3, 4))
    modes = rng.random((2, 40))
    activity, history, slots, found = rng.random((7, 2)), rng.random((4, 7)), np.array([5, 6, 0, 1]), np.empty(4)
    project_past(0, plain(design(images, modes)), plain(Past(stored, slots, 1 / 16, activity, history)), found)
    rest = (
        stored[slots] / 16 @ images[0]
        - activity[slots] @ modes @ images[0]
        - history[1:, slots].T @ images[1:] @ images[0]
    )
    np.testing.assert_allclose(found, rest / 0.78, rtol=1e-6)


def test_whitening_is_the_frame_less_the_mean_over_its_noise_and_unknown_pixels_get_the_expected_background():
    rng = np.random.default_rng(3)
    frame, mean, weight = rng.normal(100, 10, (12, 21)).astype(np.float32), np.float32(95), np.float32(0.1)
    frame[0], frame[3, 5], frame[:, 20] = np.nan, np.nan, np.nan
    modes, binned = rng.normal(0, 1, (2, 12, 21)).astype(np.float32), np.full((3, 4), 2.5, np.float32)
    stored, work, expected = np.zeros(frame.shape, np.int16), WhiteRows.of(frame.shape, 2), np.array([2.0, -1.0])
    full = np.full(frame.shape, 1, np.float32)
    model = WhiteningModel(mean * full, weight * full, modes)
    whiten(frame, plain(model), (expected, binned), np.float32(16), stored, work)
    white = np.where(np.isnan(frame), np.tensordot(expected, modes, 1), (frame - mean - 2.5) * weight)
    np.testing.assert_allclose(stored / 16, white, atol=0.5 / 16 + 1e-4)
    np.testing.assert_allclose(work.products, [(white * mode)[::4].sum() for mode in modes], rtol=1e-4)


# Footprints and their statistics


def test_the_past_of_a_new_component_is_evidence_where_no_neighbours_error_explains_it():
    rng = np.random.default_rng(8)
    bins, number, share, least = 8, 11, 0.3, 2.5
    activity, noise, energy, overlap = rng.exponential(6, 6), np.array([1.1, 0.8, 1.0]), 2.0, np.array([0.7, -0.4])
    recent_bins = rng.exponential(2, (3, bins))
    seen, others = recent_bins.copy(), np.array([0, 2])
    evidence = Evidence(recent_bins, np.zeros(3), np.zeros(3), np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3))
    neighbour = np.array([[0, 0], [0, 2], [0, 0]], np.int32)
    overlaps = Overlaps(
        np.full(3, energy), np.array([0, 2, 0], np.int32), neighbour, np.stack([overlap] * 3), np.ones((3, 2), bool)
    )
    add_past_falls(1, activity, number, noise, plain(overlaps), plain(evidence))
    add_past_evidence(1, activity, number, noise, plain(overlaps), plain(evidence))
    at = (number - np.arange(6, 0, -1)) % bins
    rest = (activity - share / energy * (np.abs(overlap) * noise[others]) @ seen[others][:, at]) / noise[1]
    rest[rest < least] = 0
    np.testing.assert_allclose((evidence.square[1], evidence.fourth[1]), ((rest**2).sum(), (rest**4).sum()), rtol=1e-12)
    np.testing.assert_allclose(evidence.falls, [0, (rest**4).sum(), 0], rtol=1e-12)  # a fall counts as a rise does
    update_falls(
        np.array([0.0, activity[0], -9.0]), noise, at[0], plain(overlaps), plain(evidence._replace(recent=seen))
    )
    np.testing.assert_allclose(evidence.falls, [0, (rest**4).sum() + rest[0] ** 4, 0], rtol=1e-12)
    np.testing.assert_allclose(evidence.product[1], seen[others][:, at] @ rest, rtol=1e-12)
    np.testing.assert_allclose(evidence.neighbour_square[1], (seen[others][:, at] ** 2).sum(1), rtol=1e-12)
    shown = activity / noise[1]
    np.testing.assert_allclose(recent_bins[1, at], np.where(shown >= least, shown, 0), rtol=1e-12)


def test_the_median_size_of_nothing_is_0():
    assert median_size(np.zeros((18, 0), np.float32), 1) == median_size(np.zeros((0, 3), np.float32), 5) == 0


@pytest.mark.parametrize(("shape", "step"), [((85, 85), 1), ((40, 61), 5), ((7, 6), 1), ((1, 1), 1)])
def test_the_median_size_is_numpys(shape, step):
    image = np.random.default_rng(6).normal(0, 10, shape).astype(np.float32)
    for values in (image, np.round(image), np.zeros_like(image)):
        assert median_size(values, step) == np.median(np.abs(values[::step, ::step]))


def test_footprint_statistics_are_the_direct_sums():
    rng = np.random.default_rng(7)
    bins, count, box = 30, 3, 5
    residuals = rng.normal(0, 1, (bins, 16, 16)).astype(np.float32)
    activity = rng.exponential(1, (bins, count))
    origin = np.array([[0, 0], [4, 6], [11, 11]], np.int32)
    gathered, mean, energy = np.zeros((count, box, box), np.float32), np.zeros(count), np.zeros(count)
    neighbour, comoment = np.array([[1], [0], [0]], np.int32), np.zeros((count, 1))
    neighbours, regression = np.array([1, 1, 0], np.int32), Regression(origin, mean, gathered, energy)
    direct, moment, pair, average = np.zeros_like(gathered, float), np.zeros(count), 0.0, np.zeros(count)
    for b in range(bins):
        deviation = activity[b] - average
        for k, (top, left) in enumerate(origin):
            direct[k] += deviation[k] * residuals[b, top : top + box, left : left + box]
        pair += deviation[0] * deviation[1]
        moment += deviation**2 * (1 - 1 / (b + 2))
        average += deviation / (b + 2)
        update_comoments(activity[b], mean, neighbours, neighbour, comoment)
        update_regression(residuals[b], activity[b], np.full(count, 1 / (b + 2)), plain(regression))
    np.testing.assert_allclose(gathered, direct, atol=1e-4)
    np.testing.assert_allclose(energy, moment, rtol=1e-12)
    np.testing.assert_allclose(comoment[:, 0], [pair, pair, 0], rtol=1e-12)


def test_a_footprint_is_updated_to_the_regression_on_its_scale():
    yy, xx = np.mgrid[:21, :21]
    truth = np.exp(-((yy - 10) ** 2 + (xx - 10) ** 2) / 18).astype(np.float32)
    start = np.where((yy - 9) ** 2 + (xx - 10) ** 2 < 12, truth, 0).astype(np.float32)
    gathered, new = (truth - start) * np.float32(1e4), np.zeros_like(truth)
    pixels = update_footprint(start, gathered, 1e4, 2.0, 2, new)
    allowed = ndi.binary_dilation(start > 0, iterations=2)
    assert pixels == np.count_nonzero(allowed & (truth >= 0.2 * truth.max()))
    np.testing.assert_allclose(new[new > 0], truth[new > 0], rtol=1e-4)


def test_a_component_is_explained_by_the_touching_neighbour_it_follows():
    rng = np.random.default_rng(1)
    mine, theirs = rng.exponential(1, (2, 50))
    copy = 0.5 * theirs
    square = np.array([(mine**2).sum(), (copy**2).sum()])
    product = np.array([[(mine * theirs).sum()], [(copy * theirs).sum()]])
    squares, explained, snr = np.full((2, 1), (theirs**2).sum()), np.empty(2), np.empty(2)
    fourth = np.array([(mine**4).sum(), (copy**4).sum()])
    evidence = Evidence(np.zeros((2, 1)), square, fourth, product, squares, np.zeros(2))
    for touching in (True, False):
        neighbours, neighbour = np.ones(2, np.int32), np.zeros((2, 1), np.int32)
        overlaps = Overlaps(np.ones(2), neighbours, neighbour, np.zeros((2, 1)), np.full((2, 1), touching))
        component_snr(plain(evidence), plain(overlaps), explained, snr)
        cosine = product[0, 0] ** 2 / square[0] / squares[0, 0]
        np.testing.assert_allclose(explained, [cosine, 1.0] if touching else [0, 0], rtol=1e-12)
    np.testing.assert_allclose(snr, fourth**0.25)


def test_a_cell_is_not_explained_by_a_weaker_piece_of_it():
    """A cell of SNR 50 was removed for three pieces of it that noise had left beside it, of SNR 10."""
    activity, explained, snr = np.random.default_rng(1).exponential(1, 50), np.empty(2), np.empty(2)
    both = np.array([activity, 0.3 * activity])  # the cell, its piece; each is the other's neighbour
    squares, product = (both**2).sum(1), np.full((2, 1), both[0] @ both[1])
    evidence = Evidence(np.zeros((2, 1)), squares, (both**4).sum(1), product, squares[::-1, None], np.zeros(2))
    neighbour = np.array([[1], [0]], np.int32)
    overlaps = Overlaps(np.ones(2), np.ones(2, np.int32), neighbour, np.zeros((2, 1)), np.ones((2, 1), bool))
    component_snr(plain(evidence), plain(overlaps), explained, snr)
    np.testing.assert_allclose(explained, [0, 1], atol=1e-12)


def test_small_images_are_smoothed_dilated_and_labelled_as_scipy_does():
    rng = np.random.default_rng(9)
    image = rng.normal(0, 1, (19, 23)).astype(np.float32)
    out, rows = np.empty_like(image), np.empty_like(image)
    left = smooth_gaussian(image, 1.3, rows, out)
    np.testing.assert_allclose(out, ndi.gaussian_filter(image, 1.3, mode="nearest", radius=4), atol=1e-5)
    assert left == pytest.approx(np.sqrt((ndi.gaussian_filter(np.pad([[1.0]], 9), 1.3, radius=4) ** 2).sum()), rel=1e-5)
    mask, grown = image > 1, np.zeros(image.shape, bool)
    dilate(mask, 2, grown)
    np.testing.assert_array_equal(grown, ndi.binary_dilation(mask, iterations=2))
    seed = tuple(int(n) for n in np.unravel_index(np.argmax(out), out.shape))
    labels, _ = ndi.label(out >= 0.1)
    kept = np.zeros(image.shape, bool)
    connected_region(out, np.float32(0.1), *seed, kept, np.empty(image.size, np.int64))
    np.testing.assert_array_equal(kept, labels == labels[seed])


def test_spatial_correlation_is_that_without_noise():
    """Its expectation is the correlation of a footprint with a noiseless regression, whatever the noise."""
    rng = np.random.default_rng(2)
    yy, xx = np.mgrid[:25, :25]
    cell = np.exp(-((yy - 12) ** 2 + (xx - 12) ** 2) / 18).astype(np.float32)
    footprint = np.where(cell > 0.2, cell, 0).astype(np.float32)
    clean = spatial_correlation(footprint, cell, 0.0)
    for noise in (0.05, 0.1, 0.2):
        noisy = [cell + noise * rng.standard_normal(cell.shape).astype(np.float32) for _ in range(200)]
        assert np.mean([spatial_correlation(footprint, image, noise) for image in noisy]) == pytest.approx(
            clean, abs=0.03
        )
    other = np.roll(cell, 6, 1)
    assert spatial_correlation(footprint, other, 0.0) < 0.3


def test_maps_are_smoothed_as_scipy_does():
    image = np.random.default_rng(4).normal(0, 1, (30, 41)).astype(np.float32)
    kernel = np.array([0.1, 0.3, 0.7, 0.3, 0.1], np.float32)
    out = np.empty_like(image)
    smooth(image, kernel, rows_of((30, 41), kernel), out)
    expected = ndi.convolve(image, np.outer(kernel, kernel), mode="constant")
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 2), (2, 30), (3, 3), (1, 1)])
def test_maps_narrower_than_the_filter_are_smoothed_from_their_own_pixels(shape):
    """As for frames of 5 × 5; with NaN around the map, what is read outside of it shows."""
    held = np.full((50, 50), np.nan, np.float32)
    image = held[10 : 10 + shape[0], 10 : 10 + shape[1]]
    image[...] = np.random.default_rng(4).normal(0, 1, shape)
    kernel = np.exp(-(np.arange(-8, 9, dtype=np.float32) ** 2) / 18)
    out = np.empty(shape, np.float32)
    smooth(image, kernel, rows_of(shape, kernel), out)
    np.testing.assert_allclose(out, ndi.convolve(image, np.outer(kernel, kernel), mode="constant"), atol=1e-5)


def test_an_outline_encloses_the_pixels_of_its_region():
    mask = np.zeros((12, 14), bool)
    mask[3:8, 2:9], mask[5, 9:12], mask[1, 1] = True, True, False
    points = np.full((80, 2), np.nan, np.float32)
    corners = points[: outline(mask, points)].astype(float)
    y, x = corners.T
    area = 0.5 * abs(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))
    assert area == mask.sum()


def test_temporal_modes_are_singular_vectors():
    rng = np.random.default_rng(6)
    blocks = rng.normal(0, 0.1, (40, 30)) + 3 * np.outer(np.sin(np.arange(40) / 3), rng.normal(0, 1, 30))
    blocks += np.outer(np.cos(np.arange(40) / 5), rng.normal(0, 1, 30))
    found = temporal_modes(blocks, 2)
    expected = np.linalg.svd(blocks)[0][:, :2].T
    np.testing.assert_allclose(np.abs(np.sum(found * expected, 1)), 1, atol=1e-6)
