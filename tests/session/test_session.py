"""The session: what a run leaves behind reads back whole, also after a kill, and is never overwritten by another."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from systems import needs_proc
from toys import FRAMES, LEVEL, ONES, SPEC, Movie, a, config, means, same_of_steps, toys  # noqa: F401

from streamfluo import Camera, ConfigError, SessionError, open_session, open_source
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.record_file import scan_records
from streamfluo.session.schema import sealed

GAPPY = [*ONES[:50], Gap(50, 3, "camera"), *ONES[53:60], Gap(60, 2, "transport"), *ONES[62:100]]
SEEN = [*range(50), *range(53, 60), *range(62, 100)]
MOMENTS = 'kind = "moments"\nafter = "source"'


def recorded(folder, items=tuple(ONES), tables=(LEVEL, MOMENTS), source=None, **options):
    engine = Engine(source or Movie(list(items)), config(*tables), folder, **options)
    engine.start()
    assert engine.wait(20)
    return open_session(folder)


def same_results(one, other):
    assert np.array_equal(one.read_frames(0, 10**9), other.read_frames(0, 10**9))
    return same_of_steps(one, other)


@pytest.fixture(scope="module")
def session(toys, tmp_path_factory):  # noqa: F811
    source = Movie(GAPPY)
    source.spec = SPEC.with_(channel="green", camera=Camera(offset_adu=100.0, gain_e_per_adu=np.full((4, 4), 0.5)))
    return recorded(tmp_path_factory.mktemp("s") / "s", source=source, truth={"shift": np.arange(6.0)})


def test_frames_gaps_and_losses_are_those_of_the_stream(session):
    assert session.frames == len(SEEN)
    assert session.gaps == (Gap(50, 3, "camera"), Gap(60, 2, "transport"))
    assert session.lost == 5
    assert np.array_equal(session.read_frames(0, 10**9), FRAMES[SEEN])
    assert np.array_equal(session.read_frames(48, 55), FRAMES[[48, 49, 53, 54]])
    assert session.read_frames(50, 53).shape == (0, 4, 4)
    assert session.read_frames(50, 53).dtype == np.uint16


def test_values_have_a_row_for_every_frame_seen(session):
    assert np.allclose(session.values("level")["level"], FRAMES[SEEN].mean((1, 2)))
    assert session.index("level").tolist() == SEEN
    assert session.index("moments").tolist() == SEEN


def test_the_last_snapshots_are_kept(session):
    assert np.allclose(session.snapshot("moments")["mean"], FRAMES[SEEN].mean(0))
    assert np.isclose(session.snapshot("level")["sum"], FRAMES[SEEN].mean((1, 2)).sum())


def test_spec_camera_maps_series_and_truth_come_back(session):
    assert session.spec.channel == "green"
    assert np.array_equal(session.spec.camera.gain_e_per_adu, np.full((4, 4), 0.5))
    assert session.spec.camera.offset_adu == 100
    assert session.series["uid"] == "movie"
    assert session.truth["shift"].tolist() == list(range(6))


def test_steps_say_what_they_are_and_give(session):
    level = session.steps["level"]
    assert (level.kind, level.version, level.after, level.params) == ("toy-level", 1, "source", {"factor": 1.0})
    assert [(g.name, g.kind, g.dims) for g in level.gives] == [("level", "per_frame", ("t",)), ("sum", "snapshot", ())]


def test_health_and_events_tell_how_the_run_went(session):
    assert session.state == "finished"
    assert session.health["lost"] == 5
    assert [event["event"] for event in session.events] == ["gap", "gap", "closed"]
    assert session.facts["versions"]["streamfluo"]


def test_the_config_is_kept_as_it_was_written(session):
    assert (session.path / "config.toml").read_text() == config(LEVEL, MOMENTS).text


@pytest.mark.parametrize("ask", ["values", "snapshot", "index"])
def test_a_step_that_is_not_there_is_answered_with_the_nearest(session, ask):
    with pytest.raises(SessionError, match="no step 'levl'; did you mean 'level'"):
        getattr(session, ask)("levl")


def test_a_stream_that_can_be_read_again_is_referenced_not_recorded(tmp_path):
    engine = Engine(Movie(ONES, seekable=True), config(LEVEL), tmp_path / "s")
    engine.start()
    assert engine.wait(20)
    session = open_session(tmp_path / "s")
    assert not session.has_journal
    assert session.frames == 200
    raw = parse_config("[record]\nraw = true")
    engine = Engine(Movie(ONES, seekable=True), raw, tmp_path / "raw")
    engine.start()
    assert engine.wait(20)
    assert np.array_equal(open_session(tmp_path / "raw").read_frames(0, 200), FRAMES[:200])


def test_a_referenced_simulation_gives_its_frames_again(tmp_path):
    uri = "sim:calcium?shape=48x40&frames=40&seed=3"
    with open_source(uri) as source:
        session = recorded(tmp_path / "s", tables=(MOMENTS,), source=source)
        source.seek(0)
        movie = np.concatenate([b.pixels for b in source.blocks()])
    assert np.array_equal(session.read_frames(5, 36), movie[5:36])
    assert session.truth.keys() >= {"A_data"}
    assert session.gaps == ()


# What is refused


def test_a_folder_that_holds_another_series_is_refused_with_a_free_name(tmp_path):
    recorded(tmp_path / "s")
    (tmp_path / "s-2").mkdir()
    for resume in (False, True):
        with pytest.raises(SessionError, match=r"holds another series \(movie\); use --out .*/s-3$"):
            Engine(Movie(ONES, uid="other"), config(LEVEL), tmp_path / "s", resume=resume)


def test_the_same_series_is_refused_unless_resumed(tmp_path):
    recorded(tmp_path / "s")
    before = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    with pytest.raises(SessionError, match="already holds this series; add --resume"):
        Engine(Movie(ONES), config(LEVEL), tmp_path / "s")
    assert before == {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SessionError, match="not empty and no session; name another --out"):
        Engine(Movie(ONES), config(LEVEL), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", "session.part"], [".lock", "session.json"]])
def test_a_folder_of_a_run_killed_at_its_start_is_gone_on_with(tmp_path, left):
    recorded(tmp_path / "whole")
    (tmp_path / "s").mkdir()
    for name in left:
        whole = tmp_path / "whole" / name
        (tmp_path / "s" / name).write_bytes(whole.read_bytes() if whole.exists() else b"{")
    session = recorded(tmp_path / "s", resume=True)
    assert session.state == "finished"
    same_results(session, open_session(tmp_path / "whole"))


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(SessionError, match="a file, not a folder; name another --out"):
        Engine(Movie(ONES), config(LEVEL), tmp_path / "s")


def test_a_config_that_does_not_fit_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError):
        Engine(Movie(ONES), config(a("nonsense")), tmp_path / "s")
    assert not (tmp_path / "s").exists()


NO_SESSIONS = [
    (None, "no such session folder"),
    ({}, "no session.json in it; is this the folder given to --out"),
    ({"session.json": "{torn"}, "session.json: cannot be read"),
    ({"session.json": "[1]"}, "session.json: cannot be read: expected a JSON map"),
    ({"session.json": '{"format": 9}'}, "format 9, this version reads 2"),
]


@pytest.mark.parametrize(("files", "message"), NO_SESSIONS)
def test_what_is_no_session_is_said_to_be_none(tmp_path, files, message):
    folder = tmp_path / "s"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(SessionError, match=message):
        open_session(folder)


# Killed, and resumed


def killed(folder, frames, torn=100):
    """A session as a kill leaves it after so many frames: no health, no snapshots, torn ends."""
    recorded(folder, GAPPY)
    session = open_session(folder)
    journal = folder / "journal" / "000000.sfj"
    starts = [record.start for record in scan_records(journal, journal.read_bytes())]
    journal.write_bytes(journal.read_bytes()[: starts[frames] + torn])
    values = folder / "values" / "level.sfv"
    values.write_bytes(values.read_bytes()[:-torn])
    events = [e for e in session.events if e["event"] == "gap" and e["first"] < SEEN[frames]]
    (folder / "events.jsonl").write_text("".join(json.dumps(sealed(e)) + "\n" for e in events) + '{"event": "ga')
    (folder / "session.json").write_text(json.dumps(sealed({**session.facts, "state": "running"})))
    (folder / "health.json").unlink()
    shutil.rmtree(folder / "snapshots")
    return open_session(folder)


@pytest.mark.parametrize("frames", [0, 1, 49, 51, 70])
def test_a_killed_session_is_readable_as_far_as_it_came(tmp_path, frames):
    session = killed(tmp_path / "s", frames)
    assert session.state == "interrupted"
    assert session.frames == frames
    assert np.array_equal(session.read_frames(0, 10**9), FRAMES[SEEN[:frames]].reshape(-1, 4, 4))
    assert session.health == {}
    assert session.snapshot("moments") == {}
    values = session.values("level").get("level", np.empty(0))
    assert np.allclose(values, FRAMES[SEEN].mean((1, 2))[: len(values)])
    assert session.lost == sum(g.count for g in (Gap(50, 3), Gap(60, 2)) if g.first < SEEN[frames])


@pytest.mark.parametrize("frames", [1, 20, 49, 50, 55, 57, 80])
def test_resumed_after_a_kill_the_session_is_that_of_an_unbroken_run_to_the_bit(tmp_path, frames):
    unbroken = recorded(tmp_path / "whole", GAPPY)
    killed(tmp_path / "s", frames)
    resumed = recorded(tmp_path / "s", GAPPY, resume=True)
    assert same_results(unbroken, resumed)
    assert resumed.frames == unbroken.frames
    assert resumed.gaps == unbroken.gaps
    assert resumed.lost == 5
    assert resumed.health["lost"] == 5
    assert resumed.health["frames"] == len(SEEN)


@pytest.mark.parametrize("frames", [50, 57])
def test_resumed_when_killed_right_before_a_gap_was_noted_the_gap_is_noted_once(tmp_path, frames):
    unbroken = recorded(tmp_path / "whole", GAPPY)
    killed(tmp_path / "s", frames)
    events = (tmp_path / "s" / "events.jsonl").read_text().splitlines()
    kept = [e for e in events if '"gap"' in e and json.loads(e)["first"] < SEEN[frames - 1]]
    (tmp_path / "s" / "events.jsonl").write_text("".join(e + "\n" for e in kept))
    resumed = recorded(tmp_path / "s", GAPPY, resume=True)
    assert same_results(unbroken, resumed)
    assert resumed.gaps == unbroken.gaps


def test_a_finished_session_resumed_stays_what_it_was(tmp_path):
    unbroken = recorded(tmp_path / "whole", GAPPY)
    recorded(tmp_path / "s", GAPPY)
    assert same_results(unbroken, recorded(tmp_path / "s", GAPPY, resume=True))


def test_a_session_can_be_read_while_it_is_being_written(tmp_path):
    source = Movie([*ONES[:100]], wait=0.01)
    engine = Engine(source, config(LEVEL), tmp_path / "s")
    engine.start()
    while engine.health().edges["journal"].frames < 40:
        assert not engine.wait(0.01)
    session = open_session(tmp_path / "s")
    assert session.state == "running"
    assert session.frames >= 40
    assert np.array_equal(session.read_frames(0, 40), FRAMES[:40])
    values = session.values("level")["level"]
    assert np.allclose(values, means(0, len(values)))
    engine.stop()
    assert engine.wait(20)


@needs_proc
def test_a_closed_session_holds_no_file_open(tmp_path):
    recorded(tmp_path / "s")
    held = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert [path.name for path in held if path.is_relative_to(tmp_path)] == []
