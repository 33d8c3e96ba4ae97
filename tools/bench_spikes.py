"""Deconvolution against real spikes: online as in `extract`, and in batch.

    python tools/bench_spikes.py           mean correlation in 40 ms, spikefinder datasets 4 and 5; median of
                                           each of six sets of ΔF/F traces, both smoothed by a Gaussian of .1 s:
                                           in batch, and settled as `extract` gives it, all traces of a set as the
                                           components of one movie, and each as the only one

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
from streamfluo.calcium.extract.activity import SPARSITY, Deconvolution
from streamfluo.calcium.extract.buffer import Buffer
from streamfluo.calcium.extract.components import POOLS, Components
from streamfluo.calcium.extract.settled_rates import AT_ONCE, SettledRates
from streamfluo.calcium.extract.settled_traces import DELAY
from streamfluo.calcium.kernels.spikes import (
    Levels,
    deconvolve_samples,
    impulse_response,
    initial_levels,
    new_pools,
    newest_samples,
)
from streamfluo.calcium.spike_rate import COOPERATIVITY

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
    counts = [int(np.isfinite(trace).sum()) // (BIN * step) * BIN * step for trace in traces.T]
    ys = [trace[:count].reshape(-1, step).mean(1) for trace, count in zip(traces.T, counts, strict=True)]
    settled = Settling(ys, step / 100).rates()
    for y, rates, truth, count in zip(ys, settled, truths.T, counts, strict=True):
        flat, noise = y - ndi.median_filter(y, window, mode="nearest"), np.median(np.abs(np.diff(y))) / 0.9539
        live, late = online_spikes(y, g)
        methods = {
            "extract, live": live, f"extract, {DELAY} samples later": late,
            "extract, settled": rates,
            "analysis.deconvolve": deconvolve(y, interval_s=step / 100).rate,
            "of calcium": deconvolve(y, interval_s=step / 100, cooperativity=COOPERATIVITY).rate,
            "batch AR(1)": batch_spikes(flat, (g,), noise),
            "batch AR(2)": batch_spikes(flat, (g + rise, -g * rise), noise),
        }  # fmt: skip
        real = truth[:count].reshape(-1, BIN).sum(1)
        for method, spikes in methods.items():
            dense = np.interp(np.arange(count) + 0.5, (np.arange(len(y)) + 0.5) * step, spikes)
            rate = dense.reshape(-1, BIN).sum(1)
            found.setdefault(method, []).append(float(np.corrcoef(rate, real)[0, 1]))
    return {method: float(np.nanmean(each)) for method, each in found.items()}


class Settling:
    """What `extract` makes of the components' traces when their frames leave its window, for traces without a movie."""

    WINDOW, START = 100, (0.4, 0.05)  # frames; decay and rise [s] until they are estimated

    def __init__(self, traces: list[np.ndarray], interval_s: float) -> None:
        self._lengths = np.array([len(y) for y in traces])
        self._samples = np.zeros((len(traces), self._lengths.max()))
        self._rates = SettledRates(interval_s)
        self._cells = Components((8, 8), (8, 8), 1, self.WINDOW, 0.0, self._rates.samples)
        self._buffer = Buffer((1, 1), 1, self.WINDOW, 5)
        self._deconvolution = Deconvolution(interval_s, *self.START, 2)
        for row, y in zip(self._samples, traces, strict=True):
            noise = np.median(np.abs(np.diff(y))) / 0.9539
            row[: len(y)] = y / noise
            row[len(y) :] = row[len(y) - 1]
            sigma, low, level = initial_levels(row[: self.WINDOW].copy())
            self._cells.append(accepted=True, late_noise=sigma, late_baseline=level, late_low=low, late_previous=row[0])

    def rates(self) -> list[np.ndarray]:
        """Return the rate (T,) of each trace, every sample given half a second later."""
        cells, buffer, rates = self._cells, self._buffer, self._rates
        total = self._samples.shape[1]
        found, present = np.zeros_like(self._samples), np.ones((1, len(self._samples)), bool)
        for t in range(total + self.WINDOW):
            late = t - self.WINDOW
            if late >= 0:
                self._deconvolution.append_late(cells, self._samples[:, late][None], present)
                rates.add(cells, self._samples[:, late][None], present, late, buffer)
                rates.rate(cells, late + 1)
                stop = max(0, late - rates.averages.ahead + 1)
                centres = np.arange(max(0, stop - AT_ONCE), stop)
                found[:, centres] = cells["late_rate"][:, centres % POOLS]
            if t < total:
                cells["history"][:, buffer.slot] = self._samples[:, t]
                buffer.count += 1
        rates.finish(cells, total)
        last = np.arange(total - rates.averages.ahead - AT_ONCE, total)
        found[:, last] = cells["late_rate"][:, last % POOLS]
        return [row[:length] for row, length in zip(found, self._lengths, strict=True)]


def of_set(path: Path) -> np.ndarray:
    """Median correlation of a set's rates with the real ones (3, 3): of all cells, even and odd ones; of three rates.

    Expected in batch, of calcium in batch, settled by `extract`.
    """
    with np.load(path) as data:
        cells = [
            (data[f"dff_{n}"].astype(float), 1 / float(data[f"rate_hz_{n}"]), data[f"spikes_s_{n}"])
            for n in range(sum(key.startswith("dff_") for key in data))
        ]
    settled = Settling([y for y, _, _ in cells], float(np.median([interval for _, interval, _ in cells]))).rates()
    scores = []
    for n, (y, interval, spikes_s) in enumerate(cells):
        edges = (np.arange(len(y) + 1) - 0.5) * interval
        real = ndi.gaussian_filter1d(np.histogram(spikes_s, edges)[0].astype(float), 0.1 / interval)
        rates = [deconvolve(y, interval_s=interval, cooperativity=exponent).rate for exponent in (None, COOPERATIVITY)]
        smooth = [ndi.gaussian_filter1d(rate, 0.1 / interval) for rate in (*rates, settled[n])]
        scores.append([np.corrcoef(rate, real)[0, 1] for rate in smooth])
    return np.array([np.median(scores[part], axis=0) for part in (slice(None), slice(0, None, 2), slice(1, None, 2))])


if __name__ == "__main__":
    sets = [(path.stem, of_set(path)) for path in sorted((DATA.parent / "spikes").glob("*.npz"))]
    print("expected, of calcium; settled")
    for name, scores in sets:
        print(f"{name}:", *(f"{score:.3f}" for score in scores[0]), flush=True)
    for name, scores in zip(("all", "even", "odd"), np.mean([scores for _, scores in sets], axis=0), strict=True):
        print(f"mean of the sets, {name} cells:", *np.round(scores, 3))
    for number in STEPS:
        print(f"dataset {number}:", ", ".join(f"{method} {c:.3f}" for method, c in compare(number).items()), flush=True)
