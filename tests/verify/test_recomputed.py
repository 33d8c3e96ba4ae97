"""Values and snapshots come out of the frames again, to the bit, or it is said which do not."""

import json

import numpy as np
import pytest
import tifffile
from tampered import (
    CONFIG,
    FILES_ONLY,
    forget_manifest,
    found,
    resealed,
    rewritten,
    run,
    words,
)

from streamfluo import open_session
from streamfluo.core.control import Change
from streamfluo.session.checkpoint import load_checkpoint
from streamfluo.verify.verifying import Wanted, verify_session


def test_values_edited_with_their_checksums_are_damaged_by_the_manifest_and_not_reproducible_without_it(session):
    def change(array):
        array[3] = np.nextafter(array[3], np.inf)

    rewritten(session, "moments", "total_signal", change)
    assert words(session) == "damaged"
    forget_manifest(session)
    said = found(session, Wanted())
    assert any(one.startswith("not reproducible: moments.total_signal") and "at frame 3" in one for one in said)
    assert verify_session(session, Wanted()).code == 4


def test_a_snapshot_that_is_not_what_the_frames_give_is_not_reproducible(session):
    path = session / "snapshots" / "moments.npz"
    with np.load(path) as held:
        arrays = dict(held)
    arrays["mean"][5, 5] += 1
    np.savez(path, **arrays)
    forget_manifest(session)
    assert any(one.startswith("not reproducible: moments.mean: 1 of ") for one in found(session, Wanted()))


def test_other_versions_are_stated_where_results_differ(session):
    path = session / "snapshots" / "moments.npz"
    with np.load(path) as held:
        arrays = dict(held)
    arrays["mean"][5, 5] += 1
    np.savez(path, **arrays)
    (session / "manifest.json").unlink()
    versions = json.loads((session / "session.json").read_text())["versions"]
    resealed(session, manifest_blake2b=None, versions={**versions, "numpy": "1.0"})
    assert any("numpy 1.0 then" in one for one in found(session, Wanted()))


def test_a_config_with_other_steps_cannot_be_recomputed(session):
    text = CONFIG.replace('[[step]]\nkind = "moments"', "")
    (session / "config.toml").write_text(text)
    (session / "manifest.json").unlink()
    resealed(session, manifest_blake2b=None, config_crc32=None)
    assert any(
        "cannot tell: recomputing: its config.toml has the steps motion" in one for one in found(session, Wanted())
    )


def test_a_source_that_is_gone_or_another_cannot_tell_and_one_that_is_there_can(tmp_path):
    movie = np.random.default_rng(3).poisson(40, (60, 24, 24)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", movie)
    folder = run(tmp_path / "s", '[[step]]\nkind = "moments"\n', str(tmp_path / "m.tif"))
    assert words(folder, Wanted()) == "verified"
    tifffile.imwrite(tmp_path / "m.tif", movie + 1)
    assert any("has changed since this session" in one for one in found(folder, Wanted()))
    (tmp_path / "m.tif").unlink()
    verdict = verify_session(folder, Wanted())
    assert (verdict.word, verdict.code) == ("cannot tell", 5)
    assert words(folder, FILES_ONLY) == "verified"


def test_a_sample_is_the_beginning_and_what_follows_the_last_checkpoint_and_says_so(session, sampled):
    at = load_checkpoint(session / "checkpoint.npz").next_index
    said = verify_session(session, Wanted()).checked
    assert said[1:] == ["frames 0 to 15 recomputed", f"frames {at} to 79 recomputed, with the snapshots"]
    (session / "checkpoint.npz").unlink()
    forget_manifest(session)
    assert verify_session(session, Wanted()).checked[-1] == "snapshots not recomputed, --full does"


@pytest.mark.parametrize(("place", "noticed"), [("head", True), ("between", False)])
def test_a_sample_notices_what_it_recomputes_and_all_frames_notice_the_rest(session, sampled, place, noticed):
    at = load_checkpoint(session / "checkpoint.npz").next_index
    frame = 3 if place == "head" else at - 2
    values = open_session(session).values("moments")["total_signal"].copy()

    def change(array):
        places = np.flatnonzero(array == values[frame])
        array[places] += 1

    rewritten(session, "moments", "total_signal", change)
    forget_manifest(session)
    assert (words(session, Wanted()) == "not reproducible") == noticed
    assert words(session, Wanted(full=True)) == "not reproducible"


def test_snapshots_that_are_not_those_of_the_tail_are_noticed_by_a_sample(session, sampled):
    path = session / "snapshots" / "motion.npz"
    with np.load(path) as held:
        arrays = dict(held)
    arrays["mean"][5, 5] = np.nextafter(arrays["mean"][5, 5], np.float32(1e9))
    np.savez(path, **arrays)
    forget_manifest(session)
    assert any(one.startswith("not reproducible: motion.mean: 1 of") for one in found(session, Wanted()))


def run_changed(folder):
    config = '[record]\nraw = true\ncheckpoint_s = 0.001\n[[step]]\nkind = "spots"\n'
    return run(folder, config, changes=[Change(30, "spots", "false_alarms", 20.0)])


def test_of_a_run_that_was_changed_a_sample_does_not_begin_in_the_middle(tmp_path, sampled):
    said = verify_session(run_changed(tmp_path / "s"), Wanted()).checked
    assert said[1:] == ["frames 0 to 15 recomputed", "snapshots not recomputed, --full does"]


def test_live_changes_are_made_again_at_their_frames(tmp_path):
    session = open_session(run_changed(tmp_path / "s"))
    assert [event["event"] for event in session.events].count("set") == 1
    assert found(tmp_path / "s", Wanted(full=True)) == []
    path = tmp_path / "s" / "events.jsonl"
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"set"' not in line))
    forget_manifest(tmp_path / "s")
    assert words(tmp_path / "s", Wanted(full=True)) == "not reproducible"


def test_a_session_made_by_refining_is_not_called_unreproducible(session):
    resealed(session, refined_from={"session": "x", "sha256": "y", "passes": 1})
    assert any("made by refining" in one for one in found(session, Wanted()))
