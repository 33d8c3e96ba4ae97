"""The step `events`: what it invents on noise, what it finds of transients, simulated, real and behind `extract`.

    python tools/bench_events.py            noise, simulated traces, real ones with spikes, cost
    python tools/bench_events.py --movies   behind `extract`, and on `regions`, of simulated movies: a minute each

Simulated traces have white noise of σ 1 and transients of one height; those with another one within two decay times are
left out of the recall, as their rise is less. Real ones are ΔF/F of cells whose spikes were recorded: runs of spikes
with pauses of .5 s between them. An event without a spike in the .5 s before it was known is a false one.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
from bench_loop import FROM, LATE_S, MOVIE, live, transients

from streamfluo import Block, Chain, Spec, create, open_source
from streamfluo.engine.config import parse_config

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = ("DS04-OGB1-zf-pDp", "DS09-GCaMP6f-m-V1", "DS14-GCaMP6s-m-V1", "DS20-jGECO1a-m-V1")
SETS += ("X-NAOMi-GCaMP6f-simulated", "4", "5")  # the last two of spikefinder, not looked at before
STEPS = {4: 12, 5: 4}  # decimation from 100 Hz to the recorded frame rate
SEED = 26000
SETTLED = 128  # frames before the noise is known


def events_of(traces: np.ndarray, fps: float, **params: float) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Onsets, and frames of knowledge, of each trace (t, cells); and all amplitudes."""
    operator, rows = create("events", Spec((2, 2), "uint16", interval_s=1 / fps), **params), []
    ids = np.arange(traces.shape[1])
    for start in range(0, len(traces), 32):
        part = traces[start : start + 32]
        block = Block(start, np.arange(len(part)), np.zeros((len(part), 2, 2), np.uint16))
        rows.append(operator.update(block, {"dff": part, "dff.ids": ids}).values["transients"])
    rows.append(operator.finish().values["transients"])
    frame, name, known, amplitude = (
        np.concatenate([row[column] for row in rows]) for column in ("frame", "id", "found_frame", "amplitude")
    )
    return [frame[name == cell] for cell in ids], [known[name == cell] for cell in ids], amplitude


def noise() -> None:
    for n, fps in enumerate((10, 30, 100)):
        traces = np.random.default_rng(SEED + n).normal(size=(round(600 * fps), 60))
        found = sum(map(len, events_of(traces, fps)[0]))
        print(f"noise at {fps} frames/s, seed {SEED + n}: {found} events, {found / 600:.3f} a minute of a cell")


def simulated() -> None:
    for fps in (10, 30):
        for decay_s, rise_s in ((0.15, 0.02), (0.5, 0.05), (1.5, 0.18)):
            said = []
            for peak in (3, 4, 5, 8):
                random = np.random.default_rng(SEED + 100 * peak + fps)
                onsets = random.random((200 * fps, 30)) < 0.12 / fps
                time_s = np.arange(int(8 * decay_s * fps)) / fps
                shape = np.exp(-time_s / decay_s) - np.exp(-time_s / rise_s)
                shape *= peak / shape.max()
                signal = np.stack([np.convolve(one, shape)[: len(onsets)] for one in onsets.T.astype(float)], 1)
                found, _, amplitude = events_of(signal + random.normal(size=signal.shape), fps)
                hits, wrong = [], 0
                for one, at in zip(onsets.T, found, strict=True):
                    true = np.flatnonzero(one)
                    alone = [t for t in true if t > SETTLED and not any(0 < t - u < 2 * decay_s * fps for u in true)]
                    hits += [bool((np.abs(at - t) <= max(2, 0.2 * fps)).any()) for t in alone]
                    wrong += sum(not (np.abs(true - t) <= max(3, 0.3 * fps)).any() for t in at)
                minutes = signal.size / fps / 60
                said.append(f"{peak} σ: {np.mean(hits):.2f}, {wrong / minutes:.2f}, {np.median(amplitude) / peak:.2f}")
            print(f"{fps} frames/s, decay {decay_s} s (recall, false a minute, amplitude / height)  {'   '.join(said)}")


