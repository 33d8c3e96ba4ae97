"""Two sessions beside each other: equal to the bit or what differs, by hand-made differences of known size."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from commands import command
from facility import changed

from streamfluo import open_session
from streamfluo.calcium.across_days.matched import matched_components
from streamfluo.catalogue.arrays import array_difference
from streamfluo.catalogue.compare import _gaps, _ids, compare
from streamfluo.core.findings import Matched
from streamfluo.core.step_values import IDS


def both(recorded, a, b):
    return compare(open_session(recorded / a), open_session(recorded / b))


def test_a_session_is_equal_to_its_rerun(recorded):
    found = both(recorded, "first", "same")
    assert found.equal
    assert found.verdict == "Equal: the same frames, and all 6 arrays of values and snapshots to the bit."
    assert {(array.step, array.name) for array in found.arrays} == {
        ("moments", name) for name in ("total_signal", "frames", "mean", "variance", "min", "max")
    }


def test_another_recording_differs_and_is_said_to_be_one(recorded):
    found = both(recorded, "first", "other")
    assert not found.equal
    assert found.verdict.startswith("Different: these are two recordings")
    assert "series uid" in {fact.what for fact in found.facts}


def test_parameters_versions_and_losses_that_differ_are_named(recorded, tmp_path):
    shutil.copytree(recorded / "first", tmp_path / "B")

    def change(facts):
        facts["steps"]["moments"]["version"] = 99
        facts["steps"]["moments"]["params"]["new_px"] = 3
        facts["versions"]["numpy"] = "0.0"

    changed(tmp_path / "B", change)
    found = compare(open_session(recorded / "first"), open_session(tmp_path / "B"))
    assert [(fact.what, fact.a, fact.b) for fact in found.params] == [
        ("moments.version", "1", "99"), ("moments.new_px", "not there", "3"),
    ]  # fmt: skip
    assert [fact.what for fact in found.facts] == ["version of numpy"]
    assert found.equal  # what came of it is the same
    assert found.verdict.endswith("to the bit; 2 parameters differ.")


def test_a_session_of_which_values_are_damaged_is_not_equal(recorded, tmp_path):
    shutil.copytree(recorded / "first", tmp_path / "B")
    path = tmp_path / "B" / "values" / "moments.sfv"
    held = bytearray(path.read_bytes())
    held[300] ^= 1
    path.write_bytes(held)
    found = compare(open_session(recorded / "first"), open_session(tmp_path / "B"))
    assert not found.equal
    assert found.verdict.startswith("Different: other frames with values of moments; ")
    damage = next(fact for fact in found.facts if fact.what == "damage")
    assert damage.a == "none"
    assert damage.b.startswith("moments.sfv: ")


def test_a_step_that_one_lacks_makes_them_different(recorded, tmp_path):
    shutil.copytree(recorded / "first", tmp_path / "B")
    changed(tmp_path / "B", lambda facts: facts["steps"].pop("moments"))
    found = compare(open_session(recorded / "first"), open_session(tmp_path / "B"))
    assert (found.equal, found.verdict) == (False, "Different: other step moments; what both have is equal.")


def test_frames_that_one_run_did_not_see_are_left_out_of_its_values(recorded, tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", open_session(recorded / "first").read_frames(0, 64))
    for name, part in (("all", ""), ("short", "?frames=0:40")):
        words = ("run", recorded / "chain.toml", "--source", f"movie.tif{part}", "--out", name)
        assert command(*words, cwd=tmp_path).returncode == 0
    found = compare(open_session(tmp_path / "all"), open_session(tmp_path / "short"))
    total = next(array for array in found.arrays if array.name == "total_signal")
    assert (total.equal, total.count) == (True, 40)
    assert ("frames", "64", "40") in [(fact.what, fact.a, fact.b) for fact in found.facts]


def test_columns_beside_each_other_are_those_of_matched_cells():
    one, other = {IDS: np.array([4, 5, 9])}, {IDS: np.array([2, 4, 7])}
    pairs = Matched("cells", (3, 3), np.array([[5, 2], [9, 7], [6, 4]]), np.ones(3))
    a, b = _ids(one, other, pairs)
    assert (a.tolist(), b.tolist()) == ([1, 2], [0, 2])
    a, b = _ids(one, other, None)
    assert (a.tolist(), b.tolist()) == ([0], [1])
    assert _ids(one, {}, pairs) is None


def difference(a, b):
    return array_difference("s", "n", "values", np.asarray(a), np.asarray(b))


def test_differences_are_counted_and_measured(noise):
    a = noise.normal(0, 1, 1000)
    b = a.copy()
    b[:250] += np.linspace(0.5, 1.5, 250)
    found = difference(a, b)
    assert (found.equal, found.count, found.differ) == (False, 1000, 250)
    assert found.median == pytest.approx(1.0)
    assert found.largest == pytest.approx(1.5)
    assert found.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found.said.startswith("25 % of 1\u202f000 differ, by 1 (median), 1.50 at most, correlation 0.")


def test_nan_is_equal_to_nan_and_to_nothing_else():
    a = np.array([1.0, np.nan, 3.0])
    assert difference(a, a.copy()).equal
    assert difference(a, np.array([1.0, np.nan, 4.0])).differ == 1
    found = difference(a, np.array([1.0, 2.0, 3.0]))
    assert (found.equal, found.differ, found.largest) == (False, 1, None)
    assert found.said.endswith("1 known in one alone")


def test_equal_numbers_of_another_type_are_not_equal_to_the_bit():
    found = difference(np.arange(3.0), np.arange(3.0, dtype=np.float32))
    assert (found.equal, found.said) == (False, "equal numbers, as float64 and float32")
    assert difference(np.array([0.0]), np.array([-0.0])).equal  # a sign of zero that no comparison sees


def test_shapes_and_texts_are_compared():
    assert difference(np.zeros((2, 3)), np.zeros((2, 4))).said == "2 × 3 and 2 × 4"
    assert difference(np.array(["a", "b"]), np.array(["a", "c"])).said == "1 of 2 texts differ"
    assert difference(np.array("a"), np.array("a")).equal
    assert difference(np.empty(0), np.empty(0)).equal


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    uri = "sim:calcium?frames=300&shape=64x64&neurons=12&seed=4&motion_px=0"
    for name, change in (("A", "4.0"), ("B", "3.2")):
        words = ("run", "calcium_2p", "--source", uri, "--set", f"extract.neuron_sigma_px={change}", "--out", name)
        done = command(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_cells_of_two_parameters_are_matched_by_their_footprints(extracted):
    found = both(extracted, "A", "B")
    assert [fact.what for fact in found.params] == ["extract.neuron_sigma_px"]
    [same] = found.same
    assert "cells are in both" in same.said
    assert not found.equal
    a, b = (open_session(extracted / name) for name in "AB")
    pairs = matched_components(a.recorded_steps[-1], b.recorded_steps[-1], True)
    places = [dict(zip(s.components().ids.tolist(), s.components().centres_px, strict=True)) for s in (a, b)]
    assert len(pairs.ids) >= 0.7 * min(pairs.counts)
    far = [np.hypot(*(places[0][i] - places[1][j])) for i, j in pairs.ids.tolist()]
    assert np.median(far) < 1
    assert max(far) < 6


def test_how_a_gap_is_cut_is_none_of_the_results():
    def gaps(*cut):
        return _gaps(SimpleNamespace(gaps=[SimpleNamespace(first=a, count=n, reason=why) for a, n, why in cut]))

    assert gaps((20, 12, "camera"), (32, 8, "camera")) == gaps((20, 20, "camera")) == "1: 20 at 20 (camera)"
    assert gaps((20, 12, "camera"), (32, 8, "disk")) == "2: 12 at 20 (camera), 8 at 32 (disk)"
    assert gaps((20, 12, "camera"), (33, 8, "camera")) == "2: 12 at 20 (camera), 8 at 33 (camera)"
    assert gaps() == "none"
