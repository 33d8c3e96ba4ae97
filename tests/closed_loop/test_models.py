"""Models that learn while frames come, against the same from the whole recording."""

import numpy as np
import pytest

from streamfluo import Block, Spec, create

SPEC, FRAMES, CELLS = Spec((4, 4), "uint16", interval_s=0.03), 1200, 20


def session(seed, noise=0.5):
    """Activity (t, cells) with cells born one after the other, the behaviour that they make, and its labels."""
    rng = np.random.default_rng(seed)
    spikes = rng.random((FRAMES, CELLS)) < 0.05
    kernel = np.exp(-np.arange(60) / 12)
    traces = np.apply_along_axis(lambda s: np.convolve(s, kernel)[:FRAMES], 0, spikes.astype(float))
    born = np.sort(rng.integers(0, 200, CELLS))
    traces[np.arange(FRAMES)[:, None] < born] = 0
    weights = rng.normal(size=(CELLS, 2))
    behaviour = 3 + traces @ weights + noise * rng.normal(size=(FRAMES, 2))
    return traces, born, behaviour, weights


def run(operator, traces, born, more, cut=7):
    """Updates in blocks: each has the cells that are born by its end, those of highest number first."""
    outputs = []
    for start in range(0, len(traces), cut):
        stop = min(start + cut, len(traces))
        there = np.flatnonzero(born < stop)[::-1]
        block = Block(start, np.arange(start, stop) * 30_000_000, np.zeros((stop - start, 4, 4), np.uint16))
        inputs = {"traces": traces[start:stop, there], "traces.ids": 100 + there}
        inputs |= {name: array[start:stop] for name, array in more.items()}
        outputs.append(operator.update(block, inputs))
    return outputs


def ridge(x, y, penalty):
    """The textbook: least squares with rows of √penalty beneath, the intercept free."""
    design = np.block([[np.ones((len(x), 1)), x], [np.zeros((x.shape[1], 1)), np.sqrt(penalty) * np.eye(x.shape[1])]])
    solution = np.linalg.lstsq(design, np.vstack((y, np.zeros((x.shape[1], y.shape[1])))), rcond=None)[0]
    return solution[0], solution[1:]


@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
def test_decoding_is_the_ridge_regression_of_all_frames(penalty):
    traces, born, behaviour, _ = session(1)
    operator = create("decode", SPEC, ridge=penalty, solve_frames=50)
    run(operator, traces, born, {"value": behaviour})
    found = operator.read()
    intercept, weights = ridge(traces, behaviour, penalty)
    at = found["ids"] - 100
    np.testing.assert_allclose(found["weights"], weights[at], atol=1e-9)
    np.testing.assert_allclose(found["intercept"], intercept, atol=1e-9)
    assert found["frames"] == FRAMES


def test_each_frame_is_predicted_by_those_before_it_and_r2_is_of_these():
    traces, born, behaviour, _ = session(2)
    operator = create("decode", SPEC, solve_frames=100, r2_frames=400)
    outputs = run(operator, traces, born, {"value": behaviour})
    predicted = np.concatenate([output.values["predicted"] for output in outputs])
    assert np.isnan(predicted[:100]).all()
    expected, errors, spread = np.full(behaviour.shape, np.nan), 0.0, 0.0
    for start in range(100, FRAMES, 100):
        intercept, weights = ridge(traces[:start], behaviour[:start], 1.0)
        expected[start : start + 100] = intercept + traces[start : start + 100] @ weights
    np.testing.assert_allclose(predicted[100:], expected[100:], atol=1e-8)
    for t in range(100, FRAMES):
        errors = (1 - 1 / 400) * errors + (behaviour[t] - expected[t]) ** 2
        spread = (1 - 1 / 400) * spread + (behaviour[t] - behaviour[:t].mean(0)) ** 2
    np.testing.assert_allclose(operator.read(["r2"])["r2"], 1 - errors / spread, atol=1e-8)
    assert (operator.read(["r2"])["r2"] > 0.75).all()


def test_noise_decodes_to_nothing():
    for seed in range(5):
        traces, born, behaviour, _ = session(seed)
        operator = create("decode", SPEC, ridge=10.0)
        run(operator, traces, born, {"value": np.random.default_rng(seed).normal(size=behaviour.shape)})
        assert (operator.read(["r2"])["r2"] < 0.02).all()


