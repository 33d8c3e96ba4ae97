"""Blinking movies, `sofi` run on them, and the textbook formulas over the whole movie in long double."""

from math import comb, factorial

import numpy as np

from streamfluo import Block, Spec, create

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


def correlated(frames=FRAMES, shape=SHAPE):
    """A movie whose neighbours blink together."""
    movie = telegraph(frames, shape).astype(float)
    return (movie + np.roll(movie, 1, 1) + 0.5 * np.roll(movie, 1, 2) + np.roll(movie, (1, -1), (1, 2))).astype(
        "uint16"
    )
