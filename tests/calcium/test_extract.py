"""`extract` on simulated recordings against their truth, and its results bit for bit across blocks and checkpoints."""

import io

import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

import streamfluo
from streamfluo import Block, ConfigError, Spec, StateError
from streamfluo.calcium.extracted_components import MEASURES, ExtractedComponents
from streamfluo.simulate import calcium

SHAPE = (72, 80)
MOVIE, TRUTH = calcium(frames=700, shape=SHAPE, seed=3, motion_px=0.0, neuron_sigma_px=3.0)
SPEC = Spec(SHAPE, MOVIE.dtype, interval_s=1 / 30)
PARAMS = {"neuron_sigma_px": 3.0}
CELLS = sp.csc_matrix(
    (TRUTH["A_data"], TRUTH["A_indices"], TRUTH["A_indptr"]), shape=tuple(TRUTH["A_shape"])
).toarray()  # fmt: skip


def run(movie=MOVIE, size=1, spec=SPEC, **params):
    """Run a movie through a new operator; return its components, its tables and itself."""
    operator = streamfluo.create("extract", spec, **{**PARAMS, **params})
    outputs = []
    for a in range(0, len(movie), size):
        part = movie[a : a + size]
        outputs.append(operator.update(Block(a, np.arange(a, a + len(part)), part)))
    outputs.append(operator.finish())
    return assemble(operator, outputs, len(movie)), tables(outputs), operator


def tables(outputs):
    found = {}
    for name in ("settled", "quality", "events"):
        rows = [o.values[name] for o in outputs if o is not None]
        found[name] = {column: np.concatenate([table[column] for table in rows]) for column in rows[0]}
    return found


def assemble(operator, outputs, frames):
    values = {"settled": tables(outputs)["settled"]}
    return ExtractedComponents(values, operator.read(), operator.spec.shape, np.arange(frames))


def matched(cells, kept, iou_min=0.5):
    """Pairs (truth, component) of masks with an intersection over union of at least iou_min."""
    true, found = (mask > 0.2 * mask.max(0) for mask in (CELLS, cells.footprints.toarray()[:, kept]))
    both = true.T.astype(float) @ found
    iou = both / (true.sum(0)[:, None] + found.sum(0) - both)
    pairs = linear_sum_assignment(-np.where(iou >= iou_min, iou, 0))
    return [(t, np.flatnonzero(kept)[c]) for t, c in zip(*pairs, strict=True) if iou[t, c] >= iou_min]


@pytest.fixture(scope="module")
def done():
    return run()


def test_the_neurons_are_found_and_nothing_else(done):
    cells, _, _ = done
    pairs = matched(cells, cells.accepted)
    assert len(pairs) >= 0.85 * CELLS.shape[1]
    assert len(pairs) >= 0.9 * cells.accepted.sum()


@pytest.mark.parametrize("active", [(0, 15), (20, 110)], ids=["at once", "most of the time"])
def test_a_cell_active_from_the_first_frames_on_is_found(active):
    free = ndi.distance_transform_edt(np.pad(CELLS.max(1).reshape(SHAPE) < 0.01, 1))[1:-1, 1:-1]
    place = np.unravel_index(free.argmax(), SHAPE)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    cell = np.exp(-((yy - place[0]) ** 2 + (xx - place[1]) ** 2) / (2 * 2.5**2))
    movie = MOVIE[:300].copy()
    bright = 5 * np.diff(MOVIE[:200].astype(float), axis=0).std() / np.sqrt(2)
    movie[slice(*active)] += (bright * cell).astype(movie.dtype)
    cells, _, _ = run(movie)
    images = cells.footprints.toarray()
    brightest = np.stack(np.unravel_index(images.argmax(0), SHAPE))
    assert np.hypot(*(brightest - np.array(place)[:, None])).min() < 2.5


