"""Checkpoints: a run that was killed goes on from the last one and ends with the bits of an unbroken run."""

import contextlib
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from toys import FRAMES, LEVEL, ONES, Movie, a, config, same_of_steps, toys  # noqa: F401

from streamfluo import open_session
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.checkpoint import Checkpoint, load_checkpoint

BINNED = "kind = 'bin'\nafter = 'source'\nparams = { bin_px = 1, bin_frames = 7 }"
MOMENTS = "kind = 'moments'\nafter = 'source'"
STEPS = "".join(f"[[step]]\n{step}\n" for step in (LEVEL, MOMENTS, BINNED, "id = 'binned'\nkind = 'moments'"))
ITEMS = [*ONES[:50], Gap(50, 3, "camera"), *ONES[53:120], Gap(120, 2, "transport"), *ONES[122:]]


def settings(raw=True, checkpoint_s=0.001, steps=STEPS):
    return parse_config(f"[record]\nraw = {str(raw).lower()}\ncheckpoint_s = {checkpoint_s}\n{steps}")


def run(folder, source, **options):
    engine = Engine(source, settings(**options), folder)
    engine.start()
    assert engine.wait(20)
    return open_session(folder)


def killed(tmp_path, at, saved=0, **options):
    """What a kill leaves: a session's files when `at` frames are through and more than `saved` in its checkpoint."""
    source = Movie(ITEMS, wait=0.002, seekable=not options.get("raw", True))
    engine = Engine(source, settings(**options), tmp_path / "k")
    engine.start()
    while engine.health().frames < at or not _is_saved(tmp_path / "k" / "checkpoint.npz", saved):
        time.sleep(0.001)
    left = tmp_path / "left"
    left.mkdir()
    while not (left / "checkpoint.npz").exists():
        with contextlib.suppress(FileNotFoundError):  # for a moment, while it is replaced
            shutil.copy(tmp_path / "k" / "checkpoint.npz", left)  # first: what it speaks of is on disk before it
    shutil.copytree(
        tmp_path / "k", left, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock", "checkpoint*", "*.part")
    )
    engine.stop()
    assert engine.wait(20)
    return left


def _is_saved(path, frames):
    checkpoint = load_checkpoint(path)
    return checkpoint is not None and checkpoint.next_index > frames


def same(one, other):
    assert one.gaps == other.gaps
    assert one.frames == other.frames
    return same_of_steps(one, other)


@pytest.mark.parametrize("raw", [True, False], ids=["journal", "file"])
@pytest.mark.parametrize("at", [3, 60, 118, 170])
def test_resumed_from_a_checkpoint_everything_equals_an_unbroken_run_to_the_bit(tmp_path, at, raw):
    whole = run(tmp_path / "whole", Movie(ITEMS, seekable=not raw), raw=raw)
    left = killed(tmp_path, at, raw=raw)
    assert load_checkpoint(left / "checkpoint.npz").next_index > 0
    source = Movie(ITEMS, seekable=not raw)
    engine = Engine(source, settings(raw=raw), left, resume=True)
    assert engine._parts.position.next_index > 0
    engine.start()
    assert engine.wait(20)
    resumed = open_session(left)
    assert same(resumed, whole)
    assert engine.health().frames == whole.health["frames"] == 195
    assert engine.health().lost == 5
    if raw:
        assert np.array_equal(resumed.read_frames(0, 200), FRAMES[whole.journal.indices])


def test_a_checkpoint_of_another_config_is_not_used_and_the_journal_runs_from_its_start(tmp_path):
    left = killed(tmp_path, 100)
    other = STEPS.replace("bin_frames = 7", "bin_frames = 3")
    whole = run(tmp_path / "whole", Movie(ITEMS), steps=other)
    engine = Engine(Movie(ITEMS), settings(steps=other), left, resume=True)
    assert engine._parts.position.next_index == 0
    engine.start()
    assert engine.wait(20)
    assert same(open_session(left), whole)


