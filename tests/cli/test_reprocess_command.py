"""What `streamfluo reprocess` says where it is stopped."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from commands import command

from streamfluo import SessionError, open_session
from streamfluo.reprocess import cluster, reprocessing
from streamfluo.reprocess.one_recording import Outcome

SHELF = ["sim:spots?frames=3&shape=16x16&seed=1", "sim:spots?frames=3&shape=16x16&seed=2"]
STOPPED = r"stopped: 1 of 3 recordings done, 1 failed, 1 left; the same command goes on with them"


def test_ctrl_c_says_in_one_line_what_is_done_what_is_left_and_how_to_go_on(tmp_path, monkeypatch):
    def stopped(tasks, out, on):
        yield Outcome(*tasks[0].recording, "done", frames=3)
        yield Outcome(*tasks[1].recording, "failed", why="broken")
        raise KeyboardInterrupt

    monkeypatch.setattr(reprocessing, "reprocess", stopped)
    words = [*SHELF, "sim:spots?frames=3&shape=16x16&seed=3", "--out", tmp_path / "shelf"]
    done = command("reprocess", "moments", *words, cwd=tmp_path)
    assert done.returncode == 130
    assert len(re.findall(STOPPED, done.stdout)) == 1


def test_a_sample_without_parts_is_refused_and_nothing_else_is_said_to_be_done(tmp_path):
    done = command("reprocess", "moments", SHELF[0], "--out", "shelf", "--sample", "5", cwd=tmp_path)
    assert done.returncode == 1
    assert "--sample says what parts learn from first; say into how many with --parts" in done.stderr
    pytest.importorskip("distributed")
    done = command("reprocess", "moments", "sim:spotz?frames=3", "--out", "shelf", cwd=tmp_path)
    assert done.stderr.strip().endswith("1 recording failed, named above")


def test_without_dask_nothing_is_compiled_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    monkeypatch.setattr("streamfluo.cli.reprocess.compile_first", lambda *_: pytest.fail("compiled"))
    done = command("reprocess", "moments", SHELF[0], "--out", "shelf", cwd=tmp_path)
    assert done.returncode == 1
    assert "reprocess: Dask is not installed: pip install 'streamfluo[cluster]'" in done.stderr
    assert not (tmp_path / "shelf").exists()


@pytest.mark.parametrize("change", ["spots.nowhere=1", "spots.false_alarms=often", "spot.false_alarms=1"])
@pytest.mark.parametrize("sweep", [(), ("--sweep", "spots.detect=mean,log")])
def test_a_parameter_that_no_step_has_is_refused_once_before_any_recording_begins(tmp_path, change, sweep):
    pytest.importorskip("distributed")
    done = command("reprocess", "spots", *SHELF, "--out", "shelf", "--set", change, *sweep, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "failed" not in done.stdout + done.stderr
    assert "--sweep" not in done.stderr
    assert change.partition(".")[0] in done.stderr
    assert not (tmp_path / "shelf").exists()


@pytest.mark.parametrize("option", ["--set", "--sweep"])
def test_the_uri_of_a_config_is_not_what_recordings_are_named_by(tmp_path, option):
    done = command("reprocess", "moments", SHELF[0], "--out", "shelf", option, "source.uri=a.tif", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{option} source.uri: recordings are named as SOURCES, which may be several" in done.stderr


def finished(folder):
    try:
        return open_session(folder).state == "finished"
    except SessionError:  # not there, or not yet
        return False


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", [(), ("--parts", "2")])
def test_ctrl_c_in_a_terminal_ends_the_workers_in_time_and_what_was_done_is_kept(tmp_path, options):
    pytest.importorskip("distributed")
    psutil = pytest.importorskip("psutil")

    def in_group(one, group):
        try:
            return os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    out, long = tmp_path / "shelf", "sim:spots?frames=2000000&shape=16x16&seed=3"
    words = ["reprocess", "moments", SHELF[0], long, "--out", str(out), "--workers", "2", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamfluo", *words], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    short = out / "sim_spots_frames=3_shape=16x16_seed=1"
    begun = out / "reprocess" / "sim_spots_frames=2000000_shape=16x16_seed=3.json"
    while not (begun.exists() and finished(short)) and process.poll() is None:
        time.sleep(0.2)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    began = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == 130
    assert re.search(r"stopped: 1 of 2 recordings done, 0 failed, 1 left", said), said
    assert "Traceback" not in said
    while left := [one.pid for one in psutil.process_iter() if in_group(one, process.pid)]:
        assert time.monotonic() - began < 30, left
        time.sleep(0.1)
    assert finished(short)


def test_of_a_sweep_sessions_are_counted_and_each_that_failed_is_named(tmp_path, monkeypatch):
    def broken(tasks, out, on):
        out.mkdir()
        for task in tasks:
            yield Outcome(*task.recording, "failed", why="broken")

    monkeypatch.setattr(reprocessing, "reprocess", broken)
    words = ["spots", SHELF[0], "--out", tmp_path / "shelf", "--sweep", "spots.false_alarms=1,2"]
    done = command("reprocess", *words, cwd=tmp_path)
    assert done.stderr.strip().endswith("reprocess: 2 sessions failed, named above")
    for value in (1, 2):
        assert re.search(rf"failed: \S+_spots\.false_alarms={value}: .*broken", done.stdout)
