"""What reprocessing costs: one worker against two on this machine, overhead a recording, and the costs of a plan.

    python tools/bench_reprocess.py scaling --rounds 5            wall clock of one and of two workers, alternating
    python tools/bench_reprocess.py costs --to costs.json         what tools/plan_scaling.py simulates with

`scaling` reprocesses the same recordings with one and with two workers of a standing cluster, in turn, and prints
the median of the ratios within a round, and of the processor's seconds that the workers took: where the machine is
shared, the ratio of those says what is lost to each other's caches and memory, the clock what others took as well.
`costs` measures on one thread, in seconds of the processor: a frame of 512 × 512 from file to session, what a recording
costs beside its frames, Dask's time for an empty task, the size of a chain's state and the time to merge two; and by
the clock how fast a file is read that is not in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import tifffile

from streamfluo import Chain, Spec
from streamfluo.core.block import Block
from streamfluo.core.operator import Mergeable
from streamfluo.engine.config import parse_config
from streamfluo.reprocess.cluster import Workers, connected
from streamfluo.reprocess.one_recording import Outcome, Task, reprocess_one
from streamfluo.reprocess.recordings import Recording
from streamfluo.simulate import calcium

CHAINS = {
    "moments": '[[step]]\nkind = "moments"\n',
    "sofi": '[[step]]\nkind = "sofi"\nparams = { order = 4 }\n',
    "calcium": '[source]\ninterval_s = 0.033\n[[step]]\nkind = "motion"\n[[step]]\nkind = "extract"\n',
}
SIDE, FRAMES, RECORDINGS = 256, 600, 8
COST_SIDE, COST_FRAMES = 512, 320


def timed(task: Task) -> tuple[Outcome, float]:
    began = time.process_time()
    return reprocess_one(task), time.process_time() - began


def _done(found: tuple[Outcome, float] | Exception) -> tuple[Outcome, float]:
    if isinstance(found, Exception):
        raise found
    return found


def scaling(rounds: int, folder: Path, to: Path) -> None:
    movie, _ = calcium(FRAMES, shape=(SIDE, SIDE), neurons=40, seed=3)
    uris = []
    for n in range(RECORDINGS):
        uris.append(folder / f"movie{n}.tif")
        tifffile.imwrite(uris[-1], np.roll(movie, 17 * n, axis=1))
    told = dict[str, Any]()
    for name in ("moments", "sofi", "calcium"):
        ratios, cpu_ratios, cpu_s, both = [], [], [], list[tuple[float, float]]()
        with connected("local", 1) as one, connected("local", 2) as two:
            for n in range(rounds + 1):
                found = {}
                for count, workers in ((1, one), (2, two)) if n % 2 else ((2, two), (1, one)):
                    out = folder / "out"
                    tasks = [Task((name, CHAINS[name], ()), Recording(uri.stem, str(uri)), str(out)) for uri in uris]
                    out.mkdir()
                    began = time.perf_counter()
                    names = [f"{name}-{count}-{n}"] * len(tasks)
                    done = [_done(result) for _, result in workers.each_done(timed, tasks, names)]
                    found[count] = time.perf_counter() - began, sum(cpu for _, cpu in done)
                    assert all(outcome.became == "done" for outcome, _ in done)
                    shutil.rmtree(out)
                if n:  # the first one loads kernels and fills the cache of files
                    ratios.append(found[1][0] / found[2][0])
                    cpu_ratios.append(found[1][1] / found[2][1])
                    cpu_s.append(found[1][1])
                    both.append((found[1][0], found[2][0]))
        mb = RECORDINGS * FRAMES * SIDE * SIDE * 2 / 1e6
        first, second = (statistics.median(pair[n] for pair in both) for n in (0, 1))
        told[name] = {
            "recordings": RECORDINGS, "mb": mb / RECORDINGS, "cpu_s": statistics.median(cpu_s) / RECORDINGS,
            "ratio": statistics.median(ratios), "cpu_ratio": statistics.median(cpu_ratios),
        }  # fmt: skip
        said = f"× {statistics.median(ratios):.2f} by the clock ({min(ratios):.2f} to {max(ratios):.2f})"
        cpu = f"processor's seconds one : two = {statistics.median(cpu_ratios):.2f}"
        load = f"load {os.getloadavg()[0]:.1f}"
        print(f"{name}: {mb:.0f} MB, one worker {first:.1f} s, two {second:.1f} s: {said}, {cpu}; {load}", flush=True)
    to.write_text(json.dumps(told, indent=1) + "\n")


def best_cpu(work: Callable[[], Any], times: int = 3) -> float:
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def nothing(_: int) -> int:
    return 0


def empty_task_s(workers: Workers) -> float:
    """Seconds a task of nothing takes the scheduler, of many that wait."""
    count = 400
    began = time.perf_counter()
    for _ in workers.each_done(nothing, range(count), ["nothing"] * count):
        pass
    return (time.perf_counter() - began) / count


def fresh(task: Task) -> None:
    """Reprocess a recording that was not done before."""
    shutil.rmtree(task.out, ignore_errors=True)
    Path(task.out).mkdir()
    assert reprocess_one(task).became == "done"


def costs(to: Path, folder: Path) -> None:
    movie, _ = calcium(COST_FRAMES, shape=(COST_SIDE, COST_SIDE), neurons=150, seed=4)
    tifffile.imwrite(folder / "cold.tif", np.tile(movie, (4, 1, 1)))
    spec, found = Spec(movie.shape[1:], "uint16", interval_s=0.033), dict[str, Any]()
    for name, text in CHAINS.items():
        chain = Chain(parse_config(text), spec)
        for first in range(0, COST_FRAMES, 32):
            chain.run(Block(first, np.arange(32) * 33_000_000, movie[first : first + 32]))
        chain.state()  # what learns beside the frames has ended

        task = Task((name, text, ()), Recording("cold", str(folder / "cold.tif")), str(folder / "frames"))
        frame_s = best_cpu(partial(fresh, task), 2) / (4 * COST_FRAMES)
        state = chain.state()
        nbytes = sum(a.nbytes for s in state.values() for a in s["state"].values() if isinstance(a, np.ndarray))
        other = Chain(parse_config(text), spec)
        other.restore(state)
        operators = chain.steps[-1].operator, other.steps[-1].operator
        merge_s = 0.0
        if isinstance(operators[0], Mergeable):
            merge_s = best_cpu(partial(operators[0].merge, operators[1]))
        found[name] = {"frame_s": frame_s, "state_mb": nbytes / 1e6, "merge_s": merge_s}
        print(name, found[name], flush=True)
    tifffile.imwrite(folder / "tiny.tif", movie[:32, :32, :32])
    tiny = Task(("m", CHAINS["moments"], ()), Recording("tiny", str(folder / "tiny.tif")), str(folder / "out"))

    a_recording = partial(fresh, tiny)
    overhead = [best_cpu(a_recording, 5)]
    walls = []
    for _ in range(7):
        began = time.perf_counter()
        a_recording()
        walls.append(time.perf_counter() - began)
    with connected("local", 1) as workers:
        empty_task_s(workers)
        task_s = statistics.median(empty_task_s(workers) for _ in range(5))
    read = []
    for _ in range(5):
        with (folder / "cold.tif").open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began, size = time.perf_counter(), 0
            while part := file.read(4 << 20):
                size += len(part)
            read.append(size / 1e6 / (time.perf_counter() - began))
    found["recording_cpu_s"], found["recording_s"] = overhead[0], statistics.median(walls)
    found["task_s"], found["read_mb_per_s"] = task_s, statistics.median(read)
    found["load"] = os.getloadavg()[0]
    print({name: value for name, value in found.items() if name not in CHAINS})
    to.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scaling", "costs"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=Path, default=Path("costs.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if args.what == "scaling":
            scaling(args.rounds, Path(name), args.to)
        else:
            costs(args.to, Path(name))


if __name__ == "__main__":
    main()
