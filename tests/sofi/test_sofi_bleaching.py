"""`sofi` within bleaching segments, under a lamp that loses light: against the textbook, and its emitters."""

from itertools import pairwise

import numpy as np
import pytest
from sofi_oracle import HOLE, SHAPE, correlated, error, joint, stream

from streamfluo.simulate import blinking


def fading(frames=640, shape=SHAPE, loss_frames=600):
    """Neighbours that blink together over a background, under light that falls, with a hole; windows of 64 frames."""
    light = np.exp(-np.arange(frames) / loss_frames)[:, None, None]
    return ((correlated(frames, shape) + 2000.0) * light).astype("uint16")


def without_trend(factors, times):
    """The joint cumulant of factors (t, …), less that of their linear trends in time."""
    slopes = [np.tensordot(times - times.mean(), f, 1) / ((times - times.mean()) ** 2).sum() for f in factors]
    return joint(factors) - np.prod(slopes, axis=0) * joint([times] * len(factors))


def averaged(movie, bounds, cumulant):
    """`cumulant(frames, times)` of every segment, weighted by frames; the hole belongs to none."""
    there = np.delete(np.arange(len(movie)), HOLE)
    parts = [there[(there >= a) & (there < b)] for a, b in bounds]
    values = [len(at) * cumulant(movie[at].astype(np.longdouble), at.astype(np.longdouble)) for at in parts]
    return sum(values) / sum(map(len, parts))


SEGMENTED = {"order": 4, "cross": 1, "bleach_fraction": 0.2, "smooth_frames": 64}


def test_cumulants_within_segments_are_the_textbooks_weighted_by_frames():
    movie = fading()
    found = stream(movie, 7, **SEGMENTED).read()
    bounds = found["segments"]
    assert 3 <= len(bounds) <= 9
    assert (bounds[0, 0], bounds[-1, 1]) == (0, 640)
    assert all(a[1] == b[0] for a, b in pairwise(bounds.tolist()))
    assert (bounds[1:-1] % 64 == 0).all()
    k = {n: averaged(movie, bounds, lambda f, t, n=n: without_trend([f] * n, t)) for n in (2, 3, 4)}
    m4 = averaged(movie, bounds, lambda f, t: without_trend([f] * 4, t) + 3 * without_trend([f] * 2, t) ** 2)
    assert {name: error(found[name], of) for name, of in (("k2", k[2]), ("k3", k[3]), ("k4", k[4]), ("m4", m4))} == (
        pytest.approx({"k2": 0, "k3": 0, "k4": 0, "m4": 0}, abs=1e-11)
    )
    y, x = np.mgrid[1:8, 1:20]
    for n, pixels in ((2, [(0, -1), (0, 1)]), (2, [(-1, -1), (1, 1)])):
        expected = averaged(
            movie, bounds, lambda f, t, ps=pixels: without_trend([f[:, y + a, x + b] for a, b in ps], t)
        )
        at = found["cross_pairs"].tolist().index(list(pixels[-1]))
        assert error(found["cross_k2"][at][1:8, 1:20], expected) < 1e-11, n
    square = [(0, 0), (0, 1), (1, 0), (1, 1)]
    expected = averaged(movie, bounds, lambda f, t: without_trend([f[:, y + a, x + b] for a, b in square], t))
    assert error(found["cross_grid_k4"][3:17:2, 3:40:2], expected / found["cross_factors"][2, 1, 1]) < 1e-11


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_parts_of_a_fading_movie_merge_to_the_segments_of_the_whole(seed):
    movie = fading()
    whole = stream(movie, 32, **SEGMENTED).read()
    edges = [0, 70, 105, 640, *np.random.default_rng(seed).choice(np.arange(106, 639), 9, replace=False).tolist()]
    parts = [(a, b) for a, b in pairwise(sorted(edges)) if a != 70]
    first, *rest = [stream(movie[a:b], 32, first=a, hole=slice(0, 0), **SEGMENTED) for a, b in parts]
    for part in rest:
        first.merge(part)
    for name, image in first.read().items():
        if image.dtype.kind != "U":
            scale = np.abs(np.nan_to_num(whole[name])).max(initial=0)
            np.testing.assert_allclose(image, whole[name], rtol=0, atol=1e-12 * scale, err_msg=name)


def lit(loss, seed, offset, level=600.0, frames=1500, side=32):
    """Blinking emitters on a structured background under a lamp that loses light; their k2 between pixels (fine)."""
    rng = np.random.default_rng(seed)
    at, fine = np.arange(side), np.arange(2 * side - 1) / 2
    places = rng.uniform(3, side - 4, (16, 2))
    on = np.repeat(rng.random((frames // 4, 16)) < 0.15, 4, axis=0)

    def spots(grid):
        return np.exp(-((grid[:, None, None] - places[:, 0]) ** 2 + (grid[:, None] - places[:, 1]) ** 2) / (2 * 1.3**2))

    y, x = np.mgrid[:side, :side] / side
    background = level * (0.2 + np.sin(5 * y + seed) ** 2 * np.cos(4 * x) ** 2)
    light = np.linspace(1, 1 - loss, frames)
    seen = light[:, None, None] * (background + 60 * np.tensordot(on, spots(at), (1, 2)))
    truth = (spots(fine) ** 2) @ (on * light[:, None]).var(0)
    return (offset + rng.poisson(seen)).astype("uint16"), truth


@pytest.mark.parametrize("loss", [0, 0.2, 0.4])
@pytest.mark.parametrize("offset", [0, 100])
def test_a_lamp_that_loses_light_over_a_background_leaves_the_emitters(loss, offset):
    """Correlation with the emitters, the offset unknown; over all frames .1 at a loss of .2."""
    found = []
    for seed in (1, 2):
        movie, truth = lit(loss, seed, offset)
        params = {"order": 2, "cross": 1, "bleach_fraction": 0.1}
        image = stream(movie, 32, hole=slice(0, 0), **params).read(["cross_grid_k2"])["cross_grid_k2"]
        found.append(np.corrcoef(image[6:-6, 6:-6].ravel(), truth[6:-6, 6:-6].ravel())[0, 1])
    assert min(found) > 0.98


@pytest.mark.parametrize(("order", "loss", "doubtful"), [(4, 0.3, True), (2, 0.3, False), (4, 0, False)])
def test_order_4_of_short_segments_is_said_to_be_uncertain(order, loss, doubtful):
    movie, _ = lit(loss, 1, 0)
    operator = stream(movie, 32, hole=slice(0, 0), order=order, cross=1, bleach_fraction=0.1)
    assert ("debleach before sofi" in operator.doubt()) == doubtful


def test_an_offset_that_is_not_known_changes_the_cumulants_little():
    """Levels begin elsewhere; cumulants of windows of 64 frames are some 5 % lower than of longer segments."""
    movie = fading()
    plain, offset = (stream(m, 32, **SEGMENTED).read() for m in (movie, movie + np.uint16(100)))
    for name in ("k2", "cross_grid_k2"):
        assert np.nanmean(offset[name]) == pytest.approx(np.nanmean(plain[name]), rel=0.05)


def test_a_signal_that_does_not_fade_is_one_segment():
    movie, _ = blinking(frames=600, shape=(32, 32), seed=1, emitters=40, structure="random")
    params = {"order": 2, "bleach_fraction": 0.3, "smooth_frames": 64}
    assert len(stream(movie, hole=slice(0, 0), **params).read()["segments"]) <= 3
