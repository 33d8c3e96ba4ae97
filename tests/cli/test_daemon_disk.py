"""The daemon and its disks: exports on the way, retention."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from commands import command
from processes import called
from systems import needs_signals

from streamfluo import open_session, open_source
from streamfluo.core import wire
from streamfluo.core.errors import SourceError
from streamfluo.network.client import ask
from streamfluo.session.exported import note_of

CALL = [sys.executable, "-m", "streamfluo"]
MOVIE = "sim:calcium?shape=24x32&frames=50&seed={seed}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def rig(tmp_path):
    status, served = free_port(), free_port()
    (tmp_path / "rig.toml").write_text(f"""
[daemon]
folder = "sessions"
name = "{{source}}/{{uid}}"
status = "tcp://127.0.0.1:{status}"
[[source]]
name = "scope"
uri = "tcp://127.0.0.1:{served}"
[export]
folder = "exported"
format = "tiff"
""")
    return tmp_path, f"tcp://127.0.0.1:{status}", f"tcp://127.0.0.1:{served}"


@contextmanager
def daemon(folder, *words, **options):
    with subprocess.Popen([*CALL, "daemon", "rig.toml", *words], cwd=folder, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def told(status):
    try:
        return ask(status, wire.Status()).counters
    except SourceError:
        return {}


def until(true, within_s=60):
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def replay(served, seed):
    done = called("replay", MOVIE.format(seed=seed), "--bind", served, cwd=".", timeout=90)
    assert done.returncode == 0, done.stderr


@needs_signals
def test_sessions_are_exported_while_the_daemon_goes_on_and_then_deleted(rig):
    folder, status, served = rig
    with daemon(folder):
        until(lambda: told(status).get("housekeeping"))
        replay(served, 1)
        (session,) = until(lambda: list((folder / "sessions" / "scope").glob("*")))
        note = until(lambda: note_of(session))
        housekeeper = int(subprocess.run(["pgrep", "-f", f"housekeeping {folder}"], capture_output=True).stdout)
        assert os.getpriority(os.PRIO_PROCESS, housekeeper) == 19
        with open_source(MOVIE.format(seed=1)) as source, open_source(f"{note.place}/frames.ome.tif") as exported:
            for expected, found in zip(source.blocks(), exported.blocks(), strict=True):
                np.testing.assert_array_equal(expected.pixels, found.pixels)
        os.kill(housekeeper, signal.SIGKILL)
        text = (folder / "rig.toml").read_text()
        (folder / "rig.toml").write_text(f"{text}\n[retention]\nquota_bytes = 1\n")
        replay(served, 2)
        until(lambda: not [path for path in session.parent.glob("*") if not path.name.startswith(".")])
        until(lambda: told(status)["housekeeping"]["deleted"] == 2)
        assert told(status)["sources"]["scope"]["starts"] == 1
    assert len(list((folder / "exported" / "scope").glob("*/frames.ome.tif"))) == 2
    assert open_session(f"{note.place}/session").state == "finished"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[exprot]", "no table [exprot]; did you mean 'export'?"),
        ('[export]\nfolder = "e"\nformat = "avi"', "[export]: format"),
        ('[export]\nfolder = "e"\nformat = "nwb"\nmetadata = "m.toml"', "cannot read the metadata"),
        ('[export]\nfolder = "e"\nformat = "tiff"\nmetadata = "m.toml"', "metadata are what an NWB says"),
        ('[export]\nfolder = "sessions/exported"', "lie in one another; keep them apart"),
        ('[export]\nfolder = "."', "lie in one another; keep them apart"),
        ('[disk]\noverflow = "sessions/more"', "lie in one another; keep them apart"),
        ('[disk]\nwhen_full = "panic"', "[disk]: when_full"),
        ("[disk]\nblocked_s = 0", "[disk]: blocked_s"),
        ("[disk]\noverflow_left = 3", "no parameter 'overflow_left'; did you mean 'overflow_left_"),
        ("[export]", "[export]: parameter 'folder' is missing"),
        ("[[export]]", "export is a table [export]"),
        ("[retention]\nkeep_days = 7", "deletes what is exported and verified; say where in [export]"),
        ('[export]\nfolder = "e"\n[retention]', "give keep_days, quota_bytes or both"),
        ('[export]\nfolder = "e"\n[retention]\nkeep_days = -1', "[retention]: keep_days"),
        ('[export]\nfolder = "e"\n[retention]\nquota_bytes = "1 TB"', "[retention]: quota_bytes"),
    ],
)
def test_disks_that_are_wrong_are_refused_in_one_line(tmp_path, text, message):
    daemon = '[daemon]\nfolder = "sessions"\n[[source]]\nname = "scope"\nuri = "tcp://127.0.0.1:5555"\n'
    (tmp_path / "rig.toml").write_text(daemon + text)
    done = command("daemon", "check", "rig.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_config_says_what_becomes_of_sessions(tmp_path):
    (tmp_path / "rig.toml").write_text(
        '[daemon]\nfolder = "sessions"\ncatalogue = "all.sqlite"\n'
        '[[source]]\nname = "scope"\nuri = "tcp://127.0.0.1:5555"\n'
        '[disk]\noverflow = "more"\n[export]\nfolder = "e"\n[retention]\nkeep_days = 7\nquota_bytes = 5_000_000_000\n'
    )
    said = command("daemon", "check", "rig.toml", cwd=tmp_path).stdout
    assert "each of them goes into the catalogue sessions/all.sqlite once it is over" in said
    assert "series that begin on a nearly full disk go into more, which is not there" in said
    assert "sessions that are over are exported into e as ome-zarr" in said
    assert "exported and verified they are deleted after 7 days, and the oldest while all take more than 5 GB" in said
