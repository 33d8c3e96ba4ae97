"""What `spots` and `find_spots` say against the camera's numbers and the false-alarm rate."""

import re
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import poisson
from seeds import seeds

from streamfluo import Block, Camera, Spec, create
from streamfluo.analysis import find_spots
from streamfluo.spots.structure import structured

CAMERA = Camera(100.0, 0.5, 1.5)
SHAPE = (96, 96)


def frames_of(light, count=40, seed=1, offset=100.0):
    """Frames in ADU of an sCMOS camera: .5 e/ADU, read noise 1.5 e."""
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(light, (count, *SHAPE)) + rng.normal(0, 1.5, (count, *SHAPE))
    return np.rint(offset + electrons / 0.5).astype(np.uint16)


def looked_at(frames, camera=None, **params):
    operator = create("spots", Spec(frames.shape[1:], frames.dtype, camera=camera), **params)
    table = operator.update(Block(0, np.arange(len(frames)), frames)).values["spots"]
    return table, operator


def filaments(seed):
    """Light of thin curved lines, 60 electrons at most, on 10."""
    rng, lines = np.random.default_rng(seed), np.zeros(SHAPE)
    for _ in range(8):
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.04, 1200))
        places = rng.uniform(0, 96, 2) + 0.1 * np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1), 0)
        y, x = places[((places >= 0) & (places < 96)).all(1)].astype(int).T
        np.add.at(lines, (y, x), 1)
    wide = np.exp(-(np.arange(-5, 6) ** 2) / 2 / 1.3**2)
    for axis in (0, 1):
        lines = np.apply_along_axis(np.convolve, axis, lines, wide, "same")
    return 10 + 60 * lines / lines.max()


SPARSE = {
    "counts of .003 a pixel": lambda rng, shape: rng.poisson(0.003, shape),
    "counts of .02 a pixel": lambda rng, shape: rng.poisson(0.02, shape),
    "counts of .5 a pixel": lambda rng, shape: rng.poisson(0.5, shape),
    "counts of 5 a pixel": lambda rng, shape: rng.poisson(5, shape),
    "noise of .25 ADU": lambda rng, shape: np.rint(4 + rng.normal(0, 0.25, shape)),
    "a baseline cut at 0": lambda rng, shape: np.maximum(0, np.rint(rng.normal(0, 1, shape))),
    "an EM register's counts": lambda rng, shape: np.rint(rng.gamma(np.maximum(rng.poisson(0.3, shape), 1e-9), 20)),
}


@pytest.mark.parametrize("noise", SPARSE)
def test_the_false_alarm_rate_holds_without_a_camera_where_counts_are_sparse_or_coarse(noise):
    alarms = 0
    for seed in (21, 22, 23):
        frames = SPARSE[noise](np.random.default_rng(seed), (12, *SHAPE)).astype(np.uint16)
        alarms += len(looked_at(frames)[0]["frame"])
    assert alarms <= poisson.ppf(0.999, 1.6 * 36)  # one a frame, the rate itself known within a factor of 1.6


def test_spots_on_filaments_that_stand_still_are_counted_and_said():
    for camera in (None, CAMERA):
        table, operator = looked_at(frames_of(filaments(5)), camera)
        assert len(table["frame"]) > 10 * 40
        assert operator.read()["still"] > 10
        assert "spots a frame stand still" in str(operator.read()["status"])
    _, operator = looked_at(frames_of(10.0), CAMERA)
    assert str(operator.read()["status"]) == "as stated"
    assert operator.read()["still"] < 1


@seeds(1, 2, 3, 4)
def test_offsets_that_differ_between_pixels_are_said_where_one_number_is_told(seed):
    """1.5 e of 3.5 e: twice the false alarms, at no place often enough to stand still."""
    offset = 100 + np.random.default_rng(seed).normal(0, 3, SHAPE)
    frames = frames_of(10.0, 66, seed, offset)
    for camera, said in ((CAMERA, True), (Camera(offset, 0.5, 1.5), False), (None, False)):
        _, operator = looked_at(frames, camera)
        assert ("is the same in every frame: a fixed pattern" in str(operator.read()["status"])) == said
        assert (str(operator.read()["status"]) == "as stated") != said
    [share] = re.findall(r"(\d+)% of the pixels", str(looked_at(frames, CAMERA)[1].read()["status"]))
    assert int(share) == pytest.approx(100 * 1.5**2 / (1.5**2 + 10 + 1.5**2), abs=5)


@pytest.mark.parametrize("cuts", [(0, 32, 96, 130), (0, 1, 41, 65, 66, 130), (0, 130)])
def test_parts_of_a_movie_doubt_what_the_whole_of_it_doubts(cuts):
    offset = 100 + np.random.default_rng(8).normal(0, 3, SHAPE)
    frames = frames_of(10 + molecules(8, 1000), 130, 8, offset)

    def fed(first, stop):
        operator = create("spots", Spec(SHAPE, frames.dtype, camera=CAMERA))
        for n in range(first, stop, 13):
            operator.update(Block(n, np.arange(n, min(n + 13, stop)), frames[n : min(n + 13, stop)]))
        return operator

    merged = fed(0, 0)
    for span in pairwise(cuts):
        merged.merge(fed(*span))
    whole = fed(0, 130)
    assert "a fixed pattern" in whole.doubt()
    assert (merged.doubt(), str(merged.read()["status"])) == (whole.doubt(), str(whole.read()["status"]))
    for name, expected in whole.state().items():
        np.testing.assert_allclose(merged.state()[name], expected, rtol=1e-12, err_msg=name)


