"""Frames that a step hands on are kept where the config asks for it, whole after a run that was killed."""

import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from toys import FRAMES, LEVEL, Movie, block, toys  # noqa: F401
from typer.testing import CliRunner

from streamfluo import Block, ConfigError, Plane, SessionError, open_session, open_source
from streamfluo.cli.cli import app
from streamfluo.core.source import Gap
from streamfluo.core.spec import Spec
from streamfluo.engine import recorded_frames
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.totals import Totals
from streamfluo.session import step_frames
from streamfluo.session.disk_calls import DiskCalls
from streamfluo.session.export_step_frames import export_step_frames
from streamfluo.session.step_frames import StepFramesWriter, read_step_frames

MEANS = """
[record]
raw = true
steps = ["bin"]
checkpoint_s = 0.001
[[step]]
kind = "bin"
params = { bin_px = 2, mode = "mean" }
"""
EXPECTED = FRAMES.reshape(-1, 2, 2, 2, 2).mean((2, 4), np.float32)
GAP = (50, 3)
CAME = np.setdiff1d(np.arange(120), np.arange(50, 53))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(step_frames, "CHUNK_BYTES", 7 * 16)  # of seven frames of 2 × 2


def movie(stop=120, wait=0.0, seekable=False):
    items = [block(n, n + 1) for n in range(50)] + [Gap(*GAP, "camera")] + [block(n, n + 1) for n in range(53, stop)]
    return Movie(items, wait=wait, seekable=seekable)


def run(source, folder, text=MEANS, resume=False):
    engine = Engine(source, parse_config(text), folder, resume=resume)
    engine.start()
    assert engine.wait(30)
    assert engine.error is None
    return engine


def test_frames_stand_at_their_index_and_those_that_never_came_are_unknown(tmp_path):
    engine = run(movie(), tmp_path / "S")
    session = open_session(tmp_path / "S")
    assert np.array_equal(session.read_frames(0, 200, step="bin"), EXPECTED[CAME])
    assert np.array_equal(session.read_frames(45, 55, step="bin"), EXPECTED[[45, 46, 47, 48, 49, 53, 54]])
    assert session.read_frames(300, 400, step="bin").shape == (0, 2, 2)
    assert engine.health().edges["frames"].frames == len(CAME)
    assert engine.health().edges["frames"].bytes == len(CAME) * 16
    assert "frames write" in engine.health().disk


def test_other_programs_open_the_movie_as_it_is(tmp_path):
    zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")
    run(movie(), tmp_path / "S")
    path = tmp_path / "S" / "frames" / "bin.ome.zarr"
    array = zarr.open_group(str(path), mode="r")["0"]
    assert array.shape == (120, 2, 2)
    whole = np.asarray(array)
    assert np.array_equal(whole[CAME], EXPECTED[CAME])
    assert np.isnan(whole[50:53]).all()
    with open_source(path) as source:
        assert source.spec.interval_s == pytest.approx(0.1)
        first = next(iter(source.blocks(8)))
        assert np.array_equal(first.pixels, EXPECTED[: len(first)])


def test_what_is_written_counts_for_how_long_the_disk_lasts(tmp_path):
    health = run(movie(), tmp_path / "S").health()
    raw = health.edges["ingest"].bytes
    totals = Totals()
    totals.with_run(None)
    time.sleep(0.01)
    with_frames = totals.with_run(health)["bytes_per_s"]
    del health.edges["frames"]
    assert with_frames / totals.with_run(health)["bytes_per_s"] == pytest.approx(1 + len(CAME) * 16 / raw, rel=0.5)


def as_it_stands(folder, copy):
    """Copy a session that is being written, the checkpoint first: what it counts on lies on the disk by then."""
    try:
        copy.mkdir()
        for path in folder.glob("checkpoint*.npz"):
            shutil.copy(path, copy)
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.part*", "checkpoint*"), dirs_exist_ok=True)
    except OSError:  # a file was renamed meanwhile
        return []
    return [copy]


