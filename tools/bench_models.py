"""Decoders of a simulated signal from simulated cells: beside scikit-learn's Ridge, each other, and their cost.

    pip install scikit-learn
    python tools/bench_models.py

A signal of two columns that moves on by itself, and cells with transients (decay of 12 frames) at rates that follow it.
"""

import time

import numpy as np

from streamfluo import Block, Spec, create

SPEC, FRAMES = Spec((4, 4), "uint16", interval_s=1 / 30), 3000
SEEDS = (7101, 7102, 7103, 7104)


def recording(seed, cells):
    """The signal (t, 2) and the cells' activity (t, cells)."""
    rng = np.random.default_rng(seed)
    turn, signal = np.array([[0.985, 0.06], [-0.06, 0.985]]), np.zeros((FRAMES, 2))
    for t in range(1, FRAMES):
        signal[t] = turn @ signal[t - 1] + 0.17 * rng.normal(size=2)
    rate = 0.08 * np.exp(np.clip(signal @ rng.normal(size=(2, cells)), -4, 1.5))
    spikes, traces = rng.poisson(rate).astype(float), np.zeros((FRAMES, cells))
    for t in range(1, FRAMES):
        traces[t] = traces[t - 1] * np.exp(-1 / 12) + spikes[t]
    return signal, traces + 0.3 * rng.normal(size=traces.shape)


def live(kind, signal, traces, **params):
    """What an operator predicts frame by frame (t, 2), itself, and the time of each update [ms]."""
    operator, predicted, took = create(kind, SPEC, **params), [], []
    ids, pixels = np.arange(traces.shape[1]), np.zeros((1, 4, 4), np.uint16)
    for t in range(FRAMES):
        inputs = {"traces": traces[t : t + 1], "traces.ids": ids, "value": signal[t : t + 1]}
        began = time.perf_counter()
        output = operator.update(Block(t, np.array([t * 33_333_333]), pixels), inputs)
        took.append(1e3 * (time.perf_counter() - began))
        predicted.append(output.values["predicted"][0])
    return np.array(predicted), operator, np.array(took)


def beside_scikit_learn():
    """Print how far weights and predictions are from those of Ridge on the same frames."""
    from sklearn.linear_model import Ridge

    furthest, weights = 0.0, 0.0
    for seed in SEEDS:
        signal, traces = recording(seed, 60)
        predicted, operator, _ = live("decode", signal, traces, ridge=2.0, solve_frames=300)
        for stop in range(300, FRAMES, 300):
            batch = Ridge(alpha=2.0).fit(traces[:stop], signal[:stop]).predict(traces[stop : stop + 300])
            furthest = max(furthest, np.abs(predicted[stop : stop + 300] - batch).max())
        batch, found = Ridge(alpha=2.0).fit(traces, signal), operator.read()
        weights = max(weights, np.abs(found["weights"] - batch.coef_.T).max())
    print(f"decode and scikit-learn's Ridge, 60 cells, {len(SEEDS)} recordings of {FRAMES} frames, refit each 300:")
    print(f"  largest difference of a live prediction {furthest:.1e}, of a weight at the end {weights:.1e}")


def beside_each_other():
    """Print r² of frames not learned yet, and what errors are of the stated standard deviation."""
    for cells in (10, 60, 200):
        rows = []
        for seed in SEEDS:
            signal, traces = recording(seed, cells)
            ridge, kalman = (live(kind, signal, traces)[1].read() for kind in ("decode", "kalman"))
            rows.append([ridge["r2"].mean(), kalman["r2"].mean(), kalman["error_by_sd"].mean()])
        by_ridge, by_kalman, ratio = np.mean(rows, 0)
        print(f"{cells} cells: r² decode {by_ridge:.3f}, kalman {by_kalman:.3f}, its rms error by sd {ratio:.2f}")


def cost():
    """Print the time of a frame with 500 cells."""
    signal, traces = recording(7105, 500)
    for kind in ("decode", "kalman"):
        took = live(kind, signal, traces)[2][500:]
        p50, p90, p99 = np.percentile(took, (50, 90, 99))
        print(f"{kind}, 500 cells: {p50:.2f} ms a frame, p90 {p90:.2f}, p99 {p99:.2f} (each 50th frame it solves)")


if __name__ == "__main__":
    beside_scikit_learn()
    beside_each_other()
    cost()
