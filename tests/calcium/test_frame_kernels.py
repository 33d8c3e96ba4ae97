"""What extract computes in one call, of a footprint and of a frame, against plain numpy over whole frames."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from scipy.linalg import toeplitz
from scipy.optimize import nnls

from streamfluo.calcium.kernels.demixing import Design, Footprints, ModeOverlaps, Overlaps
from streamfluo.calcium.kernels.footprint_lists import HALO_PX, Measures, Scene, refresh_footprint
from streamfluo.calcium.kernels.footprint_statistics import Boxes
from streamfluo.calcium.kernels.frame_values import Following, follow_frame
from streamfluo.calcium.kernels.initial_frames import deviation_quantile
from streamfluo.calcium.kernels.spikes import Levels, Pools

SHAPE, BOX, MODES = (30, 34), (9, 11), 2
ORIGINS = np.array([[5, 6], [9, 12], [20, 22]], np.int32)  # the first two overlap, the third is alone


def held(rng, count=3):
    """Boxes, lists, overlaps and measures as kernels take them, nothing computed but the boxes."""
    box = rng.uniform(0.1, 1, (count, *BOX)).astype(np.float32)
    box[rng.random(box.shape) < 0.6] = 0
    pixels = BOX[0] * BOX[1]
    lists = Footprints(
        np.zeros((count, pixels), np.int32), np.ones((count, pixels), np.float32), np.zeros(count, np.int32)
    )
    neighbour = np.array([[1, 2], [2, 0], [0, 1]], np.int32)  # each lists the others, in another order
    overlaps = Overlaps(
        np.zeros(count), np.full(count, 2, np.int32), neighbour, np.full((count, 2), np.nan), np.zeros((count, 2), bool)
    )
    measures = Measures(
        np.zeros((count, 2)), np.zeros(count), np.zeros(count, bool), np.zeros(count), *np.zeros((2, count, MODES))
    )
    return Boxes(ORIGINS.copy(), box, np.zeros_like(box)), lists, overlaps, measures


def placed(boxes):
    images = np.zeros((len(boxes), *SHAPE))
    for image, box, (top, left) in zip(images, boxes, ORIGINS, strict=True):
        image[top : top + BOX[0], left : left + BOX[1]] = box
    return images


def scene(rng):
    mean, weight = rng.uniform(90, 110, SHAPE).astype(np.float32), rng.uniform(0.1, 0.3, SHAPE).astype(np.float32)
    edge = np.zeros(SHAPE, bool)
    edge[20:] = True  # where the third lies
    return Scene(mean, weight, rng.normal(0, 1, (MODES, *SHAPE)).astype(np.float32), edge, 40.0)


@pytest.mark.parametrize("seed", range(3))
def test_what_follows_from_a_footprint_is_what_its_image_over_the_whole_frame_says(seed):
    rng = np.random.default_rng(seed)
    boxes, lists, overlaps, measures = held(rng)
    seen = scene(rng)
    for k in range(3):
        refresh_footprint(k, tuple(boxes), tuple(lists), tuple(overlaps), tuple(measures), tuple(seen))
    images = placed(boxes.box)
    near = np.array([ndi.binary_dilation(box > 0, iterations=HALO_PX) for box in boxes.box])
    np.testing.assert_array_equal(boxes.halo, near)
    for k, image in enumerate(images):
        n = lists.pixels[k]
        np.testing.assert_array_equal(lists.index[k, :n], np.flatnonzero(image))
        np.testing.assert_array_equal(lists.value[k, :n], image[image > 0].astype(np.float32))
        assert not lists.value[k, n:].any()
        np.testing.assert_allclose(measures.centre[k], ndi.center_of_mass(image), rtol=1e-12)
    energy = (images**2).sum((1, 2))
    np.testing.assert_allclose(overlaps.energy, energy, rtol=1e-12)
    bright = (images * ((seen.mean - 40.0) * seen.weight)).sum((1, 2))
    np.testing.assert_allclose(measures.resting, bright / energy, rtol=1e-6)
    np.testing.assert_allclose(measures.mode_overlap, np.einsum("kyx,myx->km", images, seen.modes), atol=1e-5)
    fourth = np.einsum("kyx,myx->km", images[:, ::4], seen.modes[:, ::4])
    np.testing.assert_allclose(measures.row_overlap, fourth, atol=1e-5)
    np.testing.assert_array_equal(measures.at_edge, [False, False, True])
    gram = np.einsum("kyx,jyx->kj", images, images)
    assert gram[0, 1] > 0
    np.testing.assert_allclose(overlaps.overlap, np.take_along_axis(gram, overlaps.neighbour, 1), rtol=1e-6)
    near_others = np.tril(np.einsum("kyx,jyx->kj", placed(near), images > 0) > 0)  # as the later one of a pair says
    touching = np.take_along_axis(near_others | near_others.T, overlaps.neighbour, 1)
    np.testing.assert_array_equal(overlaps.touching, touching)


def test_footprints_touch_that_lie_within_a_halo_of_each_other_though_they_do_not_overlap():
    rng = np.random.default_rng(6)
    boxes, lists, overlaps, measures = held(rng)
    boxes.box[:] = 0
    boxes.box[0, 6, 8] = boxes.box[1, 2, 4] = boxes.box[2, 4, 4] = 1  # the first two at (11, 14) and (11, 16)
    for k in range(3):
        refresh_footprint(k, tuple(boxes), tuple(lists), tuple(overlaps), tuple(measures), tuple(scene(rng)))
    np.testing.assert_array_equal(overlaps.touching, [[True, False], [False, True], [False, False]])
    assert not overlaps.overlap.any()


def test_an_empty_footprint_lies_at_its_corner_and_has_no_light():
    rng = np.random.default_rng(5)
    boxes, lists, overlaps, measures = held(rng)
    boxes.box[1] = 0
    refresh_footprint(1, tuple(boxes), tuple(lists), tuple(overlaps), tuple(measures), tuple(scene(rng)))
    assert (lists.pixels[1], overlaps.energy[1], measures.resting[1], measures.at_edge[1]) == (0, 0, 0, False)
    np.testing.assert_array_equal(measures.centre[1], ORIGINS[1])
    assert not lists.value[1].any()
    np.testing.assert_array_equal(overlaps.overlap[1], [0, 0])


def test_the_values_of_a_frame_are_least_squares_then_the_spikes_of_all_samples_so_far():
    """A piece gives its activity to the whole, by shares; ΔF/F is NaN where F0 is below the least to divide by."""
    rng = np.random.default_rng(11)
    frames, count, pixels, scale, sparsity, least = 7, 4, 60, 1 / 256, 5.0, 5.0
    images = rng.uniform(0.2, 1, (count, pixels)) * (rng.random((count, pixels)) < 0.4)
    mode = rng.normal(0, 1, (1, pixels))
    truth, backgrounds = rng.exponential(6, (frames, count)), rng.normal(0, 2, (frames, 1))
    stored = np.rint((truth @ images + backgrounds @ mode) / scale).astype(np.int16)
    index, value = np.zeros((count, pixels), np.int32), np.zeros((count, pixels), np.float32)
    for k, image in enumerate(images):
        at = np.flatnonzero(image)
        index[k, : len(at)], value[k, : len(at)] = at, image[at]
    gram, across = images @ images.T, images @ mode.T
    others = np.array([[j for j in range(count) if j != k] for k in range(count)], np.int32)
    overlap = np.take_along_axis(gram, others, 1)
    lists = Footprints(index, value, np.count_nonzero(images, axis=1).astype(np.int32))
    overlaps = Overlaps(np.diag(gram).copy(), np.full(count, count - 1, np.int32), others, overlap, overlap > 0)
    design = Design(tuple(lists), tuple(overlaps), tuple(ModeOverlaps(across, across, mode @ mode.T)))
    levels = Levels(
        np.zeros(count), np.zeros(count, np.int64), np.ones(count), np.full(count, 0.5), np.full(count, -0.3)
    )
    g = np.array([0.9, 0.8, 0.7, 0.95])
    pools = Pools(g, *np.zeros((2, count, 20)), np.zeros((count, 20), np.int64), np.zeros(count, np.int64))
    resting = np.array([40.0, 30.0, -60.0, 25.0])  # the third is dark
    following = Following(
        np.zeros(count), np.zeros(count), np.zeros((count, frames)), np.zeros((count, frames)), 0, resting
    )
    share, wholes = np.array([0.7, 0.0, 0.0, 0.4]), np.array([-1, -1, -1, 0])  # the last is a piece of the first
    activity, modes, traces, rests = np.zeros(count), np.zeros(1), np.zeros((frames, count)), np.zeros((frames, count))
    for t in range(frames):
        baseline, out = levels.baseline.copy(), np.empty((4, count))
        frame = stored[t], scale, mode @ (stored[t] * scale), 3000
        deconvolution = tuple(levels), tuple(pools), sparsity, least
        now = tuple(following._replace(slot=t))
        follow_frame(frame, tuple(design), (activity, modes), deconvolution, (now, (share, wholes)), out)
        expected = np.linalg.lstsq(np.vstack([images, mode]).T, stored[t] * scale, rcond=None)[0]
        np.testing.assert_allclose(np.append(activity, modes), expected, atol=1e-3)
        given = activity.copy()
        given[0] = 0.7 * activity[0] + 0.4 * activity[3]
        np.testing.assert_allclose(out[1], given - levels.baseline, rtol=1e-12)
        rests[t] = given - baseline - sparsity * levels.noise * (1 - g)
        for k in range(count):
            response = toeplitz(g[k] ** np.arange(t + 1), np.zeros(t + 1))
            spikes = nnls(response, rests[: t + 1, k])[0]
            traces[t, k] = (response @ spikes)[-1]
            assert out[0, k] == pytest.approx(traces[t, k], abs=1e-6)
            assert out[2, k] == pytest.approx(spikes[-1] if t else 0.0, abs=1e-6)
        f0 = resting + levels.low + across[:, 0] * modes[0] / np.diag(gram)
        dff = (given - levels.low) / f0
        np.testing.assert_allclose(out[3], np.where(f0 >= least, dff, np.nan), rtol=1e-12)
        np.testing.assert_array_equal(following.history[:, t], activity)
    assert np.isnan(out[3, 2])
    np.testing.assert_allclose(following.bin_sum, following.history.sum(1), rtol=1e-12)
    np.testing.assert_allclose(following.bin_trace, traces.sum(0), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(("step", "fraction"), [(1, 0.9), (4, 0.5), (4, 0.0), (3, 1.0)])
def test_the_deviation_from_the_scene_is_a_quantile_of_the_known_pixels(dtype, step, fraction):
    rng = np.random.default_rng(3)
    frame, mean = rng.integers(0, 900, (22, 35)).astype(dtype), rng.uniform(0, 900, (22, 35)).astype(np.float32)
    weight = rng.uniform(0, 1, mean.shape).astype(np.float32)
    weight[rng.random(weight.shape) < 0.2], mean[3, 4] = 0, np.nan
    if dtype == "float32":
        frame[rng.random(frame.shape) < 0.1] = np.nan
    frame.flags.writeable = False
    with np.errstate(invalid="ignore"):
        deviation = np.abs((frame.astype(np.float32) - mean) * weight)[::step, ::step]
    known = np.sort(deviation[(weight[::step, ::step] > 0) & np.isfinite(deviation)])
    assert deviation_quantile(frame, mean, weight, step, fraction) == known[int(fraction * (len(known) - 1))]
    assert deviation_quantile(frame, mean, np.zeros_like(weight), step, fraction) == -1
