"""The command line as a person uses it: in processes of its own, on files it finds."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from commands import command
from processes import Process, called
from systems import needs_signals

import streamfluo

MOMENTS = '[[step]]\nkind = "moments"\n'


def in_an_interpreter(*words, cwd, timeout=100):
    """Run one command as a person does, with all that it imports."""
    command = [sys.executable, "-m", "streamfluo", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def recording(tmp_path):
    movie = np.random.default_rng(0).integers(0, 4096, (90, 24, 31), np.uint16)
    tifffile.imwrite(tmp_path / "recording.tif", movie, photometric="minisblack")
    (tmp_path / "moments.toml").write_text(MOMENTS)
    return movie


@pytest.fixture
def served(tmp_path, recording):
    """A replay of the recording in another process, and its endpoint."""
    started = []

    def serve(*words):
        process = Process("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", *words, cwd=tmp_path)
        started.append(process)
        return process, process.stdout.readline().rsplit(" at ", 1)[1].strip()

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def test_a_file_runs_through_a_chain_into_a_session(tmp_path, recording):
    done = in_an_interpreter("run", "moments.toml", "--source", "recording.tif", "--out", "S", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished: 90 of 90 frames, 0 lost" in done.stdout
    session = streamfluo.open_session(tmp_path / "S")
    np.testing.assert_allclose(session.snapshot("moments")["mean"], recording.mean(0), rtol=1e-12)
    np.testing.assert_array_equal(session.read_frames(10, 20), recording[10:20])


def test_a_replay_over_the_network_is_recorded_bit_for_bit_and_both_end_by_themselves(tmp_path, recording, served):
    server, endpoint = served("--fps", "300", "--wait")
    done = called("run", "moments.toml", "--source", endpoint, "--out", "S", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert server.wait(10) == 0
    session = streamfluo.open_session(tmp_path / "S")
    assert (session.frames, session.lost, session.state) == (90, 0, "finished")
    np.testing.assert_array_equal(session.read_frames(0, 1000), recording)
    np.testing.assert_array_equal(session.values("moments")["total_signal"], recording.sum((1, 2)))


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_run_that_is_told_to_stop_writes_everything_and_resumes(tmp_path, recording, served, number):
    _, endpoint = served("--fps", "12", "--wait")
    run = ["run", "moments.toml", "--source", endpoint, "--out", "S"]
    process = Process(*run, cwd=tmp_path)
    while not (tmp_path / "S" / "journal" / "000000.sfj").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "aborted" in out
    seen = streamfluo.open_session(tmp_path / "S").frames
    assert 0 < seen < 90
    refused = command(*run, cwd=tmp_path)
    assert refused.returncode == 1
    assert "--resume" in refused.stderr
    done = called(*run, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = streamfluo.open_session(tmp_path / "S")
    assert (session.frames, session.lost) == (90, 0)
    np.testing.assert_array_equal(session.read_frames(0, 90), recording)
    np.testing.assert_array_equal(session.values("moments")["total_signal"], recording.sum((1, 2)))
    np.testing.assert_array_equal(session.snapshot("moments")["max"], recording.max(0))


@needs_signals
def test_a_replay_that_is_told_to_stop_ends_the_series_as_aborted(tmp_path, recording, served):
    server, endpoint = served("--fps", "30", "--wait")
    process = Process("run", "moments.toml", "--source", endpoint, "--out", "S", cwd=tmp_path)
    while not (tmp_path / "S" / "journal" / "000000.sfj").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    server.send_signal(signal.SIGINT)
    assert server.wait(10) == 0
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert streamfluo.open_session(tmp_path / "S").state == "aborted"


@pytest.mark.timeout(400)  # two interpreters that share a tenth of a core took 150 s
def test_the_demo_leaves_a_session_a_picture_and_a_comparison_with_the_truth(tmp_path):
    done = in_an_interpreter("demo", "--frames", "300", "--out", "D", cwd=tmp_path, timeout=350)
    assert done.returncode == 0, done.stderr
    assert "300 bit-identical" in done.stdout
    assert re.search(r"^found: \d+ cells, 300 valid frames$", done.stdout, re.MULTILINE)
    assert float(re.search(r"F1 (\S+)", done.stdout)[1]) > 0.8
    assert float(re.search(r"rms error (\S+) px", done.stdout)[1]) < 0.1
    assert (tmp_path / "D" / "summary.png").read_bytes().startswith(b"\x89PNG")
    assert streamfluo.open_session(tmp_path / "D").truth["shift_px"].shape == (300, 2)


@pytest.mark.parametrize(
    ("scene", "frames", "agreement"),
    [
        ("spots", 40, r"9\d\.\d% found"),
        pytest.param("counting", 60, r"spots +1\d +16 +1\d of them", marks=pytest.mark.slow),
        pytest.param("calibrate", 60, "holds the truth", marks=pytest.mark.slow),
    ],
)
def test_demos_of_other_sciences_compare_and_draw(tmp_path, scene, frames, agreement):
    done = command("demo", scene, "--frames", frames, "--out", "D", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{frames} bit-identical" in done.stdout
    assert re.search(agreement, done.stdout)
    assert (tmp_path / "D" / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_list_shows_every_operator_and_one_whole(tmp_path):
    assert "moments" in command("list", cwd=tmp_path).stdout
    shown = command("list", "bin", cwd=tmp_path).stdout
    assert "bin_px" in shown
    assert "[px]" in shown


def test_check_prints_what_each_step_sees(tmp_path, recording):
    (tmp_path / "binned.toml").write_text(f'{MOMENTS}[[step]]\nkind = "bin"\nparams = {{ bin_px = 2 }}\n')
    shown = command("check", "binned.toml", "--source", "recording.tif", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "24 × 31 uint16" in shown.stdout
    assert "12 × 15 float32" in shown.stdout


def test_inspect_tells_what_a_session_holds(tmp_path, recording):
    command("run", "moments.toml", "--source", "recording.tif", "--out", "S", cwd=tmp_path)
    shown = command("inspect", "S", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "90 frames read again from" in shown.stdout
    assert json.loads((tmp_path / "S" / "health.json").read_text())["frames"] == 90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "none.toml"], "none.toml: cannot read the config: No such file"),
        (["run", "moments.toml"], "no source; give [source] uri or --source"),
        (["run", "moments.toml", "--source", "none.tif"], "none.tif: no such file"),
        (["run", "moments.toml", "--source", "recording.xyz"], "no reader for '.xyz'"),
        (["run", "moments.toml", "--source", "recording.tif?frame=1:2"], "no setting 'frame'"),
        (["run", "moments.toml", "--source", "recording.tif?frames=9:2"], "selects nothing"),
        (["run", "moments.toml", "--set", "momants.x=1"], "no step 'momants' in moments.toml; did you mean 'moments'?"),
        (["run", "moments.toml", "--set", "moments.x=1", "--source", "recording.tif"], "no parameter 'x'"),
        (["run", "moments.toml", "--source", "tcp://nowhere"], "not an endpoint"),
        (["replay", "recording.tif"], "does not say its frame rate; give --fps or --max"),
        (["replay", "recording.tif", "--fps", "0"], "--fps must be positive"),
        (["replay", "recording.tif", "--max", "--fps", "3"], "exclude each other"),
        (["replay", "recording.tif", "--max", "--bind", "tcp://0.0.0.0:5999"], "refused to bind beyond this machine"),
        (["replay", "sim:calcium?frames=-2", "--max"], "frames"),
        (["inspect", "nothing"], "nothing: no such session folder"),
        (["list", "momets"], "no operator 'momets'; did you mean 'moments'?"),
        (["warm", "moments", "--dtype", "uint17"], "--dtype is one of uint8, uint16,"),
        (["warm", "momnts"], "did you mean 'moments'?"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line_and_no_traceback(tmp_path, recording, words, message):
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(tmp_path, recording, served):
    _, endpoint = served("--max", "--wait")
    done = called("replay", "recording.tif", "--max", "--bind", endpoint, cwd=tmp_path)
    assert done.returncode == 1
    assert "another program uses this port" in done.stderr
