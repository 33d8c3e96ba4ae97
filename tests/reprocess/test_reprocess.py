"""Many recordings reprocessed: sessions like those of single runs; what is done is left alone, a broken one named."""

import errno
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import tifffile

from streamfluo import open_session
from streamfluo.core.errors import ConfigError, SessionError, SourceError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess import reprocessing
from streamfluo.reprocess.cluster import ClusterError, connected
from streamfluo.reprocess.one_recording import Task, key_of, reprocess_one
from streamfluo.reprocess.recordings import Recording, name_of, recordings
from streamfluo.reprocess.reprocessing import Cluster, reprocess
from streamfluo.session.lock import take
from streamfluo.simulate import calcium
from streamfluo.sources.opening import open_source

CONFIG = '[record]\ncheckpoint_s = 0.02\n[[step]]\nkind = "moments"\n'
STATED = ("moments.toml", CONFIG, ())


@pytest.fixture
def movies(tmp_path):
    rng = np.random.default_rng(11)
    for n in range(3):
        tifffile.imwrite(tmp_path / f"day{n}.tif", rng.poisson(50, (40 + n, 20, 24)).astype(np.uint16))
    return tmp_path


def tasks(stated, wanted, out):
    return [Task(stated, recording, str(out.resolve())) for recording in wanted]


def single_run(uri, folder, config=CONFIG):
    with open_source(uri) as source:
        engine = Engine(source, parse_config(config), folder)
        engine.start()
        engine.wait()


def same_results(one, other):
    one, other = open_session(one), open_session(other)
    assert (one.frames, one.lost, one.state) == (other.frames, other.lost, "finished")
    for step in one.steps:
        for read in (one.values, one.snapshot):
            mine, theirs = read(step), getattr(other, read.__name__)(step)
            assert mine.keys() == theirs.keys()
            for name, value in mine.items():
                columns = value if isinstance(value, dict) else {"": value}
                for column, of in columns.items():
                    expected = theirs[name][column] if column else theirs[name]
                    np.testing.assert_array_equal(of, expected, err_msg=f"{name} {column}")


def task(folder, uri, config=STATED):
    return Task(config, recordings([str(uri)])[0], str(folder / "out"))


def test_a_recording_becomes_the_session_of_a_single_run(movies):
    outcome = reprocess_one(task(movies, movies / "day1.tif"))
    assert (outcome.name, outcome.became, outcome.frames, outcome.resumed) == ("day1", "done", 41, False)
    single_run(movies / "day1.tif", movies / "single")
    same_results(movies / "out" / "day1", movies / "single")


def test_what_is_done_is_not_done_again(movies):
    reprocess_one(task(movies, movies / "day0.tif"))
    written = (movies / "out" / "day0" / "session.json").stat().st_mtime_ns
    outcome = reprocess_one(task(movies, movies / "day0.tif"))
    assert (outcome.became, outcome.frames) == ("there", 40)
    assert (movies / "out" / "day0" / "session.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "changed",
    [
        ("moments.toml", CONFIG.replace("0.02", "0.03"), ()),
        ("moments.toml", CONFIG, ("source.interval_s=0.5",)),
    ],
)
def test_a_session_of_another_config_is_not_written_over(movies, changed):
    reprocess_one(task(movies, movies / "day0.tif"))
    outcome = reprocess_one(task(movies, movies / "day0.tif", changed))
    assert outcome.became == "failed"
    assert "day0: is there, and is of another config, recording or version" in outcome.why


def test_a_session_that_was_not_made_here_is_not_written_over(movies):
    single_run(movies / "day0.tif", movies / "out" / "day0")
    assert "was not made here" in reprocess_one(task(movies, movies / "day0.tif")).why


def test_a_recording_of_other_content_is_another_one(movies):
    reprocess_one(task(movies, movies / "day0.tif"))
    tifffile.imwrite(movies / "day0.tif", np.ones((5, 8, 8), np.uint16))
    assert "is of another config, recording" in reprocess_one(task(movies, movies / "day0.tif")).why


