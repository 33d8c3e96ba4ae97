"""A recorded extraction refined by passes over all frames: against least squares over all of it, and the truth."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from commands import command

from streamfluo import SessionError, SourceError, Spec, open_session, open_source
from streamfluo.calcium.extract.activity import Deconvolution
from streamfluo.calcium.extract.background import FrameSums
from streamfluo.calcium.extract.params import ExtractParams
from streamfluo.calcium.refine import whole_extraction
from streamfluo.calcium.refine.first_run import FirstComponent
from streamfluo.calcium.refine.looking_ahead import course_of
from streamfluo.calcium.refine.whole_extraction import WholeExtraction
from streamfluo.calcium.refine.whole_pieces import joined
from streamfluo.calcium.time_constants import TimeConstants
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.refined_session import fingerprint, refine_session
from streamfluo.session.lock import take
from streamfluo.session.schema import sealed
from streamfluo.simulate import calcium

CHAIN = """[source]
interval_s = 0.05
[[step]]
kind = "motion"
params = { max_shift_px = 3, init_frames = 40 }
[[step]]
kind = "extract"
[step.params]
neuron_sigma_px = 3.0
decay_s = 0.5
rise_s = 0.03
init_frames = 60
init_delay_frames = 20
window_frames = 40
"""
FRAMES = 360


def run(path, chain, out):
    with open_source(str(path)) as source:
        engine = Engine(source, parse_config(chain), out)
        engine.start()
        assert engine.wait(60)
        assert engine.error is None
    return out


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A movie of a few cells, its truth, and the session of its run."""
    folder = tmp_path_factory.mktemp("refine")
    movie, truth = calcium(
        shape=(56, 60), frames=FRAMES, neurons=5, neuron_sigma_px=3.0, frame_rate_hz=20.0, decay_s=0.5, photons=60.0,
        signal=0.6, spike_rate_hz=0.5, motion_px=0.5, seed=52001,
    )  # fmt: skip
    tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack")
    return folder, truth, run(folder / "movie.tif", CHAIN, folder / "first")


@pytest.fixture(scope="module")
def refined(recorded):
    folder, _, first = recorded
    done = command("refine", first, "--out", folder / "refined", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "refined", done.stdout


def blob(shape, y, x, width=2.0):
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    image = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2)).astype(np.float32)
    return np.where(image > 0.1, image, np.float32(0))


