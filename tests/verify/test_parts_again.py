"""A session that was made in parts is made in the same parts again, and each bit has to be the same."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from sampled_parts import SAMPLED, in_parts
from tampered import forget_manifest, found, resealed, rewritten, words

from streamfluo import open_session
from streamfluo.core.step_values import StepValues, sized
from streamfluo.session.values import ValuesWriter
from streamfluo.simulate import calcium
from streamfluo.verify.verifying import Wanted, verify_session

MERGED = """
[[step]]
kind = "moments"
[[step]]
kind = "summary"
after = "source"
"""
MADE = {"merged": (MERGED, 3, None, 300), "sampled": (SAMPLED, 3, 520, 1056)}


@pytest.fixture(scope="module", params=MADE)
def made(request, tmp_path_factory):
    config, count, sample, frames = MADE[request.param]
    folder = tmp_path_factory.mktemp("parts")
    movie, _ = calcium(frames, shape=(48, 48), neurons=4, motion_px=1.5, spike_rate_hz=0.6, seed=31)
    tifffile.imwrite(folder / "movie.tif", movie)
    in_parts(folder, count, sample, config)
    return request.param, folder / "out" / "movie"


@pytest.fixture
def parts(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("streamfluo.verify.recomputed.HEAD_FRAMES", 96)
    monkeypatch.setattr("streamfluo.verify.recomputed.SHORT_S", 0.0)


def spoil(session, step, name, place):
    def change(array):
        if place < len(array):
            array[place] += 1

    rewritten(session, step, name, change)
    forget_manifest(session)


def test_all_parts_come_out_again_to_the_bit_and_it_is_said_how(parts):
    verdict = verify_session(parts, Wanted())
    assert (verdict.word, verdict.findings) == ("verified", [])
    assert "recomputed in the same 3 parts, with the snapshots" in verdict.checked[-1]


def test_a_sample_of_parts_is_the_beginning_of_the_first(parts, short):
    verdict = verify_session(parts, Wanted())
    assert verdict.word == "verified"
    assert verdict.checked[1:] == [
        "frames 0 to 95 recomputed, of the first part", "snapshots not recomputed, --full does"
    ]  # fmt: skip
    spoil(parts, "moments", "total_signal", 40)
    assert words(parts, Wanted()) == "not reproducible"


def test_a_bit_of_a_snapshot_and_rows_that_were_added_behind_the_last_one_are_noticed(made, parts):
    forget_manifest(parts)
    with np.load(parts / "snapshots" / "moments.npz") as held:
        arrays = dict(held)
    arrays["mean"][20, 20] = np.nextafter(arrays["mean"][20, 20], np.inf)
    np.savez(parts / "snapshots" / "moments.npz", **arrays)
    if made[0] == "sampled":  # the other has no table
        add_rows_again(parts)
    said = found(parts, Wanted())
    assert any(one.startswith("not reproducible: moments.mean: 1 of") for one in said)
    rows = [one for one in said if one.startswith("not reproducible: extract.settled")]
    assert bool(rows) == (made[0] == "sampled")


def add_rows_again(parts):
    opened, path = open_session(parts), parts / "values" / "extract.sfv"
    rows = next(r for r in opened.each_record("extract") if len(r.arrays.get("settled/frame", ())))
    arrays = {name: array if name == "ids" else array[:0] for name, array in rows.arrays.items()}
    arrays |= {name: array[:1] for name, array in rows.arrays.items() if name.startswith("settled/")}
    writer = ValuesWriter(path, opened.series["uid"], path.stat().st_size)
    writer.add(StepValues("extract", 0, 0, arrays, sized(arrays)))
    writer.close()


def test_parts_of_which_the_session_says_nothing_that_can_be_cannot_be_told(made, parts):
    divided = json.loads((parts / "session.json").read_text())["divided"]
    forget_manifest(parts)
    for other, why in (
        (None, "made of parts, and does not say of which"),
        ({**divided, "way": "guessed"}, "how it was divided cannot be read"),
        ({**divided, "parts": 7}, "7 parts of frames 0 to"),
        ({**divided, "cuts": [0, 10**15]}, "3 parts of frames 0 to"),
        ({**divided, "sample": [[0, 10**15]]}, "its sample is of no frames of the recording"),
    ):
        resealed(parts, divided=other)
        assert [one for one in found(parts, Wanted()) if one.startswith("cannot tell") and why in one], why
    if made[0] == "merged":  # as an earlier version left it
        resealed(parts, divided={key: value for key, value in divided.items() if key != "cuts"})
        assert words(parts, Wanted()) == "verified"
    if made[0] == "sampled":  # who says another sample has other values
        resealed(parts, divided={**divided, "warm_up": 0})
        assert words(parts, Wanted()) == "not reproducible"
