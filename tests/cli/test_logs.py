"""The log of a service: with session and series in each line, and never in the way of what it speaks of."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from systems import needs_signals

from streamfluo.cli.logs import MAX_WAITING, AsJson, AsText, ServiceLog
from streamfluo.engine import log_context

CALL = [sys.executable, "-m", "streamfluo"]


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def record(message, **more):
    made = logging.LogRecord("streamfluo", logging.WARNING, "x.py", 1, message, (), more.get("exc_info"))
    log_context.Context().filter(made)
    return made


@pytest.fixture
def noted():
    log_context.note(source="scope", session="S/one", series="abc")
    yield
    log_context.note(source="", session="", series="")


@pytest.mark.usefixtures("noted")
def test_each_line_says_of_which_source_session_and_series_it_speaks():
    line = json.loads(AsJson().format(record("disk \x1b[2J\nrefuses")))
    assert line.items() >= {
        "level": "warning", "message": "disk \x1b[2J\nrefuses", "source": "scope", "session": "S/one", "series": "abc",
    }.items()  # fmt: skip
    text = AsText().format(record("disk\nrefuses"))
    assert text == r"streamfluo: [source scope session S/one series abc] disk\nrefuses"
    try:
        raise ValueError("x")
    except ValueError:
        assert "ValueError: x" in json.loads(AsJson().format(record("y", exc_info=sys.exc_info())))["traceback"]


def test_a_log_that_nobody_reads_holds_nobody_up(pipe):
    log = ServiceLog(pipe[1])
    began = time.monotonic()
    for n in range(5 * MAX_WAITING):
        log.emit(record(f"{n} " + "x" * 100))
    log.leave()
    assert time.monotonic() - began < 10
    assert log.dropped > 0
    assert os.read(pipe[0], 1 << 16).startswith(b"0 xxx")


@needs_signals
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("kind", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_a_full_log_disk_ends_nothing(tmp_path, kind):
    (tmp_path / "rig.toml").write_text(
        '[daemon]\nfolder = "s"\nstatus = "tcp://127.0.0.1:0"\n[[source]]\nname = "scope"\nuri = "nothing.tif"\n'
    )
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen([*CALL, "daemon", "rig.toml", "--log", kind], cwd=tmp_path, stdout=full, stderr=full)
        try:
            until = time.monotonic() + 60
            while not subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True).stdout:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            time.sleep(3)
            assert process.poll() is None
        finally:
            process.terminate()
        assert process.wait(60) == 0


@needs_signals
def test_the_daemon_and_its_processes_log_lines_of_json(tmp_path):
    (tmp_path / "rig.toml").write_text(
        '[daemon]\nfolder = "s"\nlog = "json"\nstatus = "tcp://127.0.0.1:0"\n'
        '[[source]]\nname = "scope"\nuri = "nothing.tif"\n'
    )
    process = subprocess.Popen(
        [*CALL, "daemon", "rig.toml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        line = json.loads(process.stderr.readline())
        assert line["source"] == "scope"
        assert "no such file" in line["message"]
    finally:
        process.terminate()
        process.communicate()
