"""Sessions verified: what is damaged, incomplete, not reproducible, or cannot be told, each said apart."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import tifffile

from streamfluo import open_session
from streamfluo.core.control import Change
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.checkpoint import load_checkpoint
from streamfluo.session.export import export_session
from streamfluo.session.export_step_frames import export_step_frames
from streamfluo.session.manifest import blake2b_of, check_files
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, sessions_in, verify_session

CONFIG = """
[record]
raw = true
steps = ["motion"]
checkpoint_s = 0.001
[[step]]
kind = "motion"
[[step]]
kind = "moments"
"""
URI = "sim:spots?frames=80&seed=5&shape=40x48"
FILES_ONLY = Wanted(recompute=False)


def run(folder, config=CONFIG, uri=URI, **engine):
    with open_source(uri) as source:
        running = Engine(source, parse_config(config), folder, **engine)
        running.start()
        running.wait()
        assert running.error is None
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A session whose last checkpoint lies within it: when one is taken is up to the clock."""
    for _ in range(9):
        folder = run(tmp_path_factory.mktemp("made") / "s")
        if 20 <= load_checkpoint(folder / "checkpoint.npz").next_index < 80:
            return folder
    return pytest.skip("this machine takes no checkpoint in the middle")


@pytest.fixture
def session(made, tmp_path):
    shutil.copytree(made, tmp_path / "s")
    return tmp_path / "s"


def words(folder, wanted=FILES_ONLY):
    return verify_session(folder, wanted).word


def found(folder, wanted=FILES_ONLY):
    return [str(finding) for finding in verify_session(folder, wanted).findings]


def resealed(folder, **changed):
    """Change what session.json says, as a program would that knows its checksum."""
    facts = json.loads((folder / "session.json").read_text())
    facts.pop("crc32")
    for name in ("session.json", "session.copy.json"):
        (folder / name).write_bytes(json.dumps(sealed({**facts, **changed}), indent=1).encode())


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


def rewritten(session, step, name, change):
    """Write the values of a step again with one changed, each record whole: what no checksum of a record tells."""
    from streamfluo.core.step_values import StepValues, sized
    from streamfluo.session.values import ValuesWriter

    opened = open_session(session)
    records = [(r.index, r.frames, {n: a.copy() for n, a in r.arrays.items()}) for r in opened.each_record(step)]
    path = session / "values" / f"{step}.sfv"
    path.unlink()
    writer = ValuesWriter(path, opened.series["uid"])
    for index, frames, arrays in records:
        change(arrays[name])
        writer.add(StepValues(step, index, frames, arrays, sized(arrays)))
        writer.flush()
    writer.close()


def forget_manifest(session):
    (session / "manifest.json").unlink()
    resealed(session, manifest_blake2b=None)


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


def test_a_run_that_did_not_end_is_incomplete(session):
    facts = json.loads((session / "session.json").read_text())
    resealed(session, state="running", manifest_blake2b=None)
    assert any("incomplete: session.json: interrupted" in one for one in found(session))
    resealed(session, state="aborted", manifest_blake2b=facts["manifest_blake2b"])
    assert verify_session(session, FILES_ONLY).code == 3


def cut_frames(session, first, stop):
    """Take frames out of the journal, as if they had never been written."""
    path = session / "journal" / "000000.sfj"
    held = path.read_bytes()
    size = len(held) // 80
    path.write_bytes(held[: first * size] + held[stop * size :])


def test_frames_that_nothing_accounts_for_are_incomplete(session):
    cut_frames(session, 10, 13)
    forget_manifest(session)
    assert any(
        "incomplete: frames: frames 10 to 12: 3 neither recorded nor noted as lost" in one for one in found(session)
    )
    assert any("health.json counted 80, 77 are there" in one for one in found(session))


def test_values_that_a_step_should_have_given_are_missed(session):
    path = session / "values" / "moments.sfv"
    path.write_bytes(b"")
    forget_manifest(session)
    assert any("incomplete: moments: no values at all, of 80 frames" in one for one in found(session))


def counted_otherwise(session, **said):
    """Let the run have counted something else, as one would have that did."""
    counted = json.loads((session / "health.json").read_text())
    counted.pop("crc32")
    (session / "health.json").write_bytes(json.dumps(sealed({**counted, **said}), indent=1).encode())
    forget_manifest(session)


def test_losses_that_no_event_names_are_noticed(session):
    counted_otherwise(session, lost=5)
    assert "incomplete: gaps: health.json counted 5 lost frames, events name 0" in found(session)


