"""The Kalman decoder against the textbook's formulas over whole arrays."""

from itertools import pairwise

import numpy as np
import pytest

from streamfluo import Block, Spec, create

SPEC, FRAMES, CELLS = Spec((4, 4), "uint16", interval_s=0.03), 900, 12
GAP = range(611, 618)


def session(seed, cells=CELLS, noise=1.0):
    """A signal (t, 2) that moves on by itself, activity (t, cells) that shows it, born one after the other."""
    rng = np.random.default_rng(seed)
    a, x = np.array([[0.97, 0.1], [-0.1, 0.97]]), np.zeros((FRAMES, 2))
    for t in range(1, FRAMES):
        x[t] = a @ x[t - 1] + 0.3 * rng.normal(size=2)
    tuning = rng.normal(size=(cells, 2))
    traces = 5 + x @ tuning.T + noise * np.exp(rng.normal(size=cells) / 2) * rng.normal(size=(FRAMES, cells))
    born = np.sort(rng.integers(0, 300, cells))
    traces[np.arange(FRAMES)[:, None] < born] = 0
    return 1000 + x, traces, born


def run(operator, traces, signal, born, cut=7, present=True):
    """Updates in blocks with a gap; each has the cells that are born by its end."""
    outputs = []
    edges = sorted({*range(0, FRAMES, cut)} - {*GAP} | {GAP.start, GAP.stop, FRAMES})
    for start, stop in pairwise(edges):
        if start in GAP:
            continue
        there = np.flatnonzero(born < stop)[::-1]
        block = Block(start, np.arange(start, stop) * 30_000_000, np.zeros((stop - start, 4, 4), np.uint16))
        inputs = {"traces": traces[start:stop, there], "traces.ids": 100 + there, "value": signal[start:stop]}
        if present:
            inputs["traces.present"] = np.arange(start, stop)[:, None] >= born[there]
        outputs.append(operator.update(block, inputs))
    return [np.concatenate([o.values[name] for o in outputs]) for name in outputs[0].values]


def regression(design, target):
    return np.linalg.lstsq(np.column_stack((np.ones(len(design)), design)), target, rcond=None)[0]


def learned(traces, signal, born, stop, least):
    """A, b, W and h, c, Q of the frames before `stop` by least squares of whole arrays."""
    there = [t for t in range(stop) if t not in GAP and np.isfinite(signal[t]).all()]
    pairs = [t for t in there if t - 1 in there]
    now, before = signal[pairs], signal[[t - 1 for t in pairs]]
    of_signal = regression(before, now)
    left = now - of_signal[0] - before @ of_signal[1:]
    found = []
    for k in range(traces.shape[1]):
        own = [t for t in there if t >= born[k] and np.isfinite(traces[t, k])]
        if len(own) < least:
            continue
        of_cell = regression(signal[own], traces[own, k])
        rest = traces[own, k] - of_cell[0] - signal[own] @ of_cell[1:]
        found.append((k, of_cell[1:], of_cell[0], (rest**2).sum() / (len(own) - 3)))
    return of_signal[1:].T, of_signal[0], left.T @ left / len(pairs), found