def test_after_the_first_minutes_it_learns_no_more():
    traces, born, behaviour, _ = session(3)
    operator = create("decode", SPEC, train_frames=600)
    run(operator, traces, born, {"value": behaviour})
    _, weights = ridge(traces[:600], behaviour[:600], 1.0)
    found = operator.read()
    np.testing.assert_allclose(found["weights"], weights[found["ids"] - 100], atol=1e-9)


def test_what_is_not_known_is_neither_predicted_nor_learned():
    traces, born, behaviour, _ = session(4)
    lost, silent = slice(300, 340), slice(500, 520)
    with_holes, said = traces.copy(), behaviour.copy()
    with_holes[lost], said[silent] = np.nan, np.nan
    operator = create("decode", SPEC)
    outputs = run(operator, with_holes, born, {"value": said})
    predicted = np.concatenate([output.values["predicted"] for output in outputs])
    assert np.isnan(predicted[lost]).all()
    assert np.isfinite(predicted[silent]).all()
    kept = np.r_[0:300, 340:500, 520:FRAMES]
    _, weights = ridge(traces[kept], behaviour[kept], 1.0)
    found = operator.read()
    np.testing.assert_allclose(found["weights"], weights[found["ids"] - 100], atol=1e-9)


def test_tuning_is_the_mean_by_label():
    traces, born, _, _ = session(5)
    labels = np.random.default_rng(5).integers(-1, 4, FRAMES).astype(float)
    labels[labels < 0] = np.nan
    traces[700:720] = np.nan
    operator = create("tuning", SPEC, labels=4)
    run(operator, traces, born, {"label": labels})
    found = operator.read()
    first = np.argmax(traces != 0, 0)
    measured = (found[name] for name in ("mean", "error", "frames"))
    for cell, mean, error, frames in zip(found["ids"] - 100, *measured, strict=True):
        for label in range(4):
            here = (labels == label) & np.isfinite(traces[:, cell]) & (np.arange(FRAMES) >= first[cell])
            assert frames[label] == here.sum()
            assert mean[label] == pytest.approx(traces[here, cell].mean(), rel=1e-10)
            assert error[label] == pytest.approx(traces[here, cell].std(ddof=1) / np.sqrt(here.sum()), rel=1e-6)


@pytest.mark.parametrize("kind", ["decode", "kalman", "tuning"])
def test_cells_that_are_born_in_one_block_come_in_the_same_order_one_by_one(kind):
    traces, _, behaviour, _ = session(6)
    born = np.repeat([300, 1, 303, 2], 5)
    traces = np.where(np.arange(FRAMES)[:, None] < born, 0, np.where(traces == 0, 0.01, traces))
    more = {"value": behaviour, "label": (behaviour[:, 0] > 3).astype(float)}
    found = []
    for cut in (1, 50):
        outputs = run(operator := create(kind, SPEC), traces, born, more, cut)
        given = [np.concatenate([o.values[name] for o in outputs]) for name in outputs[0].values]
        found.append([*given, *operator.read().values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow  # scikit-learn is no dependency, and takes two seconds to import
def test_decoding_is_that_of_scikit_learn_live_and_at_the_end():
    linear_model = pytest.importorskip("sklearn.linear_model")
    traces, born, behaviour, _ = session(7)
    operator = create("decode", SPEC, ridge=3.0, solve_frames=100)
    outputs = run(operator, traces, born, {"value": behaviour})
    predicted = np.concatenate([output.values["predicted"] for output in outputs])
    for stop in range(100, FRAMES, 100):
        batch = linear_model.Ridge(alpha=3.0).fit(traces[:stop], behaviour[:stop])
        now = slice(stop, stop + 100)
        np.testing.assert_allclose(predicted[now], batch.predict(traces[now]), rtol=1e-9, atol=1e-9)
    batch, found = linear_model.Ridge(alpha=3.0).fit(traces, behaviour), operator.read()
    np.testing.assert_allclose(found["weights"], batch.coef_.T[found["ids"] - 100], atol=1e-9)
    np.testing.assert_allclose(found["intercept"], batch.intercept_, atol=1e-9)
