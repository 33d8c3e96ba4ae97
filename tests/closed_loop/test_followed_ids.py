"""Triggers and decoders whose cells are merged into others, or are not there any more, while they are in use."""

import numpy as np
import pytest

from streamfluo import Block, Chain, Spec, create, open_source
from streamfluo.core.operator import Gives, Table
from streamfluo.engine.config import parse_config

SPEC, FRAMES = Spec((4, 4), "uint16", interval_s=0.02), 120
GIVES = {"cells.traces": Gives("traces", "by_id", ("t", "id"), "σ", "")}


def history(seed):
    """Values (t, 6) of cells, who is present (t, 6), and rows (frame, id, into) of merges: a cell ends with its."""
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (FRAMES, 6))
    present = np.arange(FRAMES)[:, None] >= rng.integers(0, 30, 6)
    rows, alive = [], list(range(6))
    for frame in np.sort(rng.choice(np.arange(20, FRAMES - 5), 3, replace=False)).tolist():
        gone, into = rng.choice(alive, 2, replace=False).tolist()
        alive.remove(gone)
        rows.append((frame, gone, into))
        present[frame + 1 :, gone] = False
    rejected = rng.choice(alive)
    present[70:80, rejected] = False
    values[33:36] = np.nan  # frames that are not valid
    return values, present, rows


def blocks(values, present, rows, cuts):
    """Blocks with the inputs that a chain would give: ids of a block are those present in one of its frames."""
    start = 0
    for n in range(FRAMES):
        stop = min(start + cuts[n % len(cuts)], FRAMES)
        if start == stop:
            return
        here = np.flatnonzero(present[start:stop].any(0))
        merged = [row for row in rows if start <= row[0] < stop]
        columns = np.array(merged, np.int64).reshape(-1, 3).T
        inputs = {
            "cells.traces": np.where(present[start:stop, here], values[start:stop, here], 0.0),
            "cells.traces.ids": here,
            "cells.traces.present": present[start:stop, here],
            "cells.traces.merged": Table(dict(zip(("frame", "id", "into"), columns, strict=True))),
        }
        yield Block(start, np.arange(start, stop) * 20_000_000, np.zeros((stop - start, 4, 4), np.uint16)), inputs
        start = stop


def follow(name, t, rows):
    """The id that a component has in a frame, by every merge before it."""
    for frame, gone, into in rows:
        name = into if frame < t and gone == name else name
    return name


def trigger(when, **params):
    operator = create("trigger", SPEC, when=when, fires="each", **params)
    operator.meet(GIVES)
    return operator


def decisions(operator, fed):
    outputs, notes = [], []
    for block, inputs in fed:
        outputs.append(operator.update(block, inputs).values["holds"])
        notes += operator.notes()
    return np.concatenate(outputs), notes


@pytest.mark.parametrize("seed", range(301, 313))
def test_a_condition_follows_its_cell_whatever_blocks_come(seed):
    values, present, rows = history(seed)
    for cell in (0, 3):
        expected = np.full(FRAMES, np.nan)
        for t in range(FRAMES):
            now = follow(cell, t, rows)
            if present[t, now] and np.isfinite(values[t, now]):
                expected[t] = values[t, now] > 3
        found = [
            decisions(trigger(f"cells.traces[{cell}] > 3 σ"), blocks(values, present, rows, cuts))
            for cuts in ((1,), (7, 2, 32), (FRAMES,))
        ]
        for holds, notes in found:
            np.testing.assert_array_equal(holds, expected)
            assert notes == found[0][1]
        merges = [note for note in found[0][1] if "is merged into" in note[1]]
        assert [frame for frame, _ in merges] == [frame for frame, gone, _ in rows if gone == follow(cell, frame, rows)]


def test_it_says_so_once():
    values, present = np.full((FRAMES, 6), 5.0), np.ones((FRAMES, 6), bool)
    present[41:, 2] = present[61:, 4] = present[81:90, 1] = False
    rows = [(40, 2, 4), (60, 4, 1)]
    holds, notes = decisions(trigger("cells.traces[2] > 3"), blocks(values, present, rows, (7,)))
    assert notes == [
        (40, "cells.traces[2]: 2 is merged into 4, which is followed"),
        (60, "cells.traces[2]: 4, which was merged from 2 is merged into 1, which is followed"),
        (81, "cells.traces[2]: 1 is not there any more, rejected or gone: unknown"),
    ]
    assert np.isnan(holds[81:90]).all()
    assert (np.delete(holds, range(81, 90)) == 1).all()


def test_two_that_became_one_count_once():
    values, present = np.tile([1.0, 2.0, 9.0, 0, 0, 0], (FRAMES, 1)), np.ones((FRAMES, 6), bool)
    present[41:, 2] = False
    fed = list(blocks(values, present, [(40, 2, 0)], (7, 50)))
    for text, before, after in (("sum", 12, 3), ("mean", 4, 1.5), ("max", 9, 2)):
        low, high = (decisions(trigger(f"{text}(cells.traces[0, 1, 2]) == {n}"), fed)[0] for n in (before, after))
        assert (low == (np.arange(FRAMES) <= 40)).all()
        assert (high == (np.arange(FRAMES) > 40)).all()


