"""`streamfluo web` as a person uses it: a process of its own beside a replay, and what it says where it cannot be."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from processes import Process, called

from streamfluo.cli import web as command
from streamfluo.core import wire
from streamfluo.core.errors import ConfigError
from streamfluo.network.client import ask

NO_QT = """
import sys
for library in ("PySide6", "pyqtgraph"):
    sys.modules[library] = None  # whoever imports it fails
import streamfluo.web.server, streamfluo.cli.web
assert "numba" not in sys.modules
"""


def started(*words, cwd):
    """Start a command; returns it with the address that it says it serves at."""
    process = Process(*words, cwd=cwd)
    while "://" not in (line := process.stdout.readline().rsplit(" ", 1)[-1]):
        assert line, process.stderr.read()
    return process, line.strip()


@pytest.fixture
def replay(tmp_path):
    movie = (500 + 10 * np.arange(96 * 64).reshape(96, 64) % 3000 + np.zeros((40, 1, 1))).astype(np.uint16)
    tifffile.imwrite(tmp_path / "recording.tif", movie, photometric="minisblack")
    process, endpoint = started(
        "replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 50, "--loop", cwd=tmp_path
    )
    yield endpoint
    process.kill()
    process.communicate()


def test_a_replay_is_seen_in_a_browser_and_notices_nothing(replay, tmp_path):
    pytest.importorskip("websockets")
    from websockets.sync.client import connect

    page, url = started("web", replay, "--bind", "127.0.0.1:0", "--token-file", "token", cwd=tmp_path)
    assert url.endswith(f"/?token={(tmp_path / 'token').read_text().strip()}")
    place = url.partition("/?")[0].removeprefix("http://")
    deadline = time.monotonic() + 20
    with connect(url.replace("http", "ws", 1).replace("/?", "/ws?"), origin=f"http://{place}") as socket:
        kinds = []
        while "picture" not in kinds and time.monotonic() < deadline:
            message = socket.recv(timeout=10)
            header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
            kinds.append(header["kind"])
            if header["kind"] == "turn":
                socket.send(json.dumps({"seen": header["number"]}))
    assert (header["kind"], header["shape"]) == ("picture", [96, 64])
    assert ask(replay, wire.Status()).counters.get("lost", 0) == 0
    page.terminate()
    _, err = page.communicate(20)
    assert (page.returncode, err) == (0, "")


def test_an_endpoint_that_is_none_is_one_line(tmp_path):
    pytest.importorskip("websockets")
    for words, said in (
        (["tcp:/nowhere"], "not an endpoint"),
        (["tcp://127.0.0.1:9", "--bind", "everywhere"], "--bind is HOST:PORT"),
    ):
        done = called("web", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert said in done.stderr


@pytest.mark.parametrize(("library", "package"), [("websockets", "websockets"), ("PIL", "pillow")])
def test_a_library_that_is_missing_is_named_with_what_brings_it(monkeypatch, library, package):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == library else object())
    with pytest.raises(ConfigError, match=rf'need {package}, which is missing; pip install "streamfluo\[web\]"'):
        command.web("tcp://127.0.0.1:9")


def test_pages_need_no_qt():
    pytest.importorskip("websockets")
    done = subprocess.run([sys.executable, "-c", NO_QT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
