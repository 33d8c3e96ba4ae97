"""`events` against its rule over the whole trace, on noise, on simulated transients, and for cells that come and go."""

import numpy as np
import pytest

from streamfluo import Block, ConfigError, Spec, create
from streamfluo.analysis import activity_order
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config

FPS = 30
SPEC = Spec((4, 4), "uint16", interval_s=1 / FPS)


def traces_of(seed, cells, frames, peak, decay_s=0.5, rate_hz=0.15):
    """Traces (t, cells) of noise σ 1 with transients of this height, and the frames of their onsets by cell."""
    random = np.random.default_rng(seed)
    onsets = random.random((frames, cells)) < rate_hz / FPS
    time_s = np.arange(int(8 * decay_s * FPS)) / FPS
    shape = np.exp(-time_s / decay_s) - np.exp(-time_s / 0.05)
    shape *= peak / shape.max()
    signal = np.stack([np.convolve(column, shape)[:frames] for column in onsets.T.astype(float)], 1)
    return signal + random.normal(size=signal.shape), [np.flatnonzero(column) for column in onsets.T]


def events_of(traces, size=32, ids=None, present=None, missing=(), **params):
    """Rows of `transients`, and the operator."""
    operator, rows = create("events", SPEC, **params), []
    ids = np.arange(traces.shape[1]) if ids is None else np.asarray(ids)
    index = 0
    while index < len(traces):
        stop = index + 1
        while stop < len(traces) and stop - index < size and (stop in missing) == (index in missing):
            stop += 1
        if index not in missing:
            inputs = {"dff": traces[index:stop], "dff.ids": ids}
            if present is not None:
                inputs["dff.present"] = present[index:stop]
            block = Block(index, np.arange(index, stop), np.zeros((stop - index, 4, 4), np.uint16))
            rows.append(operator.update(block, inputs).values["transients"])
        index = stop
    rows.append(operator.finish().values["transients"])
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}, operator


def mean_of(values):
    """Mean of the known ones, NaN of less than half."""
    known = values[~np.isnan(values)]
    return known.mean() if len(known) and 2 * len(known) >= len(values) else np.nan


