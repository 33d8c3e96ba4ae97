"""`streamfluo catalogue`, `find` and `diff` as they are typed."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command
from typer.testing import CliRunner

from streamfluo.cli.cli import app


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    for name in ("one", "two"):
        uri = f"sim:gain?frames=32&shape=24x32&seed={len(name) + (name == 'two')}"
        done = command("run", "moments", "--source", uri, "--out", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "one", folder / "sub/copy")
    done = command("catalogue", ".", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 sessions: 3 new, 0 read again, 0 unchanged" in done.stdout
    return folder


def test_a_scan_says_what_it_found_and_again_that_nothing_changed(shelf):
    done = command("catalogue", shelf, cwd=shelf)
    assert "3 sessions: 0 new, 0 read again, 3 unchanged" in done.stdout
    done = command("catalogue", "nowhere", cwd=shelf)
    assert (done.returncode, done.stderr.strip()) == (1, "streamfluo: nowhere: no such folder")


def test_find_prints_a_table_csv_or_json(shelf):
    done = command("find", "--where", "name = copy", cwd=shelf)
    assert "1 session" in done.stdout
    assert "copy" in done.stdout
    rows = list(csv.DictReader(io.StringIO(command("find", ".", "--csv", "--sort", "name", cwd=shelf).stdout)))
    assert [row["name"] for row in rows] == ["copy", "one", "two"]
    [row] = json.loads(command("find", "--where", "name = one", "--json", cwd=shelf).stdout)
    assert (row["frames"], row["steps"]) == (32, "moments")
    done = command("find", "--limit", "1", "--columns", "name,frames", cwd=shelf)
    assert "1 of 3 sessions; --limit 3 shows all" in done.stdout


def test_a_bad_filter_is_one_line_with_the_columns(shelf):
    done = command("find", "--where", "frmes > 3", cwd=shelf)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "no column 'frmes'; did you mean 'frames'?; columns: began, name" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="no such name there")
def test_a_name_of_two_lines_is_one_row_and_what_cannot_be_read_is_said(shelf, tmp_path):
    shutil.copytree(shelf / "one", tmp_path / "two\nlines")
    for name in ("session.json", "session.copy.json"):
        (tmp_path / "two\nlines" / name).write_text("{")
    done = CliRunner().invoke(app, ["catalogue", "add", str(tmp_path / "two\nlines")])
    assert ": two\\nlines: unreadable: " in done.stdout
    assert len(done.stdout.splitlines()) == 1
    done = CliRunner().invoke(app, ["find", str(tmp_path), "--columns", "name"])
    assert " two\\nlines " in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_what_is_printed_is_one_line(shelf):
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "streamfluo", "find", str(shelf), "--csv"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("streamfluo: the disk is full")


def test_find_without_a_catalogue_says_how_to_make_one(tmp_path):
    done = command("find", cwd=tmp_path)
    assert done.returncode == 1
    assert "no catalogue there; make one: streamfluo catalogue DIR" in done.stderr


def test_diff_ends_with_a_verdict_and_its_exit_code(shelf):
    done = command("diff", "one", "sub/copy", cwd=shelf)
    assert (done.returncode, done.stdout.strip().splitlines()[-1].startswith("Equal: the same frames")) == (0, True)
    done = command("diff", "one", "two", cwd=shelf)
    assert done.returncode == 1
    assert done.stdout.strip().splitlines()[-1].startswith("Different: these are two recordings")
    done = command("diff", "one", "two", "--json", cwd=shelf)
    assert (done.returncode, json.loads(done.stdout)["equal"]) == (1, False)
    done = command("diff", "one", "nothing", cwd=shelf)
    assert (done.returncode, done.stderr.strip()) == (1, "streamfluo: nothing: no such session folder")


def test_pages_and_trends_are_written_beside_the_catalogue(shelf):
    done = command("catalogue", "page", cwd=shelf)
    assert "page: catalogue-page/index.html: 3 sessions" in done.stdout.replace("\\", "/")
    assert (shelf / "catalogue-page/index.html").is_file()
    done = command("catalogue", "trends", cwd=shelf)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("on fewer than 10 days: nothing can be told of them yet")
    assert (shelf / "catalogue-trends.png").is_file()


def test_add_takes_one_session(shelf, tmp_path):
    done = command("catalogue", "add", shelf / "one", "--to", tmp_path / "c.sqlite", cwd=shelf)
    assert done.returncode == 0, done.stderr
    assert "c.sqlite: one: finished" in done.stdout.replace("\n", "")


def test_what_is_reprocessed_goes_into_a_catalogue_and_is_done_without_one(shelf, tmp_path, monkeypatch):
    shutil.copytree(shelf / "one", tmp_path / "out/one")
    (tmp_path / "theirs").write_text("what somebody keeps here, which is no catalogue" * 9)
    (tmp_path / "movie.tif").touch()
    monkeypatch.setattr("streamfluo.reprocess.reprocessing.reprocess", lambda *given: iter(()))
    words = ("reprocess", "moments", "movie.tif", "--out", "out", "--cluster", "tcp://nobody", "--catalogue")
    assert command(*words, "c.sqlite", cwd=tmp_path).returncode == 0
    assert "1 session" in command("find", "c.sqlite", cwd=tmp_path).stdout
    done = command(*words, "theirs", cwd=tmp_path)
    assert done.returncode == 0
    assert "not catalogued: theirs: not a catalogue of streamfluo" in done.stdout.replace("\n", " ")
