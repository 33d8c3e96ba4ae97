"""Dendrites: pieces that carry one signal are given as one, those that do not are not; people take them apart."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from streamfluo import Block, ConfigError, Spec, StateError, create
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.params import ExtractParams
from streamfluo.calcium.extract.pieces import (
    LEAST_BINS,
    SIGNAL_BINS,
    Signals,
    combined,
    compared,
    groups,
    merge_pieces,
    weigh,
)  # fmt: skip
from streamfluo.calcium.extract.results import elongation
from streamfluo.calcium.extracted_components import MEASURES, ExtractedComponents
from streamfluo.core.decision import Decision
from streamfluo.simulate import calcium

SHAPE, FRAMES, SEED = (96, 96), 1200, 6203
SPEC = Spec(SHAPE, "uint16", interval_s=1 / 30)


@cache
def scene(**params):
    """A movie, and the true images (n, y, x) and activity (n, T) of two cells, four dendrites, and spines behind."""
    of_all = {"shape": SHAPE, "seed": SEED, "neurons": 2, "processes": 4, "motion_px": 0.0, "signal": 1.5,
              "spike_rate_hz": 0.6}  # fmt: skip
    movie, truth = calcium(FRAMES, **{**of_all, **params})
    images, activity = [], []
    for name, course in (("A", "C"), ("P", "P_C")):
        parts = tuple(truth[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        found = scipy.sparse.csc_matrix(parts, shape=tuple(truth[f"{name}_shape"])).toarray().T
        images.append(found.reshape(-1, *SHAPE))
        activity.append(truth[course])
    return movie, np.concatenate(images), np.concatenate(activity)


def extract(**params):
    return create("extract", SPEC, **{"neuron_sigma_px": 4.0, "shape": "any", **params})


def feed(operator, movie, start=0, cut=50):
    return [
        operator.update(Block(at, np.arange(len(movie[at : at + cut])), movie[at : at + cut])).values
        for at in range(start, len(movie), cut)
    ]


@pytest.fixture(scope="module")
def run():
    operator = extract()
    return operator, feed(operator, scene()[0])


def quality_of(operator):
    return dict(zip(MEASURES, operator.read(["quality_now"])["quality_now"].T, strict=True))


def images_of(operator):
    """Footprints (K, y, x) [ADU per σ], and which true image each lies on, −1 where on none."""
    quality, boxes = quality_of(operator), operator.read(["footprints"])["footprints"]
    images = np.zeros((len(boxes), *SHAPE))
    for image, box, top, left in zip(images, boxes, quality["top_px"], quality["left_px"], strict=True):
        image[int(top) : int(top) + box.shape[0], int(left) : int(left) + box.shape[1]] = box
    truth = scene()[1]
    under = [[np.sqrt((true[image > 0] ** 2).sum()) for true in truth] for image in images]
    cosine = (
        np.einsum("kyx,nyx->kn", images, truth) / np.maximum(under, 1e-9) / np.sqrt((images**2).sum((1, 2)))[:, None]
    )
    return images, np.where(cosine.max(1) > 0.6, cosine.argmax(1), -1)


def whole_of(quality):
    return np.where(quality["whole"] >= 0, quality["whole"], quality["id"])


def by_the_textbook(raw):
    """Correlation of traces (K, T) in bins of 5 frames, without noise: its variance is half that of differences."""
    bins = raw[:, : raw.shape[1] // 5 * 5].reshape(len(raw), -1, 5).sum(2)
    noise = 5 * np.diff(raw, axis=1).var(1) / 2
    covariance = np.cov(bins)
    sd = np.sqrt(np.maximum(np.diag(covariance) - noise, 1e-9))
    return covariance / sd[:, None] / sd


def test_pieces_of_one_dendrite_are_one_component_and_those_of_two_are_not(run):
    operator, _ = run
    quality, (_, true) = quality_of(operator), images_of(operator)
    there = np.flatnonzero(((quality["accepted"] > 0) | (quality["whole"] >= 0)) & (true >= 0))
    whole = whole_of(quality)
    merged = whole[there][:, None] == whole[there]
    same = true[there][:, None] == true[there]
    pairs = np.triu(np.ones_like(same), 1)
    assert not (merged & ~same & pairs).any()
    early = quality["birth_frame"][there] < 500  # the others have not been seen long enough
    assert (same & pairs & early & early[:, None]).sum() >= 3
    assert (merged & same & pairs & early & early[:, None]).sum() >= 0.8 * (same & pairs & early & early[:, None]).sum()
    assert not quality["accepted"][quality["whole"] >= 0].any()


def test_what_is_merged_correlates_without_noise_as_the_textbook_has_it(run):
    operator, _ = run
    movie, _, _ = scene()
    images, true = images_of(operator)
    quality = quality_of(operator)
    pieces = np.flatnonzero(quality["whole"] >= 0)
    rows = np.flatnonzero(true >= 0)
    design = images[rows].reshape(len(rows), -1)
    weight = 1 / np.maximum(movie.reshape(len(movie), -1).var(0), 1)
    flat = movie.reshape(len(movie), -1) - movie.reshape(len(movie), -1).mean(0)
    raw = np.linalg.solve((design * weight) @ design.T, (design * weight) @ flat.T)
    correlation = by_the_textbook(raw)
    at = {int(i): n for n, i in enumerate(quality["id"][rows])}
    checked = [(at[int(quality["id"][k])], at[int(quality["whole"][k])]) for k in pieces if k in rows]
    assert len(checked) >= 3
    assert min(correlation[a, b] for a, b in checked) > 0.75  # the noise of bright frames is larger
    apart = true[rows][:, None] != true[rows]
    assert np.quantile(correlation[apart], 0.9) < 0.5


def test_a_whole_has_the_activity_of_all_its_pieces_and_is_less_noisy_than_one(run):
    operator, outputs = run
    quality, (_, true) = quality_of(operator), images_of(operator)
    last = [values for values in outputs[-6:] if np.array_equal(values["ids"], outputs[-1]["ids"])]
    given = {int(i): np.concatenate([v["raw"][:, n] for v in last]) for n, i in enumerate(outputs[-1]["ids"])}
    pieces = set(quality["id"][quality["whole"] >= 0].astype(int).tolist())
    assert pieces
    assert not pieces & set(given)
    activity = scene()[2][:, -50 * len(last) :]
    for whole in np.unique(quality["whole"][quality["whole"] >= 0]).astype(int):
        k = int(np.flatnonzero(quality["id"] == whole)[0])
        assert np.corrcoef(given[whole], activity[true[k]])[0, 1] > 0.8
    merged = [row for values in outputs for row in zip(values["merged"]["id"], values["merged"]["into"], strict=True)]
    assert {(int(i), int(w)) for i, w in zip(quality["id"], quality["whole"], strict=True) if w >= 0} <= set(merged)


def test_outlines_run_round_all_pieces(run):
    operator, outputs = run
    quality = quality_of(operator)
    whole = int(np.unique(quality["whole"][quality["whole"] >= 0])[0])
    row = int(np.flatnonzero(outputs[-1]["ids"] == whole)[0])
    line = operator.read(["contours"])["contours"][row]
    line = line[np.isfinite(line).all(1)]
    for k in np.flatnonzero((quality["whole"] == whole) | (quality["id"] == whole)):
        middle = np.array([quality["top_px"][k], quality["left_px"][k]]) + 12
        assert np.hypot(*(line - middle).T).min() < 12


@pytest.mark.slow
def test_independent_spines_beside_a_dendrite_are_merged_with_nothing():
    movie, truth, _ = scene(spines=8)
    operator = extract()
    feed(operator, movie)
    quality, boxes = quality_of(operator), operator.read(["footprints"])["footprints"]
    on = []
    for box, top, left in zip(boxes, quality["top_px"].astype(int), quality["left_px"].astype(int), strict=True):
        part = truth[:, top : top + box.shape[0], left : left + box.shape[1]]
        on.append(int((part * box).sum((1, 2)).argmax()))
    on, whole = np.array(on), whole_of(quality)
    pairs = (whole[:, None] == whole) & ~np.eye(len(on), dtype=bool)
    spines = len(truth) - 8
    assert (on >= spines).sum() >= 4
    assert not (pairs & (on[:, None] != on) & ((on >= spines)[:, None])).any()


def test_people_take_it_apart_it_stays_so_and_is_one_again_when_that_is_undone():
    movie, _, _ = scene()
    operator = extract()
    feed(operator, movie[:800])
    quality = quality_of(operator)
    whole = int(np.unique(quality["whole"][quality["whole"] >= 0])[0])
    members = {whole, *quality["id"][quality["whole"] == whole].astype(int).tolist()}
    decided = operator.decide(Decision(800, "extract", "split", (whole,), "anna"))
    decided.make()
    values = feed(operator, movie[:1000], 800)
    assert members <= set(values[-1]["ids"].tolist())
    told = values[0]["decisions"]
    assert set(told["id"].tolist()) == members
    assert set(told["decision"].tolist()) == {f"split from {whole}"}
    other = extract()
    other.restore(operator.state())
    operator.decide(Decision(1000, "extract", "undo", (), "anna")).make()
    values = feed(operator, movie[:1200], 1000)
    assert whole in values[-1]["ids"]
    assert not (members - {whole}) & set(values[-1]["ids"].tolist())
    assert members <= set(feed(other, movie[:1100], 1000)[-1]["ids"].tolist())
    with pytest.raises(ConfigError, match="has no pieces"):
        other.decide(Decision(1100, "extract", "split", (whole,), "anna"))


def test_discs_are_merged_only_where_that_is_asked_for():
    assert create("extract", SPEC).params.merges is False
    assert create("extract", SPEC, merge_corr=0.8).params.least_merge_corr == 0.8
    assert extract().params.least_compactness == 0
    assert create("extract", SPEC).params.least_compactness == 0.6


def test_correlation_is_without_noise_and_needs_time_and_spread():
    rng = np.random.default_rng(4)
    signal = np.where(rng.random(SIGNAL_BINS) < 0.1, rng.exponential(4, SIGNAL_BINS), 0)
    other = np.where(rng.random(SIGNAL_BINS) < 0.1, rng.exponential(4, SIGNAL_BINS), 0)
    held = np.stack([signal, 2 * signal, signal + other, other]) + rng.normal(0, 1, (4, SIGNAL_BINS))
    seen = np.full(4, SIGNAL_BINS)
    one, apart = compared(held, seen, np.ones(4), np.zeros((4, 4)), 0.9)
    assert np.argwhere(np.triu(one)).tolist() == [[0, 1]]
    assert np.corrcoef(held[0], held[1])[0, 1] < 0.9
    assert np.argwhere(np.triu(apart)).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert not np.any(compared(held, np.full(4, 30), np.ones(4), np.zeros((4, 4)), 0.9))
    alike = np.zeros((2, SIGNAL_BINS))
    alike[:, 100] = 50
    noisy = alike + rng.normal(0, 1, alike.shape)
    assert not compared(noisy, seen[:2], np.ones(2), np.zeros((2, 2)), 0.9).one.any()
    chain = np.zeros((4, 4), bool)
    chain[0, 2] = chain[2, 0] = chain[2, 3] = chain[3, 2] = True
    assert groups(chain, np.array([7, 3, 5, 9])).tolist() == [5, 3, 5, 5]


def test_shares_of_pieces_are_those_of_the_weighted_least_squares_activity():
    """x_k = r_k c + noise of σ_k: c = Σ r_k x_k / σ_k² / Σ r_k² / σ_k², in units of the whole."""
    course = 1e4 * np.random.default_rng(2).exponential(1, SIGNAL_BINS)
    ratio, noise = np.array([1.0, 0.4, 2.5]), np.array([1.0, 0.5, 3.0])
    cells = SimpleNamespace(live_noise=noise, own_noise=np.zeros(3), share=np.zeros(3), ratio=np.zeros(3))
    weigh(cells, np.arange(3), 0, ratio[:, None] * course)
    np.testing.assert_allclose(cells.ratio, ratio, rtol=1e-6)
    np.testing.assert_allclose(cells.share, ratio / noise**2 / (ratio**2 / noise**2).sum(), rtol=1e-6)
    assert cells.share @ (ratio * course[0]) == pytest.approx(course[0])


def test_a_whole_has_its_share_and_those_of_its_pieces():
    class Cells(dict):
        def wholes(self):
            return np.array([-1, 0, -1, 0])

    raw = np.array([[3.0, 5.0, 7.0, -2.0], [0.0, 1.0, 2.0, 10.0]])
    found = combined(Cells(share=np.array([0.5, 0.2, 0.0, 0.1])), raw)
    np.testing.assert_allclose(found, [[0.5 * 3 + 0.2 * 5 - 0.1 * 2, 5, 7, -2], [0.2 + 1, 1, 2, 10]])


@pytest.mark.parametrize(("neuron_sigma_px", "merged"), [(3.0, [(1, 0)]), (1.0, [])])
def test_pieces_lie_within_ten_neuron_sigma_of_each_other(neuron_sigma_px, merged):
    shape, rng = (40, 60), np.random.default_rng(0)
    background = Background(shape, 1)
    background.initialise(np.zeros(shape, np.float32), rng.normal(0, 1, (20, *shape)).astype(np.float16))
    cells, signals = Components(shape, (19, 19), 1, 20, 0.0), Signals()
    for x in (10, 44):  # their boxes of what is not 0 lie 22 px apart
        y, x_px = np.mgrid[:19, :19] - 9
        box = np.where(np.hypot(y, x_px) <= 6, 1, 0).astype(np.float32)
        k = cells.add(cells.corner(20, x), box, background, 0)
        cells.live_noise[k], cells.accepted[k] = 0.1, True
    for number in range(2 * LEAST_BINS):
        cells["bin_sum"][:] = 20 * (rng.random() < 0.2) * rng.exponential()
        signals.add(cells, number)
    params = ExtractParams(neuron_sigma_px=neuron_sigma_px, shape="any")
    assert merge_pieces(cells, signals, 2 * LEAST_BINS, params) == merged


def test_elongation_is_that_of_the_second_moments():
    y, x = np.mgrid[:41, :41] - 20.0
    disc, line = (np.hypot(y, x) < 8).astype(float), ((np.abs(y) < 2) & (np.abs(x) < 15)).astype(float)
    tilted = ((np.abs(y - x) < 3) & (np.abs(y + x) < 20)).astype(float)
    found = elongation(np.array([disc, line, tilted]))
    assert found[0] == pytest.approx(1, abs=0.01)
    assert found[1] == pytest.approx(29 / np.sqrt(9 + 1), rel=0.1)
    assert found[2] > 5


def test_results_have_a_whole_with_the_footprint_of_all_pieces(run):
    operator, outputs = run
    snapshot = operator.read(["quality_now", "footprints"])
    values = {"ids": outputs[-1]["ids"]}
    cells = ExtractedComponents(values, snapshot, SHAPE, np.arange(3))
    pieces = cells.whole >= 0
    assert pieces.any()
    pixels = np.diff(cells.footprints.indptr)
    assert not pixels[pieces].any()
    whole = int(np.flatnonzero(cells.ids == cells.whole[pieces][0])[0])
    areas = dict(zip(MEASURES, snapshot["quality_now"].T, strict=True))["area_px"]
    members = np.flatnonzero((cells.whole == cells.ids[whole]) | (cells.ids == cells.ids[whole]))
    assert areas[whole] < pixels[whole] <= areas[members].sum()
    assert "elongation" in cells.columns()


@pytest.mark.parametrize("name", ["signal_bins", "signal_seen", "signal_ids"])
def test_a_damaged_state_is_refused(run, name):
    with pytest.raises(StateError):
        extract().restore({**run[0].state(), name: np.zeros(3)})
