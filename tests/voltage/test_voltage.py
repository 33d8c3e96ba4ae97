"""Voltage: spikes against the truth and against the textbook pipeline over the whole movie."""

from functools import cache

import numpy as np
import pytest
from batch_pipeline import spikes_of

from streamfluo import Block, Chain, ConfigError, Spec, create, simulate
from streamfluo.engine.config import parse_config
from streamfluo.pixels.region_masks import region_masks

SHAPE, FRAMES, LEARNED = (32, 64), 5000, 2500
SPEC = Spec(SHAPE, "uint16", interval_s=0.001)
NAMES = ("trace", "subthreshold", "score", "spiked", "dff")


@cache
def scene(frames=FRAMES, **params):
    of_all = {"shape": SHAPE, "cells": 3, "radius_px": 4, "seed": 11, "snr": 6.0}
    movie, truth = simulate.voltage(frames, **of_all | params)
    return movie, {**truth, "masks": truth["masks"] > 0}


def operator_of(truth, **params):
    return create("voltage", SPEC, masks=truth["masks"], **params)


def feed(operator, movie, cut=50, start=0, inputs=lambda block: {}):
    """Values by name over the frames, and the table of spikes (n, 3)."""
    outputs = []
    for at in range(0, len(movie), cut):
        part = movie[at : at + cut]
        block = Block(start + at, np.zeros(len(part), np.int64), part)
        outputs.append(operator.update(block, inputs(block)))
    tables = [np.stack([o.values["spikes"][n] for n in ("frame", "id", "score")], 1) for o in outputs]
    return {n: np.concatenate([o.values[n] for o in outputs]) for n in NAMES}, np.concatenate(tables)


def f1(found, true, tolerance=2):
    """2 hits / (found + true), each true spike hit once, by the nearest found one within so many frames."""
    free, hits = set(true.tolist()), 0
    for at in np.sort(found):
        near = [t for t in range(int(at) - tolerance, int(at) + tolerance + 1) if t in free]
        if near:
            free.remove(min(near, key=lambda t: abs(t - at)))
            hits += 1
    return 2 * hits / max(1, len(found) + len(true))


def true_spikes(truth, k, start=LEARNED):
    frames = np.flatnonzero(truth["spikes"][k])
    return frames[frames >= start]


def test_spikes_are_the_true_ones_and_those_of_the_textbook_pipeline_over_the_whole_movie():
    movie, truth = scene()
    _, table = feed(operator_of(truth), movie)
    late = table[table[:, 0] >= LEARNED]
    found, batch, true = [], [], []  # of all cells, each in frames of its own
    for k, mask in enumerate(truth["masks"]):
        frames, _ = spikes_of(movie, mask, passes=3)
        found.append(late[late[:, 1] == k, 0] + k * FRAMES)
        batch.append(frames[frames >= LEARNED] + k * FRAMES)
        true.append(true_spikes(truth, k) + k * FRAMES)
    found, batch, true = map(np.concatenate, (found, batch, true))
    assert len(true) > 40
    assert f1(found, true) >= 0.95
    assert f1(batch, true) >= 0.95
    assert f1(found, batch) >= 0.93


def test_subthreshold_and_trace_follow_the_voltage():
    movie, truth = scene()
    values, _ = feed(operator_of(truth), movie)
    for k in range(3):
        trace = values["trace"][LEARNED:, k]
        assert np.corrcoef(trace, truth["voltage"][k, LEARNED:])[0, 1] > 0.6
        low = values["subthreshold"][LEARNED:, k]
        assert np.corrcoef(low, truth["subthreshold"][k, LEARNED - 4 : -4])[0, 1] > 0.7


def test_a_spike_is_told_two_frames_after_its_peak_in_the_table_and_by_frame():
    movie, truth = scene()
    operator, late = operator_of(truth), []
    for at in range(3500):
        values = operator.update(Block(at, np.zeros(1, np.int64), movie[at : at + 1])).values
        late += [at - frame for frame in values["spikes"]["frame"]]
        assert np.count_nonzero(values["spiked"] > 0) == values["spikes"].rows
    assert set(late) == {2}
    assert len(late) > 20


@pytest.fixture(scope="module")
def bits():
    movie, truth = scene()
    return (movie[:2600], truth, *feed(operator_of(truth), movie[:2600]))


@pytest.mark.parametrize("cut", [1, 7, 900])
def test_cuts_of_blocks_change_no_bit_while_passes_learn(bits, cut):
    movie, truth, values, table = bits
    again, spikes = feed(operator_of(truth), movie, cut)
    assert len(table) > 10
    assert all(np.array_equal(values[n], again[n], equal_nan=True) for n in NAMES)
    assert np.array_equal(table, spikes)


