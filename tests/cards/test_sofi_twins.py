"""What SOFI makes on a card, here the stand-in on the processor, with every option, and of a card that is full."""

import numpy as np
import pytest

from streamfluo import Block, Camera, Spec, create
from streamfluo.core.card import CardFull, using_card
from streamfluo.pixels.cosine_interpolation import interpolate_cosine, interpolate_mirrored
from streamfluo.testing import Subject
from streamfluo.testing.strict_card import StrictCard
from streamfluo.testing.subject import same, through_a_file

SPEC = Spec((13, 19), "uint16", interval_s=0.02, camera=Camera(100.0, 0.5, 1.5))
OPTIONS = [
    {"order": 8},
    pytest.param({"order": 5, "batches": 64}, marks=pytest.mark.slow),  # the processor's kernels compile for it
    {"order": 3, "noise": "camera"},
    {"order": 4, "noise": "lag", "cross": 2},
    {"order": 2, "lags": (0, 40)},
    {"order": 2, "lags": (0, 0)},
    {"order": 4, "lags": (0, 1, 2, 3, 5, 8, 13, 20)},
    {"order": 4, "cross": 1, "bleach_fraction": 0.02, "smooth_frames": 32},
]


@pytest.fixture
def card():
    card = StrictCard()
    with using_card(card):
        yield card


def subjects(params, spec=SPEC):
    build = [lambda spec, on=on: create("sofi", spec, on, **params) for on in ("gpu", "cpu")]
    return [Subject(make, spec) for make in build]


@pytest.mark.parametrize("params", OPTIONS, ids=str)
def test_every_option_gives_the_processors_images(card, params):
    there, here = subjects(params)
    same(there.whole((7, 32)), here.whole(), "on the card", 1e-12)


@pytest.mark.parametrize("params", OPTIONS, ids=str)
def test_every_option_goes_on_on_the_other_device(card, params):
    there, here = subjects(params)
    expected = here.whole()
    for first, second in ((there, here), (here, there)):
        before, after = first.make(), second.make()
        outputs = first.feed(before, first.blocks((7, 32), stop=61))
        after.restore(through_a_file(before.state()))
        outputs += second.feed(after, second.blocks(start=61))
        same(second.results(after, outputs), expected, "changing the device", 1e-12)


@pytest.mark.parametrize("params", OPTIONS, ids=str)
def test_parts_of_a_card_and_of_the_processor_are_put_together(card, params):
    there, here = subjects(params)
    whole = here.make()
    here.feed(whole, here.blocks())
    for first, second in ((there, here), (here, there)):
        parts = first.make(), second.make()
        first.feed(parts[0], first.blocks(stop=64))
        second.feed(parts[1], second.blocks(start=64))
        parts[0].merge(parts[1])
        same(dict(parts[0].read()), dict(whole.read()), "merged", 1e-10)


def test_of_frames_that_pass_no_sums_go_to_the_host(card):
    operator, movie = (
        create("sofi", SPEC, "gpu", order=4, cross=1, lags=(0, 1, 2)),
        np.ones((32, *SPEC.shape), np.uint16),
    )
    for index in range(0, 96, 32):
        operator.update(Block(index, np.arange(32), movie))
    card.bytes_got = card.bytes_put = 0
    for index in range(96, 96 + 320, 32):
        operator.update(Block(index, np.arange(32), movie))
    assert card.bytes_got == 0
    assert card.bytes_put == 10 * movie.nbytes


@pytest.mark.parametrize("params", [{}, {"order": 3, "lags": (0, 1, 1, 3), "cross": 1}], ids=str)
@pytest.mark.parametrize("at", [97, 130])
def test_a_card_that_is_full_leaves_the_state_as_before_the_block(card, monkeypatch, params, at):
    operator = create("sofi", SPEC, "gpu", **params)
    subject = subjects(params)[0]
    blocks = subject.blocks((17,))
    block = next(block for block in blocks if block.stop > at - 17 and block.index >= 31)
    subject.feed(operator, blocks[: blocks.index(block)])
    before = {name: np.array(value) for name, value in operator.state().items()}

    def full(*shape, **given):
        raise CardFull("no memory is left")

    monkeypatch.setattr(card, "put", full)
    with pytest.raises(CardFull):
        operator.update(block)
    same({name: np.array(value) for name, value in operator.state().items()}, before, "a full card")


@pytest.mark.parametrize("shape", [(13, 17), (1, 70), (33, 5)])
@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_interpolation_by_fourier_transforms_is_that_by_cosines(card, shape, factor):
    image = np.random.default_rng(0).normal(size=shape)
    found = card.get(interpolate_mirrored(card.put(image), factor, card.xp))
    np.testing.assert_allclose(found, interpolate_cosine(image, factor), rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", ["shrinking-kernel", "richardson-lucy", "wiener", "none"])
def test_a_reconstruction_differs_where_a_root_makes_more_of_rounding_alone(card, method):
    image = np.random.default_rng(1).gamma(1, 100, (40, 51))
    snapshots = {"mean": image, "k2": image**2, "k3": image**3, "k4": image**4}
    of = [
        create("reconstruct", Spec(image.shape, "uint16"), on, method=method, psf=1.3).read(None, snapshots)
        for on in ("gpu", "cpu")
    ]
    for images in of:
        images.pop("linearised")
    same(*of, "on the card", 1e-12)
