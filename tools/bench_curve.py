"""What encryption costs: frames of 512×512×u16 from one process to another, plain and with CURVE, in turns.

MB/s as fast as they go, processor seconds a GB of both processes, one-way latency at 200 frames a second. All over
loopback: a network adds its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from multiprocessing.connection import Connection

import numpy as np
from bench import SPEC, MemoryCamera, another_process

from streamfluo import open_source
from streamfluo.network import keys
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer
from streamfluo.network.socket import beside

FRAMES, PACED, FPS, ROUNDS = 1500, 400, 200.0, 5


def serve(connection: Connection, encrypted: bool, fps: float | None, frames: int) -> None:
    """Serve frames in memory; tells its endpoint, and when it is done how long its processor worked."""
    camera = MemoryCamera(frames, 1, SPEC)
    server = DataServer(ReplayedFrames(camera, fps), "tcp://*:0" if encrypted else "tcp://127.0.0.1:0", wait=True)
    connection.send(server.endpoint)
    server.run()
    server.close()
    connection.send(os.times().user + os.times().system)


def taken(encrypted: bool, fps: float | None, frames: int) -> tuple[float, float, list[float]]:
    """Take all frames; returns MB/s, seconds of this process's processor a GB, ages of the frames [ms]."""
    with another_process(serve, encrypted, fps, frames) as told:
        own = f"tcp://127.0.0.1:1?key={keys.identity().public}" if encrypted else told
        worked, ages = time.process_time(), []
        with open_source(beside(own, told)) as source:
            began = time.perf_counter()
            for block in source.blocks():
                ages += list((time.monotonic_ns() - block.times_ns) / 1e6)
            took = time.perf_counter() - began
            source.finished()
    gigabytes = frames * SPEC.frame_nbytes / 1e9
    return 1e3 * gigabytes / took, (time.process_time() - worked) / gigabytes, ages[frames // 10 :]


def main() -> None:
    os.environ[keys.FOLDER_VARIABLE] = tempfile.mkdtemp()
    keys.new_identity("bench")
    rates: dict[bool, list[float]] = {False: [], True: []}
    work: dict[bool, list[float]] = {False: [], True: []}
    ages: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for encrypted in (False, True):
            rate, worked, _ = taken(encrypted, None, FRAMES)
            rates[encrypted].append(rate)
            work[encrypted].append(worked)
            ages[encrypted] += taken(encrypted, FPS, PACED)[2]
    for encrypted, name in ((False, "plain"), (True, "CURVE")):
        p50, p99 = np.percentile(ages[encrypted], (50, 99))
        print(f"{name}: {np.median(rates[encrypted]):.0f} MB/s ({min(rates[encrypted]):.0f} to "
              f"{max(rates[encrypted]):.0f}), {np.median(work[encrypted]):.2f} s of the receiver's processor a GB, "
              f"latency {p50:.2f} ms, 99 % {p99:.2f} ms")  # fmt: skip
    ratio = np.median([c / p for p, c in zip(rates[False], rates[True], strict=True)])
    print(f"CURVE over plain: {ratio:.2f} × the rate")


if __name__ == "__main__":
    main()