def test_frames_behind_the_end_of_the_run_are_noticed(session):
    cut_frames(session, 10, 13)
    for step in ("motion", "moments"):
        (session / "values" / f"{step}.sfv").write_bytes(b"")
    counted_otherwise(session, next_index=70)
    assert "damaged: frames: 3 from 77 on, where the run says that it ended" in found(session)


@pytest.mark.parametrize("said", [{"elapsed_s": "long"}, {"lost": "none"}, {"frames": -1}])
def test_counters_that_are_none_are_damaged(session, said):
    counted_otherwise(session, **said)
    assert any(one.startswith("damaged: health.json: ") for one in found(session, Wanted()))


@pytest.mark.parametrize("said", [{}, {"step": "moments"}, {"step": "moments", "frame": "soon"}])
def test_an_event_that_does_not_say_what_was_muted_is_damaged(session, said):
    with (session / "events.jsonl").open("ab") as file:
        file.write(json.dumps(sealed({"event": "muted", **said})).encode() + b"\n")
    forget_manifest(session)
    assert any(one.startswith("damaged: events.jsonl, byte ") for one in found(session, Wanted()))


class Gappy:
    """A source that loses frames 20 to 24."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def blocks(self, max_frames=32):
        for block in self._source.blocks(20):
            if block.index == 20:
                yield Gap(20, 5, "camera")
                block = block.cut(25, block.stop)
            yield block


def test_frames_noted_as_lost_are_accounted_for(tmp_path):
    with open_source(URI) as source:
        gappy = type("G", (Gappy,), {})(source)
        engine = Engine(gappy, parse_config(CONFIG), tmp_path / "s")
        engine.start()
        engine.wait()
    assert open_session(tmp_path / "s").lost == 5
    assert found(tmp_path / "s", Wanted(full=True)) == []


@pytest.mark.parametrize("to", ["tiff", "npy", "ome-zarr", "csv"])
def test_an_export_is_equal_until_one_pixel_or_number_of_it_is_changed(session, tmp_path, to):
    if to == "ome-zarr":
        pytest.importorskip("zarr")
    copy = tmp_path / "copy"
    export_session(open_session(session), to, copy)
    assert found(session, Wanted(False, against=(copy,))) == []
    if to == "tiff":
        movie = tifffile.imread(copy / "frames.ome.tif")
        movie[7, 3, 3] += 1
        tifffile.imwrite(copy / "frames.ome.tif", movie)
    elif to == "npy":
        movie = np.load(copy / "frames.npy", mmap_mode="r+")
        movie[7, 3, 3] += 1
        movie.flush()
    elif to == "csv":
        path = copy / "moments.values.csv"
        path.write_text(path.read_text().replace("\n7,", "\n8,", 1))
    else:
        chunk = next(path for path in sorted(copy.rglob("*")) if path.is_file() and path.stat().st_size > 3000)
        chunk.unlink()
    verdict = verify_session(session, Wanted(False, against=(copy,)))
    assert (verdict.word, verdict.code) == ("differs", 6), verdict


def test_a_corrected_movie_is_compared_with_the_step_that_handed_it_on(session, tmp_path):
    export_step_frames(open_session(session), "motion", "tiff", tmp_path / "copy")
    movie = tmp_path / "copy" / "motion.ome.tif"
    assert "80 frames" in verify_session(session, Wanted(False, against=(movie,))).checked[-1]
    held = tifffile.imread(movie)
    held[11, 2, 2] += 1
    tifffile.imwrite(movie, held)
    assert any("frame 11 has other pixels" in one for one in found(session, Wanted(False, against=(movie,))))


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


@pytest.fixture
def sampled(monkeypatch):
    """As of a long run: only its first 16 frames and those behind the last checkpoint are recomputed."""
    monkeypatch.setattr("streamfluo.verify.recomputed.HEAD_FRAMES", 16)
    monkeypatch.setattr("streamfluo.verify.recomputed.SHORT_S", 0.0)


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


def test_a_session_made_of_parts_or_by_refining_is_not_called_unreproducible(session):
    resealed(session, parts=3)
    assert found(session, Wanted()) == [
        "cannot tell: recomputing: made of parts, which are equal to a single run within tolerances, not to the bit"
    ]
    resealed(session, parts=3, divided={"way": "planes", "tolerances": {}})
    assert found(session, Wanted()) == []
    resealed(session, parts=None, refined_from={"session": "x", "sha256": "y", "passes": 1})
    assert any("made by refining" in one for one in found(session, Wanted()))


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
