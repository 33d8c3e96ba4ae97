"""Spikes of `voltage` on simulated movies: F1 by SNR beside the best that anything could do, other movies, cost.

    python tools/bench_voltage.py --snr 2 3 4 5 6 8 --seeds 1 2     F1 by SNR
    python tools/bench_voltage.py --others --seeds 1                other spikes, rates, bleaching, blood, background
    python tools/bench_voltage.py --cost                            100 cells of 512 × 128, alone and behind motion

SNR is `sim:voltage`'s: the peak of one spike in one frame over the noise σ of the optimal trace, from shot and read
noise alone, at frame 0. Found spikes count if they are at most 2 frames from a true one, each once. `ideal` is a filter
that knows the waveform, the noise's autocovariance and the best threshold of each cell, on a trace of that SNR without
haze, blood, motion and bleaching: of those that look no further ahead than 2 frames, and of all.

VolPy (Cai et al. 2021, PLoS Comput. Biol. 17:e1008806) measures F1 by the amplitude of spikes on simulated movies,
and beside electrodes. Its program is not run here: it goes over the whole movie several times, ahead and back.
"""

import argparse
import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_cores import Runner
from scipy.linalg import solve_toeplitz

from streamfluo import Block, create
from streamfluo.core.grid import GRID_FRAMES
from streamfluo.core.params import build_params
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.sources.simulate.voltage import VoltageParams, VoltageSimulator

LEARNED_S, TOLERANCE = 4.0, 2
SHAPE = (48, 96)
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "spikes of 1 ms": {"spike_ms": 1.0},
    "spikes of 5 ms": {"spike_ms": 5.0},
    "rate .5 Hz": {"spike_rate_hz": 0.5},
    "rate 50 Hz": {"spike_rate_hz": 50.0},
    "bleaching by a half in 10 s": {"bleach_fraction": 0.75, "bleach_s": 9.0},
    "vessels: 4, half of the light": {"vessels": 4, "vessel_depth": 0.5},
    "haze of 2 %": {"haze_sd": 0.02},
    "haze 5 times as bright": {"photons": 1000.0, "rest": 0.2},
    "motion of .5 px": {"motion_px": 0.5},
    "subthreshold of half a spike": {"subthreshold": 0.5},
    "negative indicator": {"polarity": "negative"},
    "400 frames/s": {"frame_rate_hz": 400.0},
    "no spikes": {"snr": 0.0},
}


def f1(found: np.ndarray, true: np.ndarray) -> float:
    """2 hits / (found + true); each true spike is hit once, by a found one at most TOLERANCE frames from it."""
    free, hits = set(true.tolist()), 0
    for at in np.sort(found).astype(int).tolist():
        near = [t for t in range(at - TOLERANCE, at + TOLERANCE + 1) if t in free]
        if near:
            free.remove(min(near, key=lambda t: abs(t - at)))
            hits += 1
    return 2 * hits / max(1, len(found) + len(true))


def measured(seconds: float, operator: Mapping[str, Any], **scene: Any) -> dict[str, Any]:
    """Return F1 of all spikes and of each cell (K,), how many were told a cell and minute, cost [µs] and more."""
    params = build_params(VoltageParams, {"shape": SHAPE, **scene}, "scene")
    frames, start = round(seconds * params.frame_rate_hz), round(LEARNED_S * params.frame_rate_hz)
    simulator = VoltageSimulator(params)
    truth = simulator.truth(frames)
    polarity = {"polarity": params.polarity}
    step = create("voltage", simulator.spec, masks=truth["masks"], **{**polarity, **operator})
    tables, low, spent = [], [], 0.0
    for at in range(0, frames, 32):
        pixels = simulator.render(at, min(at + 32, frames))
        block = Block(at, np.zeros(len(pixels), np.int64), pixels)
        begin = time.process_time()
        values = step.update(block).values
        spent += time.process_time() - begin
        tables.append(np.stack([values["spikes"][name] for name in ("frame", "id")], 1))
        low.append(values["subthreshold"])
    table, slow = np.concatenate(tables), np.concatenate(low)
    table = table[(table[:, 0] >= start) & (table[:, 0] < frames - 4)]
    scores, follows, told, every = [], [], len(table), ([], [])
    for k, row in enumerate(truth["spikes"]):
        true = np.flatnonzero(row)
        true, found = true[(true >= start) & (true < frames - 4)], table[table[:, 1] == k, 0]
        scores.append(f1(found, true))
        every[0].append(found + k * 2 * frames)
        every[1].append(true + k * 2 * frames)
        expected = truth["subthreshold"][k, start - 4 : frames - 4]
        follows.append(np.corrcoef(slow[start:, k], expected)[0, 1] if expected.std() else np.nan)
    minutes = len(scores) * (frames - start) / params.frame_rate_hz / 60
    cost = spent / frames / max(1, len(scores)) * 1e6
    pooled = f1(*map(np.concatenate, every))
    return {
        "pooled": pooled,
        "f1": np.array(scores),
        "told": told / minutes,
        "low": np.mean(follows),
        "cost": cost,
        "says": step.doubt(),
    }


