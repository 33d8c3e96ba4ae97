"""Control of a daemon: what is asked of a source reaches its process, and holds up nobody."""

import os
import signal
import subprocess
import time

import pytest
from commands import command
from systems import needs_signals
from test_daemon import MOVIE, begin, daemon, end, frames, rig, sender, sources, until  # noqa: F401

from streamfluo import SourceError, open_session
from streamfluo.client import Control

pytestmark = needs_signals


def state(status, name="scope"):
    return sources(status)[name]["state"]


def told(folder, uid="one"):
    events = open_session(folder / "sessions" / "scope" / uid).events
    return {event["event"]: event for event in events}


def test_a_source_is_marked_paused_stopped_and_started_while_the_other_waits(rig):  # noqa: F811
    folder, status, ingest, _ = rig
    (folder / "moments.toml").write_text('[[step]]\nkind = "debleach"\n[[step]]\nkind = "moments"\n')
    with daemon(folder, status) as process, sender(ingest) as send:
        begin(send, "one")
        frames(send, "one", 0, 40)
        until(lambda: state(status) == "running")
        with Control(status, "scope") as scope, Control(status) as everyone:
            assert 0 < scope.mark("drug in").frame <= 40
            assert 0 < scope.set("debleach", "smooth_frames", 20).frame <= 40
            with pytest.raises(SourceError, match="it is at least 2"):
                scope.set("debleach", "smooth_frames", 1)
            with pytest.raises(SourceError, match="step 'moments': no decision 'reject'; it takes none"):
                scope.curate("moments", "reject", [3])
            assert "-mean.npz" in scope.snapshot("moments", "mean").said
            both = everyone.ask("mark", text="to all").sources
            assert both["scope"].ok
            assert "no series runs: waiting" in both["camera"].said
            scope.pause()
            until(lambda: state(status) == "paused")
            frames(send, "one", 40, 60)
            scope.resume()
            frames(send, "one", 60, 80)
            listed = everyone.sessions()
            one = str(folder / "sessions" / "scope" / "one")
            assert [(line["session"], line["state"], line["exported"]) for line in listed] == [(one, "running", False)]
            scope.stop()
            until(lambda: state(status) == "idle")
            assert open_session(folder / "sessions" / "scope" / "one").state == "aborted"
            assert scope.start().ok
            until(lambda: state(status) == "waiting")
            frames(send, "one", 80, 200)
            end(send, "one")
            until(lambda: open_session(folder / "sessions" / "scope" / "one").state == "finished")
            with pytest.raises(SourceError, match="which source"):
                everyone.set("moments", "x", 1)
            with pytest.raises(SourceError, match="which source"):
                everyone.curate("moments", "reject", [3])
            with Control(status, "skope") as other, pytest.raises(SourceError, match="'skope'; did you mean 'scope'"):
                other.pause()
            assert everyone.reload().ok
            text = (folder / "rig.toml").read_text()
            (folder / "rig.toml").write_text(text.replace("hung_s", "hangs_s"))
            with pytest.raises(SourceError, match="no parameter 'hangs_s'; did you mean 'hung_s'"):
                everyone.reload()
            (folder / "rig.toml").write_text(text)
    events = told(folder)
    assert events["mark"]["text"] == "to all"
    assert (events["set"]["param"], events["set"]["value"]) == ("smooth_frames", 20)
    session = open_session(folder / "sessions" / "scope" / "one")
    assert [gap.reason for gap in session.gaps if gap.first < 60] == ["paused"]
    assert session.lost < 100
    assert "Traceback" not in process.said


@pytest.mark.slow
def test_a_source_that_is_stopped_takes_no_series_also_when_its_process_is_started_anew(rig):  # noqa: F811
    folder, status, ingest, _ = rig
    with daemon(folder, status) as process, sender(ingest) as send:
        assert command("stop", status, "--source", "scope", cwd=folder).returncode == 0
        until(lambda: state(status) == "idle")
        station = int(subprocess.run(["pgrep", "-P", str(process.pid), "-f", "scope"], capture_output=True).stdout)
        os.kill(station, signal.SIGKILL)
        until(lambda: sources(status)["scope"]["starts"] == 2 and state(status) == "idle")
        assert command("control", status, "start", "--source", "scope", cwd=folder).returncode == 0
        begin(send, "one")
        frames(send, "one")
        end(send, "one")
        one = folder / "sessions" / "scope" / "one"
        until(lambda: (one / "session.json").exists() and open_session(one).frames == 200)
    assert "Traceback" not in process.said


def test_a_source_that_does_not_answer_is_said_and_the_daemon_goes_on(rig):  # noqa: F811
    folder, status, *_ = rig
    with daemon(folder, status) as process:
        station = int(subprocess.run(["pgrep", "-P", str(process.pid), "-f", "scope"], capture_output=True).stdout)
        os.kill(station, signal.SIGSTOP)
        began = time.monotonic()
        with Control(status, "scope") as scope, pytest.raises(SourceError, match="did not answer within 8 s"):
            scope.pause()
        assert 7 < time.monotonic() - began < 14
        assert state(status, "camera") == "waiting"
        os.kill(station, signal.SIGCONT)
