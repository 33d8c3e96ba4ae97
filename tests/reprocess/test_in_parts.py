"""One recording taken in parts: what merges equals the single run, within the law of merging."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from merged_law import furthest

from streamfluo import Block, Spec, open_session
from streamfluo.core.errors import ConfigError, FrameError, SessionError, SourceError
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.in_parts import merged, merged_chain, parts_of, process_part
from streamfluo.reprocess.one_recording import Task, config_of, note
from streamfluo.reprocess.recordings import recordings
from streamfluo.reprocess.spans import frames_until
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, verify_session

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
PLACES = """
[source]
camera = { offset_adu = 10, gain_e_per_adu = 1.2, read_noise_e = 1.5 }
[[step]]
kind = "spots"
[[step]]
kind = "render"
after = "spots"
[[step]]
id = "known"
kind = "spots"
after = "source"
params = { spots = [[10, 10], [4, 15]] }
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


def in_parts(folder, count, stated=STATED):
    parts = parts_of(task(folder, stated), count, str(folder / "work"))
    return parts, merged([(part, process_part(part)) for part in parts])


@pytest.mark.parametrize(("count", "config"), [(2, CONFIG), (5, CONFIG), (5, PLACES)], ids=["2", "5", "5, spots"])
def test_parts_give_the_session_of_the_serial_run(movie, count, config):
    parts, outcome = in_parts(movie, count, ("parts.toml", config, ()))
    assert len(parts) == count
    assert (outcome.became, outcome.frames, outcome.lost) == ("done", 517, 0)
    with open_source(movie / "long.tif") as source:
        engine = Engine(source, parse_config(config), movie / "single")
        engine.start()
        engine.wait()
    whole, single = open_session(movie / "out" / "long"), open_session(movie / "single")
    assert (whole.frames, whole.state, whole.steps.keys()) == (single.frames, single.state, single.steps.keys())
    furthest(whole, single)


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
        source = SimpleNamespace(blocks=lambda: iter(items), spec=Spec((2, 2), "uint16"))
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
    stated = ("m.toml", '[[step]]\nkind = "spots"\nparams = { detect = "mean" }\n', ())
    with pytest.raises(ConfigError, match=r"m\.toml: step 'spots': spots has no merge and learns from all frames"):
        parts_of(task(movie, stated), 2, str(movie / "work"))


def test_what_is_too_short_to_learn_from_first_is_named(movie):
    stated = ("m.toml", '[[step]]\nkind = "motion"\n', ())
    with pytest.raises(ConfigError, match="step 'motion': 517 frames are too few for parts, which learn from 4096"):
        parts_of(task(movie, stated), 2, str(movie / "work"))


def test_what_is_merged_stands_behind_the_last_part_and_goes_on_from_there(movie):
    stated = ("m.toml", '[[step]]\nkind = "moments"\n', ())
    parts = parts_of(task(movie, stated), 3, str(movie / "work"))
    for part in parts[:2]:
        process_part(part)
    with open_source(movie / "long.tif") as source:
        chain = merged_chain(config_of(parts[0].task), source, parts[:2])
        assert [step.next_index for step in chain.steps] == [parts[2].first]
        source.seek(parts[2].first - 1)
        frame = next(iter(source.blocks(1)))
        with pytest.raises(FrameError, match="frames come in order"):
            chain.run(frame)
        source.seek(parts[2].first)
        for block in source.blocks():
            chain.run(block)
    mean = tifffile.imread(movie / "long.tif").mean(0)
    np.testing.assert_allclose(chain.read("moments")["mean"], mean, rtol=1e-12)


REGIONS = """
[source]
interval_s = 0.02
[[step]]
kind = "regions"
[step.params]
regions = [[[3, 3], [3, 14], [15, 14], [15, 3]], [[16, 16], [16, 23], [19, 23]]]
neuropil_factor = 0.0
f0_window_s = 2.6
[[step]]
kind = "moments"
after = "source"
"""