def ideal(snr: float, ahead: int, seed: int, frames: int = 40_000, cells: int = 4) -> float:
    """F1 of a filter that knows waveform, noise and the best threshold, and looks so many frames ahead."""
    params = VoltageParams(seed=seed, shape=(40, 80), cells=cells)
    truth, rng, scores = VoltageSimulator(params).truth(frames), np.random.default_rng(seed), []
    before, peak = 12, int(truth["waveform_peak"])
    for k in range(cells):
        trace = snr * truth["voltage"][k] + rng.standard_normal(frames)
        noise = snr * truth["subthreshold"][k] + rng.standard_normal(frames)
        taps = before + 1 + ahead
        lags = np.array([np.mean(noise[: frames - n] * noise[n:]) for n in range(taps)])
        wave = np.zeros(taps)
        for i, value in enumerate(truth["waveform"]):
            if 0 <= before + i - peak < taps:
                wave[before + i - peak] = value
        score = np.convolve(trace, solve_toeplitz(lags, wave)[::-1], "full")[taps - 1 :]
        score /= np.median(np.abs(score)) * 1.4826
        peaks = np.flatnonzero((score[1:-1] >= score[:-2]) & (score[1:-1] > score[2:])) + 1
        true = np.flatnonzero(truth["spikes"][k])
        levels = np.arange(2, 5.5, 0.1)
        scores.append(max(f1(peaks[score[peaks] >= level] + before, true) for level in levels))
    return float(np.mean(scores))


def by_snr(levels: list[float], seeds: list[int], seconds: float) -> None:
    print("SNR  F1     worst cell  ideal of 2 frames ahead  ideal  subthreshold r  µs a cell and frame")
    for snr in levels:
        runs = [measured(seconds, {}, seed=seed, snr=snr) for seed in seeds]
        pooled, low, cost = (np.mean([run[name] for run in runs]) for name in ("pooled", "low", "cost"))
        worst = min(run["f1"].min() for run in runs)
        near, far = ideal(snr, 2, seeds[0]), ideal(snr, 8, seeds[0])
        print(f"{snr:<4g} {pooled:.3f}  {worst:.3f}       {near:.3f}                    {far:.3f}  {low:.2f}", end="")
        print(f"            {cost:.1f}", flush=True)


def of_others(seeds: list[int], seconds: float) -> None:
    print("movie                          F1     worst   told a cell and minute  subthreshold r  says")
    for name, scene in OTHERS.items():
        longer = 3 if scene.get("spike_rate_hz", 10) < 1 else 1
        runs = [measured(longer * seconds, {}, seed=seed, **scene) for seed in seeds]
        pooled, told, low = (np.mean([run[key] for run in runs]) for key in ("pooled", "told", "low"))
        worst = min(run["f1"].min() for run in runs)
        print(f"{name:30s} {pooled:.3f}  {worst:.3f}  {told:7.1f}                {low:5.2f}", end="")
        print(f"           {runs[0]['says']}", flush=True)


def cost(seconds: float) -> None:
    """Time of the step alone on 100 cells of 512 × 128, in blocks of 1 and of 32 frames."""
    simulator = VoltageSimulator(VoltageParams(shape=(128, 512), cells=100, seed=1))
    movie, masks = simulator.render(0, 256), simulator.truth(256)["masks"]
    for size in (1, 32):
        step, times = create("voltage", simulator.spec, masks=masks), []
        for at in range(0, round(seconds * 1000), size):
            part = movie[at % 224 : at % 224 + size]
            block = Block(at, np.zeros(size, np.int64), part)
            begin = time.process_time()
            step.update(block)
            times.append((time.process_time() - begin) / size)
        late = np.array(times[len(times) // 2 :]) * 1e6
        print(
            f"blocks of {size:2d}: {late.mean():.0f} µs a frame, p99 {np.percentile(late, 99):.0f}; "
            f"{late.mean() / 100:.1f} µs a cell and frame, {1e6 / late.mean():.0f} frames/s"
        )
    for threads in (1, 2):
        print(f"behind motion, {threads} threads: {behind_motion(simulator, masks, threads):.0f} frames/s by the clock")


def behind_motion(simulator: VoltageSimulator, masks: np.ndarray, threads: int) -> float:
    """Frames a second of `motion` and the step, in blocks of 32, the first 512 frames left out."""
    movie = simulator.render(0, 2048)
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/masks.npy", masks)
        steps = f'[[step]]\nkind = "motion"\n[[step]]\nkind = "voltage"\nparams = {{ masks = "{folder}/masks.npy" }}\n'
        chain = Chain(parse_config(f"[chain]\nthreads = {threads}\n{steps}"), simulator.spec)
    runner = Runner(chain, movie)
    runner.take(0, 512, GRID_FRAMES)
    took_s, _ = runner.take(512, len(movie), GRID_FRAMES)
    return (len(movie) - 512) / took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snr", type=float, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--seconds", type=float, default=14.0)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--cost", action="store_true")
    asked = parser.parse_args()
    if asked.snr:
        by_snr(asked.snr, asked.seeds, asked.seconds)
    if asked.others:
        of_others(asked.seeds, asked.seconds)
    if asked.cost:
        cost(4.0)


if __name__ == "__main__":
    main()