def test_a_run_that_is_killed_and_goes_on_leaves_the_movie_of_one_that_was_not(tmp_path):
    """What a kill leaves is what lies on the disk at some moment; a chunk that was being written has another name."""
    engine = Engine(movie(wait=0.002), parse_config(MEANS), tmp_path / "S")
    engine.start()
    left = []
    while not engine.wait(0.05):
        left += as_it_stands(tmp_path / "S", tmp_path / f"K{len(left)}")
    assert len(left) > 2
    for folder in left[:: max(1, len(left) // 2)]:
        before = open_session(folder)
        assert before.state in ("running", "interrupted")
        seen = before.read_frames(0, 200, step="bin")
        assert np.array_equal(seen, EXPECTED[CAME[: len(seen)]])
        chunk = folder / "frames" / "bin.ome.zarr" / "0" / "c.3.0.0"
        chunk.with_name("c.3.0.0.partial").write_bytes(b"torn")
        run(movie(), folder, resume=True)
        assert np.array_equal(open_session(folder).read_frames(0, 200, step="bin"), EXPECTED[CAME])


def test_a_config_that_changed_begins_the_movie_anew(tmp_path):
    run(movie(stop=90), tmp_path / "S")
    run(movie(), tmp_path / "S", MEANS.replace("bin_px = 2", "bin_px = 4"), resume=True)
    found = open_session(tmp_path / "S").read_frames(0, 200, step="bin")
    assert np.array_equal(found, FRAMES[CAME].mean((1, 2), np.float32)[:, None, None])


def test_frames_behind_a_checkpoint_are_taken_back(tmp_path):
    spec, path = Spec((2, 2), "float32"), tmp_path / "frames" / "a.ome.zarr"
    frames = np.arange(40 * 4, dtype=np.float32).reshape(40, 2, 2)
    first = StepFramesWriter(path, spec, 0, DiskCalls())
    first.add(Block(0, np.arange(40), frames))
    first.close()
    again = StepFramesWriter(path, spec, 17, DiskCalls())
    again.close()
    assert [index for index, _ in read_step_frames(path, 0, 99)] == list(range(17))
    again = StepFramesWriter(path, spec, 17, DiskCalls())
    again.add(Block(20, np.arange(20), frames[20:]))
    again.close()
    found = dict(read_step_frames(path, 0, 99))
    assert list(found) == [*range(17), *range(20, 40)]
    assert all(np.array_equal(pixels, frames[index]) for index, pixels in found.items())


def test_fast_frames_that_never_wait_are_there_for_who_reads_before_the_end(tmp_path, monkeypatch):
    path, spec = tmp_path / "frames" / "bin.ome.zarr", Spec((2, 2), "float32")
    writer = StepFramesWriter(path, spec, 0, DiskCalls())
    for n in range(24):  # a chunk every .3 s is full before it has waited a second
        monkeypatch.setattr(step_frames, "time", SimpleNamespace(monotonic=lambda now=time.monotonic() + 0.3 * n: now))
        writer.add(Block(7 * n, np.arange(7), np.full((7, 2, 2), n, np.float32)))
        writer.flush_if_due()
    there = [index for index, _ in read_step_frames(path, 0, 1 << 62)]
    assert there == list(range(len(there)))
    assert 7 * 19 <= len(there) <= 7 * 23  # all but those of the last second and the chunk that waits


def test_large_blocks_wait_for_the_disk_in_pieces(monkeypatch):
    pixels = np.arange(10 * 4 * 4, dtype=np.float32).reshape(10, 4, 4)
    monkeypatch.setattr(recorded_frames, "PIECE_BYTES", 3 * 64)
    pieces = list(recorded_frames.copied(Block(5, np.arange(10), pixels)))
    assert [(piece.index, len(piece)) for piece in pieces] == [(5, 3), (8, 3), (11, 3), (14, 1)]
    assert np.array_equal(np.concatenate([piece.pixels for piece in pieces]), pixels)
    assert not any(np.shares_memory(piece.pixels, pixels) for piece in pieces)
    monkeypatch.setattr(recorded_frames, "PIECE_BYTES", 1)
    assert [len(piece) for piece in recorded_frames.copied(Block(5, np.arange(10), pixels))] == [1] * 10


def test_a_full_disk_loses_no_frame(tmp_path, monkeypatch):
    tries = []

    def refuse(aside, path):
        tries.append(path)
        if len(tries) in (2, 3):
            raise OSError(28, "No space left on device")
        step_frames_put(aside, path)

    step_frames_put = step_frames.put_in_place
    monkeypatch.setattr(step_frames, "put_in_place", refuse)
    monkeypatch.setattr("streamfluo.session.recording.RETRY_S", 0.01)
    engine = run(movie(), tmp_path / "S", MEANS.replace("checkpoint_s = 0.001", ""))
    assert np.array_equal(open_session(tmp_path / "S").read_frames(0, 200, step="bin"), EXPECTED[CAME])
    told = [event["event"] for event in open_session(tmp_path / "S").events]
    assert told.count("disk refuses") == told.count("disk takes data again") == 1
    assert not engine.health().stalled


def test_each_plane_has_its_movie(tmp_path):
    blocks = [Block(n, [n], FRAMES[n : n + 1] + (c == "red"), c) for n in range(20) for c in ("green", "red")]
    source = Movie(blocks)
    source.spec = source.spec.with_(planes=(Plane("green", 0), Plane("red", 0)))
    run(source, tmp_path / "S")
    session = open_session(tmp_path / "S")
    for name, more in (("green/0", 0), ("red/0", 1)):
        assert np.array_equal(session.read_frames(0, 20, plane=name, step="bin"), EXPECTED[:20] + more)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('steps = ["bim"]', "'bim' is no step of the chain; did you mean 'bin'?"),
        ('steps = ["toy-level"]', "'toy-level' hands on no frames of its own"),
        ('steps = "bin"', "steps"),
    ],
)
def test_a_step_that_has_no_frames_is_named(tmp_path, text, says):
    config = MEANS.replace('steps = ["bin"]', text) + "[[step]]\n" + LEVEL.replace("id = 'level'", "")
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        Engine(movie(), parse_config(config, "run.toml"), tmp_path / "S")
    assert str(error.value).startswith("run.toml: [record]")
    assert not (tmp_path / "S").exists()


