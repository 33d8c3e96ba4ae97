"""Counting learns beside the frames: none waits, and what comes of it depends on the frames alone."""

import time

import numpy as np
import pytest

from streamfluo import Block, Spec, create
from streamfluo.counting.count import learning
from streamfluo.counting.count.params import CountParams

SPEC, SPOTS, FIRST, DELAY = Spec((4, 4), "uint16", interval_s=0.03), 4, 60, 30
FRAMES = FIRST + DELAY + 40


@pytest.fixture(scope="module")
def photons():
    rng = np.random.default_rng(71)
    lit = rng.integers(0, 4, (FRAMES // 5, SPOTS)).repeat(5, 0)
    return rng.poisson(20 + 50 * lit).astype(float)


def count(**params):
    given = {"max_emitters": 4, "update_every": FIRST, "learn_delay_frames": DELAY, "brightness_scatter": 0.0}
    return create("count", SPEC, **{**given, **params})


def feed(operator, photons, start=0, stop=None, cut=1):
    """The mean counts of each frame, of spots that are there by a block's end, and what each update took [s]."""
    means, took = [], []
    for n in range(start, stop or len(photons), cut):
        part = photons[n : min(n + cut, stop or len(photons))]
        block = Block(n, np.arange(len(part)), np.zeros((len(part), 4, 4), np.uint16))
        began = time.perf_counter()
        means += list(operator.update(block, {"photons": part}).values["mean_count"])
        took.append(time.perf_counter() - began)
    return np.array(means), np.array(took)


@pytest.fixture
def slow(monkeypatch):
    """Learning that takes half a second longer."""
    learn = learning.learn

    def slowly(*args):
        time.sleep(0.5)
        return learn(*args)

    monkeypatch.setattr(learning, "learn", slowly)


def test_no_frame_waits_while_it_learns(photons, slow):
    _, took = feed(count(), photons, 0, FIRST + DELAY)
    assert took[:-1].max() < 0.4
    assert took[-1] > 0.3  # the frame where it takes over, when the others came so fast


def test_what_it_learned_takes_over_so_many_frames_later_whatever_it_takes(photons, request):
    quick, _ = feed(count(), photons)
    request.getfixturevalue("slow")
    slowly, _ = feed(count(), photons, cut=32)
    np.testing.assert_array_equal(quick, slowly)
    assert (quick[: FIRST + DELAY - 1] == 2).all()  # even, as long as nothing is known
    assert (quick[FIRST + DELAY - 1 :] != 2).all()


def test_a_state_in_the_middle_goes_on_to_the_same_bits(photons):
    whole, _ = feed(count(), photons)
    first, second = count(), count()
    feed(first, photons, 0, FIRST + 11)
    second.restore(first.state())
    np.testing.assert_array_equal(feed(second, photons, FIRST + 11)[0], whole[FIRST + 11 :])


def test_spots_that_come_while_it_learns_are_taken_along(photons):
    def growing(operator, start=0):
        found = []
        for n in range(start, FRAMES):
            spots = SPOTS if n >= FIRST + 7 else SPOTS - 1
            found.append(feed(operator, photons[:, :spots], n, n + 1)[0][0])
        return found

    whole = growing(count())
    assert len(whole[-1]) == SPOTS
    assert np.isfinite(whole[-1]).all()
    first, second = count(), count()
    for n in range(FIRST + 12):
        feed(first, photons[:, : SPOTS if n >= FIRST + 7 else SPOTS - 1], n, n + 1)
    second.restore(first.state())
    for one, other in zip(growing(second, FIRST + 12), whole[FIRST + 12 :], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_an_end_meanwhile_waits_for_it(photons):
    operator = count()
    feed(operator, photons, 0, FIRST + 5)
    operator.finish()
    assert np.isfinite(operator.read(["parameters"])["parameters"]).all()


def test_what_fails_there_is_told_where_it_takes_over(photons, monkeypatch):
    def broken(*args):
        raise ArithmeticError("no light")

    monkeypatch.setattr(learning, "learn", broken)
    operator = count()
    feed(operator, photons, 0, FIRST + DELAY - 1)
    with pytest.raises(ArithmeticError, match="no light"):
        feed(operator, photons, FIRST + DELAY - 1)


def test_so_many_frames_as_learning_takes_and_half_of_update_every_at_least():
    few, many = (learning.delay_frames(CountParams(), 200, spots, 1 / 30) for spots in (4, 1000))
    assert few == 127  # 4.2 s
    assert many == 276  # 9.2 s; it takes 3.5 s of CPU time
    assert learning.delay_frames(CountParams(), 200, 1000, 1.0) == 100
    assert learning.delay_frames(CountParams(), 200, 1000, None) == 100
    assert learning.delay_frames(CountParams(learn_delay_frames=7), 200, 1000, 1 / 30) == 7


def test_parameters_under_which_the_frames_are_impossible_are_not_learnt(photons):
    impossible = np.tile([50.0, np.nan, 1.0, 0.1, 0.1, 0.0], (5, 1))
    assert learning.learn(CountParams(max_emitters=4), photons, impossible) is None
    assert learning.learn(CountParams(max_emitters=4), photons, None) is not None
