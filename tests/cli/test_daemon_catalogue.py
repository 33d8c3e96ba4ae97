"""The daemon's sessions go into its catalogue once they are over, and no recording minds one that cannot be written."""

import subprocess
import time

import pytest
from test_daemon import begin, daemon, end, frames, needs_signals, rig, sender, sources, until, whole  # noqa: F401

from streamfluo.catalogue.find import Query, find


def record(rig, *uids):  # noqa: F811
    folder, status, ingest, _ = rig
    with daemon(folder, status) as process, sender(ingest) as send:
        for uid in uids:
            begin(send, uid, user={"mouse": uid.upper()})
            frames(send, uid)
            end(send, uid)
        until(lambda: sources(status)["scope"]["series"] == len(uids))
        until(lambda: sources(status)["scope"]["state"] == "waiting")
        until(lambda: not any(adding(folder) for _ in range(10)), 200)  # at the lowest priority, beside other tests
    assert process.returncode == 0
    for uid in uids:
        whole(folder / "sessions" / "scope" / uid)
    return process.said


def adding(folder):
    """Whether a process adds a session, looked at for a while: one begins where another has ended."""
    time.sleep(0.3)
    return subprocess.run(["pgrep", "-f", f"catalogue add.*{folder}"], capture_output=True, check=False).returncode == 0


def with_catalogue(folder, name):
    text = (folder / "rig.toml").read_text()
    (folder / "rig.toml").write_text(text.replace("hung_s = 20", f'hung_s = 20\ncatalogue = "{name}"'))


@needs_signals
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_session_that_is_over_is_added(rig):  # noqa: F811
    folder = rig[0]
    with_catalogue(folder, "catalogue.sqlite")
    said = record(rig, "one", "two")
    rows = find(folder / "sessions/catalogue.sqlite", Query(sort="name")).rows
    assert [(row.fields["name"], row.fields["state"], row.fields["frames"]) for row in rows] == [
        ("one", "finished", 200), ("two", "finished", 200),
    ]  # fmt: skip
    assert [row.words["user.mouse"] for row in rows] == ["ONE", "TWO"]
    assert "not catalogued" not in said


@needs_signals
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_catalogue_that_cannot_be_written_costs_one_line_and_no_frame(rig):  # noqa: F811
    folder = rig[0]
    with_catalogue(folder, "theirs.sqlite")
    (folder / "sessions").mkdir()
    (folder / "sessions/theirs.sqlite").write_bytes(b"what another program keeps here" * 9)
    said = record(rig, "one", "two")
    assert said.count("not catalogued: ") == 1
    assert "theirs.sqlite: not a catalogue of streamfluo; name another file" in said
    assert (folder / "sessions/theirs.sqlite").read_bytes().startswith(b"what another program")