def cut(number, image):
    y, x = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    window = image[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    return FirstComponent(number, (int(y[0]), int(x[0])), window, True, 0, False)


def test_traces_are_least_squares_over_the_whole_movie():
    """Textbook: with footprints and background given, min ‖W − [A B] [C; F]‖ over all pixels and frames at once."""
    rng, shape = np.random.default_rng(52002), (32, 36)
    images = [blob(shape, 14, 12), blob(shape, 16, 16), blob(shape, 20, 26)]  # the first two overlap
    activity = rng.exponential(4.0, (3, 80)) * (rng.random((3, 80)) < 0.3)
    movie = 100 + np.einsum("kyx,kt->tyx", np.array(images), activity) * 8 + rng.normal(0, 4, (80, *shape))
    movie *= (1 - 0.1 * np.arange(80) / 80)[:, None, None]  # it bleaches
    movie = movie.astype(np.float32)
    params = ExtractParams(background="low_rank", neuron_sigma_px=3.0)
    extraction = WholeExtraction(params, shape, Deconvolution(0.05, 0.5, 0.03, 2), 0.0)
    sums = FrameSums(movie[0].copy())
    for frame in movie:
        sums.add(frame - movie[0])
    extraction.begin(sums, [frame - movie[0] for frame in movie[::2]])
    extraction.add_first([cut(n, image) for n, image in enumerate(images)], 3)
    found, modes = extraction.demixed(iter(enumerate(movie)), None, learn=True)
    background, cells = extraction.background, extraction.cells
    footprints = np.zeros((3, *shape))
    for k in range(3):
        (top, left), (height, width) = cells.origin[k], cells.box_shape
        footprints[k, top : top + height, left : left + width] = cells.box[k]
    design = np.concatenate([footprints, background.modes]).reshape(5, -1).T
    white = ((movie - background.mean) * background.weight).reshape(80, -1).T
    solution, *_ = np.linalg.lstsq(design, white, rcond=None)
    assert np.abs(found - solution[:3]).max() < 0.15  # σ of a pixel's noise; frames are kept in steps of a sixteenth
    assert np.sqrt(((found - solution[:3]) ** 2).mean()) < 0.04
    assert np.corrcoef(modes[:, 0], solution[3])[0, 1] > 0.999
    again, _ = extraction.demixed(iter(enumerate(movie)), None, learn=False)
    np.testing.assert_allclose(again, found, atol=2e-3)  # wherever the solution begins


def test_activity_is_deconvolved_with_what_comes_after_and_frames_that_are_not_valid_stay_unknown():
    rng = np.random.default_rng(52003)
    spikes = (rng.random((2, 400)) < 0.03) * 12.0
    true = np.array([np.convolve(row, 0.9 ** np.arange(60))[:400] for row in spikes])
    raw = (true + 3 + rng.normal(0, 1, true.shape)).astype(np.float32)
    raw[:, 100:103] = np.nan
    course = course_of(np.array([4, 9]), raw, TimeConstants(-0.05 / np.log(0.9), 0.0), 0.05)
    assert np.isnan(course.trace[:, 100:103]).all()
    assert np.isnan(course.rate[:, 100:103]).all()
    known = ~np.isnan(course.trace[0])
    for found, wanted, rate, at in zip(course.trace, true, course.rate, spikes, strict=True):
        assert np.corrcoef(found[known], wanted[known])[0, 1] > 0.97
        assert np.corrcoef(rate[known], np.convolve(at, [0.25, 0.5, 0.25], "same")[known])[0, 1] > 0.8
    np.testing.assert_allclose(course.noise, 1, atol=0.15)


def test_a_refined_session_reads_like_the_first_with_values_from_the_first_frame_on(recorded, refined):
    _, truth, first = recorded
    session, online = open_session(refined[0]), open_session(first).components()
    cells = session.components()
    assert session.frames == FRAMES
    assert session.state == "finished"
    assert cells.accepted.sum() >= online.accepted.sum() >= 3
    assert (cells.birth_frame == 0).all()
    assert len(cells.frame) == FRAMES
    assert np.isfinite(cells.traces).all()
    assert (cells.traces[cells.accepted][:, :100].max(1) > 0).any()
    shift = session.values("motion")["shift_px"]
    np.testing.assert_array_equal(shift, open_session(first).values("motion")["shift_px"])
    for found in (cells, online):
        found.correlation = [max(_correlations(found, k, truth)) for k in np.flatnonzero(found.accepted)]
    assert np.median(cells.correlation) >= np.median(online.correlation)
    assert np.median(cells.correlation) > 0.95
    np.testing.assert_array_equal(session.read_frames(5, 7), open_session(first).read_frames(5, 7))
    assert session.damaged == ()


def _correlations(cells, k, truth):
    with np.errstate(invalid="ignore"):
        return [np.nan_to_num(np.corrcoef(cells.traces[k], row)[0, 1]) for row in truth["C"]]


def test_it_says_of_which_session_it_is_the_refinement_and_how_fast_that_was(recorded, refined):
    folder, _, first = recorded
    told = json.loads((refined[0] / "session.json").read_text())["refined_from"]
    assert told["session"] == str(first.resolve())
    assert told["sha256"] == fingerprint(first)
    assert told["passes"] == 1
    assert f"refined from {first.resolve()}, footprint passes: 1" in command("inspect", refined[0], cwd=folder).stdout
    for words in ("cells accepted of", "MB/s", "reading alone", "held"):
        assert words in refined[1]
    done = command("refine", first, "--out", refined[0], cwd=folder)
    assert done.returncode == 1
    assert "is there already" in done.stderr


def test_decisions_of_people_hold_and_the_same_bits_come_again(recorded, refined):
    folder, _, first = recorded
    copy = shutil.copytree(first, folder / "curated")
    cells = open_session(copy).components()
    accepted = cells.ids[cells.accepted]
    cells.reject(int(accepted[0]))
    refine_session(copy, folder / "curated-refined", 1, lambda *_: None)
    again = open_session(folder / "curated-refined").components()
    assert accepted[0] in again.ids
    assert accepted[0] not in again.ids[again.accepted]
    assert again.decision[again.ids == accepted[0]] == ["rejected"]
    others, before = again.ids != accepted[0], open_session(refined[0]).components()
    np.testing.assert_array_equal(again.ids[others], before.ids[before.ids != accepted[0]])
    np.testing.assert_array_equal(again.traces[others], before.traces[before.ids != accepted[0]])
    (judged,) = (folder / "curated-refined").rglob("judged-*.json")
    judged.unlink()  # which is a copy: the passes knew of it as well
    assert accepted[0] not in again.ids[open_session(folder / "curated-refined").components().accepted]


def test_what_was_interrupted_leaves_nothing_that_looks_whole(recorded):
    folder, _, first = recorded

    def stop(name, done, of):
        if name == "footprints":
            raise KeyboardInterrupt

    left = folder / "stopped.part"
    left.mkdir()
    (left / "session.json").write_text("{}")  # of one that was killed as it wrote
    with pytest.raises(KeyboardInterrupt):
        refine_session(first, folder / "stopped", 1, stop)
    assert not (folder / "stopped").exists()
    refine_session(first, folder / "stopped", 1, lambda *_: None)
    assert not left.exists()
    assert len(open_session(folder / "stopped").components())


def test_what_cannot_be_refined_says_why(recorded, tmp_path):
    folder, _, first = recorded
    nobody = lambda *_: None  # noqa: E731
    level = run(folder / "movie.tif", '[[step]]\nkind = "motion"', tmp_path / "motion")
    with pytest.raises(SessionError, match=r"no step extracts.*motion \(motion\)"):
        refine_session(level, tmp_path / "a", 1, nobody)
    unfinished = shutil.copytree(first, tmp_path / "unfinished")
    (unfinished / "snapshots" / "extract.npz").unlink()
    with pytest.raises(SessionError, match="'extract' left no components: its run was not ended in time, or"):
        refine_session(unfinished, tmp_path / "b", 1, nobody)
    going_on = shutil.copytree(first, tmp_path / "going on")
    facts = json.loads((first / "session.json").read_text())
    del facts["crc32"]
    (going_on / "session.json").write_text(json.dumps(sealed({**facts, "state": "running"})))
    lock = take(going_on)
    with pytest.raises(SessionError, match="its run goes on; refine it once it has ended"):
        refine_session(going_on, tmp_path / "b", 1, nobody)
    lock.release()
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="cannot write the session"):
        refine_session(first, tmp_path / "file" / "deep" / "b", 1, lambda *_: pytest.fail("read before it was refused"))
    torn = shutil.copytree(first, tmp_path / "torn")
    values = torn / "values" / "motion.sfv"
    values.write_bytes(values.read_bytes()[:-100])
    with pytest.raises(SessionError, match=r"motion\.sfv: torn.*frames cannot be corrected again"):
        refine_session(torn, tmp_path / "b", 1, nobody)
    (tmp_path / "moved").mkdir()
    movie = shutil.copy(folder / "movie.tif", tmp_path / "moved" / "movie.tif")
    away = run(movie, '[[step]]\nkind = "extract"', tmp_path / "away")
    movie.unlink()
    with pytest.raises(SourceError, match=r"movie\.tif: no such file"):
        refine_session(away, tmp_path / "c", 1, nobody)
    tifffile.imwrite(movie, np.zeros((30, 56, 60), np.uint16), photometric="minisblack")
    with pytest.raises(SessionError, match="has changed since this session"):
        refine_session(away, tmp_path / "c", 1, nobody)
    assert not (tmp_path / "c").exists()