def test_a_stream_and_what_cannot_be_read_are_outcomes(movies):
    (movies / "broken.tif").write_bytes(b"II*\0" + bytes(50))
    assert "without a whole page" in reprocess_one(task(movies, movies / "broken.tif")).why
    gone = Task(STATED, Recording("gone", str(movies / "gone.tif")), str(movies / "out"))
    assert reprocess_one(gone).became == "failed"
    endless = Task(STATED, Recording("endless", "sim:spots?shape=16x16"), str(movies / "out"))
    assert "sim:spots?shape=16x16: has no end" in reprocess_one(endless).why
    assert not (movies / "out" / "endless").exists()


def test_a_file_that_the_config_names_counts_by_its_content(movies):
    np.save(movies / "seeds.npy", np.zeros((1, 2)))
    text = f'[[step]]\nkind = "extract"\nparams = {{ init = "seeded", seeds = "{movies}/seeds.npy" }}\n'
    keys = []
    for value in (0, 0, 1):
        np.save(movies / "seeds.npy", np.full((1, 2), value))
        with open_source(movies / "day0.tif") as source:
            keys.append(key_of(parse_config(text), source))
    assert keys[0] == keys[1] != keys[2]


def test_recordings_are_named_by_files_patterns_and_uris(movies):
    named = recordings([f"{movies}/day*.tif", "sim:spots?frames=3&seed=4", f"{movies}/day1.tif"])
    assert [one.name for one in named] == ["day0", "day1", "day2", "sim_spots_frames=3_seed=4"]
    assert name_of("/data/day1.ome.tif?frames=1:9") == "day1_frames=1_9"
    with pytest.raises(SourceError, match="a pattern that fits nothing"):
        recordings([f"{movies}/night*.tif"])
    with pytest.raises(SourceError, match="a recording's name has no letters"):  # not the folder one stands in
        recordings([""])


def test_a_question_mark_or_hash_in_a_name_is_part_of_the_name(tmp_path):
    movie = np.random.default_rng(1).poisson(30, (9, 12, 12)).astype(np.uint16)
    for n, name in enumerate(("what?.tif", "a#b.tif", "x?frames=1.tif", "#1.tif")):
        tifffile.imwrite(tmp_path / name, movie + n)
    (tmp_path / "out").mkdir()
    found = recordings([f"{tmp_path}/*.tif?frames=2:6"])
    assert [one.name for one in found] == [
        "1_frames=2_6",
        "a_b_frames=2_6",
        "what__frames=2_6",
        "x_frames=1_frames=2_6",
    ]
    for one in found:
        outcome = reprocess_one(Task(("m.toml", '[[step]]\nkind = "moments"\n', ()), one, str(tmp_path / "out")))
        assert (outcome.became, outcome.frames, outcome.why) == ("done", 4, "")
        session = open_session(tmp_path / "out" / one.name)
        assert session.read_frames(0, 9).shape == (4, 12, 12)  # of the file that it refers to
        with open_source(f"{tmp_path / 'out' / one.name}?frames=1:3") as source:  # of which it is a recording, too
            assert source.series.frames == 2
    (whole,) = recordings([f"{tmp_path}/what?.tif"])
    assert whole.uri == f"{tmp_path}/what?.tif"


