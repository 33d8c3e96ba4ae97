"""Frames from another process of this machine, by way: through tcp, ipc, and shared memory with notes over tcp.

From a data endpoint (credits, each consumer its own cursor) and pushed to an ingest endpoint. Frames are received and
let go. Each figure is the median of rounds in which all ways take turns, and so are its ratios: to tcp, of frames a
second and of both programs' processor time, which a busy machine changes less; and to a cold copy of the same frames.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench import MemoryCamera

from streamfluo import Spec, open_source
from streamfluo.client import FrameSender
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

ROUNDS = 7
FRAMES = {512: 6016, 2048: 480}
WAYS = ("tcp", "ipc", "shared")
PUSHED = "tcp://127.0.0.1:17365"


class Taken(NamedTuple):
    """Frames a second, and seconds of processor that both programs spent on one."""

    fps: float
    processor_s: float


def camera(side: int) -> MemoryCamera:
    """Return frames of 16 MB of memory, over and over."""
    spec = Spec(shape=(side, side), dtype="uint16", interval_s=0.005)
    return MemoryCamera(FRAMES[side], 32 if side == 512 else 4, spec)


def serve(connection: Connection, side: int, uri: str) -> None:
    """Serve frames in memory as fast as they are taken; tell where, and the processor time that it took."""
    server = DataServer(ReplayedFrames(camera(side)), uri, wait=True)
    connection.send(server.endpoint)
    before_s = time.process_time()
    server.run()
    connection.send(time.process_time() - before_s)
    server.close()


def push(connection: Connection, side: int, uri: str) -> None:
    """Push frames in memory as fast as they go."""
    frames = camera(side)
    connection.send(f"ingest+{uri.partition('?')[0]}")
    before_s = time.process_time()
    with FrameSender(uri, frames.spec) as sender:
        for block in frames.blocks():
            sender.send(block)
    connection.send(time.process_time() - before_s)


def received(work: Callable[[Connection, int, str], None], side: int, uri: str, options: str) -> Taken:
    """Return what it takes to receive all frames of another process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, side, uri + (options if work is push else "")), daemon=True)
    process.start()
    endpoint = here.recv()
    with open_source(endpoint + (options if work is serve else "")) as source:
        items = source.blocks()
        next(items)
        began, before_s = time.perf_counter(), time.process_time()
        count = sum(1 for _ in items)
        elapsed_s, processor_s = time.perf_counter() - began, time.process_time() - before_s
        source.finished()
        assert count == FRAMES[side] - 1
        assert not source.refused.keys() - {"time"}
    processor_s += here.recv()
    process.join(10)
    return Taken(count / elapsed_s, processor_s / count)


def copied(side: int) -> Taken:
    """Return what a copy takes, from and to memory that is in no cache."""
    count = (192 << 20) // (2 * side * side)
    frames = np.random.default_rng(0).integers(0, 4096, (count, side, side), np.uint16)
    target = np.zeros_like(frames)
    began, before_s = time.perf_counter(), time.process_time()
    for n in range(count):
        np.copyto(target[n], frames[n])
    return Taken(count / (time.perf_counter() - began), (time.process_time() - before_s) / count)


def compare(what: str, work: Callable[[Connection, int, str], None], side: int, rounds: int) -> None:
    """Print the ways beside each other."""
    found: dict[str, list[Taken]] = {way: [] for way in ("copy", *WAYS)}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        tcp = PUSHED if work is push else "tcp://127.0.0.1:0"
        for n in range(rounds):
            found["copy"].append(copied(side))
            for way in WAYS[n % 3 :] + WAYS[: n % 3]:
                uri = f"ipc://{folder}/frames" if way == "ipc" else tcp
                found[way].append(received(work, side, uri, "" if way == "shared" else "?memory=none"))
    for way, taken in found.items():
        fps, processor_s = np.transpose(taken)
        tcp_fps, tcp_s = np.transpose(found["tcp"])
        ratios = fps / tcp_fps
        print(
            f"{what} {side}², {way:6}: {np.median(fps):6.0f} frames/s, {np.median(fps) * 2 * side**2 / 1e9:4.1f} GB/s, "
            f"{np.median(ratios):5.2f} × tcp ({ratios.min():.2f} to {ratios.max():.2f}), "
            f"{np.median(fps / np.transpose(found['copy'])[0]):.2f} of a copy; processor "
            f"{np.median(processor_s) * 1e6:5.0f} µs a frame, {np.median(processor_s / tcp_s):.2f} of tcp's",
            flush=True,
        )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for side in FRAMES:
        compare("data endpoint", serve, side, rounds)
        compare("ingest", push, side, rounds)


if __name__ == "__main__":
    main()
