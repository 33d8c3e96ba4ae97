"""`motion` on a card: the processor's shifts, frames and template of whole movies, whatever the frames show."""

import numpy as np
import pytest

from streamfluo import Block, Spec, create
from streamfluo.core.card import using_card
from streamfluo.core.card_block import CardBlock, on_device
from streamfluo.core.unseen import known_pixels
from streamfluo.simulate import calcium
from streamfluo.testing.strict_card import StrictCard
from streamfluo.testing.subject import copied

FRAMES = 200
RUNS = {
    "rigid": {},
    "high-passed": {"highpass_sigma_px": 4},
    "cropped": {"border": "crop", "max_shift_px": (6, 9)},
    "frames beyond the largest shift, a template that is anchored early": {
        "border": "copy", "max_shift_px": (3, 4), "init_frames": 20,
    },
    "shifts of patches": {"mode": "piecewise", "patch_stride_px": 16, "patch_overlap_px": 8},
    "shifts of patches, high-passed": {
        "mode": "piecewise", "patch_stride_px": 24, "patch_overlap_px": 8, "highpass_sigma_px": 5, "init_frames": 20,
    },
    "a frozen template": {"template_update": "frozen", "init_frames": 30},
}  # fmt: skip


class Counted(StrictCard):
    """Counts how often the host waits for what the card has, and how much that is."""

    waits = 0

    def get(self, array):
        self.waits += 1
        return super().get(array)


@pytest.fixture(autouse=True)
def card():
    card = Counted()
    with using_card(card):
        yield card


def scene(shape=(70, 100), dtype="uint16", seed=3):
    """Cells that move; at once elsewhere for a while; hot pixels, one frame as bright as can be."""
    movie, _ = calcium(FRAMES, shape=shape, neurons=6, motion_px=2, seed=seed)
    movie = np.asarray(movie).astype(dtype)
    movie[100:120] = np.roll(movie[100:120], (7, -6), (1, 2))
    movie[:, 11, 20] = movie[:, 30, 5] = 60_000
    movie[60] = 65_535
    if movie.dtype.kind == "f":
        movie[::7, :2] = movie[3::9, :, -4:] = np.nan
        movie[50] = np.nan
    return movie


def whole(device, movie, params, sizes=(20, 1, 7)):
    operator = create("motion", Spec(movie.shape[1:], movie.dtype, 1 / 30), device, **params)
    given, frames, at, n = [], [], 0, 0
    while at < len(movie):
        stop = min(len(movie), at + sizes[n % len(sizes)])
        out = operator.update(Block(at, np.arange(at, stop) * 33_000_000, movie[at:stop]))
        assert isinstance(out.block, CardBlock) == (device == "gpu")
        given.append(out.values)
        frames.append(out.block.pixels)
        at, n = stop, n + 1
    values = {name: np.concatenate([each[name] for each in given]) for name in given[0]}
    return values | {"frames": np.concatenate(frames)}, copied(operator.read()), copied(operator.state())


def assert_same(there, here):
    for of_card, of_processor in zip(there, here, strict=True):
        assert of_card.keys() == of_processor.keys()
        for name, expected in of_processor.items():
            np.testing.assert_allclose(of_card[name], expected, rtol=1e-11, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(there[0]["frames"], here[0]["frames"])
    for name in ("image", "mean", "steering", "limit"):
        np.testing.assert_array_equal(there[2][f"template_{name}"], here[2][f"template_{name}"], err_msg=name)


@pytest.mark.parametrize("dtype", ["uint16", pytest.param("float32", marks=pytest.mark.slow)])  # 8 s of a core
@pytest.mark.parametrize("params", RUNS.values(), ids=RUNS)
def test_shifts_frames_and_template_are_the_processors(params, dtype):
    movie = scene(dtype=dtype)
    here = whole("cpu", movie, params)
    assert 0.3 < here[0]["valid"].mean() < 1
    assert_same(whole("gpu", movie, params), here)


def test_rounding_does_not_grow_where_frames_are_too_dim_to_be_registered():
    movie, _ = calcium(150, shape=(89, 214), neurons=4, motion_px=2.0, photons=1.0, seed=90301)
    params = {"init_frames": 25, "max_shift_px": 3}
    here = whole("cpu", np.asarray(movie), params)
    assert here[0]["valid"].mean() < 0.5
    assert_same(whole("gpu", np.asarray(movie), params), here)


@pytest.mark.parametrize("shape", [(33, 300), pytest.param((49, 31), marks=pytest.mark.slow)], ids=str)
def test_frames_of_more_than_one_block_of_threads_in_a_row(shape):
    movie = scene(shape, seed=5)
    assert_same(whole("gpu", movie, {"highpass_sigma_px": 3}), whole("cpu", movie, {"highpass_sigma_px": 3}))


def test_known_shifts_and_a_known_template():
    movie = scene()
    shifts = np.random.default_rng(1).uniform(-4, 4, (FRAMES, 2))
    shifts[70] = np.nan
    applied = {"mode": "apply", "shifts_px": shifts}
    assert_same(whole("gpu", movie, applied), whole("cpu", movie, applied))
    grid = {"mode": "apply", "patch_stride_px": 24, "patch_overlap_px": 8}
    applied = grid | {"shifts_px": np.random.default_rng(2).uniform(-3, 3, (FRAMES, 3, 4, 2))}
    assert_same(whole("gpu", movie, applied), whole("cpu", movie, applied))
    known = {"template": movie[:40].mean(0), "highpass_sigma_px": 5.0}
    assert_same(whole("gpu", movie, known), whole("cpu", movie, known))


def test_a_frame_makes_the_host_wait_a_few_times(card):
    movie = scene()
    movie[60] = movie[61]
    operator = create("motion", Spec(movie.shape[1:], movie.dtype, 1 / 30), "gpu")
    for at in range(0, 100, 20):
        waits, got = card.waits, card.bytes_got
        operator.update(Block(at, np.arange(at, at + 20), movie[at : at + 20]))
        operator._afterwards.wait()
    assert (card.waits - waits) / 20 < 5
    assert (card.bytes_got - got) / 20 < movie[0].nbytes / 4


def test_frames_of_floats_are_made_known_once_for_all_steps(card):
    pixels = np.full((2, 9, 9), 5, np.float32)
    pixels[0, 3, 3] = np.inf
    there = on_device(Block(0, np.arange(2), pixels), card)
    known = known_pixels(there)
    assert known_pixels(there) is known
    assert np.isnan(known.pixels[0, 3, 3])
    assert np.isinf(there.pixels[0, 3, 3])