def test_traces_and_spikes_are_those_of_the_neurons(done):
    cells, _, _ = done
    traces, spikes = [], []
    for t, c in matched(cells, cells.accepted):
        start = max(200, cells.birth_frame[c])
        traces.append(np.corrcoef(TRUTH["C"][t, start:], cells.traces[c, start:])[0, 1])
        bins = [
            x[start:][: (700 - start) // 3 * 3].reshape(-1, 3).sum(1) for x in (TRUTH["spikes"][t], cells.spikes[c])
        ]
        spikes.append(np.corrcoef(*bins)[0, 1])
    assert np.median(traces) > 0.97
    assert np.median(spikes) > 0.85


def test_every_frame_from_birth_on_is_settled_once_and_zero_before(done):
    cells, found, _ = done
    settled = found["settled"]
    for k in np.flatnonzero(cells.accepted):
        frames = settled["frame"][settled["id"] == cells.ids[k]]
        np.testing.assert_array_equal(frames, np.arange(cells.birth_frame[k], 700))
        assert not cells.traces[k, : cells.birth_frame[k]].any()
    assert np.isfinite(cells.traces).all()
    assert (cells.traces >= 0).all()


def test_the_history_of_a_new_component_comes_from_the_buffered_frames(done):
    cells, found, _ = done
    events = found["events"]
    born = {
        int(i): int(f) for i, f, e in zip(events["id"], events["frame"], events["event"], strict=True) if e == "born"
    }
    for i, birth in zip(cells.ids, cells.birth_frame, strict=True):
        assert born[int(i)] - birth in range(95, 101) or birth == 0  # the oldest may be settled already


def test_live_values_are_near_the_final_ones():
    operator = streamfluo.create("extract", SPEC, **PARAMS)
    live = {}
    outputs = []
    for t in range(600):
        outputs.append(operator.update(Block(t, [t], MOVIE[t : t + 1])))
        for i, value in zip(outputs[-1].values["ids"], outputs[-1].values["traces"][0], strict=True):
            live.setdefault(int(i), {})[t] = value
    outputs.append(operator.finish())
    cells = assemble(operator, outputs, 600)
    near = []
    for k in np.flatnonzero(cells.accepted):
        frames = [t for t in live[int(cells.ids[k])] if t > 350]
        near.append(np.corrcoef([live[int(cells.ids[k])][t] for t in frames], cells.traces[k, frames])[0, 1])
    assert np.median(near) > 0.95


def test_relative_fluorescence_has_the_scale_of_the_truth(done):
    cells, _, _ = done
    slopes = []
    for t, c in matched(cells, cells.accepted):
        start = max(300, cells.birth_frame[c])
        footprint = CELLS[:, t]
        rest = (TRUTH["background"].ravel() * footprint).sum() / (footprint**2).sum()
        slopes.append(np.polyfit(TRUTH["C"][t, start:] / rest, cells.dff[c, start:], 1)[0])
    camera = 100 / (MOVIE.mean() - 100)  # the offset, unknown here, counts as light at rest
    assert 0.6 / (1 + camera) < np.median(slopes) < 1.1


def test_blocks_of_any_length_give_the_same_bits(done):
    cells, found, operator = done
    others, theirs, other = run(size=37)
    for name, table in found.items():
        for column, values in table.items():
            np.testing.assert_array_equal(theirs[name][column], values, err_msg=f"{name}/{column}")
    for name, array in operator.read().items():
        np.testing.assert_array_equal(other.read()[name], array, err_msg=name)
    np.testing.assert_array_equal(others.traces, cells.traces)


@pytest.mark.parametrize("at", [150, pytest.param(333, marks=pytest.mark.slow), 512])
def test_a_checkpoint_in_the_middle_changes_no_bit(done, at):
    _, _, unbroken = done
    first = streamfluo.create("extract", SPEC, **PARAMS)
    for t in range(at):
        first.update(Block(t, [t], MOVIE[t : t + 1]))
    file = io.BytesIO()
    state = first.state()
    np.savez(file, **{name: value for name, value in state.items() if isinstance(value, np.ndarray)})
    file.seek(0)
    second = streamfluo.create("extract", SPEC, **PARAMS)
    second.restore({**state, **np.load(file)})
    for t in range(at, 700):
        second.update(Block(t, [t], MOVIE[t : t + 1]))
    second.finish()
    for name, array in unbroken.read().items():
        np.testing.assert_array_equal(second.read()[name], array, err_msg=name)


def test_a_frame_with_a_hole_and_unknown_borders_does_not_disturb(done):
    movie = MOVIE.astype(np.float32)
    movie[:, :, :2] = np.nan
    movie[::3, :3] = np.nan
    movie[400, 30:40, 30:40] = np.nan
    cells, _, _ = run(movie, spec=Spec(SHAPE, "float32", interval_s=1 / 30))
    assert len(matched(cells, cells.accepted)) >= len(matched(done[0], done[0].accepted)) - 2


def test_greedy_initialisation_has_traces_from_the_first_frame_on():
    cells, found, _ = run(MOVIE[:320], init="greedy")
    first = cells.birth_frame == 0
    assert first.sum() >= 0.5 * CELLS.shape[1]
    assert set(found["events"]["reason"][found["events"]["frame"] == 0]) == {"first frames"}
    assert cells.traces[first][:, :100].any()


@pytest.mark.parametrize("kind", ["masks", "labels", "positions", "file", "components"])
def test_seeded_cells_are_there_from_the_first_frame_on_and_stay(kind, tmp_path, done):
    masks = (0.2 * CELLS.max(0) < CELLS).T.reshape(-1, *SHAPE)
    if kind == "labels":
        masks = masks[:1]
    seeds = {
        "masks": masks, "labels": masks[0].astype(int), "positions": TRUTH["position_px"],
        "file": tmp_path / "seeds.npy", "components": done[0],
    }[kind]  # fmt: skip
    np.save(tmp_path / "seeds.npy", masks)
    count = len(masks) if kind != "components" else len(done[0])
    cells, _, _ = run(MOVIE[:320], init="seeded", seeds=seeds)
    assert (cells.birth_frame[:count] == 0).all()
    assert cells.accepted[:count].all()


def test_a_second_order_process_is_deconvolved():
    movie, truth = calcium(frames=500, shape=(48, 48), seed=5, motion_px=0.0, neuron_sigma_px=3.0, rise_s=0.1)
    spec = Spec((48, 48), movie.dtype, interval_s=1 / 30)
    cells, _, _ = run(movie, spec=spec, ar_order=2, rise_s=0.1)
    first, _, _ = run(movie, spec=spec)

    def peak_correlation(found):
        kept = [trace for trace in found.traces[found.accepted][:, 250:] if trace.any()]
        return np.median([max(np.corrcoef(trace, c)[0, 1] for c in truth["C"][:, 250:] if c.any()) for trace in kept])

    assert peak_correlation(cells) > 0.95
    assert peak_correlation(cells) >= peak_correlation(first) - 0.005


def test_contours_surround_the_accepted_components(done):
    cells, _, operator = done
    contours = operator.read(["contours"])["contours"]
    kept = np.flatnonzero(cells.accepted)
    assert len(contours) == len(kept)
    for points, k in zip(contours, kept[np.argsort(cells.ids[kept])], strict=True):
        y, x = np.unravel_index(cells.footprints[:, k].toarray().ravel().argmax(), SHAPE)
        known = points[np.isfinite(points).all(1)]
        assert (known.min(0) <= (y, x)).all()
        assert (known.max(0) >= (y, x)).all()


def test_the_background_is_the_fluorescence_at_rest(done):
    _, _, operator = done
    background = operator.read(["background"])["background"]
    assert np.corrcoef(background.ravel(), TRUTH["background"].ravel())[0, 1] > 0.95


def test_the_residual_is_noise_of_sigma_one(done):
    _, _, operator = done
    assert operator.read(["residual"])["residual"].std() == pytest.approx(1, rel=0.15)


def test_quality_has_the_measures_of_each_component(done):
    cells, found, operator = done
    np.testing.assert_array_equal(operator.read(["quality_now"])["quality_now"][:, 0], cells.ids)
    assert tuple(found["quality"])[1:] == tuple(MEASURES)
    assert set(found["quality"]["frame"]) == {99 + 100 * n for n in range(1, 7)}


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"init": "seeded"}, 'init = "seeded" needs seeds'),
        ({"init": "seeded", "seeds": [1, 2, 3]}, "seeds are masks"),
        ({"init": "seeded", "seeds": "nowhere.npy"}, "nowhere.npy cannot be read"),
        ({"seeds": [[3, 4]]}, 'seeds are for init = "seeded"'),
        ({"neuron_sigma_px": 0}, "neuron_sigma_px"),
        ({"window_frames": 3}, "window_frames"),
        ({"decay": 3}, "did you mean 'decay_s'"),
        ({"ar_order": 2, "rise_s": 0.5}, "rise_s must be shorter than decay_s"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused_in_a_line(params, error):
    with pytest.raises(ConfigError, match=error):
        streamfluo.create("extract", SPEC, **params)


def test_a_damaged_state_is_refused(done):
    _, _, operator = done
    state = operator.state()
    state["component_neighbour"] = state["component_neighbour"] + 10_000
    with pytest.raises(StateError, match="damaged"):
        streamfluo.create("extract", SPEC, **PARAMS).restore(state)
    with pytest.raises(StateError, match="extract: state 'scene_mean'"):
        streamfluo.create("extract", SPEC, **PARAMS).restore({})
