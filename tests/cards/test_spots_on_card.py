"""Spots on a card, of cameras, crops and frames that the laws do not show: the processor's spots, to its rounding."""

import numpy as np
import pytest

from streamfluo import Block, Spec, create
from streamfluo.core.card import CardLost, using_card
from streamfluo.core.spec import Camera
from streamfluo.testing.strict_card import StrictCard
from streamfluo.testing.subject import copied, flat, same

SHAPE = (67, 83)
TOLERANCE, OF_FILTER = 1e-9, 1e-7  # where something is fitted; the float32 of a filter, whose sums a compiler orders
STATED = {"offset_adu": 100.0, "gain_e_per_adu": 0.5, "read_noise_e": 1.0}
MAPS = np.random.default_rng(5).normal(0, 1, (3, *SHAPE))
CAMERAS = {
    "known": Camera(**STATED),
    "with an EM register": Camera(**STATED, excess_noise=2.0),
    "of maps": Camera(
        offset_adu=100 + MAPS[0], gain_e_per_adu=0.5 + 0.02 * MAPS[1], read_noise_e=np.abs(1 + 0.1 * MAPS[2])
    ),
    "without its read noise": Camera(**{**STATED, "read_noise_e": None}),
    "whose offset is too high": Camera(**{**STATED, "offset_adu": 180.0}),
    "unknown": Camera(),
}
NEAR = [[5.2, 7.1], [8.3, 9.0], [8.4, 11.0], [12.0, 30.4], [0.0, 0.0], [40.0, 50.0], [41.0, 52.5], [44.0, 49.0]]
KNOTS = np.r_[[-900.0] * 3, np.linspace(-900, 900, 12), [900.0] * 3], np.r_[[-500.0] * 4, [500.0] * 4]
DISC = np.exp(-(np.add.outer(np.linspace(-2, 2, 14) ** 2, np.linspace(-2, 2, 14) ** 2)))
SPLINE = (np.stack([DISC, DISC, 0.9 * DISC, DISC**2]), KNOTS[1], KNOTS[0], KNOTS[0])
HEIGHTS = [[y, x, z] for (y, x), z in zip(NEAR, (0, 50, -50, 100, 9, 450, 700, -400), strict=True)]
PARAMETERS = {
    "one width": {},
    "a fixed width": {"fit_sigma": False},
    "two widths": {"model": "gauss", "sigma_px": (1.2, 1.5)},
    "the phasor": {"fit": "phasor"},
    "no fit": {"fit": None, "method": "weighted"},
    "border pixels": {"method": "border"},
    "crops as large as a block's memory": {"crop_px": 25},
    "larger crops": {"crop_px": 27, "sigma_px": 2.5},
    "means": {"detect": "mean", "mean_frames": 4},
    "known places": {"spots": NEAR},
    "known ellipses": {
        "spots": NEAR, "model": "gauss", "theta_deg": 30.0, "sigma_px": (1.2, 1.6), "method": "weighted",
    },
    "known places of a spline": {"spots": HEIGHTS, "model": "spline", "spline": SPLINE},
    "known places in large crops": {"spots": NEAR, "crop_px": 29, "method": "border"},
}  # fmt: skip
FEW = ("border pixels", "means", "known ellipses", "known places of a spline")  # all of them take 8 s of a core


@pytest.fixture(autouse=True)
def card():
    card = StrictCard()
    with using_card(card):
        yield card


