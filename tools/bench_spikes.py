"""Deconvolution against real spikes: online as in `extract`, and in batch.

    python tools/bench_spikes.py           mean correlation in 40 ms, spikefinder datasets 4 and 5

The batch solution is that of the constrained problem, min Σ (y − c)² / 2 + λ Σ s, s ≥ 0, by
scipy.optimize.nnls over stretches that overlap by ten time constants; baselines are running medians of 20 s.
"""

import os
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from scipy.linalg import toeplitz
from scipy.optimize import nnls

from streamfluo.analysis import deconvolve
from streamfluo.calcium.extract.activity import SPARSITY
from streamfluo.calcium.extract.components import POOLS
from streamfluo.calcium.extract.settled_traces import DELAY
from streamfluo.calcium.kernels.spikes import Levels, deconvolve_samples, impulse_response, new_pools, newest_samples

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data")) / "spikefinder"
STEPS = {4: 12, 5: 4}  # decimation from 100 Hz to the recorded frame rate
DECAY_S, BASELINE_S, BIN = 1.0, 20.0, 4  # 4 samples at 100 Hz: bins of 25 Hz


def online_spikes(y: np.ndarray, g: float) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (T,) as of each sample, and as of DELAY samples later."""
    noise = np.array([np.median(np.abs(np.diff(y[:200]))) / 0.9539])  # as a component's history gives it
    baseline = np.array([np.median(y[:200])])
    levels, pools = Levels(y[:1].copy(), np.zeros(1, np.int64), noise, baseline, baseline.copy()), new_pools(g, POOLS)
    present, now = np.ones(1, bool), np.empty((2, 1))
    live, late, trace, spikes = np.empty(len(y)), np.zeros(len(y)), *np.empty((2, DELAY + 1))
    for t in range(len(y)):
        deconvolve_samples(y[t : t + 1], present, levels, pools, SPARSITY, now)
        live[t] = now[1, 0]
        newest_samples(0, pools, trace, spikes)
        late[max(0, t - DELAY) : t + 1] = spikes[-(t + 1) :]
    return live, late


def batch_spikes(y: np.ndarray, g: tuple[float, ...], noise: float, stretch: int = 300) -> np.ndarray:
    """Spikes (T,) of the constrained problem for a trace without baseline."""
    margin = min(stretch, int(np.ceil(10 / (1 - max(np.abs(np.roots([1, *(-c for c in g)])))))))
    found = np.zeros(len(y))
    for start in range(0, len(y), stretch):
        first, stop = max(0, start - margin), min(len(y), start + stretch + margin)
        n = stop - first
        response = toeplitz(impulse_response(np.array(g), n), np.zeros(n))
        root = np.linalg.cholesky(response.T @ response + 1e-9 * np.eye(n)).T
        right = response.T @ y[first:stop] - SPARSITY * noise * response[:, 0].max()
        spikes = nnls(root, np.linalg.solve(root.T, right), maxiter=30 * n)[0]
        found[start : start + stretch] = spikes[start - first : start - first + stretch]
    return found


def compare(dataset: int) -> dict[str, float]:
    """Mean correlation of each method's spikes with the real ones."""
    step = STEPS[dataset]
    traces, truths = (
        np.genfromtxt(DATA / f"{dataset}.train.{kind}.csv", delimiter=",", skip_header=1)
        for kind in ("calcium", "spikes")
    )
    g, window = float(np.exp(-step / 100 / DECAY_S)), int(100 * BASELINE_S / step) | 1
    rise = float(np.exp(-step / 100 / 0.1))
    found: dict[str, list[float]] = {}
    for trace, truth in zip(traces.T, truths.T, strict=True):
        count = int(np.isfinite(trace).sum()) // (BIN * step) * BIN * step
        y = trace[:count].reshape(-1, step).mean(1)
        flat, noise = y - ndi.median_filter(y, window, mode="nearest"), np.median(np.abs(np.diff(y))) / 0.9539
        live, late = online_spikes(y, g)
        methods = {
            "extract, live": live, f"extract, {DELAY} samples later": late,
            "analysis.deconvolve": deconvolve(y, g=g, baseline_window=window).spikes,
            "batch AR(1)": batch_spikes(flat, (g,), noise),
            "batch AR(2)": batch_spikes(flat, (g + rise, -g * rise), noise),
        }  # fmt: skip
        real = truth[:count].reshape(-1, BIN).sum(1)
        for method, spikes in methods.items():
            rate = np.repeat(spikes / step, step).reshape(-1, BIN).sum(1)
            found.setdefault(method, []).append(float(np.corrcoef(rate, real)[0, 1]))
    return {method: float(np.nanmean(each)) for method, each in found.items()}


if __name__ == "__main__":
    for number in STEPS:
        print(f"dataset {number}:", ", ".join(f"{method} {c:.3f}" for method, c in compare(number).items()), flush=True)
