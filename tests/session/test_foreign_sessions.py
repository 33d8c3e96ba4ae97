"""A session that somebody else wrote: its names stay in its folder, its frames are read from files alone."""

import json
import os
import time

import numpy as np
import pytest
from toys import FRAMES, LEVEL, ONES, Movie, config, toys  # noqa: F401

from streamfluo import SessionError, open_session, open_source
from streamfluo.core.names import file_in, is_step_id
from streamfluo.engine.engine import Engine
from streamfluo.session import referenced
from streamfluo.session.export import export_session
from streamfluo.session.schema import sealed

EVIL = {
    "upwards": "../../evil",
    "absolute": "TMP/evil",
    "back and forth": "x/../../../evil",
    "into a folder": "sub/evil",
    "a zero": "evil\0",
    "too long": "e" * 300,
}


@pytest.fixture
def folder(toys, tmp_path):  # noqa: F811
    engine = Engine(Movie(ONES[:20]), config(LEVEL, 'kind = "moments"\nafter = "source"'), tmp_path / "a" / "S")
    engine.start()
    assert engine.wait(20)
    return tmp_path / "a" / "S"


def files_outside(folder, *inside):
    """Every file beside the session and what was exported."""
    top = folder.parents[1]
    return [p for p in top.rglob("*") if p.is_file() and not any(p.is_relative_to(i) for i in (folder, *inside))]


def rewrite(folder, change):
    facts = json.loads((folder / "session.json").read_text())
    facts.pop("crc32")
    change(facts)
    (folder / "session.json").write_text(json.dumps(sealed(facts)))


def step_id(folder, name):
    rewrite(folder, lambda facts: facts["steps"].update({name: facts["steps"].pop("level")}))
    for kind, suffix in (("values", "sfv"), ("snapshots", "npz")):
        if "\0" not in name and len(name) < 200:
            there = folder / kind / f"{name}.{suffix}"
            there.parent.mkdir(parents=True, exist_ok=True)
            (folder / kind / f"level.{suffix}").rename(there)


def snapshot_name(folder, name):
    np.savez(folder / "snapshots" / "level.npz", **{name: np.ones((3, 3))})


def value_name(folder, name):
    rewrite(folder, lambda facts: facts["steps"]["level"]["gives"][0].update({"name": name, "kind": "table"}))


@pytest.mark.parametrize("name", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize("put", [step_id, snapshot_name, value_name])
@pytest.mark.parametrize("to", ["npy", "csv", "tiff"])
def test_an_export_writes_into_its_folder_alone_whatever_the_session_names(folder, tmp_path, put, name, to):
    if put is value_name and to == "tiff":
        pytest.skip("a tiff export has no values")
    if put is snapshot_name and "\0" in name:
        pytest.skip("the names in an .npz end at a zero")
    put(folder, name.replace("TMP", str(tmp_path)))
    before = files_outside(folder)
    with pytest.raises(SessionError) as refused:
        export_session(open_session(folder), to, tmp_path / "a" / "E")
    assert len(str(refused.value).splitlines()) == 1
    assert files_outside(folder, tmp_path / "a" / "E") == before


def test_what_a_config_refuses_as_a_step_id_a_session_refuses_too(folder):
    for name in ("../x", "1st", "", "a b", "source/x", "ä"):
        assert not is_step_id(name)
    step_id(folder, "1st")
    with pytest.raises(SessionError, match="step id '1st' must be a letter, then letters, digits, - or _"):
        _ = open_session(folder).steps


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.npz"
    np.savez(secret, key=np.arange(3))
    (folder / "snapshots" / "level.npz").unlink()
    (folder / "snapshots" / "level.npz").symlink_to(secret)
    with pytest.raises(SessionError, match=r"'level.npz' is no file in this folder"):
        open_session(folder).snapshot("level")
    assert file_in(folder, "session.json", SessionError) == folder / "session.json"


LINKED = (
    "values/level.sfv",
    "journal/000000.sfj",
    "events.jsonl",
    "config.toml",
    ".lock",
    "checkpoint.part",
    "journal",
)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", LINKED)
def test_nothing_is_written_through_a_link(folder, tmp_path, name):
    treasure = tmp_path / "treasure"
    if name == "journal":
        (folder / name).rename(treasure)
    else:
        treasure.write_bytes(b"mine")
        (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(treasure)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(SessionError, match="a link, through which nothing is written"):
        Engine(Movie(ONES[:30]), config(LEVEL, 'kind = "moments"\nafter = "source"'), folder, resume=True)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


LIVE = ("mm:demo", "tcp://127.0.0.1:9", "ipc:///tmp/x", "ingest+tcp://127.0.0.1:0", "ingest+ipc:///tmp/x")


def without_journal(folder, reference):
    for segment in (folder / "journal").glob("*"):
        segment.unlink()
    (folder / "journal").rmdir()
    rewrite(folder, lambda facts: facts.update({"reference": reference}))
    return open_session(folder)


@pytest.mark.parametrize("reference", LIVE)
def test_frames_are_not_read_again_from_a_camera_or_a_socket(folder, monkeypatch, reference):
    opened = []
    monkeypatch.setattr(referenced, "open_source", opened.append)
    session, began = without_journal(folder, reference), time.monotonic()
    with pytest.raises(SessionError, match="no file and no simulation; not opened") as refused:
        session.read_frames(0, 5)
    assert reference in str(refused.value)
    assert not opened
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reference", [None, 7, ["a.tif"]])
def test_a_reference_that_is_no_text_is_one_line(folder, reference):
    with pytest.raises(SessionError, match="no raw frames were recorded, and no file is named that has them"):
        without_journal(folder, reference).read_frames(0, 5)


def test_a_file_is_read_again(folder, tmp_path):
    np.save(tmp_path / "m.npy", FRAMES[:20])
    with open_source(tmp_path / "m.npy") as source:
        uid = source.series.uid
    without_journal(folder, str(tmp_path / "m.npy"))
    rewrite(folder, lambda facts: facts["series"].update({"uid": uid}))
    assert np.array_equal(open_session(folder).read_frames(3, 9), FRAMES[3:9])
