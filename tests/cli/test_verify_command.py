"""`streamfluo verify`: a line a session, JSON, and exit codes that tell what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from streamfluo import open_session
from streamfluo.cli.cli import app
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session
from streamfluo.sources.opening import open_source

CONFIG = '[record]\nraw = true\n[[step]]\nkind = "moments"\n'


@pytest.fixture
def shelf(tmp_path):
    with open_source("sim:spots?frames=20&seed=1&shape=24x24") as source:
        engine = Engine(source, parse_config(CONFIG), tmp_path / "shelf" / "good")
        engine.start()
        engine.wait()
    shutil.copytree(tmp_path / "shelf" / "good", tmp_path / "shelf" / "bad")
    path = tmp_path / "shelf" / "bad" / "values" / "moments.sfv"
    held = bytearray(path.read_bytes())
    held[200] ^= 1
    path.write_bytes(held)
    return tmp_path / "shelf"


def verify(*words):
    return CliRunner().invoke(app, ["verify", *map(str, words)])


def test_each_session_has_a_line_and_the_worst_decides_about_the_exit_code(shelf):
    good, all_of_them = verify(shelf / "good"), verify(shelf)
    assert good.exit_code == 0
    assert good.output.startswith(f"{shelf / 'good'}: verified: ")
    assert all_of_them.exit_code == 1
    lines = all_of_them.output.splitlines()
    assert next(line for line in lines if line.startswith(str(shelf))).startswith(f"{shelf / 'bad'}: damaged: ")
    assert any("damaged: values/moments.sfv" in line for line in lines)


def test_json_is_an_object_a_line(shelf):
    result = verify(shelf / "*", "--json", "--no-recompute")
    told = [json.loads(line) for line in result.output.splitlines()]
    assert [one["verdict"] for one in told] == ["damaged", "verified"]
    assert told[0]["findings"][0]["kind"] == "damaged"
    assert told[1]["code"] == 0


def test_a_copy_that_differs_has_a_code_of_its_own(shelf, tmp_path):
    export_session(open_session(shelf / "good"), "csv", tmp_path / "c")
    assert verify(shelf / "good", "--against", tmp_path / "c").exit_code == 0
    next((tmp_path / "c").glob("*.csv")).write_text("nothing\n")
    assert verify(shelf / "good", "--against", tmp_path / "c").exit_code == 6


def test_what_is_no_session_is_refused(tmp_path):
    assert "no such session" in str(verify(tmp_path / "nowhere").exception)
    (tmp_path / "empty").mkdir()
    assert "no session, and none in it" in str(verify(tmp_path / "empty").exception)


@pytest.mark.slow
def test_a_run_that_was_killed_is_incomplete_and_one_that_goes_on_is_said(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamfluo", "run", "c.toml", "--source", "sim:spots?shape=64x64", "--out", "s"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal, deadline = tmp_path / "s" / "journal" / "000000.sfj", time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size > 1 << 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    during = verify(tmp_path / "s")
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    after = verify(tmp_path / "s")
    assert (during.exit_code, after.exit_code) == (3, 3), (during.output, after.output)
    assert "its run goes on" in during.output
    assert "interrupted" in after.output
    assert "damaged" not in after.output


def test_a_pattern_passes_over_folders_in_which_there_is_no_session(shelf):
    (shelf / "catalogue-page").mkdir()
    done = verify(shelf / "*", "--no-recompute")
    assert done.exit_code == 1
    assert "good: verified" in done.stdout
    assert "bad: damaged" in done.stdout
    refused = verify(shelf / "cata*")
    assert "fits 1 folder, and no session is in them" in str(refused.exception)


@pytest.mark.parametrize(("name", "said"), [("", "a name of no letters"), ("good/session.json", "a file; name")])
def test_what_is_no_folder_is_said_to_be_none(shelf, name, said):
    assert said in str(verify(f"{shelf}/{name}" if name else "").exception)