def test_an_older_session_is_refined_with_what_it_knows_and_one_too_old_says_so(recorded, tmp_path):
    _, _, first = recorded
    older = shutil.copytree(first, tmp_path / "older")
    path = older / "snapshots" / "extract.npz"
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files if name != "next_id"}
    np.savez(path, **{**kept, "quality_now": kept["quality_now"][:, :9]})  # before compactness and decisions
    refine_session(older, tmp_path / "r", 1, lambda *_: None)
    assert open_session(tmp_path / "r").components().accepted.sum() >= 3
    np.savez(path, **{**kept, "quality_now": kept["quality_now"][:, :5]})
    with pytest.raises(SessionError, match="version too old to be refined"):
        refine_session(older, tmp_path / "s", 1, lambda *_: None)


@pytest.mark.parametrize("accept", [pytest.param("rule", marks=pytest.mark.slow), "learned"])
def test_new_components_are_judged_as_the_config_says(recorded, tmp_path, monkeypatch, accept):
    folder = recorded[0]
    chain = CHAIN + f'accept = "{accept}"\n'
    first = run(folder / "movie.tif", chain, tmp_path / "first")
    asked = []

    def nobody(cells, rows, params, seen):
        asked.append(len(rows))
        return np.ones(len(rows), bool), np.zeros(len(rows), bool)

    monkeypatch.setattr(whole_extraction, "judged_by_network", nobody)
    refine_session(first, tmp_path / "refined", 1, lambda *_: None)
    assert len(asked) == (accept == "learned")
    before, after = (open_session(tmp_path / name).components() for name in ("first", "refined"))
    if accept == "learned":
        assert set(after.ids[after.accepted]) <= set(before.ids[before.accepted])


