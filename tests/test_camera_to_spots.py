"""From darks and light to molecules: `calibrate`, then `spots` with the calibration that it wrote."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from seeds import seeds
from typer.testing import CliRunner

from streamfluo import Block, Camera, Chain, Spec, simulate
from streamfluo.cli.cli import app

SHAPE, MOLECULES = (64, 64), 8
KIND = {
    "sCMOS": {"gain_e_per_adu": 0.5},
    "12 bits": {"gain_e_per_adu": 0.1, "bits": 12},
    "EM register": {"gain_e_per_adu": 0.2, "read_noise_e": 0.4, "em": True},
}


def recorded(folder, seed, camera):
    """Light, darks and molecules by one camera whose pixels' offsets differ, as files; the truth of the molecules."""
    offsets = np.round(3 * np.random.default_rng(9).standard_normal(SHAPE)).astype(int)
    top = 2 ** camera.get("bits", 16) - 1
    light = simulate.gain(300, shape=SHAPE, levels=1, photons=200.0, seed=seed, **camera)[0]
    dark = simulate.gain(300, shape=SHAPE, dark_frames=300, levels=1, seed=seed + 50, **camera)[0]
    molecules, truth = simulate.spots(80, shape=SHAPE, spots=MOLECULES, motion="random", spot_photons_sd=0.0,
                                      photons=5.0, seed=seed, **camera)  # fmt: skip
    for name, frames in (("light", light), ("dark", dark), ("molecules", molecules)):
        np.save(folder / f"{name}.npy", np.where(frames == top, top, frames + offsets).clip(0, top).astype(np.uint16))
    return truth


def localised(folder, camera, **params):
    """The table of spots that a config with this calibration gives."""
    words = ", ".join(f"{name} = {value}" for name, value in params.items())
    config = folder / "spots.toml"
    config.write_text(f'[source]\ncamera = "{camera}"\n[[step]]\nkind = "spots"\nparams = {{ {words} }}\n')
    frames = np.load(folder / "molecules.npy")
    chain = Chain.from_toml(config, Spec(SHAPE, "uint16", pixel_um=0.1))
    ((_, output),) = chain.push(Block(0, np.arange(len(frames)), frames))
    return {name: np.asarray(column) for name, column in output.values["spots"].items()}


@seeds(0, 1)
@pytest.mark.parametrize("kind", KIND)
def test_photons_errors_and_false_alarms_are_right_with_what_calibrate_wrote(tmp_path, kind, seed):
    camera, folder = KIND[kind], tmp_path / "C"
    truth = recorded(tmp_path, seed, camera)
    words = ["--dark", tmp_path / "dark.npy", "--out", folder, *(["--em"] if camera.get("em") else [])]
    done = CliRunner().invoke(app, ["calibrate", *map(str, (tmp_path / "light.npy", *words))])
    assert done.exit_code == 0, done.output
    known = Camera.load(folder / "calibration.npz")
    assert np.mean(known.gain_e_per_adu) == pytest.approx(camera["gain_e_per_adu"], rel=0.01)
    assert known.excess_noise == (2 if camera.get("em") else 1)

    found = localised(tmp_path, folder / "calibration.npz", sigma_px=1.3, false_alarms=0.2)
    true = np.stack([truth["frame"] * 1e3, truth["y_px"], truth["x_px"]], 1)
    near, which = cKDTree(true).query(np.stack([found["frame"] * 1e3, found["y_px"], found["x_px"]], 1))
    alone = cKDTree(true).query(true, 2)[0][:, 1] > 10
    inside = (true[:, 1:] > 6).all(1) & (true[:, 1:] < 57).all(1)
    ok = (near < 1) & (alone & inside)[which] & (found["flags"] & ~2 == 0)
    assert ok.sum() > 150
    assert (near > 3).sum() < 0.2 * 80 + 4 * np.sqrt(0.2 * 80) + 10
    dim = ok & (found["flags"] == 0)
    if camera.get("bits") == 12:  # 40 ADU of background, 1000 photons reach 1000 ADU: nothing is full
        assert dim.sum() == ok.sum()
    pull = (found["photons"][dim] - 1000) / found["error"][dim]
    assert np.median(pull) == pytest.approx(0, abs=0.35)
    assert np.median(found["chi2"][dim]) == pytest.approx(1, abs=0.07)
    for axis, column in enumerate(("y", "x"), 1):
        off = (found[f"{column}_px"] - true[which, axis]) / found[f"{column}_error_px"]
        assert np.std(off[dim]) == pytest.approx(1, abs=0.15)


def test_a_full_pixel_is_flagged_by_the_saturation_that_calibrate_found(tmp_path):
    camera = {"gain_e_per_adu": 0.05, "bits": 12}
    recorded(tmp_path, 1, camera)
    words = [tmp_path / "light.npy", "--dark", tmp_path / "dark.npy", "--out", tmp_path / "C"]
    assert CliRunner().invoke(app, ["calibrate", *map(str, words)]).exit_code == 0
    assert Camera.load(tmp_path / "C" / "calibration.npz").saturation_adu == 4095
    found = localised(tmp_path, tmp_path / "C" / "calibration.npz", sigma_px=0.9, false_alarms=0.2)
    bright = found["photons"] > 800
    assert bright.sum() > 20


def test_without_darks_the_background_is_unknown_and_said(tmp_path, caplog):
    recorded(tmp_path, 1, KIND["sCMOS"])
    Camera(gain_e_per_adu=0.5).save(tmp_path / "gain.npz")
    found = localised(tmp_path, tmp_path / "gain.npz", sigma_px=1.3)
    assert np.isnan(found["background"]).all()
    assert np.median(found["photons"]) == pytest.approx(1000, rel=0.1)
    assert caplog.text.count("offset_adu and read_noise_e unknown") == 1


def test_a_camera_may_be_told_in_the_config(tmp_path):
    recorded(tmp_path, 1, KIND["EM register"])
    told = Camera(100.0, 0.2, 0.4, excess_noise=2.0)
    known = localised(tmp_path, told.save(tmp_path / "told.npz"), sigma_px=1.3)
    config = tmp_path / "spots.toml"
    words = "{ offset_adu = 100, gain_e_per_adu = 0.2, read_noise_e = 0.4, excess_noise = 2 }"
    config.write_text(f'[source]\ncamera = {words}\n[[step]]\nkind = "spots"\nparams = {{ sigma_px = 1.3 }}\n')
    assert Chain.from_toml(config, Spec(SHAPE, "uint16")).steps[0].operator.spec.camera == told
    assert np.median(known["chi2"]) == pytest.approx(1, abs=0.1)
