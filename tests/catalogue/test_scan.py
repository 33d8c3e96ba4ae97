"""A folder is read into a catalogue once: what is new, was written since, moved, is gone, cannot be read."""

import json
import os
import shutil
import sqlite3
import sys
import threading
from contextlib import suppress

import pytest
from facility import EVIL, changed, copied
from filelock import FileLock, Timeout

from streamfluo.catalogue import scan as scanning
from streamfluo.catalogue.database import FILE, SCHEMA, CatalogueError, opened
from streamfluo.catalogue.find import Query, find
from streamfluo.catalogue.scan import add, scan
from streamfluo.core.errors import SessionError
from streamfluo.session.lock import take


@pytest.fixture
def shelf(tmp_path, first):
    folder = tmp_path / "shelf"
    for name in ("monday/one", "monday/two", "tuesday/one"):
        copied(first, folder / name)
    return folder


@pytest.fixture
def file(tmp_path):
    return tmp_path / FILE


def rows(file, **query):
    return {row.fields["path"]: row.fields for row in find(file, Query(**query)).rows}


def test_every_session_below_a_folder_is_a_row_also_those_of_one_name(shelf, file):
    found = scan(shelf, file)
    assert sorted(found.new) == sorted(str(shelf / name) for name in ("monday/one", "monday/two", "tuesday/one"))
    kept = rows(file)
    assert sorted(row["name"] for row in kept.values()) == ["one", "one", "two"]
    row = kept[str(shelf / "tuesday/one")]
    assert (row["frames"], row["lost"], row["state"], row["steps"]) == (64, 0, "finished", "moments")
    assert (row["height_px"], row["width_px"], row["duration_s"]) == (24, 32, pytest.approx(64 * row["interval_s"]))
    assert row["source"].startswith("sim:gain?")
    assert len(row["sha256"]) == len(row["config_sha256"]) == 64


def test_what_has_not_changed_is_not_opened_again(shelf, file, monkeypatch):
    scan(shelf, file)
    monkeypatch.setattr(scanning, "entry_of", lambda folder: pytest.fail(f"{folder} was read"))
    found = scan(shelf, file)
    assert (len(found.same), found.new, found.changed) == (3, [], [])


def test_what_was_written_since_is_read_again(shelf, file):
    scan(shelf, file)
    changed(shelf / "monday/two", lambda facts: facts.update(state="failed: the disk was full"))
    found = scan(shelf, file)
    assert found.changed == [str(shelf / "monday/two")]
    row = rows(file)[str(shelf / "monday/two")]
    assert (row["state"], row["reason"]) == ("failed", "the disk was full")


def test_a_session_that_moved_keeps_its_row_and_is_not_read(shelf, file, monkeypatch):
    scan(shelf, file)
    before = find(file, Query()).rows
    (shelf / "archive").mkdir()
    (shelf / "monday/two").rename(shelf / "archive/renamed")
    monkeypatch.setattr(scanning, "entry_of", lambda folder: pytest.fail(f"{folder} was read"))
    found = scan(shelf, file)
    assert found.moved == [(str(shelf / "monday/two"), str(shelf / "archive/renamed"))]
    assert {row.id for row in before} == {row.id for row in find(file, Query()).rows}
    assert rows(file)[str(shelf / "archive/renamed")]["name"] == "renamed"


def test_a_copy_is_a_session_of_its_own(shelf, file):
    scan(shelf, file)
    shutil.copytree(shelf / "monday/two", shelf / "copy")
    found = scan(shelf, file)
    assert (found.new, found.moved) == ([str(shelf / "copy")], [])


def test_a_copy_in_another_folder_is_a_session_of_its_own(shelf, file, tmp_path):
    scan(shelf, file)
    shutil.copytree(shelf / "monday/two", tmp_path / "backup/two")
    found = scan(tmp_path / "backup", file)
    assert (found.new, found.moved) == ([str(tmp_path / "backup/two")], [])


def test_a_scan_lets_go_of_its_catalogue(file):
    lock = scanning._alone(file)
    with lock:
        pass
    another = FileLock(file.with_name(f".{file.name}.lock"))
    with suppress(Timeout):
        another.acquire(timeout=0)  # while whoever scanned still knows it
    assert another.is_locked
    another.release()


def test_a_session_that_is_gone_is_said_once_and_kept_until_it_is_there_again(shelf, file, tmp_path):
    scan(shelf, file)
    (shelf / "monday/two").rename(tmp_path / "aside")
    assert scan(shelf, file).gone == [str(shelf / "monday/two")]
    assert scan(shelf, file).gone == []
    assert len(rows(file)) == 2
    assert rows(file, gone=True)[str(shelf / "monday/two")]["gone"]
    (tmp_path / "aside").rename(shelf / "monday/two")
    scan(shelf, file)
    assert len(rows(file)) == 3


