"""record, status and protocol as a person uses them: in processes of their own."""

import json
import os
import threading
import time

import numpy as np
import pytest
import tifffile
from commands import command
from processes import called

import streamfluo
from streamfluo.core import wire
from streamfluo.network import client
from streamfluo.network.client import ResultsSubscriber, ask


@pytest.fixture
def folder(tmp_path):
    movie = np.random.default_rng(0).integers(0, 4096, (300, 24, 31), np.uint16)
    tifffile.imwrite(tmp_path / "recording.tif", movie, photometric="minisblack")
    (tmp_path / "moments.toml").write_text('[[step]]\nkind = "moments"\n')
    return tmp_path


def test_a_recorder_stops_after_so_many_frames_and_goes_on_with_more(folder, started):
    _, endpoint = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--max")
    done = called("record", endpoint, "--out", "S", "--frames", 70, cwd=folder)
    assert "finished: 70 of 300 frames, 0 lost" in done.stdout
    assert streamfluo.open_session(folder / "S").frames == 70
    done = called("record", endpoint, "--out", "S", "--frames", 150, cwd=folder)
    assert "finished: 150 of 300 frames, 0 lost" in done.stdout
    done = called("record", endpoint, "--out", "S", cwd=folder)
    assert "finished: 300 of 300 frames, 0 lost" in done.stdout
    movie = tifffile.imread(folder / "recording.tif")
    assert np.array_equal(streamfluo.open_session(folder / "S").read_frames(0, 300), movie)


def test_a_recorder_stops_after_so_many_seconds(folder, started):
    _, endpoint = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 50, "--loop", "--wait")
    done = called("record", endpoint, "--out", "S", "--duration", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "finished:" in done.stdout
    assert 40 <= streamfluo.open_session(folder / "S").frames <= 70


def test_a_recorder_of_a_duration_begins_now(folder, started):
    _, endpoint = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 100, "--loop")
    time.sleep(1)
    done = called("record", endpoint, "--out", "S", "--duration", 0.5, cwd=folder)
    assert "0 lost" in done.stdout, done.stderr
    session = streamfluo.open_session(folder / "S")
    first = next(iter(session.blocks())).index
    assert first >= 90
    more = session.frames + 50
    done = called("record", endpoint, "--out", "S", "--frames", more, cwd=folder)  # goes on where it stood
    assert f"finished: {more} of … frames, 0 lost" in done.stdout, done.stderr
    movie = tifffile.imread(folder / "recording.tif")
    whole = streamfluo.open_session(folder / "S").read_frames(first, first + more)
    assert np.array_equal(whole, movie[np.arange(first, first + more) % len(movie)])


def test_a_recorder_takes_a_file_as_well(folder):
    done = called("record", "recording.tif", "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert streamfluo.open_session(folder / "S").has_journal


def test_status_and_hello_of_a_replay_and_a_run_that_publishes(folder, started):
    _, camera = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 100, "--loop", "--wait")
    words = ["run", "moments.toml", "--source", camera, "--out", "S", "--publish", "tcp://127.0.0.1:0"]
    run, results = started(*words)
    time.sleep(0.5)
    shown = command("status", results, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    for words in ("run at tcp", "running", "recording.tif", "steps_ms moments", "lost", "edges journal"):
        assert words in shown.stdout
    assert "replay at tcp" in command("status", camera, cwd=folder).stdout
    told = [json.loads(line) for line in command("status", camera, "--json", cwd=folder).stdout.splitlines()]
    assert [(line["uri"], line["program"], line["series"]["shape"]) for line in told] == [(camera, "replay", [24, 31])]
    with ResultsSubscriber(ask(results, wire.Hello()).endpoints["results"], ["snapshot/moments/mean/"]) as viewer:
        _, message, arrays = viewer.receive(5)
        assert message.arrays[0].unit == "ADU"
        assert arrays["mean"].shape == (24, 31)
    checked = command("protocol", "check", results, cwd=folder)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("ok ") == 9
    run.terminate()
    told, _ = run.communicate(timeout=20)
    assert "aborted:" in told


def test_the_protocol_can_be_read(folder):
    assert command("protocol", "show", cwd=folder).stdout.strip() == wire.__doc__.strip()


MISTAKES = [
    (["record", "nothing.tif"], "nothing.tif: no such file; check the name"),
    (["record", "recording.tif", "--publish", "tcp://0.0.0.0:5000"], "refused to bind beyond this machine"),
    (["record", "recording.tif", "--publish", "here"], "'here': not an endpoint"),
    (["record", "recording.tif", "--publish", "tcp://127.0.0.1:99999"], "there is no port 99999; ports are 1 to 65535"),
    (["record", "recording.tif", "--when-full", "panic"], "when_full: Invalid enum value 'panic'"),
    (["status", "tcp://127.0.0.1:5000?form=live"], "says ?key=, &from=, &codec=, &memory= and &ssh=, not 'form'"),
    (["record", "tcp://127.0.0.1:5000?from=now"], "from is one of oldest, live, found 'now'"),
    (["status", "tcp//x"], "not an endpoint; write tcp://127.0.0.1:5555"),
    (["camera", "recording.tif"], "recording.tif: a recording, not a camera; serve it with streamfluo replay"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda w: " ".join(w) if isinstance(w, list) else "")
def test_a_mistake_is_one_line(folder, words, message):
    done = command(*words, cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_of_several_programs_one_that_does_not_answer_is_said(folder, started, monkeypatch):
    monkeypatch.setattr(client.ask, "__defaults__", (0.5,))
    _, camera = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 100, "--loop", "--wait")
    done = command("status", camera, "tcp://127.0.0.1:9", cwd=folder)
    assert done.returncode == 1
    assert "replay at tcp" in done.stdout
    assert "tcp://127.0.0.1:9: nobody answers here" in done.stdout


def test_a_source_that_is_not_there_yet_is_waited_for(folder):
    whole, late = folder / "recording.tif", folder / "late.tif"
    threading.Timer(1.0, lambda: os.link(whole, late)).start()
    done = command("record", "late.tif", "--out", "S", "--wait", 30, cwd=folder)
    assert done.returncode == 0
    assert streamfluo.open_session(folder / "S").frames > 0
    done = command("record", "never.tif", "--out", "N", "--wait", 0.6, cwd=folder)
    assert "never.tif: no such file" in done.stderr