def test_a_restored_state_goes_on_to_the_same_bits(bits):
    movie, truth, values, _ = bits
    first, second = operator_of(truth), operator_of(truth)
    feed(first, movie[:1900])
    second.restore(first.state())
    again, _ = feed(second, movie[1900:], start=1900)
    assert all(np.array_equal(values[n][1900:], again[n], equal_nan=True) for n in NAMES)


def test_before_the_first_pass_the_trace_is_the_mean_over_the_cell_above_its_running_mean():
    movie, truth = scene()
    hole = np.r_[0:300, 340:700]
    values, _ = feed(operator_of(truth), movie[:300])
    operator = operator_of(truth)
    feed(operator, movie[:300])
    values, _ = feed(operator, movie[340:700], start=340)
    mean = np.array([movie[hole][:, mask].mean(1) for mask in truth["masks"]])
    level = np.empty_like(mean)
    for t in range(mean.shape[1]):
        share = max(1 / 800, 1 / (t + 1))
        level[:, t] = mean[:, t] if t == 0 else level[:, t - 1] + share * (mean[:, t] - level[:, t - 1])
    expected = (mean - level)[:, 300:].T
    # features that hold less than a quarter of a square are left out: the means differ by a few pixels of the rim
    assert np.corrcoef(values["trace"].ravel(), expected.ravel())[0, 1] > 0.97
    assert np.isnan(values["spiked"]).all()


def test_frames_that_are_not_valid_and_unseen_pixels_are_unknown_and_teach_nothing():
    movie, truth = scene()
    known, bad = movie[:3000].astype(np.float32), movie[:3000].astype(np.float32)
    y, x = np.argwhere(truth["masks"][1])[0]
    bad[2500, y, x] = np.nan  # a pixel of one cell
    bad[2600:2610] *= 3  # a flash, declared not valid
    valid = np.ones(3000, bool)
    valid[2600:2610] = False
    create_ = lambda: create("voltage", SPEC.with_(dtype="float32"), masks=truth["masks"])  # noqa: E731
    values, table = feed(create_(), bad, inputs=lambda block: {"valid": valid[block.index : block.stop]})
    whole, _ = feed(create_(), known)
    assert np.isnan(values["trace"][2500]).tolist() == [False, True, False]
    assert np.isnan(values["trace"][2600:2610]).all()
    assert np.isnan(values["spiked"][2600:2612]).all()
    assert np.isfinite(values["spiked"][2620:]).all()
    assert not ((table[:, 0] >= 2598) & (table[:, 0] < 2611)).any()
    assert np.array_equal(values["trace"][:2500], whole["trace"][:2500])
    again = values["trace"][2611:2700] - whole["trace"][2611:2700]
    assert np.abs(again).max() < 0.1 * whole["trace"][1500:2600].std()


@pytest.mark.parametrize("change", ["flash", "step"])
def test_other_illumination_is_no_spike_and_is_got_over(change):
    movie, truth = scene()
    lit = movie.astype(np.float32)
    frames = np.arange(2500, FRAMES, 250) if change == "flash" else np.arange(2500, FRAMES)
    lit[frames] = (lit[frames] - 100) * (1.1 if change == "flash" else 0.8) + 100
    values, table = feed(create("voltage", SPEC.with_(dtype="float32"), masks=truth["masks"]), lit)
    assert np.isnan(values["trace"][2500]).all()
    found, true = [], []
    for k in range(3):
        late = (table[:, 1] == k) & (table[:, 0] >= 3200)
        found.append(table[late, 0] + k * FRAMES)
        true.append(true_spikes(truth, k, 3200) + k * FRAMES)
    assert f1(np.concatenate(found), np.concatenate(true)) >= 0.93
    assert np.isfinite(values["spiked"][3200:]).mean() > 0.9


def test_no_spike_is_told_across_a_gap_until_the_filter_has_seen_enough():
    movie, truth = scene()
    operator = operator_of(truth)
    feed(operator, movie[:2600])
    operator.gap(2600, 400)
    values, table = feed(operator, movie[3000:3600], start=3000)
    assert np.isnan(values["spiked"][:15]).all()
    assert np.isfinite(values["spiked"][30:]).all()
    assert len(table) > 3


def test_an_unseen_rim_gives_nearly_what_the_cropped_movie_gives():
    movie, truth = scene()
    part = movie[:3500].astype(np.float32)
    wide = np.pad(part, ((0, 0), (3, 3), (3, 3)), constant_values=np.nan)
    masks = np.pad(truth["masks"], ((0, 0), (3, 3), (3, 3)))
    spec = SPEC.with_(dtype="float32")
    cropped, told = feed(create("voltage", spec, masks=truth["masks"]), part)
    rimmed, again = feed(create("voltage", spec.with_(shape=wide.shape[1:]), masks=masks), wide)
    assert np.isfinite(rimmed["trace"]).all()
    assert f1(again[:, 0] + again[:, 1] * FRAMES, told[:, 0] + told[:, 1] * FRAMES) > 0.9
    # what surrounds a cell is cut into other squares, as some are not seen
    late = np.s_[1500:]
    assert all(np.corrcoef(cropped["trace"][late, k], rimmed["trace"][late, k])[0, 1] > 0.95 for k in range(3))


