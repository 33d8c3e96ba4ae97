"""Sessions verified: each byte, each file, and the verdict on the whole."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from tampered import (
    URI,
    forget_manifest,
    found,
    resealed,
    run,
    words,
)

from streamfluo import open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.checkpoint import load_checkpoint
from streamfluo.session.manifest import blake2b_of, check_files
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, sessions_in, verify_session


def test_a_session_that_nobody_touched_is_verified_and_nothing_in_it_is_changed(session):
    before = {path: path.stat().st_mtime_ns for path in session.rglob("*")}
    verdict = verify_session(session, Wanted(full=True))
    assert (verdict.word, verdict.findings, verdict.code) == ("verified", [], 0)
    assert "frames 0 to 79 recomputed, with the snapshots" in verdict.checked
    assert before == {path: path.stat().st_mtime_ns for path in session.rglob("*")}


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_every_flipped_byte_of_every_file_is_noticed(session):
    rng, missed, tried = np.random.default_rng(7), [], 0
    facts = open_session(session).facts
    for path in files(session):
        held = path.read_bytes()
        for at in {0, len(held) - 1, *rng.integers(0, len(held), 30).tolist()}:
            other = bytearray(held)
            other[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(other)
            tried += 1
            if not check_files(session, facts).damaged:
                missed.append((path.name, at))
        path.write_bytes(held)
    assert not missed
    assert tried > 400
    assert not check_files(session, facts).damaged


@pytest.mark.parametrize("how", ["cut", "longer", "gone"])
def test_a_file_that_is_cut_longer_or_gone_is_named(session, how):
    for path in files(session):
        held = path.read_bytes()
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(held[:-1] if how == "cut" else held + b"\0")
        said = found(session)
        assert any(path.name in one and one.startswith("damaged") for one in said), (path, said)
        path.write_bytes(held)


@pytest.mark.parametrize("name", ["session.json", "session.copy.json"])
def test_a_byte_that_changes_no_fact_is_noticed(session, name):
    (session / name).write_bytes((session / name).read_bytes().replace(b"\n", b" ", 1))
    assert f"damaged: {name}: not as it was written (crc32 or its layout differs)" in found(session)


def test_a_damaged_frame_is_named_by_its_number(session):
    path = session / "journal" / "000000.sfj"
    held = bytearray(path.read_bytes())
    held[len(held) // 2 + 2000] ^= 4
    path.write_bytes(held)
    assert any("journal/000000.sfj" in one and "frame 4" in one for one in found(session))


def test_frames_that_were_exchanged_are_noticed_though_each_is_whole(session):
    path = session / "journal" / "000000.sfj"
    held = path.read_bytes()
    size = len(held) // 80
    path.write_bytes(held[size : 2 * size] + held[:size] + held[2 * size :])
    assert open_session(session).damaged == ()
    assert any("not what was written" in one for one in found(session))


def test_snapshots_of_another_run_are_noticed_though_each_array_is_whole(session, tmp_path):
    other = run(tmp_path / "other", uri=URI.replace("seed=5", "seed=6"))
    shutil.copy(other / "snapshots" / "motion.npz", session / "snapshots" / "motion.npz")
    assert any("snapshots/motion.npz" in one for one in found(session))


def test_a_checkpoint_of_another_session_is_noticed(session, tmp_path):
    other = run(tmp_path / "other", uri=URI.replace("seed=5", "seed=6"))
    assert load_checkpoint(other / "checkpoint.npz") is not None
    shutil.copy(other / "checkpoint.npz", session / "checkpoint.npz")
    assert any("checkpoint.npz" in one for one in found(session))
    (session / "manifest.json").unlink()
    resealed(session, manifest_blake2b=None)
    assert any("checkpoint.npz: of another series" in one for one in found(session))


def test_a_config_that_was_edited_afterwards_is_noticed(session):
    path = session / "config.toml"
    path.write_text(path.read_text() + "\n# well\n")
    assert any("config.toml" in one for one in found(session))


def test_a_manifest_of_another_session_is_not_believed(session, tmp_path):
    other = run(tmp_path / "other", uri=URI.replace("seed=5", "seed=6"))
    shutil.copy(other / "manifest.json", session / "manifest.json")
    assert any("manifest.json: not the one that was written" in one for one in found(session))


def test_a_manifest_that_leads_out_of_its_session_is_not_followed(session):
    (session / "manifest.json").write_bytes(
        json.dumps(sealed({"files": {"../secret": {"nbytes": 1, "crc32": 1}}}), indent=1).encode()
    )
    resealed(session, manifest_blake2b=blake2b_of(session / "manifest.json"))
    assert any("outside of its session" in one for one in found(session))


def test_what_others_put_beside_is_left_alone_and_among_the_frames_is_noticed(session):
    (session / "notes.txt").write_text("a good day")
    assert words(session) == "verified"
    (session / "values" / "more.sfv").write_bytes(b"")
    assert any("not written by this run" in one for one in found(session))


def test_sessions_are_found_in_folders_and_those_within_an_export_are_not(session, tmp_path):
    shutil.copytree(session, tmp_path / "shelf" / "a")
    shutil.copytree(session, tmp_path / "shelf" / "deep" / "b")
    assert [path.name for path in sessions_in(tmp_path / "shelf")] == ["a", "b"]


def test_a_resumed_session_is_verified(tmp_path):
    run(tmp_path / "s", max_frames=30)
    assert words(tmp_path / "s") in ("verified", "incomplete")
    run(tmp_path / "s", resume=True)
    assert found(tmp_path / "s", Wanted(full=True)) == []
    listed = json.loads((tmp_path / "s" / "manifest.json").read_text())["files"]
    assert listed["journal/000000.sfj"].keys() == {"nbytes"}  # gone on with: its frames have checksums of their own
    path = tmp_path / "s" / "journal" / "000000.sfj"
    held = path.read_bytes()
    for at in range(0, len(held), 9973):
        other = bytearray(held)
        other[at] ^= 1
        path.write_bytes(other)
        assert check_files(tmp_path / "s", open_session(tmp_path / "s").facts).damaged, at


def test_a_session_of_several_planes_is_verified_and_one_planes_lost_frame_is_named(tmp_path):
    config = '[record]\nraw = true\n[[step]]\nkind = "moments"\n'
    with open_source("sim:calcium?channels=2&z=2&frames=10&shape=32x32&seed=1", planes=True) as source:
        engine = Engine(source, parse_config(config), tmp_path / "s")
        engine.start()
        engine.wait()
    assert found(tmp_path / "s", Wanted(full=True)) == []
    plane = open_session(tmp_path / "s").planes[1]
    place = tmp_path / "s" / "planes" / "1" / "values" / "moments.sfv"
    place.write_bytes(b"")
    forget_manifest(tmp_path / "s")
    assert any(f"incomplete: {plane}/moments: no values at all, of 10 frames" in one for one in found(tmp_path / "s"))


def test_a_folder_that_may_not_be_looked_into_is_said_and_others_are_verified(session, tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path="."):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sessions_in(tmp_path) == [tmp_path / "closed", session]

    def forbidden(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr("streamfluo.verify.verifying.is_held", forbidden)
    assert verify_session(tmp_path / "closed").findings[0].what == "may not be looked into: Permission denied"
    assert words(tmp_path / "closed") == "cannot tell"
