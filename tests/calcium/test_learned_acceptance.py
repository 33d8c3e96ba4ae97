"""The learned acceptance: what it is told, that its weights are checked, and what it accepts."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import expit

import streamfluo
from streamfluo import Block, ConfigError, Spec
from streamfluo.calcium.extract import cell_probability as cp
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.cell_features import (
    FIGURES,
    SIDE,
    Context,
    Features,
    features,
    overlap_and_activity,
    typical_area,
)
from streamfluo.calcium.extract.components import NOT_JUDGED, Components
from streamfluo.calcium.extract.learned_acceptance import Seen, are_cells, size_doubts
from streamfluo.calcium.extract.params import ExtractParams
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.simulate import calcium

SHAPE, BOX = (40, 50), (19, 19)


def with_cells(*places, sigma=2.5, heights=(1, 1, 1, 1)):
    """Components with round footprints at places (y, x) [px]."""
    background = Background(SHAPE, 1)
    noise = np.random.default_rng(0).normal(0, 1, (20, *SHAPE)).astype(np.float16)
    background.initialise(np.zeros(SHAPE, np.float32), noise)
    cells = Components(SHAPE, BOX, 1, 20, 0.0)
    for (y, x), height in zip(places, heights, strict=False):
        top, left = corner = cells.corner(y, x)
        yy, xx = np.mgrid[top : top + BOX[0], left : left + BOX[1]]
        box = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2))
        k = cells.add(corner, np.where(box > 0.05, height * box, 0).astype(np.float32), background, 0)
        cells.live_noise[k] = cells.late_noise[k] = 1.0
    return cells


def dense(cells):
    """Footprints (K, y, x) on the whole field."""
    whole = np.zeros((cells.count, *SHAPE))
    for image, box, (top, left) in zip(whole, cells["box"], cells["origin"], strict=True):
        image[top : top + BOX[0], left : left + BOX[1]] = box
    return whole


def known_of(cells, sigma=3.0):
    context = Context(5, 0.05, 200.0, sigma)
    return features(cells, np.arange(cells.count), np.arange(20), context)


def test_overlap_is_the_largest_cosine_with_another_footprint():
    cells = with_cells((12, 12), (14, 15), (20, 12), (30, 40), heights=(1, 3, 2, 1))
    flat = dense(cells).reshape(4, -1)
    cosine = flat @ flat.T / np.sqrt(np.outer((flat**2).sum(1), (flat**2).sum(1)))
    np.testing.assert_allclose(overlap_and_activity(cells, np.arange(4))[0], (cosine - np.eye(4)).max(1), atol=1e-6)


def test_explained_is_the_r2_of_a_regression_on_a_touching_neighbour():
    cells = with_cells((12, 12), (14, 15))
    rng = np.random.default_rng(5)
    first, second = rng.gamma(1, 4, (2, 300))
    second += first
    cells.own[:2], cells.peak[:2] = (first**2).sum(), (first**4).sum()
    cells.own[1], cells.peak[1] = (second**2).sum(), (second**4).sum()
    for k, other in ((0, second), (1, first)):
        cells.shared[k, 0], cells.theirs[k, 0] = (first * second).sum(), (other**2).sum()
    wanted = (first @ second) ** 2 / (first @ first) / (second @ second)
    explained, _ = cells.explained_and_snr()
    assert explained[0] == pytest.approx(wanted)  # of the regression through the origin
    assert explained[1] in (pytest.approx(wanted), 0.0)


def test_the_image_is_the_footprint_about_its_centre_whatever_the_place_and_the_size():
    sizes = [(3.0, (13.0, 14.0)), (3.0, (13.5, 13.7)), (3.0, (20.3, 31.6))]
    images = [known_of(with_cells(place, sigma=0.8 * sigma), sigma).images[0, : SIDE**2] for sigma, place in sizes]
    for image in images:
        assert np.linalg.norm(image) == pytest.approx(1, abs=1e-5)
        assert image @ images[0] > 0.995
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    width = 0.8 * SIDE / 6  # σ of the footprint, in samples
    wanted = np.exp(-(y**2 + x**2) / (2 * width**2))
    assert images[1] @ wanted.ravel() / np.linalg.norm(wanted) > 0.99


def test_an_undetected_neighbour_is_seen_in_the_image_of_the_residual():
    cells = with_cells((20, 20))
    left = np.zeros(BOX, np.float32)
    left[9, 15] = 1
    cells.gathered[0], cells.moment[0] = 50 * gaussian_filter(left, 2), 50.0
    residual = known_of(cells).images[0, SIDE**2 :].reshape(SIDE, SIDE)
    y, x = np.unravel_index(residual.argmax(), residual.shape)
    assert abs(y - (SIDE - 1) / 2) <= 1
    assert x - (SIDE - 1) / 2 == pytest.approx(6 / (6 * 3.0 / SIDE), abs=1.5)


def test_figures_are_finite_of_components_that_are_empty_or_new():
    cells = with_cells((12, 12), (30, 40))
    cells.box[0] = 0
    found = known_of(cells)
    assert found.figures.shape == (2, len(FIGURES))
    assert np.isfinite(found.figures).all()
    assert np.isfinite(found.images).all()


def test_networks_are_two_layers_of_relu_over_images_and_figures():
    rng, count = np.random.default_rng(2), len(FIGURES)
    images, figures = rng.standard_normal((5, 2 * SIDE**2)), rng.standard_normal((5, count))
    layers = [(rng.normal(0, 0.05, s).astype(np.float32), rng.standard_normal(s[1]).astype(np.float32))
              for s in ((2 * SIDE**2, 4), (4 + count, 6), (6, 1))]  # fmt: skip
    wanted = []
    for image, figure in zip(images, figures, strict=True):
        seen = [max(0.0, float(layers[0][0][:, n] @ image + layers[0][1][n])) for n in range(4)]
        told = np.array([*seen, *figure])
        hidden = [max(0.0, float(layers[1][0][:, n] @ told + layers[1][1][n])) for n in range(6)]
        wanted.append(float(layers[2][0][:, 0] @ np.array(hidden) + layers[2][1][0]))
    np.testing.assert_allclose(cp.logits(images, figures, [layers, layers]), wanted, rtol=1e-4)


def test_what_is_unlike_all_of_the_training_set_has_no_probability():
    weights = cp.load_weights(cp.WEIGHTS)
    mean, sd = weights.scale.mean, weights.scale.sd
    images = np.zeros((3, 2 * SIDE**2))
    found = cp.probability_of(Features(images, np.stack([mean, mean + 15 * sd, mean + 0.1 * sd])), weights)
    assert np.isnan(found).tolist() == [False, True, False]
    logit = cp.logits(images[:1], np.zeros((1, len(FIGURES))), weights.networks)
    np.testing.assert_allclose(found[0], expit(weights.scale.slope * logit + weights.scale.offset)[0])


def test_where_cells_are_larger_than_stated_nothing_is_known_of_any_and_it_is_said(monkeypatch):
    monkeypatch.setattr(cp, "probability_of", lambda known, weights: np.full(len(known.figures), 0.5))
    cells = with_cells((9, 9), (9, 24), (9, 40), (28, 9), (28, 24), heights=(1, 1, 1, 1, 1))
    cells["accepted"][:] = True
    area = np.median(cells["pixels"])
    slots, rows = np.arange(20), np.arange(3)
    largest = cp.load_weights(cp.WEIGHTS).scale.areas[1]
    for stated, known in ((np.sqrt(area / largest) * 1.05, True), (np.sqrt(area / largest) * 0.95, False)):
        assert typical_area(cells, stated) == pytest.approx(area / stated**2)
        found = cp.cell_probability(cells, rows, slots, Context(5, 0.05, 200.0, stated))
        assert np.isfinite(found).all() == known
        assert np.isnan(found).all() == (not known)
        said = size_doubts(cells, ExtractParams(neuron_sigma_px=stated))
        assert bool(said) == (not known)
        assert known or f"components of {area:.0f} px are too large for cells of neuron_sigma_px" in said[0]
        assert size_doubts(cells, ExtractParams(neuron_sigma_px=stated, shape="any")) == []
    assert "too small" in size_doubts(cells, ExtractParams(neuron_sigma_px=9.9))[0]
    cells["accepted"][0] = False
    assert np.isnan(typical_area(cells, 1.0))  # of four nothing is taken for typical


def changed(tmp_path, **arrays):
    """A copy of the weights with other arrays; None: left out."""
    with np.load(cp.WEIGHTS) as file:
        kept = {name: file[name] for name in file.files} | arrays
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: array for name, array in kept.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"version": np.array(cp.VERSION + 1)}, rf"of version {cp.VERSION + 1}, {cp.VERSION} is needed"),
        ({"version": None}, rf"of version 0, {cp.VERSION} is needed"),
        ({"version": np.array([1, 1])}, r"of version \[1 1\]"),
        ({"version": np.array("a")}, "of version a"),
        ({"mean": np.zeros(3)}, r"'mean' must be finite numbers of shape \(\d+,\), found \(3,\)"),
        ({"areas": np.zeros(3)}, r"'areas' must be finite numbers of shape \(2,\)"),
        ({"slope": np.array(np.nan)}, "'slope' must be finite"),
        ({"farthest": None}, "'farthest' must be .* found none"),
        ({"0_image_weights": np.zeros((4, 4))}, r"layer 'image' of network 0 takes 512 numbers, found \(4, 4\)"),
        ({"1_last_offsets": None}, "layer 'last' of network 1"),
        ({"mean": np.array([{}])}, "cannot be read"),  # pickled: not loaded
    ],
)
def test_weights_of_another_version_or_damaged_are_one_line_that_says_what_to_do(tmp_path, arrays, said):
    with pytest.raises(ConfigError, match=said) as caught:
        cp.load_weights(changed(tmp_path, **arrays))
    assert "tools/train_acceptance.py" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_weights_that_are_no_file_of_arrays_are_one_line(tmp_path, content):
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="weights cannot be read"):
        cp.load_weights(path)


def test_weights_are_small_and_need_no_pickle():
    assert cp.WEIGHTS.stat().st_size < 1_000_000
    cp.load_weights(cp.WEIGHTS)


@pytest.fixture(scope="module")
def field():
    movie, truth = calcium(
        frames=500, shape=(64, 64), seed=70151, neurons=6, neuron_sigma_px=3.0, motion_px=0.0, signal=1.0
    )
    return movie, truth


def measures(movie, interval_s=1 / 30, **params):
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=interval_s)
    operator = streamfluo.create("extract", spec, neuron_sigma_px=3.0, **params)
    for n in range(len(movie)):
        operator.update(Block(n, np.array([n]), movie[n : n + 1]))
    return dict(zip(MEASURES, operator.read(["quality_now"])["quality_now"].T, strict=True))


def test_cells_have_a_high_probability_and_both_rules_accept_them(field):
    movie = field[0][:400]  # min_snr also says what goes, after 400 frames
    rule, learned = measures(movie), measures(movie, accept="learned", min_snr=1000.0)
    for found in (rule, learned):
        assert found["accepted"].sum() >= 5
        assert (found["probability"][found["accepted"] > 0] > 0.9).all()
    assert measures(movie, min_snr=1000.0)["accepted"].sum() == 0


def test_at_a_frame_rate_that_training_never_saw_nothing_is_said_and_the_rule_decides():
    movie, _ = calcium(
        frames=450, shape=(64, 64), seed=5, neurons=8, neuron_sigma_px=3.0, motion_px=0.0, signal=1.0,
        frame_rate_hz=2.0, decay_s=1.0,
    )  # fmt: skip
    rule, learned = (measures(movie, 0.5, accept=accept) for accept in ("rule", "learned"))
    assert np.isnan(learned["probability"]).all()
    assert rule["accepted"].sum() >= 4
    np.testing.assert_array_equal(learned["accepted"], rule["accepted"])


@pytest.mark.parametrize("accept", ["rule", "learned"])
def test_nothing_is_accepted_in_a_field_without_cells(accept):
    movie, _ = calcium(
        frames=700, shape=(96, 96), seed=9411, neurons=0, neuron_sigma_px=3.0, motion_px=0.0, neuropil_follows=1.0,
        neuropil=0.2, frame_rate_hz=15.0,
    )  # fmt: skip
    assert measures(movie, accept=accept)["accepted"].sum() == 0


def test_another_word_for_acceptance_is_refused(field):
    with pytest.raises(ConfigError, match="accept"):
        measures(field[0][:1], accept="network")


def test_likely_components_that_are_not_compact_are_not_accepted():
    cells = with_cells((12, 12), (30, 40), (20, 25))
    cells["compactness"][:] = 0.9, 0.3, 0.9
    likely = np.array([0.9, 0.9, 0.7])
    seen = SimpleNamespace(
        buffer=SimpleNamespace(bin_frames=5), background=SimpleNamespace(observed_px=2000),
        probability=lambda cells, rows: likely[rows],
    )  # fmt: skip
    assert are_cells(cells, ExtractParams(accept="learned"), seen).tolist() == [True, False, False]


class Judged(Seen):
    """Judges by the frame: the probability of a component is the number of the frame in which it was judged."""

    def probability(self, cells, rows):
        return np.full(len(rows), float(self.buffer.count))


@pytest.mark.parametrize("count", [1, 7, 25])
def test_each_component_is_judged_once_in_four_hundred_frames_an_eighth_at_a_time(count):
    cells = with_cells(*[(20, 25)] * count, heights=[1] * count)
    cells["probability"][:] = 0.5
    buffer = SimpleNamespace(count=0)
    seen, most = Judged(2.5, None, buffer, None), 0
    for frame in range(800):
        buffer.count, before = frame, cells["probability"].copy()
        seen.judge_some(cells)
        most = max(most, int((cells["probability"] != before).sum()))
    assert (cells["probability"] >= 400).all()
    assert most <= -(-count // 8)


def test_those_that_are_new_are_judged_within_fifty_frames():
    cells = with_cells(*[(20, 25)] * 20, heights=[1] * 20)
    cells["probability"][:] = 0.5
    cells["probability"][[3, 4, 17]] = NOT_JUDGED
    buffer = SimpleNamespace(count=0)
    for frame in range(50):
        buffer.count = frame
        Judged(2.5, None, buffer, None).judge_some(cells)
    assert (cells["probability"][[3, 4, 17]] > 0).all()


def test_a_component_that_never_was_judged_is_where_it_is_asked_for():
    cells = with_cells((10, 10), (30, 40))
    cells["probability"][:] = 3.0, NOT_JUDGED
    assert Judged(2.5, None, SimpleNamespace(count=8), None).judged(cells).tolist() == [3.0, 8.0]