def test_what_the_system_refuses_is_said_in_words(movies, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("streamfluo.reprocess.one_recording.note", full)
    assert reprocess_one(task(movies, movies / "day0.tif")).why == os.strerror(errno.ENOSPC)


def test_two_recordings_of_one_name_are_refused(movies):
    (movies / "b").mkdir()
    (movies / "b" / "DAY0.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"day0.tif and .*DAY0.tif would both be 'DAY0'"):
        recordings([f"{movies}/day0.tif", f"{movies}/b/DAY0.tif"])
    (movies / "reprocess.tif").write_bytes(b"")
    with pytest.raises(SourceError, match="no session can be called 'reprocess'"):
        recordings([f"{movies}/reprocess.tif"])


def killed_once(folder, name):
    """End the process that has begun a recording, as soon as it has written a checkpoint."""
    entry, deadline = folder / "reprocess" / f"{name}.json", time.monotonic() + 600
    while not (entry.exists() and (folder / name / "checkpoint.npz").exists()) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(json.loads(entry.read_text())["pid"], signal.SIGKILL)


def test_workers_of_a_cluster_share_the_recordings_and_one_that_is_killed_is_made_up_for(movies):
    pytest.importorskip("distributed")
    long = np.random.default_rng(5).poisson(50, (1, 1200, 64, 64)).astype(np.uint16)[0]
    tifffile.imwrite(movies / "long.tif", np.tile(long, (8, 1, 1)))
    (movies / "broken.tif").write_bytes(b"II*\0" + bytes(50))
    out = movies / "out"
    killing = threading.Thread(target=killed_once, args=[out, "long"])
    killing.start()
    wanted = recordings([f"{movies}/long.tif", f"{movies}/day*.tif", f"{movies}/broken.tif"])
    outcomes = {outcome.name: outcome for outcome in reprocess(tasks(STATED, wanted, out), out, Cluster("local", 2))}
    killing.join()
    assert {name: found.became for name, found in outcomes.items()} == {
        "long": "done", "day0": "done", "day1": "done", "day2": "done", "broken": "failed",
    }  # fmt: skip
    assert outcomes["long"].resumed
    for one in wanted[:4]:
        single_run(one.uri, movies / f"single-{one.name}")
        same_results(out / one.name, movies / f"single-{one.name}")
    told = json.loads((out / "reprocess" / "outcomes.json").read_text())
    assert [one["became"] for one in told] == ["done"] * 4 + ["failed"]


def test_another_cluster_is_refused_in_a_line():
    refused = pytest.raises(ConfigError, match=r"--cluster is local, slurm, tcp://… or tls://…, found 'pbs'")
    with refused, connected("pbs", 1):
        pass


def test_a_folder_that_another_reprocessing_has_is_refused(movies):
    first = reprocess([], movies / "out", Cluster("nothing"))
    with pytest.raises(ConfigError):
        next(first)
    held = take(movies / "out")
    with pytest.raises(SessionError, match="another program is writing into it"):
        next(reprocess([], movies / "out", Cluster()))
    held.release()


def test_what_a_program_that_was_ended_left_of_parts_is_swept(movies):
    out = movies / "out"
    (out / ".day0-parts-x1" / "0").mkdir(parents=True)
    (out / ".day0-parts-x1" / "0" / "state.npz").write_bytes(b"half")
    (out / "day1").mkdir()
    with pytest.raises(ConfigError):
        list(reprocess([], out, Cluster("nothing")))
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["day1", "reprocess"]


SHELF = ("shelf.toml", '[record]\ncheckpoint_s = 0.02\n[[step]]\nkind = "motion"\n[[step]]\nkind = "extract"\n'
         "params = { neuron_sigma_px = 3.0, init_frames = 60, init_delay_frames = 20 }\n", ())  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_shelf_of_sixty_is_done_though_one_is_broken_and_workers_are_killed(tmp_path):
    pytest.importorskip("distributed")
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shelf.mkdir()
    for n in range(59):
        movie, _ = calcium(300, shape=(48, 48), neurons=4, seed=9000 + n)
        tifffile.imwrite(shelf / f"day{n:02d}.tif", movie)
    whole = (shelf / "day07.tif").read_bytes()
    (shelf / "day59.tif").write_bytes(whole[: len(whole) // 3])
    killing = [threading.Thread(target=killed_once, args=[out, f"day{n}"]) for n in (11, 42)]
    for one in killing:
        one.start()
    wanted = recordings([f"{shelf}/*.tif"])
    outcomes = {outcome.name: outcome for outcome in reprocess(tasks(SHELF, wanted, out), out, Cluster("local", 2))}
    for one in killing:
        one.join()
    assert {name for name, outcome in outcomes.items() if outcome.became != "done"} == {"day59"}
    assert "cut" in outcomes["day59"].why
    assert any(outcome.resumed for outcome in outcomes.values())
    for one in wanted[:59]:
        single_run(one.uri, tmp_path / "single" / one.name, SHELF[1])
        same_results(out / one.name, tmp_path / "single" / one.name)
    again = {outcome.name: outcome.became for outcome in reprocess(tasks(SHELF, wanted, out), out, Cluster("local", 2))}
    assert again == {one.name: "there" for one in wanted[:59]} | {"day59": "failed"}


def test_without_its_cluster_no_recording_is_said_to_have_failed(movies, monkeypatch):
    class Gone:
        def each_done(self, work, tasks, names):
            raise ClusterError("reprocess: the cluster is gone")
            yield

    out = movies / "out"
    out.mkdir()
    with pytest.raises(ClusterError, match="the cluster is gone"):
        list(
            reprocessing._in_parts(Gone(), tasks(STATED, recordings([str(movies / "day0.tif")]), out), Cluster(parts=2))
        )
