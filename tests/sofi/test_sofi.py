"""`sofi` against the textbook formulas over the whole movie, in long double, with a hole in the frames."""

import os
import sys
from itertools import pairwise
from math import comb, factorial
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dct
from scipy.io import loadmat
from seeds import seeds

from streamfluo import Block, Camera, ConfigError, Spec, StateError, create
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.simulate import blinking

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
HOLE = slice(70, 105)
FRAMES, SHAPE = 300, (9, 21)
NAMES = ("mean", "m2", "m3", "m4", "m5", "m6", "k2", "k3", "k4", "k5", "k6")


def telegraph(frames, shape, high=5000, p_on=0.3, seed=1, dtype="uint16"):
    """Emitters on for some frames at a time, on 100 ADU with a little noise."""
    rng = np.random.default_rng(seed)
    switch = rng.random((frames, *shape)) < 0.2
    drawn = rng.random((frames, *shape)) < p_on
    last = np.maximum.accumulate(np.where(switch, np.arange(frames)[:, None, None], 0), axis=0)
    on = np.take_along_axis(drawn, last, axis=0)
    return (100 + on * high + rng.integers(0, 9, (frames, *shape))).astype(dtype)


MOVIES = {
    "dim": telegraph(FRAMES, SHAPE, high=6),
    "telegraph of 5000 ADU": telegraph(FRAMES, SHAPE),
    "first frame a flash": np.concatenate([np.full((1, *SHAPE), 65535, np.uint16), telegraph(FRAMES - 1, SHAPE)]),
    "8 bit": telegraph(FRAMES, SHAPE, high=100, dtype="uint8"),
    "signed": telegraph(FRAMES, SHAPE, high=-5000, dtype="int16"),
    "float": (telegraph(FRAMES, SHAPE) / 7).astype("float32"),
}


def stream(movie, size=11, first=0, hole=HOLE, spec=None, **params):
    operator = create("sofi", spec or Spec(movie.shape[1:], movie.dtype), **params)
    for a, b in ((0, hole.start), (hole.stop, len(movie))):
        for start in range(a, b, size):
            part = movie[start : min(start + size, b)]
            operator.update(Block(first + start, np.zeros(len(part)), part))
    return operator


def kept(movie):
    return np.delete(movie, HOLE, axis=0)


def textbook(movie, order):
    """Moments and cumulants by name, long double."""
    delta = movie.astype(np.longdouble)
    found = {"mean": delta.mean(0)}
    delta = delta - found["mean"]
    m = [None, np.longdouble(0), *((delta**n).mean(0) for n in range(2, order + 1))]
    k = [None, np.longdouble(0)]
    for n in range(2, order + 1):
        k.append(m[n] - sum(comb(n - 1, i) * k[n - i] * m[i] for i in range(1, n)))
    return found | {f"m{n}": m[n] for n in range(2, order + 1)} | {f"k{n}": k[n] for n in range(2, order + 1)}


def error(found, expected):
    """The largest error, relative to the largest value of the image."""
    known = np.isfinite(expected.astype(float))
    np.testing.assert_array_equal(np.isfinite(found), known)
    return float(np.abs(found - expected)[known].max() / np.abs(expected[known]).max())


@pytest.mark.parametrize(
    "movie",
    [pytest.param(m, id=name, marks=[pytest.mark.slow] if name == "8 bit" else []) for name, m in MOVIES.items()],
)
@pytest.mark.parametrize("size", [1, 11, 32])
def test_every_order_is_the_textbooks(movie, size):
    found = stream(movie, size, order=6).read()
    assert found["frames"] == len(kept(movie))
    expected = textbook(kept(movie), 6)
    assert {name: error(found[name], expected[name]) for name in NAMES} == pytest.approx(
        dict.fromkeys(NAMES, 0), abs=1e-12
    )


def test_orders_to_8():
    movie = MOVIES["telegraph of 5000 ADU"]
    found, expected = stream(movie, order=8).read(), textbook(kept(movie), 8)
    assert max(error(found[f"k{n}"], expected[f"k{n}"]) for n in range(2, 9)) < 1e-11


# Between frames and between pixels


