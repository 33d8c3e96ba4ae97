"""Reprocessing on 1 to 1000 workers, simulated from measured costs: where the shared disk becomes the limit.

    python tools/bench_reprocess.py costs --to costs.json
    python tools/bench_reprocess.py scaling --to scaling.json
    python tools/plan_scaling.py --costs costs.json --check scaling.json --picture docs/images/scaling.png

The simulation goes from event to event (a recording dispatched, read and computed, ended). What it assumes:

- Recordings are alike: 512 × 512 u16, 10⁴ frames each (5.2 GB), 2000 of them. Each worker has one core of this machine.
- A worker reads ahead of what it computes, so that a frame takes the longer of both, as a run does.
- What all read at a time comes from one disk, which shares its bandwidth evenly among those that read (`--disk`, MB/s),
  or from an object storage, of which each worker has its own connection (`--connection`, MB/s), all together at most
  `--storage`; or the recordings lie on the workers' own disks already, each as fast as the one that was measured.
- The scheduler gives out one task after the other, each of which takes it what an empty task took here.
- What is written is small beside what is read: results of a frame have kilobytes, a frame half a megabyte.
- No worker fails, and none is slower than the others.

One long recording (10⁶ frames, in one part a worker) adds, where it learns first, the sample on one worker, and
for each part warm-up and run-out; states are read and merged one after the other on one core, as it is, or in a tree.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FRAME_MB = 512 * 512 * 2 / 1e6
FRAMES, RECORDINGS, LONG_FRAMES = 10_000, 2_000, 1_000_000
SAMPLE_SHARE, WARM_UP_FRAMES, RUN_OUT_FRAMES = 1 / 16, 400, 125
WORKERS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)


class Store(NamedTuple):
    """Where frames lie: what all workers get together, and one at most, MB/s."""

    name: str
    together: float
    each: float


class Job(NamedTuple):
    """Tasks that are alike: how many, MB that each reads, seconds a MB takes to compute, seconds beside."""

    tasks: int
    mb: float
    compute_s_per_mb: float
    beside_s: float


def simulated(job: Job, workers: int, store: Store, dispatch_s: float) -> float:
    """Return the seconds until all tasks of a job are done.

    All that read at a time go on equally fast: by the fraction of a task that one which reads all the while has done,
    `progress`, each ends at a progress that is known when it begins.
    """
    now = progress = scheduler_free = 0.0
    waiting, reading = job.tasks, list[float]()  # of those that read: the progress at which each ends
    begins = [(0.0, worker) for worker in range(min(workers, job.tasks))]  # when a worker can take a task
    starting: list[float] = []  # when tasks that were given out begin to read
    done = 0
    fastest = min(store.each, 1 / job.compute_s_per_mb if job.compute_s_per_mb else float("inf"))
    while done < job.tasks:
        while begins and waiting and begins[0][0] <= now:
            at, _ = heapq.heappop(begins)
            scheduler_free = max(scheduler_free, at) + dispatch_s
            heapq.heappush(starting, scheduler_free + job.beside_s)
            waiting -= 1
        rate = min(fastest, store.together / len(reading)) / job.mb if reading else 0.0
        ends = now + (reading[0] - progress) / rate if reading else float("inf")
        starts = starting[0] if starting else float("inf")
        free = begins[0][0] if begins and waiting else float("inf")
        before, now = now, min(ends, starts, free)
        progress += (now - before) * rate
        if now == starts:
            heapq.heappop(starting)
            heapq.heappush(reading, progress + 1.0)
        elif now == ends:
            progress = heapq.heappop(reading)
            done += 1
            heapq.heappush(begins, (now, done))
    return now


def shelf_s(costs: Mapping[str, Any], chain: str, workers: int, store: Store, recordings: int = RECORDINGS) -> float:
    """Return the seconds that a shelf of recordings takes."""
    compute = costs[chain]["frame_s"] / FRAME_MB
    job = Job(recordings, FRAMES * FRAME_MB, compute, costs["recording_s"])
    return simulated(job, workers, store, costs["task_s"])


def long_s(costs: Mapping[str, Any], chain: str, parts: int, store: Store, tree: bool = False) -> float:
    """Return the seconds that one long recording takes in so many parts, one a worker; whole in one."""
    of, learns = costs[chain], costs[chain]["merge_s"] == 0
    compute = of["frame_s"] / FRAME_MB
    if parts == 1:
        return simulated(Job(1, LONG_FRAMES * FRAME_MB, compute, costs["recording_s"]), 1, store, costs["task_s"])
    extra = (WARM_UP_FRAMES + RUN_OUT_FRAMES) if learns else 0
    job = Job(parts, (LONG_FRAMES / parts + extra) * FRAME_MB, compute, costs["recording_s"])
    found = simulated(job, parts, store, costs["task_s"])
    if learns:
        sample = Job(1, SAMPLE_SHARE * LONG_FRAMES * FRAME_MB, compute, costs["recording_s"])
        found += simulated(sample, 1, store, costs["task_s"])
    merges = (parts - 1).bit_length() if tree else parts - 1
    return found + merges * (of["merge_s"] + of["state_mb"] / min(store.each, store.together))


def saturating_workers(costs: Mapping[str, Any], chain: str, store: Store) -> float:
    """Return the number of workers from which on the store is the limit."""
    return store.together / min(store.each, FRAME_MB / costs[chain]["frame_s"])


def table(costs: Mapping[str, Any], stores: list[Store]) -> None:
    for chain in ("moments", "sofi", "calcium"):
        for store in stores:
            alone = shelf_s(costs, chain, 1, store)
            figures = [alone / shelf_s(costs, chain, n, store) for n in WORKERS]
            limit = saturating_workers(costs, chain, store)
            hours = shelf_s(costs, chain, 1000, store) / 3600
            print(f"{chain:8} {store.name:14} {spelled(figures)}   limit at {limit:.3g}; by 1000: {hours:.2f} h")
    for chain in ("moments", "sofi", "calcium"):
        store = stores[-1]
        alone = long_s(costs, chain, 1, store)
        for tree in (False, True):
            figures = [alone / long_s(costs, chain, n, store, tree) for n in WORKERS]
            print(f"{chain:8} one recording, merged {'in a tree' if tree else 'in turn':9} {spelled(figures)}")


def spelled(figures: list[float]) -> str:
    """How many times as fast each number of workers is."""
    return " ".join(f"{n}:{x:.4g}" for n, x in zip(WORKERS, figures, strict=True))


def checked(costs: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Print what the simulation says of the recordings that `bench_reprocess.py scaling` measured."""
    store = Store("own disk", float("inf"), float(costs["read_mb_per_s"]))
    for chain, of in measured.items():
        job = Job(of["recordings"], of["mb"], (of["cpu_s"] - costs["recording_cpu_s"]) / of["mb"], costs["recording_s"])
        one, two = (simulated(job, n, store, costs["task_s"]) for n in (1, 2))
        print(f"{chain:8} two workers: simulated × {one / two:.2f}, measured × {of['ratio']:.2f} by the clock")


