"""Accuracy, cost and memory of motion correction and source extraction on semi-real movies.

    python tools/bench_extract.py --movies abc                 F1, traces, spikes; ms against one rfft2 of 512 × 512
    python tools/bench_extract.py --movies b --loops 10        the same frames ten times: memory does not grow
    python tools/bench_extract.py --movies b --until-values   processor time of `extract`, until its values and in all
    python tools/bench_extract.py --fields --seeds 31 32 33    simulated fields (tools/fields.py), ring and low_rank

Raw movies of tools/bench_motion.py run frame by frame through configs/calcium_2p.toml. Scores: semireal/score.py.
"""

import argparse
import importlib.util
import itertools
import os
import sys
import time
from pathlib import Path

import fields
import numpy as np
import scipy.fft
from bench_motion import CACHE, DATA, SKIP, movie

from streamfluo import Block, Chain, Spec, create
from streamfluo.calcium.extracted_components import ExtractedComponents

CONFIG = Path(__file__).parents[1] / "configs" / "calcium_2p.toml"
INTERVAL_S = 0.04  # the decay time constant of these movies is ten frames


def scorer():
    """The scoring function beside the movies."""
    spec = importlib.util.spec_from_file_location("score", DATA / "semireal" / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score


def one_rfft2_ms(frame: np.ndarray) -> float:
    """Time of one rfft2 of a frame [ms], the faster of two."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        scipy.fft.rfft2(frame)
        times.append(1e3 * (time.perf_counter() - began))
    return min(times)


def resident_mb() -> float:
    """Resident anonymous memory of this process [MB]."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


class Collected:
    """Shifts and final values of a chain."""

    def __init__(self) -> None:
        self.shifts: list[np.ndarray] = []
        self.settled: list[dict[str, np.ndarray]] = []

    def add(self, outputs) -> None:
        for step, output in outputs:
            if step == "motion":
                self.shifts.extend(output.values["shift_px"])
            elif len(output.values["settled"]["frame"]):
                self.settled.append(dict(output.values["settled"]))

    def table(self) -> dict[str, np.ndarray]:
        """Return all rows of `settled`, by column."""
        return {name: np.concatenate([rows[name] for rows in self.settled]) for name in self.settled[0]}


def measure(name: str, seed: int, loops: int, accept: str) -> None:
    """Run a movie and print cost, memory and scores."""
    frames, _ = movie(name, seed)
    before = resident_mb()
    spec = Spec(frames.shape[1:], frames.dtype, interval_s=INTERVAL_S)
    chain = Chain.from_toml(CONFIG, spec, [f"extract.accept={accept}"])
    got, times, reference = Collected(), [], []
    sample = np.random.default_rng(0).random((512, 512), np.float32)
    peak = 0.0
    for loop in range(loops):
        for n in range(len(frames)):
            index = loop * len(frames) + n
            block = Block(index, np.array([index]), np.array(frames[n : n + 1]))
            began = time.perf_counter()
            outputs = chain.push(block)
            times.append(1e3 * (time.perf_counter() - began))
            if loops == 1:
                got.add(outputs)
            if n % 20 == 0:  # interleaved, so that other load slows both alike
                reference.append(one_rfft2_ms(sample))
            if n % 50 == 0 or n == SKIP - 1:
                peak = max(peak, resident_mb() - before)
        print(f"  resident {resident_mb() - before:.0f} MB more than before the first frame", flush=True)
    one = float(np.median(reference))
    late = np.array(times[SKIP:])
    mean, p99, worst = late.mean(), np.percentile(late, 99), late.max()
    print(
        f"{name}, seed {seed}, {accept}: mean {mean:.2f} ms = {mean / one:.2f} rfft2 of 512 × 512 ({one:.2f} ms), "
        f"p99 {p99:.2f} = {p99 / one:.1f}, worst {worst:.1f} = {worst / one:.0f}, "
        f"initialisation {times[SKIP - 1]:.0f} ms; peak {peak:.0f} MB more than before",
        flush=True,
    )
    if loops > 1:
        return
    got.add(chain.finish())
    snapshot = chain.read("extract", ["footprints", "quality_now"])
    cells = ExtractedComponents({"settled": got.table()}, snapshot, frames.shape[1:], np.arange(len(frames)))
    kept = cells.accepted
    result = scorer()(
        CACHE / f"{name}-{seed}_truth.npz", cells.footprints[:, kept], cells.traces[kept], cells.spikes[kept],
        np.array(got.shifts), cells.birth_frame[kept],
    )  # fmt: skip
    print(
        "  F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f} (visible {recall_visible:.3f}), found {found} "
        "of {true}; traces of visible: median {trace_corr_median_visible:.3f}, 10th percentile "
        "{trace_corr_p10_visible:.3f}, spikes {spike_corr_3_frames_visible:.3f}".format(**result),
        flush=True,
    )


def measure_until_values(name: str, seed: int) -> None:
    """Run a movie and print the processor time of `extract` for its last 400 frames, until it gives their values."""
    frames, _ = movie(name, seed)
    spec = Spec(frames.shape[1:], frames.dtype, interval_s=INTERVAL_S)
    motion = create("motion", spec, max_shift_px=10)
    extract = create("extract", motion.out_spec, neuron_sigma_px=4.0)
    sample, costs = np.random.default_rng(0).random((512, 512), np.float32), np.zeros((len(frames), 3))
    for n, frame in enumerate(frames):
        shifted = motion.update(Block(n, np.array([n]), np.array(frame)[None]))
        began = time.thread_time(), time.process_time()
        extract.update(shifted.block, {"valid": shifted.values["valid"]})
        until = time.thread_time()
        components = len(extract.read(["quality_now"])["quality_now"])  # waits for the rest
        costs[n] = until - began[0], time.process_time() - began[1], one_rfft2_ms(sample) / 1e3
    until, whole, one = costs[-400:].T
    one = np.median(one)
    print(
        f"{name}, seed {seed}, {components} components, rfft2 of 512 × 512 {1e3 * one:.2f} ms: until the values mean "
        f"{until.mean() / one:.2f}, p99 {np.percentile(until, 99) / one:.2f}; in all mean {whole.mean() / one:.2f}, "
        f"p99 {np.percentile(whole, 99) / one:.2f}",
        flush=True,
    )


def measure_field(name: str, seeds: list[int], background: str, accept: str) -> None:
    """Run a simulated field with several seeds and print the mean scores."""
    scores, cost_ms = [], []
    for seed in seeds:
        movie, truth = fields.render(name, seed)
        began = time.process_time()
        cells, shifts = fields.extract(movie, name, background, accept)
        cost_ms.append(1e3 * (time.process_time() - began) / len(movie))
        scores.append(fields.score(cells, shifts, truth))
    mean = {key: np.mean([getattr(one, key) for one in scores]) for key in ("accepted", "duplicates", "processes")}
    f1, precision, recall, traces = np.array([(s.f1, s.precision, s.recall, s.traces) for s in scores]).T
    print(
        f"{name:11} {background:9} {accept:7} F1 {f1.mean():.3f} ({', '.join(f'{one:.2f}' for one in f1)}), precision "
        f"{precision.mean():.3f}, recall {recall.mean():.3f}, accepted {mean['accepted']:.1f}, duplicates "
        f"{mean['duplicates']:.1f}, processes {mean['processes']:.1f}, traces {traces.mean():.3f}, "
        f"{np.mean(cost_ms):.2f} ms of CPU a frame",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", nargs="*", choices=list(fields.FIELDS), help="simulated fields; none named: all")
    parser.add_argument("--backgrounds", nargs="+", default=["ring", "low_rank"])
    parser.add_argument("--accept", nargs="+", default=["rule"], choices=["rule", "learned"])
    parser.add_argument("--movies", default="abc")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--loops", type=int, default=1, help="repeat the frames, without scores")
    parser.add_argument("--until-values", action="store_true", help="time of `extract` alone, without scores")
    args = parser.parse_args()
    if args.fields is not None:
        for options in itertools.product(args.fields or fields.FIELDS, args.backgrounds, args.accept):
            measure_field(options[0], args.seeds, *options[1:])
        return
    for seed in args.seeds:
        for name in args.movies:
            if args.until_values:
                measure_until_values(name, seed)
            else:
                for accept in args.accept:
                    measure(name, seed, args.loops, accept)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
