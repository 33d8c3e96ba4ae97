"""`sofi` in many parts, read while frames go on, over a million frames; and how sure it says to be."""

from itertools import pairwise

import numpy as np
import pytest
from seeds import seeds
from sofi_oracle import SHAPE, error, stream, telegraph

from streamfluo import Block, Spec, create
from streamfluo.simulate import blinking


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


@pytest.mark.parametrize(
    "behind", [0, pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(1000, marks=pytest.mark.slow)]
)
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


@pytest.mark.slow
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