def partitions(items):
    """Every way to part a list into sets."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for k in range(len(rest)):
            yield [*rest[:k], [items[0], *rest[k]], *rest[k + 1 :]]


def joint(factors):
    """The joint cumulant of factors (t, …) about their own means, over all partitions."""
    centred = [f - f.mean(0) for f in factors]
    total = 0
    for blocks in partitions(list(range(len(factors)))):
        p = len(blocks)
        term = (-1) ** (p - 1) * factorial(p - 1)
        for block in blocks:
            term = term * np.prod([centred[i] for i in block], axis=0).mean(0)
        total = total + term
    return total


def lagged_factors(movie, lags, hole=HOLE):
    """I(t + τ) for every t from which all lags lie on one side of the hole."""
    runs = [movie[: hole.start], movie[hole.stop :]]
    depth = max(lags)
    return [np.concatenate([run[lag : len(run) - depth + lag] for run in runs]).astype(np.longdouble) for lag in lags]


@pytest.mark.parametrize("lags", [(0, 1, 2, 3), (0, 0, 0, 0), (0, 1, 1, 2, 2, 3), (0, 40)], ids=str)
def test_lagged_cumulants_are_the_textbooks(lags):
    movie = MOVIES["telegraph of 5000 ADU"]
    found = stream(movie, order=2, lags=lags).read()
    factors = lagged_factors(movie, lags)
    for n in range(2, len(lags) + 1):
        assert error(found[f"lag_k{n}"], joint(factors[:n])) < 1e-11


def correlated(frames=FRAMES, shape=SHAPE):
    """A movie whose neighbours blink together."""
    movie = telegraph(frames, shape).astype(float)
    return (movie + np.roll(movie, 1, 1) + 0.5 * np.roll(movie, 1, 2) + np.roll(movie, (1, -1), (1, 2))).astype(
        "uint16"
    )


@pytest.mark.parametrize("radius", [1, 2])
def test_cross_cumulants_are_the_textbooks(radius):
    movie = correlated()
    found = stream(movie, order=2, cross=radius).read()
    delta = kept(movie).astype(np.longdouble)
    delta = delta - delta.mean(0)
    height, width = SHAPE
    offsets = [tuple(s) for s in found["cross_pairs"].tolist()]
    everywhere = {(y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)} - {(0, 0)}
    assert sorted(offsets + [(-y, -x) for y, x in offsets]) == sorted(everywhere)
    for image, (sy, sx) in zip(found["cross_k2"], offsets, strict=True):
        expected = np.full(SHAPE, np.nan, np.longdouble)
        for y in range(height):
            for x in range(width):
                a, b, c, d = y + sy, x + sx, y - sy, x - sx
                if min(a, c) >= 0 and max(a, c) < height and min(b, d) >= 0 and max(b, d) < width:
                    expected[y, x] = (delta[:, a, b] * delta[:, c, d]).mean()
        assert error(image, expected) < 1e-11


def test_the_grid_of_virtual_pixels_is_made_of_different_pixels_around_them():
    movie = correlated()
    found = stream(movie, order=4, cross=1).read()
    frames = kept(movie).astype(np.longdouble)
    factors = found["cross_factors"]

    def cumulant(*pixels):
        return joint([frames[:, y, x] for y, x in pixels])

    y, x = 4, 6
    two, three, four = (found[f"cross_grid_k{n}"] for n in (2, 3, 4))
    assert two.shape == three.shape == four.shape == (17, 41)
    between = cumulant((y, x), (y, x + 1)) / factors[0, 0, 1]
    assert two[2 * y, 2 * x + 1] == pytest.approx(float(between), rel=1e-10)
    crossing = (cumulant((y, x), (y + 1, x + 1)) + cumulant((y, x + 1), (y + 1, x))) / 2 / factors[0, 1, 1]
    assert two[2 * y + 1, 2 * x + 1] == pytest.approx(float(crossing), rel=1e-10)
    line = cumulant((y, x - 1), (y, x), (y, x + 1)) + cumulant((y - 1, x), (y, x), (y + 1, x))
    assert three[2 * y, 2 * x] == pytest.approx(float(line / 2 / factors[1, 0, 0]), rel=1e-10)
    square = cumulant((y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)) / factors[2, 1, 1]
    assert four[2 * y + 1, 2 * x + 1] == pytest.approx(float(square), rel=1e-10)
    diamond = cumulant((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)) / factors[2, 0, 0]
    assert four[2 * y, 2 * x] == pytest.approx(float(diamond), rel=1e-10)


def test_the_grid_of_blinking_emitters_is_smooth_and_shows_the_psf():
    movie, _ = blinking(frames=3000, shape=(48, 48), seed=2, emitters=60, structure="random", sigma_px=1.3)
    found = stream(movie, 32, hole=slice(0, 0), order=4, cross=1).read()
    # a pixel integrates the psf over its area, which adds 1/12 px² to its variance
    assert found["psf_sigma_px"] == pytest.approx(np.sqrt(1.3**2 + 1 / 12), rel=0.03)
    inner = found["cross_grid_k2"][4:-4, 4:-4]
    totals = [inner[y::2, x::2].sum() for y in (0, 1) for x in (0, 1)]
    np.testing.assert_allclose(totals, np.mean(totals), rtol=0.05)


# Noise


CAMERA = {"offset_adu": 100, "gain_e_per_adu": 0.5, "read_noise_e": 1.5}


@pytest.mark.parametrize(("noise", "within"), [("camera", 4), ("lag", 4)])
def test_shot_and_read_noise_leave_the_background(noise, within):
    rng = np.random.default_rng(3)
    electrons = rng.poisson(20, (4000, 24, 24)) + rng.normal(0, 1.5, (4000, 24, 24))
    movie = (100 + electrons / 0.5).round().astype("uint16")
    spec = Spec((24, 24), "uint16", camera=Camera(**CAMERA))
    kept_k2 = stream(movie, 32, hole=slice(0, 0), spec=spec, order=3).read(["k2"])["k2"]
    assert kept_k2.mean() == pytest.approx((20 + 1.5**2) / 0.25, rel=0.01)
    found = stream(movie, 32, hole=slice(0, 0), spec=spec, order=3, noise=noise).read()
    for n in (2, 3):
        k = found[f"k{n}"]
        assert abs(k.mean()) < within * k.std() / 24, f"order {n}"


def test_factorial_cumulants_are_those_of_the_light():
    rng = np.random.default_rng(4)
    light = rng.choice([5.0, 45.0], (60_000, 4, 4), p=[0.7, 0.3])
    movie = (100 + rng.poisson(light) / 0.5).astype("uint16")
    spec = Spec((4, 4), "uint16", camera=Camera(**CAMERA | {"read_noise_e": 0}))
    found = stream(movie, 32, hole=slice(0, 0), spec=spec, order=4, noise="camera").read()
    p, step = 0.3, 40 / 0.5
    expected = {2: p * (1 - p), 3: p * (1 - p) * (1 - 2 * p), 4: p * (1 - p) * (1 - 6 * p + 6 * p * p)}
    for n, value in expected.items():
        assert found[f"k{n}"].mean() == pytest.approx(value * step**n, rel=0.03)


# Bleaching


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


# At scale


def test_merging_64_parts_equals_serial():
    movie = telegraph(2000, (5, 8))
    whole = stream(movie, 32, hole=slice(0, 0), order=6, lags=(0, 1, 2)).read()
    cuts = [0, *sorted(np.random.default_rng(2).choice(np.arange(1, 2000), 63, replace=False).tolist()), 2000]
    parts = [stream(movie[a:b], 32, first=a, hole=slice(0, 0), order=6, lags=(0, 1, 2)) for a, b in pairwise(cuts)]
    first, *rest = parts
    for part in rest:
        first.merge(part)
    for name, image in first.read().items():
        np.testing.assert_allclose(image, whole[name], rtol=0, atol=1e-12 * np.abs(whole[name]).max(), err_msg=name)


@pytest.mark.parametrize("noise", ["keep", "lag"])
def test_being_read_while_the_pivot_is_not_settled_changes_nothing(noise):
    movie = telegraph(200, SHAPE)
    movie[0] = 65535  # alone in its cell, before the mark at 32
    read, unread = (create("sofi", Spec(SHAPE, "uint16"), order=3, noise=noise) for _ in range(2))
    for a, b in ((0, 1), (1, 6), (6, 200)):
        for operator in (read, unread):
            operator.update(Block(31 + a, np.zeros(b - a), movie[a:b]))
        for name in ("frames", "k2", "snr3", "mean"):
            read.read([name])
    for name, image in unread.read().items():
        np.testing.assert_array_equal(read.read([name])[name], image, err_msg=name)


READERS = {
    "plain": {"order": 4},
    "between frames and pixels": {"order": 3, "lags": (0, 1, 1, 3), "cross": 1},
    "noise by lags": {"order": 2, "noise": "lag"},
    "segments": {"order": 4, "bleach_fraction": 0.01, "smooth_frames": 32},
}


@pytest.mark.parametrize("behind", [0, 1, 3, 1000])
@pytest.mark.parametrize("params", READERS.values(), ids=READERS)
def test_a_reader_gives_later_what_stood_when_it_was_taken_and_changes_nothing(params, behind):
    """To the bit: one operator's readers are called some blocks later, or at the end, the other is read at once."""
    movie = telegraph(800, SHAPE)
    movie[300:] //= 2
    late, at_once = (create("sofi", Spec(SHAPE, "uint16"), **params) for _ in range(2))
    readers, start = [], 0

    def same(reader, expected):
        for name, image in reader().items():
            np.testing.assert_array_equal(image, expected[name], err_msg=name)

    for size in np.random.default_rng(1).integers(1, 60, 40).tolist():
        index = start + 9 * (start > 200)  # a hole, too
        for operator in (late, at_once):
            operator.update(Block(index, np.zeros(len(part := movie[start : start + size])), part))
        start += size
        now = {name: np.array(image) for name, image in at_once.read().items()}
        readers.append((late.reader(), now))
        while len(readers) > behind:
            same(*readers.pop(0))
        if start >= len(movie) - 60:
            break
    while readers:
        same(*readers.pop(0))
    for name, image in at_once.read().items():
        np.testing.assert_array_equal(late.read([name])[name], image, err_msg=name)
    for name, value in at_once.state().items():
        np.testing.assert_array_equal(late.state()[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("flash", [False, True])
def test_a_million_frames_keep_nine_digits(flash):
    """Dim pixels and pixels of 5000 ADU; the oracle re-reads the movie in long double."""
    shape, cell = (4, 8), 100_000
    operator = create("sofi", Spec(shape, "uint16"), order=6)

    def part(k):
        movie = telegraph(cell, shape, seed=k)
        movie[:, 2:] = telegraph(cell, shape, high=6, seed=k + 99)[:, 2:]
        if k == 0 and flash:
            movie[0] = 65535
        return movie

    for k in range(10):
        movie = part(k)
        for start in range(0, cell, 32):
            frames = movie[start : start + 32]
            operator.update(Block(k * cell + start, np.zeros(len(frames)), frames))
    mean = sum(part(k).sum(0, dtype=np.longdouble) for k in range(10)) / 10**6
    m = {n: sum(((part(k) - mean) ** n).sum(0) for k in range(10)) / 10**6 for n in range(2, 7)}
    k = {2: m[2], 3: m[3], 4: m[4] - 3 * m[2] ** 2, 5: m[5] - 10 * m[3] * m[2]}
    k[6] = m[6] - 15 * m[4] * m[2] - 10 * m[3] ** 2 + 30 * m[2] ** 3
    for rows in (slice(0, 2), slice(2, 4)):  # bright and dim pixels each against their own scale
        errors = {n: error(operator.read()[f"k{n}"][rows], k[n][rows]) for n in k}
        print(errors)
        assert max(errors.values()) < 1e-9


# How sure one can be


@seeds(1, 2)
def test_standard_errors_and_change_foretell_the_error_within_a_factor_of_two(seed):
    """Against a movie ten times as long."""
    params = {"shape": (24, 24), "emitters": 24, "structure": "random", "k_on_hz": 2.5, "k_off_hz": 7.5}
    long, _ = blinking(frames=20_000, seed=seed, **params)
    expected = stream(long, 32, hole=slice(0, 0), order=4).read()
    found = stream(long[5000:7000], 32, hole=slice(0, 0), order=4).read()
    for n in (2, 4):
        wrong = np.sqrt(((found[f"k{n}"] - expected[f"k{n}"]) ** 2).mean())
        foretold = np.sqrt(((found[f"k{n}"] / found[f"snr{n}"]) ** 2).mean())
        moved = found["change"][n - 2] * np.sqrt((found[f"k{n}"] ** 2).mean())
        assert 0.5 < foretold / wrong < 2
        assert 0.5 < moved / wrong < 2


# What is refused


REFUSED = {
    "an order of one": ({"order": 1}, "order: expected a whole number >= 2"),
    "lags that do not begin at 0": ({"lags": (1, 2)}, "lags are two or more from 0 on"),
    "a radius of three": ({"cross": 3}, "cross is false, 1 or 2"),
    "a camera that is not known": ({"noise": "camera"}, "needs the camera's offset_adu, gain_e_per_adu, read_noise_e"),
    "too few lags": ({"noise": "lag", "lags": (0, 1)}, "needs 4 different lags"),
    "a fraction of one": ({"bleach_fraction": 1.0}, "bleach_fraction"),
}


@pytest.mark.parametrize(("params", "says"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_one_line(params, says):
    with pytest.raises(ConfigError, match="sofi") as caught:
        create("sofi", Spec(SHAPE, "uint16"), **params)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_frame_too_small_for_cross_cumulants_is_refused():
    with pytest.raises(ConfigError, match="cross = 2 needs frames of 5 pixels"):
        create("sofi", Spec((4, 9), "uint16"), cross=2)


def test_a_state_of_another_order_is_refused():
    with pytest.raises(StateError, match="power_sums"):
        create("sofi", Spec(SHAPE, "uint16"), order=4).restore(create("sofi", Spec(SHAPE, "uint16"), order=6).state())


def test_before_the_first_frame_nothing_is_known():
    found = create("sofi", Spec(SHAPE, "uint16"), cross=1, lags=(0, 1)).read()
    assert found["frames"] == 0
    assert all(np.isnan(found[name]).all() for name in ("mean", "k2", "k4", "snr2", "change", "lag_k2", "cross_k2"))


def test_a_pixel_that_is_ever_nan_stays_nan_and_spoils_no_other():
    movie = MOVIES["float"].copy()
    movie[3, 2, 1] = np.nan
    found = stream(movie, order=4).read()
    for name in ("mean", "k2", "k4"):
        np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(kept(movie)).any(0), err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "within"), [("float32", 1e-5), pytest.param("float64", 1e-9, marks=pytest.mark.slow)]
)
def test_interpolated_frames_give_other_cumulants_than_interpolated_images(dtype, within):
    movie = MOVIES["telegraph of 5000 ADU"]
    steps = f'[[step]]\nkind = "interpolate"\nparams = {{ factor = 2, dtype = "{dtype}" }}\n[[step]]\nkind = "sofi"'
    chain = Chain(parse_config(steps), Spec(SHAPE, "uint16"))
    chain.push(Block(0, np.zeros(len(movie)), movie))

    def fine(image, n):  # cosine series of a line at half steps, one coefficient at a time
        at = np.arange(2 * n - 1) / 2 + 0.5
        spectrum = dct(image, 2, axis=-1)
        spectrum[..., 0] /= 2
        return sum(spectrum[..., k, None] * np.cos(np.pi * k * at / n) for k in range(n)) / n

    frames = np.swapaxes(fine(np.swapaxes(fine(movie.astype(float), 21), 1, 2), 9), 1, 2)
    expected = textbook(frames, 4)
    for name in ("mean", "k2", "k4"):
        assert error(chain.read("sofi")[name], expected[name]) < within


def real_blinking():
    """626 frames of blinking microtubules, (t, y, x) float32."""
    path = DATA / "blinking" / "deconSTORM_microtubuledata.mat"
    if not path.exists():
        pytest.skip(f"{path} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return np.ascontiguousarray(np.moveaxis(loadmat(path)["mov"], -1, 0).astype("float32"))


def test_in_real_blinking_noise_goes_with_the_lag_and_blinking_stays_as_long_as_it_remembers():
    """The field has no pixel without blinking: its darkest fifth remembers some five frames, and nothing after 20."""
    movie, none = real_blinking(), slice(0, 0)
    kept_k2 = stream(movie, hole=none, order=2).read(["mean", "k2"])
    dark = kept_k2["mean"] <= np.percentile(kept_k2["mean"], 20)
    next_frame = stream(movie, hole=none, order=2, noise="lag").read(["k2"])["k2"]
    assert 0.3 < next_frame[dark].mean() / kept_k2["k2"][dark].mean() < 0.7
    later = stream(movie, hole=none, order=2, noise="lag", lags=(0, 20)).read(["k2", "snr2"])
    errors = np.abs(later["k2"] / later["snr2"])[dark]
    assert abs(later["k2"][dark].mean()) < 2 * np.sqrt((errors**2).mean())
    assert later["snr2"][dark].max() < 4
    bright = kept_k2["k2"] > np.percentile(kept_k2["k2"], 95)
    np.testing.assert_array_less(0.5 * kept_k2["k2"][bright], next_frame[bright])


@pytest.mark.gpu
@pytest.mark.parametrize("order", [2, 4, 6])
def test_the_gpu_gives_the_cpus_sums(order):
    pytest.importorskip("cupy")
    movie = MOVIES["telegraph of 5000 ADU"]
    spec = Spec(SHAPE, "uint16")
    found, expected = (create("sofi", spec, device=device, order=order) for device in ("gpu", "cpu"))
    for operator in (found, expected):
        operator.update(Block(0, np.zeros(FRAMES), movie))
    for name, image in expected.read().items():
        np.testing.assert_allclose(found.read()[name], image, rtol=0, atol=1e-12 * np.abs(image).max(), err_msg=name)


def test_without_cupy_the_gpu_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "streamfluo.pixels.kernels.power_sums_gpu", raising=False)
    with pytest.raises(ConfigError, match=r"needs cupy; install streamfluo\[cuda12\]"):
        create("sofi", Spec(SHAPE, "uint16"), device="gpu")
