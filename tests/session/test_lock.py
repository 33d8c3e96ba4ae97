"""The lock says whether a run writes a session, and asking takes it from nobody."""

import os

import pytest
from filelock import FileLock

from streamfluo import SessionError
from streamfluo.session.lock import NAME, is_held, take


def test_a_lock_is_held_until_it_is_let_go(tmp_path):
    folder = tmp_path / "new" / "S"
    assert not is_held(folder)
    lock = take(folder)
    assert is_held(folder)
    with pytest.raises(SessionError, match="another program is writing into it"):
        take(folder)
    lock.release()
    assert not is_held(folder)
    take(folder).release()


def test_a_folder_without_lock_file_stays_without(tmp_path):
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def only_read(monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, os.strerror(13))

    return lambda: monkeypatch.setattr(FileLock, "acquire", refuse)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no shared locks of files that are opened for reading")
def test_who_may_only_read_learns_whether_a_run_goes_on(tmp_path, only_read):
    lock = take(tmp_path)
    only_read()
    assert is_held(tmp_path)
    lock.release()
    (tmp_path / NAME).touch()
    assert not is_held(tmp_path)


def test_what_cannot_be_asked_counts_as_held(tmp_path, only_read, monkeypatch):
    (tmp_path / NAME).touch()
    only_read()

    def refuse(*_):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(os, "open", refuse)
    assert is_held(tmp_path)
