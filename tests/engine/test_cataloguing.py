"""A session that is over is added by a process of its own; what fails there is one line and nothing else."""

import logging

import pytest
from commands import command

from streamfluo.catalogue.find import Query, find
from streamfluo.engine import cataloguing
from streamfluo.engine.cataloguing import Cataloguing


@pytest.fixture
def session(tmp_path):
    done = command("run", "moments", "--source", "sim:gain?frames=8&shape=24x32", "--out", "S", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "S"


def test_a_session_is_added(session, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(cataloguing, "LEAVE_S", 100.0)  # at the lowest priority, beside other tests
    adding = Cataloguing()
    adding.add(session, tmp_path / "c.sqlite")
    adding.close()
    assert [row.fields["path"] for row in find(tmp_path / "c.sqlite", Query()).rows] == [str(session.resolve())]
    assert caplog.records == []


def test_a_catalogue_that_cannot_be_written_is_one_line(tmp_path, caplog, monkeypatch):
    why = iter(["c.sqlite: the disk is full", "c.sqlite: the disk is full", "", "c.sqlite: the disk is full"])
    monkeypatch.setattr(cataloguing, "_added", lambda session, file: next(why))
    adding = Cataloguing()
    with caplog.at_level(logging.WARNING, "streamfluo"):
        for n in range(4):
            adding.add(tmp_path / str(n), tmp_path / "c.sqlite")
        adding.close()
    assert [record.getMessage() for record in caplog.records] == ["not catalogued: c.sqlite: the disk is full"] * 2


def test_what_the_process_said_is_the_reason(session, tmp_path):
    (tmp_path / "theirs").write_text("somebody's file, which is no catalogue at all" * 9)
    assert "theirs: not a catalogue of streamfluo" in cataloguing._added(session, tmp_path / "theirs")


def test_a_reason_in_letters_of_no_alphabet_is_one(tmp_path, monkeypatch):
    says = tmp_path / "says"
    says.write_bytes(b"#!/bin/sh\nprintf 'streamfluo: \\377: gone\\n' >&2\nexit 1\n")
    says.chmod(0o700)
    monkeypatch.setattr(cataloguing.sys, "executable", str(says))
    assert cataloguing._added(tmp_path / "S", tmp_path / "c.sqlite") == "\ufffd: gone"


def test_a_process_that_hangs_is_given_up(session, tmp_path, monkeypatch):
    monkeypatch.setattr(cataloguing, "PATIENCE_S", 0.01)
    assert "timed out" in cataloguing._added(session, tmp_path / "c.sqlite")


def test_those_beyond_the_queue_are_left_to_a_scan(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(cataloguing, "MOST", 0)
    adding = Cataloguing()
    adding._waiting.maxsize = 1
    adding._thread = object()  # nobody works
    with caplog.at_level(logging.WARNING, "streamfluo"):
        for n in range(3):
            adding.add(tmp_path / str(n), tmp_path / "c.sqlite")
    assert len(caplog.records) == 1
    assert f"streamfluo catalogue {tmp_path}" in caplog.text
