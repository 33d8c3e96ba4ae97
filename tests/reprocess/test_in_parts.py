"""One recording taken in parts: what merges equals the single run, within the law of merging."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from streamfluo import Block, open_session
from streamfluo.core.errors import ConfigError, SessionError
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.in_parts import merged, parts_of, process_part
from streamfluo.reprocess.one_recording import Task, config_of, note
from streamfluo.reprocess.recordings import recordings
from streamfluo.reprocess.spans import frames_until
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source

CONFIG = """
[[step]]
kind = "moments"
[[step]]
kind = "sofi"
params = { order = 4 }
after = "source"
[[step]]
kind = "summary"
after = "source"
[[step]]
kind = "reconstruct"
after = "sofi"
params = { psf = 1.3, factor = 1, iterations = 2 }
"""
STATED = ("parts.toml", CONFIG, ())


@pytest.fixture
def movie(tmp_path):
    rng = np.random.default_rng(3)
    blink = 200 * (rng.random((517, 1, 1)) < 0.4) * np.exp(-((np.mgrid[:20, :24] - 10) ** 2).sum(0) / 6)
    tifffile.imwrite(tmp_path / "long.tif", rng.poisson(50 + blink).astype(np.uint16))
    return tmp_path


def task(folder, stated=STATED):
    (folder / "out").mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    return Task(stated, recordings([str(folder / "long.tif")])[0], str(folder / "out"))


def in_parts(folder, count):
    parts = parts_of(task(folder), count, str(folder / "work"))
    return parts, merged([(part, process_part(part)) for part in parts])


@pytest.mark.parametrize("count", [2, 5])
def test_parts_give_the_session_of_the_serial_run(movie, count):
    parts, outcome = in_parts(movie, count)
    assert len(parts) == count
    assert (outcome.became, outcome.frames, outcome.lost) == ("done", 517, 0)
    with open_source(movie / "long.tif") as source:
        engine = Engine(source, parse_config(CONFIG), movie / "single")
        engine.start()
        engine.wait()
    whole, single = open_session(movie / "out" / "long"), open_session(movie / "single")
    assert (whole.frames, whole.state, whole.steps.keys()) == (single.frames, single.state, single.steps.keys())
    for step in single.steps:
        for name, expected in single.snapshot(step).items():
            if expected.dtype.kind not in "fi":
                np.testing.assert_array_equal(whole.snapshot(step)[name], expected)
                continue
            scale = np.nanmax(np.abs(expected), initial=1e-300)
            bound = 1e-12 if expected.dtype == np.float64 else 1e-6
            np.testing.assert_allclose(whole.snapshot(step)[name], expected, rtol=0, atol=bound * scale, err_msg=name)
        for name, expected in single.values(step).items():
            if not isinstance(expected, dict):
                np.testing.assert_array_equal(whole.values(step)[name], expected)


def test_parts_cover_every_frame_once_and_are_cut_where_steps_flush(movie):
    parts = parts_of(task(movie), 4, str(movie / "work"))
    assert [(part.first, part.stop) for part in parts] == [(0, 160), (160, 320), (320, 480), (480, 517)]


@pytest.mark.parametrize(("first", "stop"), [(0, 517), (100, 230), (200, 232), (40, 41)])
def test_frames_selected_of_a_session_are_taken_under_the_indices_that_they_have(movie, first, stop):
    with open_source(movie / "long.tif") as source:
        engine = Engine(source, parse_config("[record]\nraw = true\n"), movie / "recorded")
        engine.start()
        engine.wait()
    (movie / "out").mkdir()
    wanted = recordings([f"{movie / 'recorded'}?frames={first}:{stop}"])[0]
    parts = parts_of(Task(("m.toml", '[[step]]\nkind = "moments"\n', ()), wanted, str(movie / "out")), 3, str(movie))
    outcome = merged([(part, process_part(part)) for part in parts])
    assert (outcome.frames, outcome.lost) == (stop - first, 0)
    assert all(part.first % 32 == 0 for part in parts[1:])
    session = open_session(movie / "out" / wanted.name)
    expected = tifffile.imread(movie / "long.tif")[first:stop]
    np.testing.assert_array_equal(session.values("moments")["total_signal"], expected.sum((1, 2), dtype=float))
    np.testing.assert_allclose(session.snapshot("moments")["mean"], expected.mean(0), rtol=1e-12)


def test_blocks_and_gaps_that_reach_beyond_a_part_are_cut():
    def block(first, count):
        return Block(first, np.arange(count), np.zeros((count, 2, 2), np.uint16))

    def spans(stop, *items):
        source = SimpleNamespace(blocks=lambda: iter(items))
        found = [
            (i.first, i.first + i.count) if isinstance(i, Gap) else (i.index, i.stop)
            for i in frames_until(source, stop)
        ]
        return found

    assert spans(64, block(32, 20), Gap(52, 3, "lost"), block(55, 20), block(75, 5)) == [(32, 52), (52, 55), (55, 64)]
    assert spans(64, block(32, 20), Gap(52, 30, "lost"), block(82, 20)) == [(32, 52), (52, 64)]
    assert spans(64, block(32, 32), block(64, 20)) == [(32, 64)]


def test_what_is_there_is_not_done_again(movie):
    in_parts(movie, 2)
    assert parts_of(task(movie), 2, str(movie / "work")) == []
    with pytest.raises(SessionError, match="is of another config"):
        parts_of(task(movie, ("parts.toml", CONFIG.replace("1.3", "1.4"), ())), 2, str(movie / "work"))


def test_a_session_that_was_begun_whole_and_did_not_end_is_no_result(movie):
    whole, folder = task(movie), movie / "out" / "long"
    with open_source(movie / "long.tif") as source:
        note(whole, config_of(whole), source)
        engine = Engine(source, config_of(whole), folder)
        engine.start()
        engine.wait()
    facts = json.loads((folder / "session.json").read_text())
    facts.pop("crc32")
    (folder / "session.json").write_text(json.dumps(sealed({**facts, "state": "aborted"})))
    with pytest.raises(SessionError, match="is there, aborted; reprocess it without parts"):
        parts_of(whole, 2, str(movie / "work"))


def test_a_step_that_does_not_merge_is_named(movie):
    stated = ("m.toml", '[[step]]\nkind = "spots"\n', ())
    with pytest.raises(ConfigError, match=r"m\.toml: step 'spots': spots has no merge and learns from all frames"):
        parts_of(task(movie, stated), 2, str(movie / "work"))


def test_what_is_too_short_to_learn_from_first_is_named(movie):
    stated = ("m.toml", '[[step]]\nkind = "motion"\n', ())
    with pytest.raises(ConfigError, match="step 'motion': 517 frames are too few for parts, which learn from 4096"):
        parts_of(task(movie, stated), 2, str(movie / "work"))