def test_pieces_that_carry_one_signal_over_all_frames_are_one_with_the_activity_of_all():
    rng = np.random.default_rng(4)
    params = ExtractParams(neuron_sigma_px=2.0, shape="any", merge_corr=0.9)
    extraction = WholeExtraction(params, (40, 60), Deconvolution(0.05, 0.5, 0.03, 2), 0.0)
    still = np.zeros((40, 60), np.float32)
    sums = FrameSums(still)
    frames = [rng.normal(0, 1, (40, 60)).astype(np.float32) for _ in range(40)]
    for frame in frames:
        sums.add(frame)
    extraction.begin(sums, frames)
    places = [(12, 12), (12, 22), (30, 45)]
    extraction.add_first([cut(n, blob((40, 60), *at)) for n, at in enumerate(places)], 3)
    one, other = (np.repeat(rng.gamma(0.6, 20.0, 200), 5) for _ in range(2))
    raw = np.stack([one, 2 * one, other]).astype(np.float32) + rng.normal(0, 1, (3, 1000)).astype(np.float32)
    raw[:, 77] = np.nan
    given = joined(extraction.cells, raw, params, extraction.tables, 1000)
    assert extraction.cells["whole"].tolist() == [-1, 0, -1]
    assert extraction.cells["accepted"].tolist() == [True, False, True]
    seen = np.delete(np.arange(1000), 77)
    expected = (raw[0] + 2 * raw[1]) / 5  # least squares of equal noise: Σ r x / Σ r²
    assert np.allclose(given[0, seen], expected[seen], atol=0.15 * one.std())
    assert np.array_equal(given[2], raw[2], equal_nan=True)
    apart = ExtractParams(neuron_sigma_px=2.0)
    assert joined(extraction.cells, raw, apart, extraction.tables, 1000) is raw


def test_a_field_without_cells_stays_empty(tmp_path):
    movie, _ = calcium(shape=(48, 50), frames=150, neurons=0, photons=30.0, motion_px=0.0, seed=52004)
    tifffile.imwrite(tmp_path / "m.tif", movie, photometric="minisblack")
    first = run(tmp_path / "m.tif", CHAIN, tmp_path / "first")
    outcome = refine_session(first, tmp_path / "refined", 1, lambda *_: None)[0]
    session = open_session(tmp_path / "refined")
    assert not session.components().accepted.any()
    assert outcome.said.startswith("0 cells accepted")
    assert session.values("extract")["components"].shape == (150, 2)
    assert session.spec == Spec.from_header(session.spec.to_header())


def test_of_several_planes_each_is_refined_with_shifts_and_valid_frames_of_the_plane_that_measured_them(tmp_path):
    chain = """[record]
raw = true
[[step]]
kind = "motion"
planes = ["red"]
params = { init_frames = 20 }
[[step]]
id = "apply"
kind = "motion"
planes = ["green"]
inputs = { shift_px = "red/motion.shift_px", valid = "red/motion.valid" }
params = { mode = "apply" }
[[step]]
kind = "extract"
planes = ["green"]
params = { neuron_sigma_px = 3.0, init_frames = 60, init_delay_frames = 20, decay_s = 0.5, rise_s = 0.03 }
[[step]]
kind = "trigger"
planes = ["green"]
params = { when = "extract.traces[0] > 9 σ" }
"""
    first = run("sim:calcium?channels=2&shape=48x48&frames=160&neurons=3&seed=5", chain, tmp_path / "first")
    refine_session(first, tmp_path / "refined", 1, lambda *_: None)
    session = open_session(tmp_path / "refined")
    assert "green/0/trigger" in open_session(first).steps
    assert "green/0/trigger" not in session.steps  # it decided on what was known then
    green, before = session.plane("green/0"), open_session(first).plane("green/0")
    assert len(green.components()) >= 1
    assert len(green.components().frame) == 160
    np.testing.assert_array_equal(green.read_frames(3, 5), before.read_frames(3, 5))
    np.testing.assert_array_equal(green.values("apply")["shift_px"], before.values("apply")["shift_px"])
    assert session.damaged == ()
