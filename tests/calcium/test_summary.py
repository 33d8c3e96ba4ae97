"""`summary` against textbook formulas over the whole movie, with a hole in the frames, and the batch functions."""

from itertools import pairwise

import numpy as np
import pytest

from streamfluo import Block, Spec, create
from streamfluo.analysis import local_correlation, peak_to_noise
from streamfluo.calcium.summary import IMAGES
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config

HOLE = range(37, 45)


def movie_of(dtype, shape=(7, 9), frames=90, seed=71):
    """Poisson frames of a scene whose pixels share a signal with their neighbours."""
    random = np.random.default_rng(seed)
    signal = random.gamma(0.3, 60, (frames, 1, 1)) * np.sin(np.arange(shape[1])) ** 2
    return random.poisson(200 + signal, (frames, *shape)).astype(dtype)


def stream(movie, size=11, valid=None, skip=HOLE):
    operator = create("summary", Spec(movie.shape[1:], movie.dtype))
    index = 0
    while index < len(movie):
        stop = index + 1
        while stop < len(movie) and stop - index < size and (stop in skip) == (index in skip):
            stop += 1
        if index not in skip:
            inputs = {} if valid is None else {"valid": valid[index:stop]}
            operator.update(Block(index, np.arange(index, stop), movie[index:stop]), inputs)
        index = stop
    return operator


def textbook(movie, frames):
    """Images of the frames with these indices, pixel by pixel."""
    kept, (height, width) = movie[frames].astype(np.longdouble), movie.shape[1:]
    follows = np.flatnonzero(np.diff(frames) == 1)
    images = {name: np.full((height, width), np.nan) for name in IMAGES}
    for y, x in np.ndindex(height, width):
        pixel = kept[:, y, x]
        seen = ~np.isnan(pixel)
        if seen.sum() < 3:
            continue
        found = []
        for j, i in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= j < height and 0 <= i < width:
                both = seen & ~np.isnan(kept[:, j, i])
                if both.sum() >= 3:
                    found.append(np.corrcoef(pixel[both].astype(float), kept[both, j, i].astype(float))[0, 1])
        images["local_correlation"][y, x] = np.mean(found) if found else 0
        steps = np.abs(pixel[follows + 1] - pixel[follows])
        steps = steps[~np.isnan(steps)]
        noise = steps.mean() * np.sqrt(np.pi) / 2 if len(steps) else np.nan
        images["peak_to_noise"][y, x] = (np.nanmax(pixel) - np.nanmean(pixel)) / noise
        images["max"][y, x], images["std"][y, x] = np.nanmax(pixel), np.nanstd(pixel)
    images["correlation_peak_to_noise"] = images["local_correlation"] * images["peak_to_noise"]
    return images


def same(found, expected, rtol=1e-9):
    for name in IMAGES:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_images_are_those_of_the_textbook_with_a_hole_in_the_frames(dtype):
    movie = movie_of(dtype) - (150 if dtype == "int16" else 0)
    frames = [n for n in range(len(movie)) if n not in HOLE]
    operator = stream(movie)
    same(operator.read(), textbook(movie, frames))
    assert operator.read(["frames"])["frames"] == len(frames)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 2), (33, 3)])
def test_fields_of_odd_sizes(shape):
    movie = movie_of("uint16", shape)
    found = stream(movie).read()
    same(found, textbook(movie, [n for n in range(len(movie)) if n not in HOLE]))
    assert all(found[name].shape == shape for name in IMAGES)


def test_unseen_pixels_and_frames_that_are_not_valid_are_left_out():
    movie = movie_of("float32")
    random = np.random.default_rng(72)
    for frame in movie:
        frame[: random.integers(0, 3)] = np.nan
        frame[:, 9 - random.integers(0, 3) :] = np.nan
        frame[random.random(frame.shape) < 0.05] = np.nan
    movie[:, 4, 4] = np.nan  # never seen
    movie[2:, 5, 1] = np.nan  # seen in too few
    valid = random.random(len(movie)) < 0.9
    frames = [n for n in range(len(movie)) if n not in HOLE and valid[n]]
    found = stream(movie, valid=valid).read()
    same(found, textbook(movie, frames))
    assert all(np.isnan(found[name][[4, 5], [4, 1]]).all() for name in IMAGES)


@pytest.mark.parametrize("cuts", [(20, 46, 64), (1, 37, 89)])
def test_parts_in_which_pixels_are_unseen_merge_to_the_whole(cuts):
    movie = movie_of("float32")
    random = np.random.default_rng(74)
    movie[random.random(movie.shape) < 0.2] = np.nan
    movie[cuts[1], :3] = np.nan
    edges = (0, *cuts, len(movie))
    parts = []
    for start, stop in pairwise(edges):
        parts.append(create("summary", Spec(movie.shape[1:], "float32")))
        if start not in HOLE or stop > HOLE.stop:
            first = max(start, HOLE.stop) if start in HOLE else start
            for a, b in ((first, min(stop, HOLE.start)), (max(first, HOLE.stop), stop)):
                if a < b:
                    parts[-1].update(Block(a, np.arange(a, b), movie[a:b]))
    (whole, *rest) = parts
    for part in rest:
        whole.merge(part)
    same(whole.read(), stream(movie).read(), rtol=1e-12)
    assert whole.read(["frames"])["frames"] == len(movie) - len(HOLE)


def test_they_equal_the_batch_functions():
    movie = movie_of("float32", (21, 18))
    movie[::3, :2] = np.nan
    found = stream(movie, skip=()).read()
    np.testing.assert_allclose(found["local_correlation"], local_correlation(movie), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["peak_to_noise"], peak_to_noise(movie), rtol=1e-12)


def test_a_flash_in_the_first_frame_and_a_constant_pixel_disturb_nothing():
    movie = movie_of("uint16", frames=80)
    movie[0] = 60000
    movie[:, 2, 2] = 777
    first, second = stream(movie[:50]), create("summary", Spec(movie.shape[1:], movie.dtype))
    second.update(Block(50, np.arange(30), movie[50:]))
    first.merge(second)
    whole = stream(movie, skip=()).read()
    expected = local_correlation(movie)
    np.testing.assert_allclose(whole["local_correlation"], expected, atol=1e-12)
    frames = [n for n in range(80) if n not in HOLE]
    np.testing.assert_allclose(first.read()["local_correlation"], local_correlation(movie[frames]), atol=1e-12)
    assert whole["local_correlation"][2, 2] == whole["peak_to_noise"][2, 2] == whole["std"][2, 2] == 0


def test_before_three_frames_nothing_is_known():
    movie = movie_of("uint16", frames=2)
    found = stream(movie, skip=()).read()
    assert all(np.isnan(found[name]).all() for name in IMAGES)
    assert all(np.isnan(image).all() for name, image in stream(movie[:0]).read().items() if name != "frames")


def test_a_step_before_says_which_frames_are_valid():
    text = '[[step]]\nkind = "motion"\n[[step]]\nkind = "summary"'
    chain = Chain(parse_config(text), Spec((24, 24), "uint16", interval_s=0.03))
    random = np.random.default_rng(73)
    movie = random.poisson(random.gamma(2, 200, (24, 24)), (90, 24, 24)).astype(np.uint16)
    movie[60] = 0  # a closed shutter
    valid = []
    for index in range(0, len(movie), 10):
        outputs = dict(chain.push(Block(index, np.arange(10), movie[index : index + 10])))
        valid += outputs["motion"].values["valid"].tolist()
    assert chain.read("summary")["frames"] == sum(valid)
    assert sum(valid) > 80
    assert not valid[60]