def test_what_learns_nothing_gives_the_bits_of_the_single_run_in_parts(movie):
    stated = ("regions.toml", REGIONS, ())
    parts = parts_of(task(movie, stated), 4, str(movie / "work"))
    assert (parts[0].division.way, parts[0].division.sample, parts[0].division.warm_up) == ("warmed", (), 130)
    merged([(part, process_part(part)) for part in parts])
    with open_source(movie / "long.tif") as source:
        engine = Engine(source, parse_config(REGIONS), movie / "single")
        engine.start()
        engine.wait()
    whole, single = open_session(movie / "out" / "long"), open_session(movie / "single")
    furthest(whole, single)
    assert np.isfinite(single.values("regions")["dff"][:, 0]).mean() > 0.9
    np.testing.assert_array_equal(whole.index("regions"), np.arange(517))
    np.testing.assert_array_equal(whole.index("moments"), np.arange(517))
    assert verify_session(movie / "out" / "long", Wanted()).word == "verified"


PLANES = """
[[step]]
kind = "moments"
planes = ["green", "red"]
[[step]]
kind = "debleach"
after = "source"
planes = ["green"]
"""


def test_planes_that_take_nothing_of_each_other_are_parts_whatever_their_steps_are(tmp_path):
    (tmp_path / "out").mkdir()
    wanted = recordings(["sim:calcium?channels=2&frames=150&shape=24x20&neurons=2&seed=5"])[0]
    parts = parts_of(Task(("p.toml", PLANES, ()), wanted, str(tmp_path / "out")), 8, str(tmp_path))
    assert [part.planes for part in parts] == [("red/0",), ("green/0",)]
    outcome = merged([(part, process_part(part)) for part in parts])
    with open_source(wanted.uri, planes=True) as source:
        engine = Engine(source, parse_config(PLANES), tmp_path / "single")
        engine.start()
        engine.wait()
    whole, single = open_session(tmp_path / "out" / wanted.name), open_session(tmp_path / "single")
    assert outcome.frames == 300
    assert (whole.frames, whole.lost, whole.next_index) == (single.frames, single.lost, single.next_index)
    assert whole.facts["divided"] == {
        "parts": 2, "way": "planes", "planes": [["red/0"], ["green/0"]], "tolerances": {}
    }  # fmt: skip
    assert whole.planes == single.planes
    for plane in single.planes:
        one, other = single.plane(plane), whole.plane(plane)
        assert one.steps.keys() == other.steps.keys()
        for step in one.steps:
            for name, expected in (one.snapshot(step) | one.values(step)).items():
                np.testing.assert_array_equal((other.snapshot(step) | other.values(step))[name], expected, err_msg=name)


def test_planes_that_take_values_of_each_other_are_not_taken_apart(tmp_path):
    (tmp_path / "out").mkdir()
    text = """
[[step]]
kind = "motion"
planes = ["red"]
[[step]]
kind = "motion"
id = "follow"
planes = ["green"]
after = "source"
inputs = { shift_px = "red/motion.shift_px" }
params = { mode = "apply" }
"""
    wanted = recordings(["sim:calcium?channels=2&frames=150&shape=24x20&neurons=2&seed=5"])[0]
    with pytest.raises(ConfigError, match="step 'green/0/follow' takes values of other planes, so a recording cannot"):
        parts_of(Task(("p.toml", text, ()), wanted, str(tmp_path / "out")), 8, str(tmp_path))


def test_gaps_are_told_once_wherever_parts_are_cut(movie):
    frames = tifffile.imread(movie / "long.tif")
    with open_source(movie / "long.tif") as source:
        engine = Engine(source, parse_config("[record]\nraw = true\n"), movie / "recorded")
        engine.start()
        engine.wait()
    wanted = recordings([f"{movie / 'recorded'}"])[0]
    (movie / "out").mkdir()
    parts = parts_of(Task(("m.toml", '[[step]]\nkind = "moments"\n', ()), wanted, str(movie / "out")), 4, str(movie))
    found = [(part, process_part(part)) for part in parts]
    assert sum(part.frames for _, part in found) == len(frames)
    outcome = merged([(part, got._replace(gaps=[Gap(part.first, 2, "lost")])) for part, got in found])
    session = open_session(movie / "out" / wanted.name)
    assert (outcome.lost, session.lost) == (8, 8)
    assert [(gap.first, gap.reason) for gap in session.gaps] == [(part.first, "lost") for part in parts]


def test_a_recording_whose_parameters_were_changed_is_not_taken_in_parts(movie, monkeypatch):
    monkeypatch.setattr("streamfluo.sources.tiff.TiffSource.changes", ("changed",), raising=False)
    with pytest.raises(SourceError, match="parameters were changed, or cells judged, while it was recorded"):
        parts_of(task(movie), 2, str(movie / "work"))
