"""`moments` against the textbook formulas over the whole movie, in long double, with a hole in the frames."""

import threading

import numpy as np
import pytest

from streamfluo import Block, Spec, StateError, create
from streamfluo.core.grid import GRID_FRAMES
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.pixels.moments import Moments

HOLE = slice(70, 105)


def chain_for(movie):
    return Chain(parse_config('[[step]]\nkind = "moments"'), Spec(movie.shape[1:], movie.dtype))


def stream(chain, movie, size=11, first=0):
    """Push the movie, less the hole, in blocks of `size`; return the total signal of each frame."""
    totals = []
    for a, b in ((0, HOLE.start), (HOLE.stop, len(movie))):
        for start in range(a, b, size):
            part = movie[start : min(start + size, b)]
            [(_, output)] = chain.push(Block(first + start, np.zeros(len(part)), part))
            totals.append(output.values["total_signal"])
    return np.concatenate(totals)


def kept(movie):
    return np.delete(movie, HOLE, axis=0)


def levels(dtype, low, high, frames=400, shape=(9, 21)):
    rng = np.random.default_rng(4)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(low, high, (frames, *shape)).astype(dtype)
    return rng.integers(low, high, (frames, *shape), dtype, endpoint=True)


MOVIES = {
    "8 bit": levels("uint8", 0, 255),
    "16 bit, full range": levels("uint16", 0, 65535),
    "16 bit, a small signal on a large offset": levels("uint16", 65000, 65003),
    "signed": levels("int16", -32768, 32767),
    "signed, around nothing": levels("int16", -2, 2),
    "32 bit": levels("uint32", 0, 2**32 - 1),
    "32 bit, signed": levels("int32", -(2**31), 2**31 - 1),
    "float": levels("float32", -1, 1),
    "float, a small signal on a large offset": levels("float32", 1e4, 1e4 + 1),
    "double": levels("float64", 1e9, 1e9 + 1),
}


ALIKE = {"32 bit", "32 bit, signed", "double"}  # sums as those of 16 bits and "float", and a second of compiling each


@pytest.mark.parametrize(
    "movie",
    [pytest.param(m, id=name, marks=[pytest.mark.slow] if name in ALIKE else []) for name, m in MOVIES.items()],
)
def test_every_pixel_has_the_textbook_moments(movie):
    chain = chain_for(movie)
    totals = stream(chain, movie)
    found = chain.read("moments")
    frames = kept(movie).astype(np.longdouble)
    mean = frames.sum(0) / len(frames)
    variance = ((frames - mean) ** 2).sum(0) / len(frames)
    assert found["frames"] == len(frames)
    np.testing.assert_allclose(found["mean"], mean.astype(float), rtol=1e-14, atol=1e-15 * np.abs(mean).max())
    np.testing.assert_allclose(found["variance"], variance.astype(float), rtol=1e-12)
    np.testing.assert_array_equal(found["min"], kept(movie).min(0))
    np.testing.assert_array_equal(found["max"], kept(movie).max(0))
    expected = frames.sum((1, 2)).astype(float)
    np.testing.assert_allclose(totals, expected, rtol=1e-14, atol=1e-13 * np.abs(frames).max())


def test_integer_moments_are_exact_over_many_frames_even_when_the_first_is_a_flash():
    movie = levels("uint16", 60000, 60010, frames=20_000, shape=(3, 5))
    movie[0] = 0
    chain = chain_for(movie)
    stream(chain, movie, size=32)
    frames = kept(movie).astype(object)  # Python's integers: exact
    n, total, squares = len(frames), frames.sum(0), (frames**2).sum(0)
    exact = np.array(
        [[(n * q - s * s) / (n * n) for q, s in zip(*rows, strict=True)] for rows in zip(squares, total, strict=True)]
    )
    found = chain.read("moments")
    np.testing.assert_allclose(found["mean"], (total / n).astype(float), rtol=1e-15)
    np.testing.assert_allclose(found["variance"], exact.astype(float), rtol=1e-12)