def test_check_says_what_is_recorded_and_refuses_what_cannot_be(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[record]\nsteps = ["bin"]\n[[step]]\nkind = "bin"\nparams = { bin_px = 2 }', encoding="utf-8")
    said = CliRunner().invoke(app, ["check", str(path)]).output
    assert "recorded: frames of bin, 256 × 256 float32, 30 Hz, 7.86 MB/s" in said
    done = CliRunner().invoke(app, ["check", str(path), "--set", 'record.steps=["bim"]'])
    assert done.exit_code
    assert "'bim' is no step of the chain; did you mean 'bin'?" in str(done.exception)


def test_whole_numbers_are_refused_as_no_gap_could_be_told(tmp_path):
    with pytest.raises(ConfigError, match="'bin' hands on uint32; frames are recorded where they are float"):
        Engine(movie(), parse_config(MEANS.replace('"mean"', '"sum"')), tmp_path / "S")


def test_frames_that_were_not_recorded_are_asked_for_in_one_line(tmp_path):
    run(movie(stop=60), tmp_path / "S", MEANS.replace('steps = ["bin"]', ""))
    with pytest.raises(SessionError, match=re.escape('were not recorded; a run does with [record] steps = ["bin"]')):
        open_session(tmp_path / "S").read_frames(0, 5, step="bin")


def test_an_export_of_frames_that_were_not_written_yet_is_no_empty_folder(tmp_path):
    run(movie(stop=60), tmp_path / "S")
    for chunk in (tmp_path / "S" / "frames" / "bin.ome.zarr" / "0").glob("c.*"):
        chunk.unlink()
    with pytest.raises(SessionError, match="no frame of step 'bin' was written"):
        export_step_frames(open_session(tmp_path / "S"), "bin", "npy", tmp_path / "E")
    assert not (tmp_path / "E").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"float32"', '"object"'), ("120,", "-1,"), ("120,", "4611686018427387904,"), ('"float32"', '"uint16"'),
        ("   7,", "   700000,"), ("{", "[", ),
    ],
)  # fmt: skip
def test_a_forged_array_is_not_believed(tmp_path, old, new):
    run(movie(), tmp_path / "S")
    meta = tmp_path / "S" / "frames" / "bin.ome.zarr" / "0" / "zarr.json"
    text = meta.read_text()
    assert old in text
    meta.write_text(text.replace(old, new, 1))
    with pytest.raises(SessionError):
        open_session(tmp_path / "S").read_frames(0, 5, step="bin")


@pytest.mark.parametrize("place", ["frames", "frames/bin.ome.zarr", "frames/bin.ome.zarr/0"])
def test_frames_that_a_link_names_are_not_read(tmp_path, place):
    run(movie(stop=60), tmp_path / "S")
    (tmp_path / "S" / place).rename(tmp_path / "elsewhere")
    (tmp_path / "S" / place).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(SessionError, match="leads out of its session by a link"):
        open_session(tmp_path / "S").read_frames(0, 5, step="bin")


def test_a_chunk_that_is_cut_is_left_out_and_told(tmp_path):
    run(movie(), tmp_path / "S")
    chunk = tmp_path / "S" / "frames" / "bin.ome.zarr" / "0" / "c.2.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    session = open_session(tmp_path / "S")
    assert np.array_equal(session.read_frames(0, 25, step="bin"), EXPECTED[[*range(14), *range(21, 25)]])
    assert [str(damage) for damage in open_session(tmp_path / "S").damaged] == [
        "0/c.2.0.0, byte 0: frames 14 to 20: 109 bytes where a chunk has 112"
    ]
    assert not open_session(tmp_path / "S").damaged_so_far


def test_inspect_says_how_many_frames_there_are(tmp_path):
    run(movie(), tmp_path / "S")
    said = CliRunner().invoke(app, ["inspect", str(tmp_path / "S")]).output
    assert re.search(r"bin +frames +frames +120 × 2 × 2", said)