def picture(costs: Mapping[str, Any], stores: list[Store], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    colours = {"moments": "#4e79a7", "sofi": "#f28e2b", "calcium": "#59a14f"}
    for chain, colour in colours.items():
        for store, style in zip(stores, ("-", "--", ":"), strict=True):
            alone = shelf_s(costs, chain, 1, stores[-1])
            speed = [alone / shelf_s(costs, chain, n, store) for n in WORKERS]
            left.plot(WORKERS, speed, style, color=colour, label=f"{chain}, {store.name}")
        alone = long_s(costs, chain, 1, stores[-1])
        for tree, style in ((False, "-"), (True, "--")):
            speed = [alone / long_s(costs, chain, n, stores[-1], tree) for n in WORKERS]
            right.plot(
                WORKERS, speed, style, color=colour, label=f"{chain}, merged {'in a tree' if tree else 'in turn'}"
            )
    left.set_title(f"{RECORDINGS} recordings of {FRAMES} frames", fontsize=10)
    right.set_title(f"one recording of {LONG_FRAMES:.0e} frames, frames on own disks", fontsize=10)
    for axes in (left, right):
        axes.plot(WORKERS, WORKERS, color="0.8", zorder=0)
        axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="times as fast as one worker with its own disk")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.2)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=Path("costs.json"))
    parser.add_argument("--disk", type=float, default=2000.0)
    parser.add_argument("--connection", type=float, default=100.0)
    parser.add_argument("--storage", type=float, default=50_000.0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--check", type=Path, help="what `bench_reprocess.py scaling --to` has written")
    args = parser.parse_args()
    costs = json.loads(args.costs.read_text())
    own = float(costs["read_mb_per_s"])
    stores = [
        Store("shared disk", args.disk, min(own, args.disk)),
        Store("object storage", args.storage, args.connection),
        Store("own disks", float("inf"), own),
    ]
    table(costs, stores)
    if args.check:
        checked(costs, json.loads(args.check.read_text()))
    if args.picture:
        picture(costs, stores, args.picture)


if __name__ == "__main__":
    main()
