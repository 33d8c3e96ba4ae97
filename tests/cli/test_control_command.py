"""`streamfluo control` and `streamfluo stop` as a person uses them, on a run in a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import command
from test_cli_network import folder  # noqa: F401

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.network.client import ask

ROOT = Path(__file__).parents[2]
CONFIG = '[publish]\nuri = "tcp://127.0.0.1:0"\n[[step]]\nkind = "debleach"\n[[step]]\nkind = "moments"\n'


@pytest.fixture
def run(folder, started):  # noqa: F811
    """A run that waits for frames that come at 50 a second, and its endpoint."""
    (folder / "run.toml").write_text(CONFIG)
    _, served = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", "50", "--loop")
    return started("run", "run.toml", "--source", served, "--out", "S")


def test_a_run_is_marked_set_looked_at_and_stopped(folder, run):  # noqa: F811
    process, uri = run
    for words, said in (
        (["mark", "drug", "in"], "mark at frame "),
        (["set", "debleach.smooth_frames=20"], "set at frame "),
        (["snapshot", "moments.mean"], "-mean.npz"),
        (["pause"], "pause at frame "),
        (["resume"], "resume at frame "),
        (["sessions"], "running"),
    ):
        done = command("control", uri, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    told = json.loads(command("control", uri, "mark", "out", "--json", cwd=folder).stdout)
    assert told["ok"]
    assert command("stop", uri, cwd=folder).stdout.startswith("stop at frame ")
    out, _ = process.communicate(timeout=60)
    assert "aborted: " in out
    session = open_session(folder / "S")
    assert session.damaged == ()
    assert [e["text"] for e in session.events if e["event"] == "mark"] == ["drug in", "out"]
    again = ["run", "S/config.toml", "--source", "S", "--out"]
    assert command(*again, "T", "--publish", "tcp://127.0.0.1:0", cwd=folder).returncode == 0
    same, other = (open_session(folder / name).snapshot("debleach")["baseline"] for name in "ST")
    np.testing.assert_array_equal(same, other)
    assert command(*again, "U", "--changes-of", "none", cwd=folder).returncode == 0
    assert not [e for e in open_session(folder / "U").events if e["event"] == "set"]
    assert command(*again, "V", "--changes-of", "S", cwd=folder).returncode == 0
    assert [e["frame"] for e in open_session(folder / "V").events if e["event"] == "set"]


MISTAKES = [
    (["jump"], "no verb 'jump'; there is 'curate', 'mark'"),
    (["set", "debleach"], "write set STEP.PARAM=VALUE"),
    (["set", "debleach.smooth_frames=1"], "smooth_frames: expected a whole number >= 2, found 1; it is at least 2"),
    (["set", "moments.pivot=1"], "step 'moments': no parameter 'pivot'"),
    (["mark"], "text: expected a text of length >= 1"),
    (["snapshot"], "write snapshot STEP[.NAME]"),
    (["pause", "now"], "write pause alone; found 'now'"),
    (["curate", "moments", "reject", "12"], "step 'moments': no decision 'reject'; it takes none"),
    (["curate", "moments"], "write curate STEP VERB [ID …]"),
    (["mark", "x", "--note", "why"], "--note and --by are for curate, not for mark"),
    (["pause", "--source", "scope"], "this is one run; sources are a daemon's"),
]


def test_what_cannot_be_asked_is_one_line(folder, run):  # noqa: F811
    for words, reason in MISTAKES:
        done = command("control", run[1], *words, cwd=folder)
        assert done.returncode == 1
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_replay_takes_no_control(folder, started):  # noqa: F811
    _, served = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", "50", "--loop")
    assert "takes no control; it is for run, record and daemon" in command("stop", served, cwd=folder).stderr


def node():
    """Whether node is there, with its ZeroMQ; NODE_PATH says where."""
    asked = ["node", "-e", "require('zeromq')"]
    return shutil.which("node") is not None and subprocess.run(asked, capture_output=True).returncode == 0


@pytest.mark.skipif(not node(), reason="needs node and its zeromq (npm i zeromq, NODE_PATH)")
def test_the_page_s_program_in_another_language_steers_a_run(folder, run):  # noqa: F811
    sys.path.insert(0, str(ROOT / "tests" / "docs"))
    from pages import blocks

    [program] = [b.text for b in blocks(ROOT / "docs" / "how-to" / "control.md") if b.title == "mark.js"]
    endpoint = ask(run[1], wire.Hello()).endpoints["control"]
    (folder / "mark.js").write_text(program.replace("tcp://127.0.0.1:5561", endpoint))
    done = subprocess.run(["node", "mark.js"], cwd=folder, capture_output=True, text=True, timeout=30)
    assert "ok: true" in done.stdout, done.stderr
    command("stop", run[1], cwd=folder)
    run[0].communicate(timeout=60)
    events = [e["event"] for e in open_session(folder / "S").events]
    assert {"mark", "set"} <= set(events)
