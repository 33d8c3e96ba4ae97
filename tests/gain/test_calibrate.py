"""Calibration as a library call: several levels and darks in, the camera out, against what was simulated."""

import numpy as np
import pytest

from streamfluo import Camera, FrameError
from streamfluo.analysis import calibrate
from streamfluo.simulate import gain


def level(photons, seed, frames=120):
    """A stack of one light level: Poisson electrons, read noise, offset, rounded to counts."""
    random = np.random.default_rng(seed)
    scene = photons * (0.5 + random.random((64, 64)))
    electrons = random.poisson(scene, (frames, 64, 64)) + random.normal(0, 1.6, (frames, 64, 64))
    return np.round(100 + electrons / 0.7).astype(np.uint16)


def test_gain_offset_and_read_noise_of_several_levels_with_darks():
    found = calibrate([level(60, 1), level(400, 2), level(1500, 3)], dark=level(0, 4))
    assert len(found.levels) == 3
    assert not found.fit.reason
    assert found.fit.interval[0] < 0.7 < found.fit.interval[1]
    assert np.mean(found.camera.gain_e_per_adu) == pytest.approx(0.7, rel=0.003)
    assert np.mean(found.camera.offset_adu) == pytest.approx(100, abs=0.05)
    assert np.mean(found.camera.read_noise_e) == pytest.approx(1.6, rel=0.02)


def test_levels_of_one_stack_are_told_apart_by_their_steps():
    joined = np.concatenate([level(60, 1), level(400, 2), level(1500, 3)])
    assert len(calibrate([joined], dark=level(0, 4)).levels) == 3


def test_without_darks_the_camera_has_no_offset_map():
    movie, _ = gain(frames=300, shape=(64, 64), seed=5)
    found = calibrate([movie], camera=Camera(saturation_adu=4095))
    assert found.camera.offset_adu is None
    assert found.camera.saturation_adu == 4095


REFUSED = {
    "none": ([], None, "stacks .* found none"),
    "another size": ([level(60, 1), level(60, 2)[:, :10]], None, "of one size and type"),
    "an image": ([level(60, 1)[0]], None, "of one size and type"),
    "too short": ([level(60, 1)[:3]], None, "no light level lasts"),
    "darks with light": ([level(60, 1)], np.concatenate([level(0, 2), level(900, 3)]), "dark frames have one level"),
}


@pytest.mark.parametrize(("light", "dark", "reason"), REFUSED.values(), ids=REFUSED)
def test_stacks_that_cannot_be_are_one_line(light, dark, reason):
    with pytest.raises(FrameError, match=reason):
        calibrate(light, dark)