@pytest.mark.parametrize("at", [10, 41, 60, 100])
def test_a_state_in_the_middle_decides_the_same(at):
    values, present, rows = history(304)
    when = "mean(cells.traces[0, 3, 5]) > 2 for 2 frames or cells.traces[1] > 4"
    whole, notes = decisions(trigger(when), blocks(values, present, rows, (1,)))
    fed = list(blocks(values, present, rows, (1,)))
    first, second = trigger(when), trigger(when)
    before, told = decisions(first, fed[:at])
    second.restore(first.state())
    after, told_after = decisions(second, fed[at:])
    np.testing.assert_array_equal(np.concatenate((before, after)), whole)
    assert told + told_after == notes


def decoded(operator, fed, signal):
    """What it predicts from the inputs of a trigger and a signal (t, 1), and its notes."""
    outputs, notes = [], []
    for block, inputs in fed:
        traces = {name.removeprefix("cells."): value for name, value in inputs.items()}
        outputs.append(operator.update(block, traces | {"value": signal[block.index : block.stop]}).values["predicted"])
        notes += operator.notes()
    return np.concatenate(outputs), notes


@pytest.mark.parametrize("seed", range(401, 407))
def test_a_decoder_learns_as_if_cells_that_became_one_had_always_been_one(seed):
    values, present, rows = history(seed)
    signal = np.random.default_rng(seed).normal(size=(FRAMES, 1)) + values[:, :1]
    activity = np.where(present, values, 0)
    for frame, gone, into in rows:
        activity[: frame + 1, into] += activity[: frame + 1, gone]
        activity[: frame + 1, gone] = 0
    known = np.isfinite(values).all(1)
    design = np.column_stack((np.ones(known.sum()), activity[known]))
    penalised = design.T @ design + np.diag([0] + [1.0] * 6)
    expected = np.linalg.solve(penalised, design.T @ signal[known])[1:]
    runs = []
    for cuts in ((1,), (7, 2, 32), (FRAMES,)):
        operator = create("decode", SPEC, solve_frames=40)
        runs.append(decoded(operator, blocks(values, present, rows, cuts), signal))
        found = operator.read(["weights", "ids"])
        np.testing.assert_allclose(found["weights"], expected[found["ids"]], atol=1e-9)
        np.testing.assert_array_equal(runs[-1][0], runs[0][0])
    first, second = create("decode", SPEC, solve_frames=40), create("decode", SPEC, solve_frames=40)
    fed = list(blocks(values, present, rows, (1,)))
    before, _ = decoded(first, fed[:60], signal)
    second.restore(first.state())
    np.testing.assert_array_equal(np.concatenate((before, decoded(second, fed[60:], signal)[0])), runs[0][0])
    said = [(frame, f"{gone} is merged into {into}, which takes over what it taught") for frame, gone, into in rows]
    assert [notes for _, notes in runs] == [said] * 3


def test_predictions_go_on_where_two_halves_of_a_cell_become_one():
    """Until the next solution the one that stays has the weight that predicts as both did."""
    cell = np.random.default_rng(409).gamma(1, 2, FRAMES)
    values = np.column_stack((0.3 * cell, 0.7 * cell, np.zeros((FRAMES, 4))))
    values[61:, 1], present = cell[61:], np.ones((FRAMES, 6), bool)
    present[61:, 0] = False
    signal = (5 * cell + 2)[:, None]
    operator = create("decode", SPEC, solve_frames=50, ridge=1e-6)
    predicted, _ = decoded(operator, blocks(values, present, [(60, 0, 1)], (1,)), signal)
    np.testing.assert_allclose(predicted[50:], signal[50:], rtol=1e-6)


SOURCE = "sim:calcium?shape=40x40&frames=160&seed=26&neuron_sigma_px=3&spike_rate_hz=1.5&rings=1&motion_px=0"
SOURCE += "&photons=400"
CONFIG = """
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0, init_frames = 40, init_delay_frames = 10, min_snr = 1.0, min_compactness = 0.0 }
[[step]]
kind = "trigger"
params = { when = "extract.traces[1] > 2 σ" }
"""


def through(blocks, chain):
    """What a chain's trigger decides by frame, and its notes."""
    decided, noted = {}, []
    for block in blocks:
        holds = dict(chain.push(block))["trigger"].values["holds"]
        decided |= dict(zip(range(block.index, block.stop), holds.tolist(), strict=True))
        noted += [event for event in chain.events if event["event"] == "noted"]
        assert not [event for event in chain.events if event["event"] == "muted"]
        chain.events.clear()
    return decided, noted


def test_a_merge_of_extract_is_an_event_of_the_trigger():
    with open_source(SOURCE) as source:
        spec, movie = source.spec, list(source.blocks(1))
    one_by_one = through(movie, Chain(parse_config(CONFIG), spec))
    pixels = np.concatenate([block.pixels for block in movie])
    times = np.concatenate([block.times_ns for block in movie])
    cut = [Block(n, times[n : n + 32], pixels[n : n + 32]) for n in range(0, len(pixels), 32)]
    decided, noted = through(cut, Chain(parse_config(CONFIG), spec))
    assert noted == one_by_one[1]
    np.testing.assert_array_equal(list(decided.values()), list(one_by_one[0].values()))
    said = "extract.traces[1]: 1 is merged into 0, which is followed"
    assert noted == [{"event": "noted", "step": "trigger", "frame": 103, "said": said}]
    chain = Chain(parse_config(CONFIG), spec)
    before = through(movie[:110], chain)[0]
    resumed = Chain(parse_config(CONFIG), spec)
    resumed.restore(chain.state())
    again = before | through(movie[110:], resumed)[0]
    np.testing.assert_array_equal(list(again.values()), list(one_by_one[0].values()))
