"""Programs on another computer, reached by ssh alone: every socket goes through one tunnel, which is held up."""

import stat
import sys
import time
from pathlib import Path

import pytest
from toy_server import Movie, frames, same, serving

from streamfluo import SourceError, open_source
from streamfluo.core import wire
from streamfluo.network import tunnel
from streamfluo.network.client import ask
from streamfluo.network.socket import beside, parse_endpoint
from streamfluo.network.watching import Watch

PATIENCE_S = 10.0


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """What the tunnels of this test carried: `HOST PORT` for each connection."""
    ssh, log = tmp_path / "ssh", tmp_path / "log"
    ssh.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_ssh.py")} "$@"\n')
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    log.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_SSH_LOG", str(log))
    monkeypatch.setattr(tunnel, "_tunnels", {})
    yield lambda: log.read_text().split("\n")[:-1]
    for one in tunnel._tunnels.values():
        one.close()


def port(uri):
    return uri.rpartition(":")[2].partition("?")[0]


def test_frames_results_and_previews_go_through_one_tunnel(carried):
    with serving(Movie(20), wait=True) as served:
        source = open_source(f"{served.uri}?ssh=anna@rig")
        assert same(frames(source.blocks()), stop=20)
        source.close()
    with serving(Movie(20), wait=True) as served, Watch(f"{served.uri}?ssh=anna@rig") as watch:
        watch.want([], [("source", 1)])
        until, previews = time.monotonic() + PATIENCE_S, set()
        while not previews and time.monotonic() < until:
            list(watch.turn())
            previews = {preview.uri for preview in watch._previews.values()}
        while len(carried()) < 3 and time.monotonic() < until:
            time.sleep(0.02)
    assert {line.split()[0] for line in carried()} == {"anna@rig"}
    assert {port(served.uri), *map(port, previews)} <= {line.split()[1] for line in carried()}
    assert len(tunnel._tunnels) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process is ended by its name in /proc")
def test_a_tunnel_that_ends_is_begun_again(carried):
    with serving(Movie(20), wait=True) as served:
        uri = f"{served.uri}?ssh=rig"
        assert ask(uri, wire.Hello()).program == "replay"
        held = tunnel._tunnels["rig"]
        first = held._process.pid
        held._process.kill()
        assert ask(uri, wire.Hello()).program == "replay"
        assert held._process.pid != first


def test_why_there_is_no_tunnel_is_one_line(carried, monkeypatch, tmp_path):
    with pytest.raises(
        SourceError, match=r"\?ssh=nowhere: .*Could not resolve hostname nowhere.*; try: ssh nowhere true"
    ):
        ask("tcp://127.0.0.1:5555?ssh=nowhere", wire.Hello())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="no ssh here; install OpenSSH"):
        ask("tcp://127.0.0.1:5555?ssh=rig", wire.Hello())


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x", "rig;ls", "rig two", "x" * 300, "a\nb"])
def test_what_ssh_would_take_for_something_else_is_refused(host):
    with pytest.raises(SourceError, match="ssh"):
        parse_endpoint(f"tcp://127.0.0.1:5555?ssh={host}")


def test_who_binds_has_no_tunnel():
    with pytest.raises(SourceError, match="is for who connects"), serving(uri="tcp://127.0.0.1:0?ssh=rig"):
        pass


def test_what_a_server_tells_is_reached_through_the_same_tunnel():
    assert beside("tcp://127.0.0.1:5555?ssh=rig", "tcp://127.0.0.1:40000") == "tcp://127.0.0.1:40000?ssh=rig"