def rule(trace, missing=(), threshold=4.5, after=6):
    """Onset, amplitude, SNR and frame of knowledge of each event of one trace, NaN where unknown, frame by frame."""
    trace = np.concatenate((np.full(3 * after, np.nan), trace))  # before the first frame
    found, best, armed, noise, scatter, bends = [], None, True, np.nan, 0, {}
    for t in range(len(trace) - 3 * after):
        now = t + 3 * after + 1  # one past the frame
        if t % 32 == 0:
            known = [s for s in np.abs(np.diff(trace[: now - 1]))[-min(256, t) or len(trace) :] if not np.isnan(s)]
            noise = np.median(known) / 0.6745 / 2**0.5 if len(known) >= 64 else np.nan
            known = [b for i, b in bends.items() if i // after >= -(-t // after) - 128 and not np.isnan(b)]
            scatter = np.median(known) / 0.6745 / 2 if len(known) >= 32 else 0
        if t % after == 0 and t not in missing:
            parts = [trace[now - k * after : now - (k - 1) * after] for k in (3, 2, 1)]
            first, middle, last = map(mean_of, parts)
            bends[t] = abs(first - 2 * middle + last)
        late, early = trace[now - after : now], trace[now - 3 * after : now - after]
        contrast = mean_of(late) - mean_of(early)
        counts = [max(1, (~np.isnan(part)).sum()) for part in (late, early)]
        z = contrast / max(noise * np.sqrt(1 / counts[0] + 1 / counts[1]), scatter)
        if best is not None and contrast > best[1]:
            best = (t, contrast, z)
        elif best is not None and (not z > threshold or t - best[0] >= after):
            found.append((best[0] - after + 1, best[1], best[2], t))
            best, armed = None, False
        elif best is None and armed and z > threshold:
            best = (t, contrast, z)
        if best is None and not z >= threshold / 2:
            armed = True
    if best is not None:
        found.append((best[0] - after + 1, best[1], best[2], len(trace) - 3 * after - 1))
    return found


@pytest.mark.parametrize("size", [1, 32])
def test_events_are_those_of_the_rule_over_the_whole_trace_with_a_hole_in_the_frames(size):
    traces, _ = traces_of(81, 4, 1200, 7.0, rate_hz=0.3)
    traces[250:270, 1] = traces[::7, 2] = np.nan
    missing = range(401, 431)
    rows, operator = events_of(traces, size, ids=[7, 3, 12, 5], missing=missing)
    seen = traces.copy()
    seen[missing] = np.nan
    total = 0
    for column, name in enumerate((7, 3, 12, 5)):
        expected = np.array(rule(seen[:, column], missing))
        mine = rows["id"] == name
        total += len(expected)
        np.testing.assert_array_equal(rows["frame"][mine], expected[:, 0])
        np.testing.assert_allclose(rows["amplitude"][mine], expected[:, 1], rtol=1e-9)
        np.testing.assert_allclose(rows["snr"][mine], expected[:, 2], rtol=1e-9)
        late = [f if f not in missing else missing.stop for f in expected[:, 3]]  # nothing is known while frames miss
        np.testing.assert_array_equal(rows["found_frame"][mine], late)
        known = (~np.isnan(seen[:, column])).sum() / FPS / 60
        at = operator.read(["ids"])["ids"].tolist().index(name)
        assert operator.read(["rate"])["rate"][at] == pytest.approx(len(expected) / known)
        assert operator.read(["amplitude"])["amplitude"][at] == pytest.approx(expected[:, 1].mean())
    assert total > 20


def test_noise_has_hardly_any_events():
    rows, _ = events_of(np.random.default_rng(82).normal(size=(3000, 60)))
    assert len(rows["frame"]) / (60 * 3000 / FPS / 60) < 0.05  # a cell and minute


@pytest.mark.parametrize(
    ("decay_s", "peak", "least"),
    [
        (0.2, 5, 0.9),
        pytest.param(0.5, 4, 0.9, marks=pytest.mark.slow),
        pytest.param(1.2, 4, 0.9, marks=pytest.mark.slow),
        (0.5, 3, 0.65),
    ],
)
def test_transients_are_found_at_their_onsets(decay_s, peak, least):
    traces, onsets = traces_of(83, 12, 3000, peak, decay_s)
    rows, _ = events_of(traces)
    hits, errors, found = [], [], 0
    for cell, true in enumerate(onsets):
        mine = rows["frame"][rows["id"] == cell]
        alone = [t for t in true if t > 128 and not any(0 < t - u < 2 * decay_s * FPS for u in true)]
        near = [mine[np.abs(mine - t).argmin()] - t if len(mine) else 1000 for t in alone]
        hits += [abs(n) <= 6 for n in near]
        errors += [n for n in near if abs(n) <= 6]
        found += len(mine)
    assert np.mean(hits) >= least
    assert abs(np.median(errors)) <= 2
    assert found <= 1.05 * sum(map(len, onsets))


def test_cells_that_are_born_end_and_change_places():
    traces, _ = traces_of(84, 3, 1200, 8.0, rate_hz=0.4)
    present = np.ones(traces.shape, bool)
    present[:500, 1] = False
    present[800:, 2] = False
    rows, operator = events_of(np.where(present, traces, 0), ids=[4, 9, 2], present=present)
    assert {4, 9, 2} <= set(rows["id"])
    assert rows["frame"][rows["id"] == 9].min() > 500
    assert rows["frame"][rows["id"] == 2].max() < 800
    halves = create("events", SPEC)
    for start, order in ((0, [0, 1, 2]), (600, [2, 0, 1])):
        for index in range(start, start + 600, 30):
            inputs = {"dff": traces[index : index + 30, order], "dff.ids": np.array([4, 9, 2])[order]}
            inputs["dff.present"] = present[index : index + 30, order]
            halves.update(Block(index, np.arange(30), np.zeros((30, 4, 4), np.uint16)), inputs)
    halves.finish()
    for name, array in operator.read().items():
        np.testing.assert_array_equal(halves.read()[name], array, err_msg=name)


def test_correlations_are_those_of_binned_traces():
    traces, _ = traces_of(85, 5, 1500, 6.0, rate_hz=0.5)
    traces[:, 1] += traces[:, 0]
    traces[:, 4] += 100
    traces[600:, 2] = np.nan
    _, operator = events_of(traces, correlated_cells=5)
    bins = traces[:1485].reshape(-1, 15, 5).mean(1)
    matrix = operator.read(["correlation"])["correlation"]
    for a, b in ((0, 1), (0, 4), (2, 3), (1, 2)):
        both = ~np.isnan(bins[:, a] + bins[:, b])
        assert matrix[a, b] == pytest.approx(np.corrcoef(bins[both, a], bins[both, b])[0, 1], abs=1e-9)
    assert matrix[0, 1] > 0.5


def test_the_population_rate_is_that_of_events_by_the_second():
    traces, _ = traces_of(86, 6, 900, 7.0, rate_hz=0.5)
    rows, operator = events_of(traces)
    found = operator.read(["time_s", "population_rate"])
    np.testing.assert_allclose(found["time_s"], np.arange(30))
    np.testing.assert_allclose(found["population_rate"], np.bincount(rows["frame"] // FPS, minlength=30) / 6)


def test_cells_of_one_group_stand_side_by_side_and_sequences_in_their_order():
    random = np.random.default_rng(87)
    group = random.permutation(np.repeat(np.arange(5), 12))
    traces = random.normal(size=(5, 400))[group] + random.normal(size=(60, 400))
    order = activity_order(np.corrcoef(traces))
    assert sorted(order) == list(range(60))
    assert (np.diff(group[order]) != 0).sum() == 4
    place = random.permutation(60) / 60
    where = np.abs(np.cumsum(random.normal(0, 0.03, 1500)) % 2 - 1)
    traces = 3 * np.exp(-((where - place[:, None]) ** 2) / 0.02) + random.normal(size=(60, 1500))
    order = activity_order(np.corrcoef(traces))
    assert abs(np.corrcoef(place[order], np.arange(60))[0, 1]) > 0.97
    np.testing.assert_array_equal(activity_order(np.full((2, 2), np.nan)), [0, 1])
    with pytest.raises(ConfigError, match="expected a matrix"):
        activity_order(np.zeros((2, 3)))


def test_a_constant_trace_and_no_cells_have_no_events():
    rows, operator = events_of(np.ones((300, 2)))
    assert len(rows["frame"]) == 0
    assert np.isnan(operator.read(["amplitude"])["amplitude"]).all()
    rows, operator = events_of(np.empty((50, 0)))
    assert {name: array.shape for name, array in operator.read().items()}["correlation"] == (0, 0)


def test_behind_regions_a_flash_of_one_cell_is_an_event():
    text = """
    [[step]]
    kind = "regions"
    params = { regions = [[[2, 2], [2, 9], [9, 9], [9, 2]], [[14, 14], [14, 21], [21, 21]]], f0_window_s = 6.4 }
    [[step]]
    kind = "events"
    """
    chain = Chain(parse_config(text), Spec((24, 24), "uint16", interval_s=1 / FPS))
    movie = np.random.default_rng(88).poisson(100, (480, 24, 24))
    movie[300:315, 2:9, 2:9] += 40
    rows = []
    for index in range(0, len(movie), 32):
        rows.append(dict(chain.push(Block(index, np.arange(32), movie[index : index + 32].astype(np.uint16)))))
    found = [row["events"].values["transients"] for row in rows]
    assert [(int(t["frame"][0]), int(t["id"][0])) for t in found if t.rows] == [(300, 0)]


def test_without_an_interval_it_asks_for_one():
    with pytest.raises(ConfigError, match="events: rates need the frame interval"):
        create("events", Spec((4, 4), "uint16"))