@pytest.mark.parametrize("name", ["factor", "gain"])
def test_a_checkpoint_from_before_a_parameter_was_renamed_is_used_under_either_name(tmp_path, name):
    steps = STEPS.replace(LEVEL, f"{LEVEL}\nparams = {{ {name} = 2.0 }}")
    left = killed(tmp_path, 100, steps=steps)
    checkpoint = load_checkpoint(left / "checkpoint.npz")
    level = {**checkpoint.steps["level"], "params": {"gain": 2.0}}
    replace(checkpoint, steps={**checkpoint.steps, "level": level}).save(left / "checkpoint.npz")
    whole = run(tmp_path / "whole", Movie(ITEMS), steps=steps)
    engine = Engine(Movie(ITEMS), settings(steps=steps), left, resume=True)
    assert engine._parts.position.next_index == checkpoint.next_index > 0
    engine.start()
    assert engine.wait(20)
    assert same(open_session(left), whole)
    assert open_session(left).steps["level"].params == {"factor": 2.0}


@pytest.mark.parametrize("damage", [b"", b"not a zip", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path, damage):
    left = killed(tmp_path, 100)
    (left / "checkpoint.npz").write_bytes(damage)
    whole = run(tmp_path / "whole", Movie(ITEMS))
    engine = Engine(Movie(ITEMS), settings(), left, resume=True)
    engine.start()
    assert engine.wait(20)
    assert same(open_session(left), whole)


def test_of_a_damaged_checkpoint_the_one_before_is_used(tmp_path):
    left = killed(tmp_path, 100)
    newest, before = (left / name for name in ("checkpoint.npz", "checkpoint.before.npz"))
    shutil.copy(newest, before)
    newest.write_bytes(newest.read_bytes()[:-40])
    whole = run(tmp_path / "whole", Movie(ITEMS))
    engine = Engine(Movie(ITEMS), settings(), left, resume=True)
    assert engine._parts.position.next_index == load_checkpoint(before).next_index > 0
    engine.start()
    assert engine.wait(20)
    assert same(open_session(left), whole)


def test_a_step_that_was_muted_stays_muted(tmp_path):
    steps = f"[[step]]\n{a('fragile')}\n[[step]]\n{MOMENTS}\n"
    left = killed(tmp_path, 100, saved=10, steps=steps)
    before = open_session(left).index("toy-fragile").tolist()  # the block in which it broke gives nothing
    assert before == list(range(len(before)))
    assert 0 < len(before) <= 10
    engine = Engine(Movie(ITEMS), settings(steps=steps), left, resume=True)
    assert engine._parts.position.next_index > 10
    engine.start()
    assert engine.wait(20)
    session = open_session(left)
    assert "a toy that breaks" in session.health["muted"]["toy-fragile"]
    assert session.index("toy-fragile").tolist() == before
    assert len(session.index("moments")) == 195


def test_checkpoints_come_at_their_pace_and_not_without_steps(tmp_path):
    run(tmp_path / "rare", Movie(ITEMS), checkpoint_s=3600)
    run(tmp_path / "none", Movie(ITEMS), steps="")
    for name in ("rare", "none"):
        assert not (tmp_path / name / "checkpoint.npz").exists()


def test_a_state_survives_the_disk_to_the_bit(tmp_path):
    state = {"a": np.arange(6.0).reshape(2, 3) / 7, "n": 2**53 + 1, "x": 0.1, "inf": float("inf"), "s": "µ"}
    steps = {"one": {"kind": "k", "version": 1, "params": {}, "next_index": None, "muted": None, "state": state}}
    Checkpoint("u", 7, 5, steps, {"one": 64}).save(tmp_path / "c.npz")
    back = load_checkpoint(tmp_path / "c.npz")
    assert (back.series_uid, back.next_index, back.frames, back.values_nbytes) == ("u", 7, 5, {"one": 64})
    got = back.steps["one"]["state"]
    assert got.pop("a").tobytes() == state.pop("a").tobytes()
    assert got == state
    assert list(tmp_path.iterdir()) == [tmp_path / "c.npz"]
