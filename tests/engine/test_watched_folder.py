"""A folder that is watched: each recording in it is a series once it begins, taken once, over restarts too."""

import os
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import tifffile
from commands import command

from streamfluo import open_session
from streamfluo.core.errors import ConfigError, SourceError
from streamfluo.engine import station as stations
from streamfluo.engine import watched_folder
from streamfluo.engine.station import Station, Stop
from streamfluo.engine.watched_folder import NothingNewError, WatchedFolder
from streamfluo.sources import following

MOVIE = np.random.default_rng(4).integers(0, 4096, (30, 16, 20), np.uint16)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "QUIET_S", 0.8)
    monkeypatch.setattr(following, "GRACE_S", 0.2)
    monkeypatch.setattr(watched_folder, "AGAIN_S", (0.1, 0.4))
    monkeypatch.setattr(watched_folder, "YOUNG_S", 0.3)
    monkeypatch.setattr(stations, "PAUSES_S", (0.05, 0.2))
    monkeypatch.setattr(stations, "TELL_S", 0.1)


@pytest.fixture
def rig(tmp_path):
    (tmp_path / "in").mkdir()

    def rig(query=""):
        (tmp_path / "rig.toml").write_text(f"""
[daemon]
folder = "sessions"
name = "{{uid}}"
[[source]]
name = "scope"
uri = "watch:{tmp_path}/in{query}"
""")
        return tmp_path

    return rig


@contextmanager
def running(folder):
    one = Station(folder / "rig.toml", "scope", lambda said: None)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        with suppress(Stop):
            one.stop()
        thread.join(30)
        assert not thread.is_alive()


def sessions(folder):
    found = [open_session(path) for path in (folder / "sessions").glob("*") if (path / "session.json").exists()]
    return sorted((s for s in found if s.state == "finished"), key=lambda s: s.facts["started"])


def until(true, within_s=40):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)  # to open every session takes a core what it takes to write them


def write(path, first, stop):
    with tifffile.TiffWriter(path, append=path.exists()) as file:
        for frame in MOVIE[first:stop]:
            file.write(frame, contiguous=False)


def frames_of(session):
    return session.read_frames(0, 1 << 40)


def test_each_file_that_begins_becomes_a_series_and_what_was_there_is_left_alone(rig):
    folder = rig("?pattern=*.tif")
    write(folder / "in" / "old.tif", 0, 5)
    with running(folder) as one:
        until(lambda: one.status()["why"].endswith("no new *.tif"))
        (folder / "in" / "notes.txt").write_text("x")
        for name, first in (("a.tif", 0), ("b.tif", 10)):
            write(folder / "in" / name, first, first + 4)
            time.sleep(0.3)
            write(folder / "in" / name, first + 4, first + 9)
        until(lambda: len(sessions(folder)) == 2)
        np.save(folder / "in" / "c.npy", MOVIE[20:])
        time.sleep(1.5)
    a, b = sessions(folder)
    np.testing.assert_array_equal(frames_of(a), MOVIE[0:9])
    np.testing.assert_array_equal(frames_of(b), MOVIE[10:19])


def test_what_was_there_is_taken_where_that_is_asked_for_also_what_cannot_be_followed(rig):
    folder = rig("?before=take")
    write(folder / "in" / "old.tif", 0, 5)
    np.save(folder / "in" / "c.npy", MOVIE[20:])
    with running(folder):
        until(lambda: len(sessions(folder)) == 2)
    assert sorted(s.frames for s in sessions(folder)) == [5, 10]


def test_a_folder_is_a_series_too(rig):
    folder = rig("?pattern=run*")
    with running(folder):
        time.sleep(0.3)
        (folder / "in" / "run1").mkdir()
        for n in range(6):
            write(folder / "in" / "run1" / f"image_{n:04d}.tif", n, n + 1)
            time.sleep(0.05)
        until(lambda: len(sessions(folder)) == 1)
    np.testing.assert_array_equal(frames_of(*sessions(folder)), MOVIE[:6])


def test_what_was_taken_is_remembered_and_what_was_interrupted_goes_on(rig):
    folder = rig("?pattern=*.tif")
    with running(folder) as one:
        until(lambda: one.status()["why"])
        write(folder / "in" / "a.tif", 0, 5)
        until(lambda: len(sessions(folder)) == 1)
        write(folder / "in" / "b.tif", 10, 15)
        until(lambda: one.status()["series"] == 2)
    write(folder / "in" / "b.tif", 15, 20)
    write(folder / "in" / "c.tif", 20, 26)
    with running(folder) as one:
        until(lambda: len(sessions(folder)) == 3)
        assert one.status()["series"] == 2
    found = {s.frames: frames_of(s) for s in sessions(folder)}
    np.testing.assert_array_equal(found[5], MOVIE[:5])
    np.testing.assert_array_equal(found[10], MOVIE[10:20])
    np.testing.assert_array_equal(found[6], MOVIE[20:26])


def test_a_file_that_grows_after_it_was_over_goes_on_in_its_session(rig):
    folder = rig("?pattern=*.tif")
    with running(folder) as one:
        until(lambda: one.status()["why"])
        write(folder / "in" / "a.tif", 0, 5)
        until(lambda: len(sessions(folder)) == 1)
        time.sleep(0.5)
        write(folder / "in" / "a.tif", 5, 12)
        until(lambda: [s.frames for s in sessions(folder)] == [12])
    np.testing.assert_array_equal(frames_of(*sessions(folder)), MOVIE[:12])


def test_a_file_that_is_damaged_holds_up_no_other(rig):
    folder = rig("?pattern=*.tif")
    with running(folder) as one:
        until(lambda: one.status()["why"])
        (folder / "in" / "a.tif").write_bytes(b"II*\0 nothing of the kind")
        time.sleep(0.1)
        write(folder / "in" / "b.tif", 0, 5)
        until(lambda: [s.frames for s in sessions(folder)] == [5])
    np.testing.assert_array_equal(frames_of(*sessions(folder)), MOVIE[:5])


def test_links_are_not_followed_and_a_folder_of_too_many_is_refused(rig, tmp_path, monkeypatch):
    folder = rig()
    write(tmp_path / "elsewhere.tif", 0, 5)
    watched = WatchedFolder(f"watch:{folder}/in?before=take", tmp_path / "memory.json")
    os.symlink(tmp_path / "elsewhere.tif", folder / "in" / "link.tif")
    with pytest.raises(NothingNewError):
        watched.next()
    monkeypatch.setattr(watched_folder, "MAX_ENTRIES", 3)
    for n in range(4):
        (folder / "in" / f"{n}.tif").write_bytes(b"")
    with pytest.raises(SourceError, match="4 files and folders; 3 is the most"):
        watched.next()
    with pytest.raises(SourceError, match="cannot be watched: No such file"):
        WatchedFolder(f"watch:{folder}/nowhere", tmp_path / "m").next()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?pattern=a/b", "one of plain names, without /"),
        ("?before=now", "before=leave or before=take, found 'now'"),
        ("?follow=1", "take follow= out"),
    ],
)
def test_a_uri_that_is_wrong_is_refused_in_one_line(rig, query, message):
    folder = rig(query)
    done = command("daemon", "check", "rig.toml", cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(ConfigError):
        WatchedFolder("watch:", folder / "m")
