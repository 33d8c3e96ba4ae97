"""Twins of operators on a card, where there is none the stand-in on the processor: the values of the processor's
kernels, and all laws."""

import pytest
from test_laws import CASES, broken, subject_of

from streamfluo import ConfigError, Spec
from streamfluo.core.card import CHOICE, open_card, using_card
from streamfluo.core.registry import operators
from streamfluo.testing import LAWS
from streamfluo.testing.strict_card import StrictCard
from streamfluo.testing.subject import same, spoilt_movie

TWINS = [case for case in CASES if "gpu" in operators()[case.values[0]].devices]
# Laws of other settings and types take a minute of a core, those of these kinds another 40 s, and going on on the other
# device half of one; that they agree is tried of all.
MANY_KERNELS = {"motion", "extract", "spots", "reconstruct", "gain"}
DEFAULT = [
    pytest.param(*case.values, marks=case.marks if case.values[1:] == ({}, "uint16") else pytest.mark.slow)
    for case in TWINS
]
LAWFUL = [
    pytest.param(*case.values, marks=pytest.mark.slow if case.values[0] in MANY_KERNELS else case.marks)
    for case in DEFAULT
]
SHAPES = [(13, 17), (1, 70), (33, 5)]  # tails of blocks of threads


@pytest.fixture(autouse=True, params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def card(request, monkeypatch):
    monkeypatch.setenv(CHOICE, "cuda")
    with using_card(StrictCard() if request.param == "strict" else open_card()) as card:
        yield card


def both(kind, params, dtype, shape=SHAPES[0]):
    spec = Spec(shape, dtype, interval_s=0.02)
    return subject_of(kind, params, spec, "gpu"), subject_of(kind, params, spec)


@pytest.mark.parametrize(("kind", "params", "dtype"), TWINS)
def test_twins_give_the_processors_values(kind, params, dtype):
    there, here = both(kind, params, dtype)
    for sizes in ((32,), (1, 7, 30)):
        same(there.whole(sizes), here.whole(sizes), "on the card", operators()[kind].twin_tolerance)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize(("kind", "params", "dtype"), TWINS)
def test_twins_agree_on_frames_of_odd_sides(kind, params, dtype, shape):
    try:
        there, here = both(kind, params, dtype, shape)
        expected = here.whole()
    except ConfigError as error:
        pytest.skip(str(error))
    same(there.whole(), expected, "on the card", operators()[kind].twin_tolerance)


@pytest.mark.parametrize(("kind", "params", "dtype"), TWINS)
def test_twins_agree_on_hot_dark_full_and_unseen_pixels(kind, params, dtype):
    there, here = both(kind, params, dtype)
    there.movie = here.movie = spoilt_movie(here.spec)
    same(there.whole((5, 32)), here.whole((5, 32)), "on the card", operators()[kind].twin_tolerance)


@pytest.mark.parametrize(("kind", "params", "dtype"), LAWFUL)
@pytest.mark.parametrize("law", LAWS)
def test_twins_keep_the_laws(kind, params, dtype, law):
    assert broken(kind, params, Spec(SHAPES[0], dtype, interval_s=0.02), law, "gpu") == ""


@pytest.mark.parametrize(("kind", "params", "dtype"), DEFAULT)
def test_a_run_goes_on_on_the_other_device(kind, params, dtype):
    there, here = both(kind, params, dtype)
    expected = here.whole()
    for first, second in ((there, here), (here, there)):
        before, after = first.make(), second.make()
        outputs = first.feed(before, first.blocks(stop=75))
        after.restore(before.state())
        outputs += second.feed(after, second.blocks(start=75))
        same(second.results(after, outputs), expected, "changing the device", operators()[kind].twin_tolerance)