def test_a_disk_that_is_not_there_leaves_the_catalogue_as_it_is(shelf, file, tmp_path):
    scan(shelf, file)
    shelf.rename(tmp_path / "unmounted")
    shelf.mkdir()
    with pytest.raises(SessionError, match="empty now; is its disk there"):
        scan(shelf, file)
    assert len(rows(file)) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_makes_nothing_gone(shelf, file):
    scan(shelf, file)
    (shelf / "monday").chmod(0)
    try:
        found = scan(shelf, file)
    finally:
        (shelf / "monday").chmod(0o700)
    assert [place for place, _ in found.closed] == [str(shelf / "monday")]
    assert found.gone == []


def test_what_could_not_be_looked_into_is_not_gone(shelf, file, monkeypatch):
    scan(shelf, file)
    listed = scanning.sessions_below

    def some(folder, closed):
        closed.append((str(shelf / "monday"), "Permission denied"))
        yield from (place for place in listed(folder, closed) if "monday" not in str(place))

    monkeypatch.setattr(scanning, "sessions_below", some)
    monkeypatch.setattr(scanning, "_is_session", lambda path: "monday" not in path)
    assert scan(shelf, file).gone == []


BROKEN = {
    "no JSON": (b"{", "session.json: cannot be read"),
    "a list": (b"[]", "expected a JSON map"),
    "of a later version": (b'{"format": 99}', "format 99, this version reads 2"),
    "nested": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
    "a flipped bit": (None, "crc32 differs"),
    "too large": (b'{"format": 2, "series": "' + b" " * (17 << 20) + b'"}', "at most 16,777,216 are read of it"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_session_is_listed_with_its_reason_and_the_others_go_on(shelf, file, kind):
    text, reason = BROKEN[kind]
    for name in ("session.json", "session.copy.json"):
        path = shelf / "monday/one" / name
        path.write_bytes(text if text is not None else path.read_bytes().replace(b'"finished"', b'"finishee"'))
    found = scan(shelf, file)
    assert len(found.new) == 3
    assert [path for path, _ in found.broken] == [str(shelf / "monday/one")]
    assert reason in found.broken[0][1]
    assert [state["state"] for state in rows(file).values()].count("finished") == 2
    again = scan(shelf, file)
    assert (again.broken, len(again.same)) == (found.broken, 3)


def test_a_large_copy_beside_a_session_is_not_read(shelf, file):
    (shelf / "monday/one/health.json").write_bytes(b" " * (17 << 20))
    assert "health.json" in dict(scan(shelf, file).broken)[str(shelf / "monday/one")]


def test_a_session_of_format_1_is_read(shelf, file):
    folder = shelf / "monday/one"
    for name in ("session.json", "session.copy.json"):
        facts = json.loads((folder / name).read_text()) | {"format": 1}
        facts.pop("crc32")
        (folder / name).write_text(json.dumps(facts))
    scan(shelf, file)
    assert rows(file)[str(folder)]["frames"] == 64


def test_a_session_that_is_written_is_running_and_looked_at_each_time(shelf, file):
    folder = changed(shelf / "monday/one", lambda facts: facts.update(state="running"))
    lock = take(folder)
    try:
        assert scan(shelf, file).running == [str(folder)]
        assert rows(file)[str(folder)]["state"] == "running"
    finally:
        lock.release()
    assert scan(shelf, file).changed == [str(folder)]  # its files are as they were: it was killed
    assert rows(file)[str(folder)]["state"] == "interrupted"


def test_words_of_the_sender_and_names_are_kept_as_they_are(tmp_path, first, file):
    copied(first, tmp_path / "shelf" / "a b ; DROP TABLE sessions", mouse=EVIL, weight_g=21.5, half="\ud800", deep={})
    scan(tmp_path / "shelf", file)
    [row] = find(file, Query()).rows
    assert row.words == {"user.mouse": EVIL, "user.weight_g": "21.5", "user.half": "\\ud800"}


def test_a_name_that_is_no_text_is_listed(tmp_path, first, file):
    shelf = tmp_path / "shelf"
    copied(first, shelf / "well")
    try:
        copied(first, shelf / os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("names are text here")
    scan(shelf, file)
    assert sorted(row["name"] for row in rows(file).values()) == ["caf\\udce9", "well"]
    assert len(scan(shelf, file).same) == 2


def test_links_and_hidden_folders_are_passed_over(shelf, file, first, tmp_path):
    (shelf / "loop").symlink_to(shelf, target_is_directory=True)
    copied(first, shelf / ".trash" / "one")
    assert len(scan(shelf, file).new) == 3


def test_a_folder_without_sessions_is_one_line(tmp_path, file):
    with pytest.raises(SessionError, match="no session in it or below it"):
        scan(tmp_path, file)
    with pytest.raises(SessionError, match="no such folder"):
        scan(tmp_path / "nowhere", file)


def test_a_second_scan_is_refused_at_once(shelf, file):
    with FileLock(file.with_name(f".{file.name}.lock")), pytest.raises(CatalogueError, match="another scan writes it"):
        scan(shelf, file)


def test_the_daemon_adds_while_a_scan_goes_on(shelf, file, first, tmp_path):
    copied(first, tmp_path / "elsewhere")
    scan(shelf, file)
    changed(shelf / "monday/one", lambda facts: facts.update(state="aborted"))
    inside, goes_on = threading.Event(), threading.Event()

    def progress(done, of):
        inside.set()
        goes_on.wait(20)

    thread = threading.Thread(target=scan, args=(shelf, file, progress))
    thread.start()
    assert inside.wait(20)
    add(tmp_path / "elsewhere", file)
    goes_on.set()
    thread.join()
    assert len(rows(file)) == 4


def test_add_makes_a_catalogue_and_reads_a_session_again(file, first, tmp_path):
    session = copied(first, tmp_path / "one")
    assert add(session, file).fields["state"] == "finished"
    changed(session, lambda facts: facts.update(state="aborted"))
    add(session, file)
    assert [row["state"] for row in rows(file).values()] == ["aborted"]


# The file


def test_a_file_that_is_another_program_s_is_left_alone(shelf, file):
    file.write_bytes(b"what somebody wrote, and wants to keep" * 9)
    with pytest.raises(CatalogueError, match="not a catalogue of streamfluo"):
        scan(shelf, file)
    assert file.read_bytes().startswith(b"what somebody wrote")
    file.unlink()
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    with pytest.raises(CatalogueError, match="not a catalogue of streamfluo"):
        scan(shelf, file)


def test_a_catalogue_of_a_newer_version_is_left_alone(shelf, file):
    scan(shelf, file)
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(CatalogueError, match=r"of a newer streamfluo \(schema 2, this one has 1\)"):
        scan(shelf, file)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON sessions BEGIN DELETE FROM sessions; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE sessions ADD COLUMN more TEXT",
        "DROP INDEX measures_name",
    ],
)
def test_a_catalogue_with_other_tables_than_ours_is_not_trusted(shelf, file, statement):
    scan(shelf, file)
    with sqlite3.connect(file) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(CatalogueError, match="other tables"):
        find(file, Query())


def test_a_damaged_catalogue_is_one_line(shelf, file):
    scan(shelf, file)
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(CatalogueError, match=r"damaged|other tables"):
        find(file, Query())


def test_a_catalogue_that_another_program_locks_is_one_line(shelf, file, monkeypatch):
    monkeypatch.setattr("streamfluo.catalogue.database.WAIT_S", 0.1)
    scan(shelf, file)
    with opened(file, write=True) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CatalogueError, match="another process writes it"):
            find(file, Query())
        with pytest.raises(CatalogueError, match="another process writes it"):
            add(shelf / "monday/one", file)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into every folder")
def test_a_disk_that_cannot_be_written_is_one_line(shelf, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(CatalogueError, match="cannot be written"):
        scan(shelf, closed / FILE)


def test_a_place_that_cannot_be_written_is_one_line(shelf, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(CatalogueError, match=r"cannot be (written|read)"):
        scan(shelf, tmp_path / "a file" / FILE)
    with pytest.raises(CatalogueError, match="a folder; a catalogue is a file"):
        scan(shelf, shelf)
    with pytest.raises(CatalogueError, match="no catalogue there; make one"):
        find(tmp_path / "none.sqlite", Query())


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="their names are Unicode")
def test_a_folder_whose_name_is_no_unicode_is_not_gone_at_the_next_scan(first, tmp_path, file):
    copied(first, tmp_path / "shelf" / os.fsdecode(b"bad\xff"))
    scan(tmp_path / "shelf", file)
    again = scan(tmp_path / "shelf", file)
    assert (len(again.same), again.gone) == (1, [])


def test_a_folder_without_sessions_gets_no_catalogue(tmp_path, file):
    (tmp_path / "no sessions").mkdir()
    with pytest.raises(SessionError, match="no session in it or below it"):
        scan(tmp_path / "no sessions", file)
    assert not file.exists()
