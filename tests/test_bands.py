"""Bits do not depend on the number of threads: of kernels in bands, by every operator that uses them."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage as ndi
import test_laws

from streamfluo import Block, SnapshotOperator, Spec, create
from streamfluo.core import thread_pool
from streamfluo.core.registry import operators
from streamfluo.core.thread_pool import pool_of, using
from streamfluo.testing import LAWS
from streamfluo.testing.decision_laws import ON_DECISIONS

SHAPE, CUTS = (61, 150), (0, 7, 32, 64, 65, 96, 128)  # two tiles, nine small ones, four rows of blocks
BANDED = ("motion", "extract", "sofi", "moments", "summary")
CASES = [
    pytest.param(kind, params, dtype, marks=() if dtype == "uint16" and kind in BANDED else pytest.mark.slow)
    for kind, cls in operators().items()
    if not issubclass(cls, SnapshotOperator)
    for params in ({}, *cls.examples)
    for dtype in ("uint16", "float32")
]


@pytest.fixture(scope="module")
def movie():
    """Cells that flicker in tissue that wanders (t, y, x), in light of some hundred photons a pixel."""
    rng = np.random.default_rng(61001)
    scene = ndi.gaussian_filter(rng.random((100, 200)), 2)
    cells = ndi.gaussian_filter(rng.random((100, 200)) > 0.998, 2.0) * 3000
    frames = []
    for t in range(CUTS[-1]):
        y, x = np.rint(3 * np.sin([t / 9, t / 7])).astype(int) + 10
        lit = (scene - scene.min()) * 2000 + cells * (2 + np.sin(t / 5))
        frames.append(rng.poisson(lit[y : y + SHAPE[0], x : x + SHAPE[1]]))
    return np.array(frames)


def in_bytes(values):
    """Values, or a state, as something that is equal where every bit is."""
    return {
        name: in_bytes(value)
        if hasattr(value, "items")
        else (value.dtype, value.shape, value.tobytes())
        if isinstance(value, np.ndarray)
        else value
        for name, value in values.items()
    }


def made_of(kind, params, dtype, movie):
    """What an operator gives, hands on, carries and reads of a movie, a rim and a pixel of which are unknown."""
    frames = movie.astype(dtype)
    if frames.dtype.kind == "f":
        frames[40:44, :3], frames[50, 20, 30] = np.nan, np.nan
    operator = create(kind, Spec(SHAPE, dtype, interval_s=0.02), **params)
    inputs = test_laws.INPUTS.get(kind, test_laws.no_inputs)
    for first, stop in pairwise(CUTS):
        block = Block(first, np.arange(first, stop) * 20_000_000, frames[first:stop])
        out = operator.update(block, inputs(block))
        yield in_bytes(out.values), b"" if out.block is None else out.block.pixels.tobytes()
    yield in_bytes(operator.state())
    yield in_bytes(operator.read())
    if (out := operator.finish()) is not None:
        yield in_bytes(out.values)


@pytest.mark.parametrize(("kind", "params", "dtype"), CASES)
def test_bits_are_the_same_on_one_two_and_four_threads(kind, params, dtype, movie, monkeypatch):
    if kind == "bin" and params.get("mode") == "sum" and dtype == "float32":
        pytest.skip("bin sums integers")
    monkeypatch.setattr(thread_pool, "LEAST_NS", 0)
    found = []
    for threads in (1, 2, 4):
        with using(pool_of(threads) if threads > 1 else None):
            found.append(list(made_of(kind, params, dtype, movie)))
    assert found[0] == found[1] == found[2]


def test_kernels_of_small_frames_are_called_in_one_piece(movie):
    pool = pool_of(3)
    with using(pool):
        list(made_of("motion", {}, "uint16", movie[:8].repeat(16, 0)))
    assert not pool._made


LAWFUL = [
    (kind, params, law)
    for kind in BANDED
    for params in ({}, *operators()[kind].examples)
    for law in LAWS
    if law not in ON_DECISIONS or operators()[kind].takes
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "params", "law"), LAWFUL)
def test_every_law_holds_on_four_threads(kind, params, law, monkeypatch):
    monkeypatch.setattr(thread_pool, "LEAST_NS", 0)
    pool, shared = pool_of(4), []
    all_of = pool.all_of
    monkeypatch.setattr(pool, "all_of", lambda count, do: (shared.append(count), all_of(count, do)))
    with using(pool):
        assert test_laws.broken(kind, params, Spec(SHAPE, "uint16", interval_s=0.02), law) == ""
    if not shared:
        pytest.skip(f"{kind} shares nothing out under {law}")
    assert max(shared) > 1
