"""`streamfluo calibrate` as a person uses it: light levels and darks in, a calibration, a plot and a page out."""

from functools import partial

import numpy as np
import pytest
import tifffile
from commands import printed
from matplotlib.image import imread

from streamfluo import Camera, Chain, Spec, StreamfluoError, open_source, simulate

SIM = "sim:gain?shape=96x96"
MAPS = "&gain_sd=0.1&offset_sd_adu=2&read_noise_sd=0.3"


calibrate = partial(printed, "calibrate")


def test_levels_and_darks_give_maps_that_every_step_can_load(tmp_path):
    light, dark = f"{SIM}{MAPS}&frames=900&levels=6", f"{SIM}{MAPS}&frames=300&dark_frames=300"
    said = calibrate(light, "--dark", dark, "--out", tmp_path / "C")
    camera = Camera.load(tmp_path / "C" / "calibration.npz")
    with open_source(light) as source:
        truth = source.truth
    assert np.std(camera.gain_e_per_adu / truth["gain_map"] - 1) < 1.1 * np.sqrt(2 / 900)
    assert np.std(camera.offset_adu - truth["offset_map"]) < 0.25
    assert np.median(camera.read_noise_e / truth["read_noise_map"]) == pytest.approx(1, abs=0.01)
    assert camera.saturation_adu == 65535
    assert "gain [e/ADU]" in said
    page = (tmp_path / "C" / "calibration.md").read_text(encoding="utf-8")
    assert "| levels | 6 |" in page
    assert "from the dark frames" in page
    assert imread(tmp_path / "C" / "photon_transfer.png").std() > 0.01
    config = tmp_path / "chain.toml"
    config.write_text(f'[source]\ncamera = "{tmp_path / "C" / "calibration.npz"}"\n[[step]]\nkind = "moments"\n')
    assert Chain.from_toml(config, Spec((96, 96), "uint16")).steps[0].operator.spec.camera == camera


def test_even_light_is_determined_by_its_levels(tmp_path):
    calibrate(f"{SIM}&frames=600&levels=3&illumination=flat", "--out", tmp_path)
    camera = Camera.load(tmp_path / "calibration.npz")
    assert camera.gain_e_per_adu == pytest.approx(0.5, rel=0.01)
    assert camera.offset_adu is None
    assert "**unknown** without raw dark" in (tmp_path / "calibration.md").read_text(encoding="utf-8")


def test_levels_may_come_as_files_of_their_own(tmp_path):
    for n, photons in enumerate((200, 1500)):
        movie = simulate.gain(200, shape=(96, 96), levels=1, photons=photons, flicker=0.01, seed=n)[0]
        tifffile.imwrite(tmp_path / f"{n}.tif", movie, photometric="minisblack")
    calibrate(tmp_path / "0.tif", tmp_path / "1.tif", "--out", tmp_path)
    assert Camera.load(tmp_path / "calibration.npz").gain_e_per_adu == pytest.approx(0.5, rel=0.01)


def test_what_cannot_be_known_fails_and_the_page_says_why(tmp_path):
    with pytest.raises(StreamfluoError, match="calibrate: gain undetermined: the light is too even"):
        calibrate(f"{SIM}&frames=100&levels=1&illumination=flat", "--out", tmp_path)
    assert Camera.load(tmp_path / "calibration.npz").gain_e_per_adu is None
    assert "**undetermined**: the light is too even" in (tmp_path / "calibration.md").read_text(encoding="utf-8")


BAD = {
    "no end": ((f"{SIM}&levels=1",), "has no end; give --frames"),
    "too short": ((f"{SIM}&frames=10",), "no light level lasts 20 frames"),
    "too few asked for": ((f"{SIM}&levels=1", "--frames", 5), "--frames is 20 at least, found 5"),
    "another shape": ((f"{SIM}&frames=50", "--dark", "sim:gain?shape=64x64&frames=50&dark_frames=50"), "not .64, 64."),
    "no such file": (("nowhere.tif",), "nowhere.tif"),
    "dark that is light": (
        (f"{SIM}&frames=50&levels=1", "--dark", f"{SIM}&frames=50&levels=1"),
        "no brighter than the dark",
    ),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_clear_line(tmp_path, words, message):
    with pytest.raises(StreamfluoError, match=message):
        calibrate(*words, "--out", tmp_path)


def test_an_endless_camera_is_asked_for_so_many_frames(tmp_path):
    calibrate(f"{SIM}&levels=1", "--frames", 100, "--out", tmp_path)
    assert "| 100" not in (tmp_path / "calibration.md").read_text(encoding="utf-8")
    assert Camera.load(tmp_path / "calibration.npz").gain_e_per_adu == pytest.approx(0.5, rel=0.02)


def test_a_folder_that_cannot_be_written_gets_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StreamfluoError, match="file cannot be written"):
        calibrate(f"{SIM}&frames=50&levels=1", "--out", tmp_path / "file")