def recorded(name: str) -> Iterator[tuple[np.ndarray, float, np.ndarray]]:
    """Yield ΔF/F (t,), frames a second and the frames of the spikes of each cell of a set."""
    if not name.isdigit():
        with np.load(DATA / "spikes" / f"{name}.npz") as data:
            for n in range(12):
                dff, fps, spikes_s = (data[f"{part}_{n}"] for part in ("dff", "rate_hz", "spikes_s"))
                yield dff.astype(float), float(fps), spikes_s.astype(float) * float(fps)
        return
    tables = (DATA / "spikefinder" / f"{name}.train.{kind}.csv" for kind in ("calcium", "spikes"))
    for calcium, spikes in zip(
        *(np.genfromtxt(table, delimiter=",", skip_header=1).T for table in tables), strict=True
    ):
        step, known = STEPS[int(name)], np.isfinite(calcium) & np.isfinite(spikes)
        light, times = calcium[known], np.repeat(np.arange(known.sum()), spikes[known].astype(int))
        yield light[: len(light) // step * step].reshape(-1, step).mean(1), 100 / step, times / step


def real() -> None:
    for name in SETS:
        hits: dict[int, list[bool]] = {1: [], 2: [], 3: []}
        false, minutes = 0, 0.0
        for dff, fps, spikes in recorded(name):
            (onsets,), (known,), _ = events_of(dff[:, None], fps)
            runs = np.split(spikes, np.flatnonzero(np.diff(spikes) > LATE_S * fps) + 1) if len(spikes) else []
            for run in runs:
                if run[0] > SETTLED:
                    near = (onsets >= run[0] - 0.2 * fps - 1) & (onsets <= run[-1] + LATE_S * fps)
                    hits[min(len(run), 3)].append(bool(near.any()))
            starts = onsets - LATE_S * fps - 1
            false += sum(not ((spikes >= a) & (spikes <= b)).any() for a, b in zip(starts, known, strict=True))
            minutes += (len(dff) - SETTLED) / fps / 60
        shares = ", ".join(f"{np.mean(each):.2f} of {len(each)}" for each in hits.values())
        print(f"{name}: runs of 1, 2, 3 or more spikes found {shares}; {false / minutes:.2f} false a minute of a cell")


def movies(seeds: tuple[int, ...]) -> None:
    """As `bench_loop` counts: transients of 3 σ and more of the cell's trace, from frame 300 on."""
    hit = of = false = 0
    lasted_s, delays, lags = 0.0, list[int](), list[int]()
    for seed in seeds:
        rows, truth, pairs, interval_s = live(seed, ("traces", "dff"))
        late = round(LATE_S / interval_s)
        for found, true in pairs:
            values = {name: np.array([row.get(found, np.nan) for row in kept]) for name, kept in rows.items()}
            calcium, spikes = truth["C"][true], truth["spikes"][true].copy()
            known = np.isfinite(values["traces"]) & (np.arange(len(calcium)) >= FROM)
            scale = np.polyfit(calcium[known], values["traces"][known], 1)[0]
            every = np.flatnonzero(spikes)
            spikes[:FROM] = 0
            true_runs = transients(spikes, calcium, 1 / scale if scale > 0 else np.inf, interval_s)
            (at,), (when,), _ = events_of(values["dff"][:, None], 1 / interval_s)
            at, when = at[at >= FROM], when[at >= FROM]
            hits = [np.flatnonzero((at >= a - late // 2) & (at <= b + late)) for a, b in true_runs]
            hit, of = hit + sum(len(one) > 0 for one in hits), of + len(true_runs)
            delays += [int(when[one[0]] - a) for one, (a, _) in zip(hits, true_runs, strict=True) if len(one)]
            lags += [int(at[one[0]] - a) for one, (a, _) in zip(hits, true_runs, strict=True) if len(one)]
            false += sum(not ((every >= t - late) & (every <= end)).any() for t, end in zip(at, when, strict=True))
            lasted_s += known.sum() * interval_s
    print(f"behind extract, seeds {seeds}, {lasted_s / 60:.0f} minutes of cells: {hit} of {of} transients")
    off, known = np.percentile(np.abs(lags), (50, 90)), np.percentile(delays, (50, 90))
    print(
        f"  {false / lasted_s * 60:.2f} false a minute; onset off by {off[0]:.0f} frames (90 %: {off[1]:.0f}), ", end=""
    )
    print(f"known {known[0]:.0f} frames after it (90 %: {known[1]:.0f})")


def of_regions(seeds: tuple[int, ...]) -> None:
    """The same transients in ΔF/F of `regions`, half of each true footprint's peak, after `motion`."""
    hit = of = false = 0
    lasted_s = 0.0
    for seed in seeds:
        with open_source(MOVIE.format(seed=seed)) as source:
            truth, interval_s = source.truth, source.spec.interval_s
            parts = tuple(truth[f"A_{part}"] for part in ("data", "indices", "indptr"))
            footprints = scipy.sparse.csc_matrix(parts, shape=tuple(truth["A_shape"])).toarray().T
            masks = (footprints > 0.5 * footprints.max(1, keepdims=True)).reshape(-1, *source.spec.shape)
            chain = Chain(parse_config('[[step]]\nkind = "motion"\n'), source.spec)
            regions, rows = create("regions", chain.step("motion").operator.out_spec, regions=masks), []
            for block in source.blocks(32):
                output = dict(chain.push(block))["motion"]
                rows.append(regions.update(output.block, {"valid": output.values["valid"]}).values["dff"])
        dff = np.concatenate(rows).astype(float)
        late, (onsets, known, _) = round(LATE_S / interval_s), events_of(dff, 1 / interval_s)
        for cell, (at, when) in enumerate(zip(onsets, known, strict=True)):
            light, calcium, spikes = dff[:, cell], truth["C"][cell], truth["spikes"][cell].copy()
            seen = np.isfinite(light) & (np.arange(len(light)) >= FROM)
            every, noise_1 = np.flatnonzero(spikes), np.nanmedian(np.abs(np.diff(light))) / 0.9539
            spikes[:FROM] = 0
            scale = np.polyfit(calcium[seen], light[seen], 1)[0] if seen.any() else 0.0
            runs = transients(spikes, calcium, noise_1 / scale if scale > 0 else np.inf, interval_s)
            at, when = at[at >= FROM], when[at >= FROM]
            hit += sum(bool(((at >= a - late // 2) & (at <= b + late)).any()) for a, b in runs)
            of += len(runs)
            false += sum(not ((every >= t - late) & (every <= end)).any() for t, end in zip(at, when, strict=True))
            lasted_s += seen.sum() * interval_s
    print(f"on regions, seeds {seeds}, {lasted_s / 60:.0f} minutes of cells: {hit} of {of} transients, ", end="")
    print(f"{false / lasted_s * 60:.2f} false a minute")


def cost() -> None:
    traces = np.random.default_rng(SEED).normal(size=(640, 400))
    operator, ids, blocks = create("events", Spec((2, 2), "uint16", interval_s=1 / 30)), np.arange(400), []
    for t in range(len(traces)):
        block = Block(t, np.arange(1), np.zeros((1, 2, 2), np.uint16))
        began = time.perf_counter()
        operator.update(block, {"dff": traces[t : t + 1], "dff.ids": ids})
        blocks.append(time.perf_counter() - began)
    began = time.perf_counter()
    reader = operator.reader()
    asked = time.perf_counter()
    reader()
    ended = time.perf_counter()
    middle, most = 1e6 * np.percentile(blocks, (50, 99))
    print(
        f"400 cells, frames one by one: median {middle:.0f} µs, p99 {most:.0f}; "
        f"reading {1e3 * (asked - began):.1f} ms, and {1e3 * (ended - asked):.0f} ms on another thread"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[26501, 26502])
    parser.add_argument("--only", nargs="+", help="noise, simulated, real, cost")
    asked = parser.parse_args()
    if asked.movies:
        movies(tuple(asked.seeds))
        of_regions(tuple(asked.seeds))
        return
    for part in (noise, simulated, real, cost):
        if not asked.only or part.__name__ in asked.only:
            part()


if __name__ == "__main__":
    main()
