"""All figures of the table of speed on one page; and what the benchmarks share: a camera in memory, how figures show.

python tools/bench.py                   the table, the roofline and how costs grow, in six minutes on a quiet machine
python tools/bench.py --page docs/speed.md   and docs/speed.md with its picture, written anew
python tools/bench.py motion spots      those parts of the table (tools/bench_speed.py says what each one is)
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as all commands do: threads that wait would count as work

import numpy as np

from streamfluo import Block, Operator, Source, Spec
from streamfluo.cli.cli import SWITCH_S
from streamfluo.core.source import Series
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

SPEC = Spec(shape=(512, 512), dtype="uint16", interval_s=0.005)  # without one a server would set the times
ROUNDS, BLOCKS = 9, 12


class MemoryCamera(Source):
    """`frames` frames out of 64 random ones (fewer large ones) in memory; stamped with the time it is asked for."""

    def __init__(self, frames: int, block_frames: int, spec: Spec = SPEC) -> None:
        self.spec = spec
        self.series = Series(f"memory-{frames}", "memory", frames=frames)
        self._block_frames, self._at = block_frames, 0
        self._count = max(block_frames, min(64, (64 << 20) // spec.frame_nbytes))
        self._pixels = np.random.default_rng(0).integers(0, 4096, (self._count, *spec.shape), np.uint16)

    def blocks(self, max_frames: int = 32) -> Iterator[Block]:
        n = self._block_frames
        while self._at < (self.series.frames or 0):
            offset = self._at % self._count
            stamped = time.monotonic_ns() + np.arange(n)  # times that do not go on are told
            yield Block(self._at, stamped, self._pixels[offset : offset + n])
            self._at += n

    def seek(self, index: int) -> None:
        self._at = index


@contextmanager
def served(frames: int, block_frames: int, fps: float | None, spec: Spec = SPEC) -> Iterator[str]:
    """Serve a MemoryCamera from another process and yield its endpoint."""
    with another_process(_serve, frames, block_frames, fps, spec) as endpoint:
        yield endpoint


@contextmanager
def another_process(work: object, *args: object) -> Iterator[str]:
    """Run `work(connection, *args)` in another process and yield the endpoint it sends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, *args), daemon=True)
    process.start()
    try:
        yield here.recv()
        process.join(10)
    finally:
        process.terminate()


def _serve(connection: Connection, frames: int, block_frames: int, fps: float | None, spec: Spec) -> None:
    camera = MemoryCamera(frames, block_frames, spec)
    server = DataServer(ReplayedFrames(camera, fps), "tcp://127.0.0.1:0", wait=True)
    connection.send(server.endpoint)
    server.run()
    server.close()


def cost_in_copies(operator: Operator, sizes: tuple[int, ...] = (32, 1)) -> dict[int, list[float]]:
    """Feed an operator blocks of these sizes, 32 frames of 512×512×u16 a time; return how long it took, in cold memory
    copies of the same frames, of several rounds each."""
    frames = np.random.default_rng(0).integers(0, 4096, (BLOCKS, 32, *SPEC.shape), np.uint16)
    target = np.zeros_like(frames)
    ratios: dict[int, list[float]] = {size: [] for size in sizes}
    index = 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for n in range(BLOCKS):
            np.copyto(target[n], frames[n])
        copying = time.perf_counter() - began
        for size, found in ratios.items():
            began = time.perf_counter()
            for n in range(BLOCKS):
                for start in range(0, 32, size):
                    operator.update(Block(index, np.zeros(size), frames[n, start : start + size]))
                    index += size
            found.append((time.perf_counter() - began) / copying)
    print(f"cold copy of a block: {copying / BLOCKS * 1e3:.2f} ms, {frames.nbytes / copying / 1e9:.1f} GB/s")
    return ratios


def show(what: str, ratios: list[float], accepted: str, goal: str) -> None:
    """Print the median of several ratios with their range beside what is accepted and aimed at."""
    print(f"{what}: {np.median(ratios):.2f} (of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f}), "
          f"accepted {accepted}, goal {goal}")  # fmt: skip


def machine() -> str:
    """Return the processor, how many of its cores, the load of the last minute, and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("numpy", "scipy", "numba"))
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, load {load:.1f}; Python "
        f"{platform.python_version()}, {versions}"
    )


def main() -> None:
    import bench_growth  # they import this module
    import bench_speed
    import roofline

    parser = argparse.ArgumentParser(description="All figures of the table of speed.")
    parser.add_argument("parts", nargs="*", choices=[[], *bench_speed.JOBS], help="none named: all, and the roofline")
    parser.add_argument("--page", type=Path, help="the page to write, with a picture in images beside it")
    words = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)  # as all commands do
    began, before = time.monotonic(), machine()
    figures = []
    for part in words.parts or bench_speed.JOBS:
        for figure in bench_speed.JOBS[part]():
            figures.append(figure)
            print(bench_speed.line(figure), flush=True)
    if words.parts:
        return
    roof, works = roofline.measure_roof(), roofline.works()
    grown = list(bench_growth.grown())
    tables = roofline.table(roof, works), roofline.config_table(), bench_growth.table(grown)
    print(*tables, sep="\n\n")
    if words.page is not None:
        minutes = (time.monotonic() - began) / 60
        told = f"{before}; load {os.getloadavg()[0]:.1f} at the end, {minutes:.0f} minutes"
        words.page.write_text(bench_speed.page(figures, told, tables), encoding="utf-8")
        roofline.draw(roof, works, words.page.parent / "images" / "roofline.png")
        bench_growth.draw(grown, words.page.parent / "images" / "growth.png")


if __name__ == "__main__":
    main()