def test_total_signal_of_integers_is_exact():
    movie = levels("uint16", 0, 65535, frames=120, shape=(300, 301))
    np.testing.assert_array_equal(stream(chain_for(movie), movie), kept(movie).sum((1, 2), dtype=np.int64))


@pytest.mark.parametrize("size", [1, 32, 100])
def test_a_camera_whose_counter_begins_late_changes_nothing(size):
    movie = MOVIES["16 bit, full range"]
    early, late = chain_for(movie), chain_for(movie)
    np.testing.assert_array_equal(stream(early, movie, size), stream(late, movie, size, first=12_345))
    for name, array in early.read("moments").items():
        np.testing.assert_array_equal(late.read("moments")[name], array, err_msg=name)


def test_each_pixel_has_the_moments_of_the_frames_in_which_it_was_seen():
    movie = levels("float32", 1e4, 1e4 + 100)
    shift = np.random.default_rng(5).integers(0, 4, len(movie))
    for frame, rim in zip(movie, shift, strict=True):
        frame[:rim] = np.nan
        frame[:, 21 - 2 * rim :] = np.nan
    movie[:, 4, 4] = np.nan  # never seen
    movie[7] = np.nan  # nothing seen
    chain = chain_for(movie)
    totals, found, frames = stream(chain, movie), chain.read("moments"), kept(movie).astype(float)
    never = np.isnan(frames).all(0)
    assert (never.sum(), found["frames"]) == (1, len(frames) - 1)
    for name, of in (("mean", np.nanmean), ("variance", np.nanvar), ("min", np.nanmin), ("max", np.nanmax)):
        assert np.isnan(found[name][4, 4])
        np.testing.assert_allclose(found[name][~never], of(frames[:, ~never], axis=0), rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(totals, np.nansum(frames, (1, 2)), rtol=1e-12)


def test_frames_that_a_step_before_declares_invalid_are_left_out():
    movie = levels("uint16", 0, 4095)
    valid = np.random.default_rng(6).random(len(movie)) < 0.8
    operator = create("moments", Spec(movie.shape[1:], "uint16"))
    for start in range(0, len(movie), 11):
        part = movie[start : start + 11]
        operator.update(Block(start, np.zeros(len(part)), part), {"valid": valid[start : start + 11]})
    found = operator.read()
    assert found["frames"] == valid.sum()
    np.testing.assert_allclose(found["mean"], movie[valid].mean(0), rtol=1e-14)
    np.testing.assert_array_equal(found["max"], movie[valid].max(0))


def test_before_the_first_frame_the_mean_is_unknown():
    found = chain_for(MOVIES["8 bit"]).read("moments")
    assert found["frames"] == 0
    assert np.isnan(found["mean"]).all()
    assert np.isnan(found["variance"]).all()


@pytest.mark.parametrize("state", [{}, create("moments", Spec((5, 5), "uint8")).state()], ids=["empty", "other frames"])
def test_a_state_of_another_operator_is_refused(state):
    with pytest.raises(StateError, match="moments: state 'pivot' must be an array"):
        create("moments", Spec((9, 21), "uint8")).restore(state)


def test_the_values_of_a_frame_do_not_wait_for_its_cell(monkeypatch):
    """Of frames that come singly each 32 are added behind the last one's values; whoever reads waits for them."""
    added, go, done = [], threading.Event(), threading.Event()
    add = Moments._add

    def slow(self, cell):
        if len(cell) == GRID_FRAMES:
            go.wait(10)
            added.append(threading.current_thread().name)
            done.set()
        return add(self, cell)

    operator = create("moments", Spec((6, 8), "u2"))
    monkeypatch.setattr(Moments, "_add", slow)
    frames = np.random.default_rng(3).integers(0, 999, (GRID_FRAMES, 6, 8)).astype(np.uint16)
    for n, frame in enumerate(frames):
        given = operator.update(Block(n, [n], frame[None])).values["total_signal"]
        assert given.tolist() == [frame.sum()]
    assert not added
    go.set()
    assert done.wait(10)  # the thread begins by itself
    assert np.array_equal(operator.read(["mean"])["mean"], frames.mean(0))
    assert added
    assert added[0].startswith("afterwards")