def frames(dtype, seed=1):
    """Five frames of crowded spots; of floats with a rim, holes and a frame that were not seen."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.full((5, *SHAPE), 20.0)
    for image in light:
        for _ in range(30):
            (at_y, at_x), photons, width = rng.uniform((0, 0), SHAPE), rng.uniform(200, 3000), rng.uniform(1.1, 1.5)
            image += photons * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / 2 / width**2) / (2 * np.pi * width**2)
    movie = np.rint(rng.poisson(light) / 0.5 + 100 + rng.normal(0, 2, light.shape)).clip(0).astype(dtype)
    if movie.dtype.kind == "f":
        movie[1, :3] = movie[1, :, -4:] = movie[2, 30:33, 20:40] = movie[3] = movie[0, 10, 10] = np.nan
    return movie


def everything(device, params, spec, movie):
    operator, given = create("spots", spec, device, **params), {}
    for a, b in ((0, 2), (2, 5)):
        output = flat(operator.update(Block(a, np.arange(a, b), movie[a:b])))
        given |= {f"{name} from {a}": array for name, array in output.items()}
    return {**given, **copied(operator.read()), **{f"state {k}": v for k, v in copied(operator.state()).items()}}


def agree(params, camera, dtype, movie):
    spec = Spec(SHAPE, dtype, interval_s=0.02, pixel_um=0.1, camera=camera)
    there, here = (everything(device, params, spec, movie) for device in ("gpu", "cpu"))
    assert len(here["spots/frame from 0"]) + len(here["spots/frame from 2"]) > 0
    same(there, here, "on the card", OF_FILTER if params.get("fit", "mle") is None else TOLERANCE)


@pytest.mark.parametrize("camera", CAMERAS)
def test_spots_are_the_processors_whatever_is_known_of_the_camera(camera):
    agree({}, CAMERAS[camera], "uint16", frames("uint16"))


@pytest.mark.parametrize(
    "params", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in PARAMETERS if name not in FEW)]
)
def test_spots_are_the_processors_however_they_are_measured_and_whatever_was_not_seen(params):
    agree(PARAMETERS[params], CAMERAS["known"], "float32", frames("float32"))


@pytest.mark.parametrize("params", ["one width", "means", "known places"])
def test_spots_without_a_camera_are_the_processors(params):
    agree(PARAMETERS[params], None, "float64", frames("float64", 2))


def test_spots_among_sparse_counts_are_the_processors():
    """Where skewness and kurtosis, not the median, say what noise does."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(0.05, (5, *SHAPE)) * rng.integers(1, 9, (5, *SHAPE))
    counts[:, 30:34, 40:44] += rng.poisson(20, (5, 4, 4))
    agree({}, None, "uint16", counts.astype(np.uint16))


def test_frames_without_spots_and_of_one_value_have_none():
    spec = Spec((5, 300), "uint16", camera=CAMERAS["known"])
    output = create("spots", spec, "gpu").update(Block(0, np.zeros(3), np.full((3, 5, 300), 100, np.uint16)))
    assert output.values["count"].tolist() == [0, 0, 0]
    assert output.values["spots"].rows == 0


def test_frames_of_which_nothing_was_seen_have_no_spots():
    spec = Spec(SHAPE, "float32", camera=CAMERAS["known"])
    output = create("spots", spec, "gpu").update(Block(0, np.zeros(2), np.full((2, *SHAPE), np.nan, np.float32)))
    assert np.isnan(output.values["count"]).all()


def test_more_frames_than_are_detected_in_at_once_come_in_parts(monkeypatch):
    spec, movie = Spec(SHAPE, "uint16", camera=CAMERAS["known"]), frames("uint16")
    at_once = everything("gpu", {}, spec, movie)
    monkeypatch.setattr("streamfluo.spots.on_card.DETECTED_FRAMES", 2)
    same(everything("gpu", {}, spec, movie), at_once, "in parts")


def test_rows_alone_come_back_from_a_card(card):
    spec, movie = Spec(SHAPE, "uint16", camera=CAMERAS["known"]), frames("uint16")
    operator = create("spots", spec, "gpu")
    operator.update(Block(0, np.zeros(1), movie[:1]))
    before = card.bytes_got
    found = operator.update(Block(1, np.zeros(4), movie[1:])).values["spots"].rows
    assert card.bytes_got - before == found * 14 * 8 + 32 * 2 * 4  # and two numbers of each of 32 frames


def test_a_card_that_is_lost_in_between_leaves_the_state_as_it_was(card, monkeypatch):
    spec, movie = Spec(SHAPE, "uint16", camera=CAMERAS["known"]), frames("uint16")
    operator = create("spots", spec, "gpu")
    operator.update(Block(0, np.zeros(2), movie[:2]))
    before, calls = copied(operator.state()), iter(range(8))

    def check():
        if next(calls, None) is None:
            raise CardLost("gone")

    monkeypatch.setattr(card, "check", check)
    with pytest.raises(CardLost):
        operator.update(Block(2, np.zeros(3), movie[2:]))
    monkeypatch.undo()
    same(copied(operator.state()), before, "the state")