def test_negative_indicators_are_turned_over_and_the_other_polarity_tells_nothing_and_says_so():
    movie, truth = scene(4000, polarity="negative", spike_rate_hz=25.0)
    _, table = feed(operator_of(truth, polarity="negative"), movie)
    late = table[table[:, 0] >= LEARNED]
    assert min(f1(late[late[:, 1] == k, 0], true_spikes(truth, k)) for k in range(3)) >= 0.8
    operator = operator_of(truth)
    _, wrong = feed(operator, movie)
    assert "is it the other polarity?" in operator.doubt()
    assert len(wrong) < 0.1 * len(table)


@pytest.mark.slow
def test_cells_without_spikes_tell_hardly_any():
    movie, truth = scene(4000, snr=0.0)
    operator = operator_of(truth)
    _, table = feed(operator, movie)
    assert len(table) <= 3  # of 6 cell seconds


def test_slow_movies_have_traces_and_say_why_there_are_no_spikes():
    operator = create("voltage", SPEC.with_(interval_s=1 / 30), masks=scene()[1]["masks"])
    values, table = feed(operator, scene()[0][:600])
    assert operator.doubt().startswith("frames every 33.3 ms are too slow for spikes")
    assert np.isnan(values["spiked"]).all()
    assert np.isnan(values["score"]).all()
    assert np.isfinite(values["trace"]).all()
    assert not len(table)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([], "none given"),
        (np.zeros(SHAPE, int), "none given"),
        ([[[40, 2], [40, 9], [50, 9]]], "region 0 has no pixel in frames"),
        (np.ones((3, 9, 9)), "masks \\(n, y, x\\) or a labelled image"),
    ],
)
def test_masks_that_are_none_or_elsewhere_are_refused(masks, says):
    with pytest.raises(ConfigError, match=f"voltage: {says}"):
        create("voltage", SPEC, masks=masks)


def test_an_interval_is_needed():
    with pytest.raises(ConfigError, match="set interval_s"):
        create("voltage", SPEC.with_(interval_s=None))


def test_cells_are_proposed_from_the_mean_image_and_their_absence_is_said():
    movie, truth = scene()
    operator = create("voltage", SPEC, radius_px=4.0, propose_s=0.2)
    feed(operator, movie[:300], cut=300)
    labels = operator.read(["masks"])["masks"]
    at = [labels[tuple(np.rint(place).astype(int))] for place in truth["position_px"]]
    assert sorted(at) == [1, 2, 3]
    assert operator.read(["outlines"])["outlines"].shape == (3, 24, 2)
    empty = create("voltage", SPEC, propose_s=0.1)
    feed(empty, np.full((50, *SHAPE), 500, np.uint16))
    assert empty.doubt().startswith("no cells yet: 50 valid frames, of 100 that they are proposed from")
    feed(empty, np.full((100, *SHAPE), 500, np.uint16), start=50)
    assert empty.doubt().startswith("no cell was found")


def test_cells_that_stay_in_their_place_go_on_when_masks_are_changed():
    movie, truth = scene()
    first, _ = feed(operator_of(truth), movie[:2400])
    labels = [[[2, 2], [2, 12], [10, 12], [10, 2]], [[20, 20], [20, 30], [28, 30], [28, 20]]]
    masks = region_masks(labels, SHAPE)
    operator = create("voltage", SPEC, masks=labels)
    feed(operator, movie[:2000])
    other = [*labels[:1], [[10, 40], [10, 50], [20, 50], [20, 40]]]
    operator.change(type(operator.params)(masks=other))
    values, _ = feed(operator, movie[2000:2400], start=2000)
    assert masks[0].any()
    assert np.isfinite(values["score"][:, 0]).all()
    assert np.isnan(values["score"][:, 1]).all()
    assert np.isfinite(first["score"][-1]).all()


def test_labels_may_be_a_file_and_the_job_runs_behind_motion(tmp_path):
    movie, truth = scene()
    labels = np.zeros(SHAPE, np.uint16)
    for n, mask in enumerate(truth["masks"], 1):
        labels[mask] = n
    np.save(tmp_path / "cells.npy", labels)
    text = f'[[step]]\nkind = "voltage"\nparams = {{ masks = "{(tmp_path / "cells.npy").as_posix()}" }}'
    chain = Chain(parse_config(text), SPEC)
    chain.push(Block(0, np.zeros(40, np.int64), movie[:40]))
    assert np.array_equal(chain.read("voltage", ["masks"])["masks"], labels)
