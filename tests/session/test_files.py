"""Files of a session: never half of one, and a full disk costs no line."""

import json
import os

import numpy as np
import pytest

from streamfluo.session import files
from streamfluo.session.files import LineFile, save_arrays, save_json


class FullDisk:
    """An open file that takes some bytes of a write and then has no room."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        taken = min(len(data), self.room)
        self.room -= taken
        self.file.write(data[:taken])
        if not taken:
            raise OSError(28, "No space left on device")
        return taken

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 3, 11, 12, 15])
def test_lines_a_full_disk_refuses_wait_and_come_whole_and_in_order(tmp_path, room):
    lines = LineFile(tmp_path / "events.jsonl")
    real = lines._file
    lines._file = FullDisk(real, room)
    for n in range(4):
        lines.append(f"line number {n}"[:11])
    kept = (tmp_path / "events.jsonl").read_text()
    assert kept == "" or kept.endswith("\n")
    lines._file = real
    lines.append("the last one")
    lines.close()
    assert (tmp_path / "events.jsonl").read_text().splitlines() == ["line number"] * 4 + ["the last one"]


def test_a_line_torn_by_a_crash_is_cut_off(tmp_path):
    (tmp_path / "e").write_bytes(b"whole\ntor")
    lines = LineFile(tmp_path / "e")
    lines.append("next")
    lines.close()
    assert (tmp_path / "e").read_text() == "whole\nnext\n"


def test_what_waits_in_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_PENDING_LINES", 5)
    lines = LineFile(tmp_path / "e")
    real, lines._file = lines._file, FullDisk(lines._file, 0)
    for n in range(50):
        lines.append(str(n))
    lines._file = real
    lines.close()
    assert (tmp_path / "e").read_text().split() == ["45", "46", "47", "48", "49"]


@pytest.mark.parametrize("save", [lambda p: save_json(p, {"a": 2}), lambda p: save_arrays(p, {"a": np.arange(9)})])
def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch, save):
    path = tmp_path / "facts"
    save_json(path, {"a": 1})

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        save(path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("patience_s", "refusals", "placed"), [(0.0, 0, True), (0.0, 1, False), (5.0, 3, True)])
def test_a_file_that_a_reader_holds_open_is_replaced_once_it_lets_go(
    tmp_path, monkeypatch, patience_s, refusals, placed
):
    """As Windows refuses it: a file that is open cannot be replaced."""
    path, replace, left = tmp_path / "facts", os.replace, [refusals]
    save_json(path, {"a": 1})

    def refuse(*paths):
        if left[0]:
            left[0] -= 1
            raise PermissionError(13, "Access is denied")
        replace(*paths)

    monkeypatch.setattr(files, "REPLACE_S", patience_s)
    monkeypatch.setattr(os, "replace", refuse)
    if placed:
        save_json(path, {"a": 2})
    else:
        with pytest.raises(PermissionError):
            save_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2 if placed else 1}
    assert list(tmp_path.iterdir()) == [path]


def test_where_folders_cannot_be_opened_they_are_not_synced(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FOLDERS_SYNC", False)
    opened = []
    monkeypatch.setattr(os, "open", lambda *paths: opened.append(paths))
    files.sync_folder(tmp_path)
    assert opened == []