def textbook(traces, signal, born, every, train=FRAMES):
    """The filter by its gain, K = P Hᵀ (H P Hᵀ + Q)⁻¹, with the model of all frames before, learned each so many.

    Its standard deviation is the model's times what errors of earlier frames were of it, 20 counted as of that size.
    """
    predicted, sd = np.full((2, FRAMES, 2), np.nan)
    errors, frames = np.zeros(2), 0.0
    model, x, p = None, np.zeros(2), np.eye(2)
    for t in range(FRAMES):
        if model is not None:
            a, b, w, cells = model
            x, p = a @ x + b, a @ p @ a.T + w
            seen = [c for c in cells if t >= born[c[0]] and t not in GAP and np.isfinite(traces[t, c[0]])]
            if seen:
                h, c, q = np.array([s[1] for s in seen]), np.array([s[2] for s in seen]), np.diag([s[3] for s in seen])
                z = traces[t, [s[0] for s in seen]]
                gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + q)
                x, p = x + gain @ (z - c - h @ x), (np.eye(2) - gain @ h) @ p
            predicted[t], sd[t] = x, np.sqrt(p.diagonal() * (20 + errors) / (20 + frames))
            if t not in GAP and np.isfinite(signal[t]).all():
                errors = (1 - 1 / 300) * errors + (signal[t] - x) ** 2 / p.diagonal()
                frames = (1 - 1 / 300) * frames + 1
        if (t + 1) % every == 0 and t not in GAP:
            if model is None:
                known = [n for n in range(t) if np.isfinite(signal[n]).all() and np.isfinite(signal[n + 1]).all()]
                x, p = signal[known].mean(0), np.cov(signal[known].T, bias=True)
            model = learned(traces, signal, born, min(t + 1, train), max(every // 2, 8))
    kept = np.setdiff1d(np.arange(FRAMES), GAP)
    return predicted[kept], sd[kept], model


@pytest.mark.parametrize("cut", [1, 13])
def test_it_is_the_textbooks_filter_with_the_textbooks_model(cut):
    signal, traces, born = session(31)
    traces[400:410], signal[450:465] = np.nan, np.nan
    predicted, sd = run(
        operator := create("kalman", SPEC, solve_frames=50, noise_factor=1.0), traces, signal, born, cut
    )
    expected, spread, (a, _, w, cells) = textbook(traces, signal, born, 50)
    np.testing.assert_allclose(predicted, expected, rtol=1e-7)
    np.testing.assert_allclose(sd, spread, rtol=1e-5)
    assert np.isfinite(predicted[50:]).all()
    found = operator.read()
    np.testing.assert_allclose(found["transition"], a, atol=1e-6)
    np.testing.assert_allclose(found["transition_noise"], w, rtol=1e-5)
    for k, h, _, q in cells:
        at = np.flatnonzero(found["ids"] == 100 + k)[0]
        np.testing.assert_allclose(found["tuning"][at], h, rtol=1e-5)
        np.testing.assert_allclose(found["noise"][at], q, rtol=1e-5)


@pytest.mark.slow
def test_its_standard_deviation_is_that_of_its_errors():
    ratios = []
    for seed in range(41, 49):
        signal, traces, born = session(seed)
        operator = create("kalman", SPEC)
        predicted, sd = run(operator, traces, signal, born)
        known = np.setdiff1d(np.arange(FRAMES), GAP)
        z = (predicted - signal[known])[400:] / sd[400:]
        ratios.append(np.sqrt((z**2).mean()))
        run(ridge := create("decode", SPEC), traces, signal, born)
        left, of_ridge = (1 - one.read(["r2"])["r2"] for one in (operator, ridge))
        assert (left < 0.7 * of_ridge).all()  # the signal's own past tells
        assert (np.abs(operator.read(["error_by_sd"])["error_by_sd"] - 1) < 0.25).all()
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def slow(seed):
    """A signal, and cells whose noise lasts for frames and is shared: not what the model takes it for."""
    signal, traces, born = session(seed)
    rng, lasting = np.random.default_rng(seed), np.zeros((FRAMES, CELLS))
    for t in range(1, FRAMES):
        lasting[t] = 0.9 * lasting[t - 1] + rng.normal(size=CELLS) + rng.normal()
    return signal, traces + lasting * (traces != 0), born


def test_noise_that_the_model_does_not_know_is_in_the_standard_deviation():
    given, alone = [], []
    for seed in (57, 58, 59):
        signal, traces, born = slow(seed)
        known = np.setdiff1d(np.arange(FRAMES), GAP)
        for ratios, factor in ((given, None), (alone, 1.0)):
            operator = create("kalman", SPEC, noise_factor=factor)
            predicted, sd = run(operator, traces, signal, born)
            sd = sd if factor is None else sd / operator.read(["sd_factor"])["sd_factor"]
            ratios.append(np.sqrt((((predicted - signal[known])[400:] / sd[400:]) ** 2).mean()))
    assert np.mean(alone) > 1.3  # the errors are that much more than the model alone says
    assert 0.6 < np.mean(given) < 1.1  # here less: those of the first minute, when few cells were born, count still


def test_of_five_factors_of_the_noise_it_gives_the_one_that_erred_least():
    signal, traces, born = slow(60)
    known, factors = np.setdiff1d(np.arange(FRAMES), GAP), (1.0, 1 / 16, 1 / 4, 4.0, 16.0)
    fixed = [run(create("kalman", SPEC, noise_factor=f), traces, signal, born)[0] for f in factors]
    chosen = run(operator := create("kalman", SPEC), traces, signal, born)[0]
    squares, now = np.zeros((5, 2)), 0
    for t, n in enumerate(known):
        np.testing.assert_allclose(chosen[t], fixed[now][t], rtol=1e-12)
        if n >= 50:
            squares = (1 - 1 / 1800) * squares + np.array([(one[t] - signal[n]) ** 2 for one in fixed])
        if (n + 1) % 50 == 0 and n >= 50:
            now = int((squares / squares.mean(0)).sum(1).argmin())
    assert operator.read(["noise_factor"])["noise_factor"] == factors[now] != 1.0


def test_activity_that_is_not_known_makes_it_less_sure_not_silent():
    signal, traces, born = session(52)
    traces[700:720] = np.nan
    predicted, sd = run(create("kalman", SPEC), traces, signal, born)
    at = 700 - len(GAP)
    assert np.isfinite(predicted[at : at + 20]).all()
    assert (np.diff(sd[at - 1 : at + 20], axis=0) > 0).all()
    assert (sd[at + 20] < sd[at + 19]).all()


def test_after_the_first_minutes_it_learns_no_more():
    signal, traces, born = session(53)
    operator = create("kalman", SPEC, train_frames=500, noise_factor=1.0)
    predicted, _ = run(operator, traces, signal, born)
    expected, _, _ = textbook(traces, signal, born, 50, train=500)
    np.testing.assert_allclose(predicted, expected, rtol=1e-7)
    assert operator.read(["frames"])["frames"] == 500


def test_noise_decodes_to_nothing():
    for seed in (54, 55, 56):
        _, traces, born = session(seed)
        operator = create("kalman", SPEC)
        run(operator, traces, np.random.default_rng(seed).normal(size=(FRAMES, 2)), born)
        assert (operator.read(["r2"])["r2"] < 0.05).all()
