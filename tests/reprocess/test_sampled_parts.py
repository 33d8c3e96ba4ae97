"""Motion and extract in parts: learned from a sample, they come as near to the single run as the session says."""

from itertools import pairwise

import numpy as np
import pytest
import tifffile
from sampled_parts import SAMPLED, in_parts
from seeds import seeds

from streamfluo import Block, Spec, create, open_session
from streamfluo.core.errors import ConfigError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.agreement import agreement, beyond
from streamfluo.reprocess.division import sample_spans
from streamfluo.simulate import calcium
from streamfluo.sources.opening import open_source

FRAMES, SAMPLE = 2400, 1024


def single_run(folder, config=SAMPLED):
    with open_source(folder / "movie.tif") as source:
        engine = Engine(source, parse_config(config), folder / "single")
        engine.start()
        engine.wait()
    return open_session(folder / "single")


@pytest.mark.slow
@seeds(31, 32, 33, 34)
def test_parts_come_as_near_to_the_single_run_as_the_session_says(tmp_path, seed):
    movie, _ = calcium(FRAMES, shape=(64, 64), neurons=6, motion_px=1.5, spike_rate_hz=0.6, seed=seed)
    tifffile.imwrite(tmp_path / "movie.tif", movie)
    outcome = in_parts(tmp_path, 3, SAMPLE)
    assert (outcome.became, outcome.frames, outcome.lost) == ("done", FRAMES, 0)
    whole, single = open_session(tmp_path / "out" / "movie"), single_run(tmp_path)
    divided = whole.facts["divided"]
    assert (divided["way"], divided["parts"]) == ("sampled", 3)
    assert sum(stop - first for first, stop in divided["sample"]) == SAMPLE
    for step, tolerances in divided["tolerances"].items():
        assert beyond(agreement(single, whole, step), tolerances) == {}
    assert len(whole.values("motion")["shift_px"]) == len(whole.values("extract")["traces"]) == FRAMES
    for step in whole.steps:
        np.testing.assert_array_equal(whole.index(step), np.arange(FRAMES))
    settled = whole.values("extract")["settled"]
    cells = np.unique(settled["id"])
    for cell in cells:  # each frame once, in order, none of the warm-up or of the sample
        np.testing.assert_array_equal(settled["frame"][settled["id"] == cell], np.arange(FRAMES))
    events = whole.values("extract")["events"]
    born, accepted = (set(events["id"][events["event"] == what].tolist()) for what in ("born", "accepted"))
    assert set(cells.tolist()) <= born
    assert set(whole.values("extract")["ids"].tolist()) <= accepted
    top, bottom, left, right = whole.snapshot("motion")["valid_rectangle"]
    assert (bottom - top) * (right - left) > 0.5 * 64 * 64
    inner = np.s_[top:bottom, left:right]  # what merges saw each frame once, corrected
    mean = whole.snapshot("moments")["mean"][inner]
    np.testing.assert_allclose(mean, single.snapshot("moments")["mean"][inner], rtol=0.01)
    np.testing.assert_allclose(whole.snapshot("motion")["mean"][inner], mean, rtol=1e-5)


def test_the_evidence_of_a_cell_is_that_of_all_parts():
    movie, _ = calcium(700, shape=(48, 48), neurons=3, motion_px=0, seed=2)
    spec = Spec(movie.shape[1:], movie.dtype.name, 1 / 30)

    def fed(operator, first, stop):
        for at in range(first, stop, 20):
            operator.update(Block(at, np.arange(at, at + 20) * 33_333_333, movie[at : at + 20]))
        return operator

    def made():
        return create("extract", spec, neuron_sigma_px=3.0, decay_s=0.4, ar_order=1)

    def part(first, stop):
        operator = made()
        operator.restore(learned)
        operator.freeze()
        operator.begin_part()
        return fed(operator, first, stop)

    learned = fed(made(), 0, 700).state()
    one, two = part(0, 300), part(300, 700)
    alone = [each._live.extraction.evidence() for each in (one, two)]
    one.absorb(two)
    found = one._live.extraction.evidence()
    assert (alone[0]["own"] > 0).any()
    for name, sums in found.items():
        np.testing.assert_allclose(sums, alone[0][name] + alone[1][name], err_msg=name)


def test_a_sample_too_short_to_begin_with_is_named(tmp_path):
    movie, _ = calcium(400, shape=(48, 48), neurons=3, seed=1)
    tifffile.imwrite(tmp_path / "movie.tif", movie)
    refused = (
        r"parts\.toml: step 'extract': of the sampled frames 96 can be used, init_frames asks for more: state a longer"
    )
    with pytest.raises(ConfigError, match=refused):
        in_parts(tmp_path, 2, 96)


@pytest.mark.parametrize(
    ("first", "stop", "frames"), [(0, 100_000, 6250), (0, 9000, 4096), (320, 3000, 700), (7, 900, 300)]
)
def test_a_sample_is_spread_over_the_recording(first, stop, frames):
    spans = sample_spans(first, stop, frames)
    assert all(first <= a < b <= stop for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in pairwise(spans))
    assert abs(sum(b - a for a, b in spans) - frames) <= 256
    assert spans[0][0] == first
    if len(spans) > 1:
        assert stop - spans[-1][1] < 32
        apart = np.diff([a for a, _ in spans])
        assert np.ptp(apart) <= 64