@seeds(5, 6, 7)
@pytest.mark.parametrize("light", ["even", "sloping", "molecules"])
def test_light_and_molecules_are_no_fixed_pattern(light, seed):
    each = {
        "even": np.full(SHAPE, 50.0),
        "sloping": np.broadcast_to(np.linspace(5, 200, 96), SHAPE),
        "molecules": 10 + molecules(seed, 1000),
    }
    _, operator = looked_at(frames_of(each[light], 66, seed), CAMERA)
    assert "same in every frame" not in str(operator.read()["status"])


def blobs(seed):
    """Light of smooth blobs of σ 3 to 6 px, 10 to 40 electrons at their middle, on 5."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.full(SHAPE, 5.0)
    for _ in range(40):
        middle, wide = rng.uniform(0, 96, 2), rng.uniform(3, 6)
        light += rng.uniform(10, 40) * np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / 2 / wide**2)
    return light


def molecules(seed, photons, count=20):
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = rng.uniform(6, 90, (count, 2, 1, 1))
    gauss = np.exp(-((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2) / 2 / 1.3**2) / (2 * np.pi * 1.3**2)
    return photons * gauss.sum(0)


@pytest.mark.parametrize(("light", "share"), [(filaments, 0.85), (blobs, 0.6)])
@pytest.mark.parametrize("seed", range(3))
def test_one_image_says_how_many_spots_are_structure(light, share, seed):
    found = find_spots(frames_of(light(seed), 1)[0], camera=CAMERA)
    told = re.search(r"(\d+) of (\d+) spots are explained as well by a smooth surface", found.status)
    assert told is not None
    assert share * len(found.y) <= int(told[1]) <= int(told[2]) == len(found.y) > 10


def test_one_image_says_it_without_a_camera_too():
    assert "structure" in find_spots(frames_of(filaments(6), 1)[0]).status


@pytest.mark.parametrize("photons", [150, 500, 5000])
@pytest.mark.parametrize("seed", range(3))
def test_spots_are_no_structure(photons, seed):
    frame = frames_of(10 + molecules(seed, photons), 1, seed)[0]
    found = find_spots(frame, camera=CAMERA)
    electrons = (frame.astype(float) - 100) * 0.5
    alike = structured(electrons, np.maximum(electrons, 0) + 1.5**2, np.stack([found.y, found.x], 1), 1.3)
    assert len(found.y) >= 12
    assert alike.sum() <= 0.15 * len(found.y)


def test_pixels_that_are_not_seen_are_no_structure():
    places = np.array([[20.0, 20.0], [60.0, 60.0], [0.0, 95.0]])
    electrons = blobs(1)
    electrons[18, 18] = np.nan
    assert not structured(electrons, np.array([[4.0]]), places, 1.3)[0]
    assert len(structured(electrons, np.array([[4.0]]), places[:0], 1.3)) == 0
    for seed in range(5):
        for camera in (None, CAMERA):
            assert find_spots(frames_of(10.0, 1, seed)[0], camera=camera).status == "as stated"


@pytest.mark.parametrize(("offset", "said"), [(0.0, "times as much"), (110.0, "times as much"), (217.0, "below zero")])
def test_a_wrong_offset_is_said(offset, said):
    for seed in (3, 4):
        table, operator = looked_at(frames_of(10.0, 8, seed), Camera(offset, 0.5, 1.5))
        status = str(operator.read()["status"])
        assert status.startswith("doubtful: ")
        assert status.count(said) == 1
        if offset == 217:
            assert len(table["frame"]) < 3 * 8
            assert np.isnan(table["error"]).all()
            assert (table["flags"] & 128).all()
    _, known = looked_at(frames_of(10.0, 4), Camera(217.0, 0.5, 1.5), spots=[[40.0, 50.0]])
    assert "below zero" in str(known.read()["status"])


def test_what_a_camera_does_not_know_is_nan_and_said():
    bell = (np.exp(-((np.arange(96) - centre) ** 2) / 2 / 1.3**2) / 1.3 / np.sqrt(2 * np.pi) for centre in (40, 50))
    frames = frames_of(10 + 2000 * np.outer(*bell), 60)
    full, _ = looked_at(frames, CAMERA, false_alarms=0.01)
    for camera, nan, said in (
        (Camera(None, 0.5), ("background", "chi2"), "offset_adu and read_noise_e"),
        (Camera(None, 0.5, 1.5), ("background", "chi2"), "offset_adu"),
        (Camera(100.0, 0.5), ("chi2",), "read_noise_e"),
    ):
        table, operator = looked_at(frames, camera, false_alarms=0.01)
        assert "undetermined: the camera's " in str(operator.read()["status"])
        assert f"{said} unknown" in str(operator.read()["status"])
        assert all(np.isnan(table[name]).all() for name in nan)
        here = np.abs(table["x_px"] - 50) < 1
        mine, theirs = table["photons"][here], full["photons"][np.abs(full["x_px"] - 50) < 1]
        assert len(mine) == len(theirs) == 60
        assert np.median(mine) == pytest.approx(np.median(theirs), rel=0.02)
        assert np.sqrt(np.mean(table["error"][here] ** 2)) == pytest.approx(mine.std(), rel=0.3)
