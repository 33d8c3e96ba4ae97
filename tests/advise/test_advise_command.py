"""`streamfluo advise` and `run --auto` as a person uses them: a recording in, a config with its reasons out."""

import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from streamfluo import StreamfluoError, open_session, open_source, simulate
from streamfluo.advise import sample
from streamfluo.advise.advise import advise
from streamfluo.cli.cli import app
from streamfluo.core.errors import ConfigError, SourceError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

CELLS = "sim:calcium?shape=96x96&frames=300&neuron_sigma_px=3&motion_px=0.7&seed=61"


def call(*words):
    """Run a command; return what it printed. Raises what `main` turns into one line."""
    done = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(done.exception, StreamfluoError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def advice(uri):
    with open_source(uri, planes=True) as source:
        return advise(source)


def saved(tmp_path, movie):
    np.save(tmp_path / "movie.npy", movie)
    return tmp_path / "movie.npy"


def test_cells_are_measured_and_what_is_printed_is_a_config(tmp_path):
    said = call("advise", CELLS, "--out", tmp_path / "proposed.toml")
    text = (tmp_path / "proposed.toml").read_text(encoding="utf-8")
    assert said == text
    assert "# job: two-photon calcium imaging" in text
    motion, extract = tomllib.loads(text)["step"]
    assert motion["kind"] == "motion"
    assert extract["params"]["neuron_sigma_px"] == pytest.approx(1.3 * 3, rel=0.25)
    assert "fits together" in call("check", tmp_path / "proposed.toml", "--source", CELLS)


@pytest.mark.slow
def test_each_finding_is_a_number_with_its_unit():
    with open_source(CELLS) as source:
        moved = source.truth["shift_px"]
    found = advice(CELLS)
    assert found["cell size"].value == pytest.approx(3.07 * 3, rel=0.25)
    assert 0.4 / 1.5 <= found["decay time"].value <= 0.4 * 1.5
    assert found["motion"].value == pytest.approx(np.sqrt((moved.std(0) ** 2).mean()), rel=0.3)
    assert found["gain"].value == 0.5
    with pytest.raises(KeyError, match="saturation"):
        _ = found["saturation"]


def test_run_auto_takes_the_proposed_config(tmp_path):
    said = call("run", "--auto", "--source", CELLS, "--out", tmp_path / "S", "--set", "extract.decay_s=0.5")
    assert "cell size: " in said
    session = open_session(tmp_path / "S")
    assert list(session.steps) == ["motion", "extract"]
    assert session.steps["extract"].params["decay_s"] == 0.5


def test_a_run_without_config_says_what_to_give():
    with pytest.raises(ConfigError, match="give a config, or --auto"):
        call("run", "--source", CELLS)
    with pytest.raises(ConfigError, match="takes no config"):
        call("run", "sofi.toml", "--auto", "--source", CELLS)


@pytest.mark.slow
def test_blinking_is_for_sofi(tmp_path):
    movie, _ = simulate.blinking(400, shape=(96, 96), seed=62, k_on_hz=2, k_off_hz=8, emitter_photons=40)
    found = advice(saved(tmp_path, movie))
    assert found.job.kind == "sofi"
    assert not found["frame rate"].known


@pytest.mark.parametrize(
    ("motion", "detect"), [pytest.param("fixed", "mean", marks=pytest.mark.slow), ("random", None)]
)
def test_spots_that_stay_and_spots_that_go(tmp_path, motion, detect):
    movie, _ = simulate.spots(200, shape=(96, 96), seed=63, motion=motion, sigma_px=1.6)
    found = advice(saved(tmp_path, movie))
    assert found.job.kind == "spots"
    assert found["PSF"].value == pytest.approx(1.6, rel=0.1)
    params = tomllib.loads(found.config)["step"][0]["params"]
    assert params.get("detect") == detect


def test_a_still_field_under_steady_light_is_for_calibration(tmp_path):
    movie, _ = simulate.gain(200, shape=(64, 64), seed=64)
    found = advice(saved(tmp_path, movie))
    assert found.job.kind == "calibrate"
    assert found["gain"].value == pytest.approx(0.5, rel=0.05)


def test_planes_are_named_and_the_indicator_is_looked_at():
    found = advice("sim:calcium?channels=2&z=2&frames=120&shape=64x64&neuron_sigma_px=3&seed=65")
    assert "looked at green/0" in found["planes"].sentence
    assert all(step["planes"] == ["green"] for step in tomllib.loads(found.config)["step"])


NOISE = np.random.default_rng(66)
CANNOT = {
    "constant": (np.full((100, 32, 32), 100, np.uint16), "every pixel is 100 ADU in every frame"),
    "noise": (NOISE.normal(100, 10, (100, 48, 48)).astype(np.float32), "nothing fluctuates beyond noise"),
    "one frame": (NOISE.poisson(30, (1, 48, 48)).astype(np.uint16), "1 frame, 30 are needed"),
    "NaN": (np.full((40, 32, 32), np.nan, np.float32), "none of 40 frames has finite values"),
    "one line": (NOISE.poisson(30, (100, 1, 64)).astype(np.uint16), "frames of 1 × 64 px"),
    "saturated": (np.minimum(NOISE.poisson(400, (60, 48, 48)), 395).astype(np.uint16), "of the pixels are saturated"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_told_is_said_in_one_line(tmp_path, name):
    movie, why = CANNOT[name]
    path = saved(tmp_path, movie)
    with pytest.raises(SourceError, match=f"no config to propose, as the job cannot be told: .*{why}"):
        call("advise", path)
    with pytest.raises(ConfigError, match=f"the job cannot be told: .*{why}"):
        call("run", "--auto", "--source", path)


def test_frames_of_nan_are_left_out(tmp_path):
    movie = simulate.calcium(200, shape=(64, 64), seed=67, neuron_sigma_px=2.5)[0].astype(np.float32)
    movie[50:80] = np.nan
    found = advice(saved(tmp_path, movie))
    assert "30 frames are left out" in found["looked at"].sentence
    assert found.job.kind == "calcium_2p"


def test_a_stream_that_goes_by_is_refused():
    with pytest.raises(ConfigError, match="goes by; record some of it"):
        call("advise", "tcp://127.0.0.1:5555")


def test_a_long_recording_is_looked_at_in_runs(monkeypatch):
    monkeypatch.setattr(sample, "MAX_FRAMES", 80)
    with open_source("sim:calcium?shape=64x300&frames=1000&seed=68") as source:
        taken = sample.take_sample(source)
        frames = next(iter_from(source, 980))
    assert [int(taken.index[run.start]) for run in taken.runs] == [0, 327, 653, 980]
    assert taken.pixels.shape == (80, 64, 256)
    np.testing.assert_array_equal(taken.pixels[60], frames.pixels[0, :, 22:278])


@pytest.mark.parametrize("most", [28, 1000])
def test_frames_selected_of_a_session_are_looked_at(tmp_path, monkeypatch, most):
    monkeypatch.setattr(sample, "MAX_FRAMES", most)
    with open_source("sim:calcium?shape=32x40&frames=200&seed=68") as source:
        engine = Engine(source, parse_config("[record]\nraw = true\n"), tmp_path / "S")
        engine.start()
        engine.wait()
    with open_source(f"{tmp_path / 'S'}?frames=100:180") as source:
        taken = sample.take_sample(source)
    assert (taken.index[0], taken.index[-1], len(taken.index)) == (100, 179, min(most, 80))


def iter_from(source, index):
    source.seek(index)
    return source.blocks()
