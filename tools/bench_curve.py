"""What encryption costs and compression gives: frames of 512×512×u16 from one process to another, in turns.

MB/s of pixels as fast as they go, over loopback and over 1 Gbit/s (through a process that lets no more pass), the
receiver's processor seconds a GB, one-way latency at 200 frames a second. Of two movies: 3 photons a pixel at 20 ADU
each with an offset, and 12 bits of noise, of which no compression makes less than three quarters.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
from bench import SPEC, MemoryCamera, another_process

from streamfluo import open_source
from streamfluo.network import keys
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer
from streamfluo.network.socket import parse_endpoint

FRAMES, PACED, FPS, ROUNDS = 1200, 300, 200.0, 5
GIGABIT_BYTES = 117e6  # a second, of what TCP carries


class Way(NamedTuple):
    """How frames travel."""

    movie: str
    encrypted: bool
    codec: str
    gigabit: bool = False

    def __str__(self) -> str:
        link = "1 Gbit/s" if self.gigabit else "loopback"
        return f"{self.movie:8} {link} {'CURVE' if self.encrypted else 'plain'} {self.codec:6}"


class Photons(MemoryCamera):
    """Frames of 3 photons a pixel."""

    def __init__(self, frames: int) -> None:
        super().__init__(frames, 1)
        self._pixels = (np.random.default_rng(0).poisson(3.0, self._pixels.shape) * 20 + 100).astype(np.uint16)


def serve(connection: Connection, way: Way, fps: float | None, frames: int) -> None:
    """Serve frames in memory; tells its endpoint."""
    camera = Photons(frames) if way.movie == "photons" else MemoryCamera(frames, 1)
    uri = "tcp://*:0" if way.encrypted else "tcp://127.0.0.1:0"
    server = DataServer(ReplayedFrames(camera, fps), uri, wait=True)
    connection.send(server.endpoint)
    server.run()
    server.close()


def narrow(connection: Connection, port: int) -> None:
    """Carry one TCP connection to `port`, no faster than 1 Gbit/s; tells the endpoint to come to."""
    listener = socket.create_server(("127.0.0.1", 0))
    connection.send(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=_carry, args=[near, far], daemon=True).start()
    _carry(far, near)


def _carry(one: socket.socket, other: socket.socket) -> None:
    due = time.monotonic()
    while data := one.recv(1 << 16):
        due = max(due, time.monotonic() - 0.01) + len(data) / GIGABIT_BYTES
        time.sleep(max(0.0, due - time.monotonic()))
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)


def taken(way: Way, fps: float | None, frames: int) -> tuple[float, float, list[float]]:
    """Take all frames; returns MB/s, seconds of this process's processor a GB, ages of the frames [ms]."""
    with another_process(serve, way, fps, frames) as told:
        port = parse_endpoint(told).port
        if not way.gigabit:
            return _taken(f"tcp://127.0.0.1:{port}", way, frames)
        with another_process(narrow, port) as through:
            return _taken(through, way, frames)


def _taken(address: str, way: Way, frames: int) -> tuple[float, float, list[float]]:
    key = f"key={keys.identity().public}&" if way.encrypted else ""
    worked, ages = time.process_time(), []
    with open_source(f"{address}?{key}codec={way.codec}") as source:
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
    links = [(encrypted, False) for encrypted in (False, True)] + [(True, True)]
    ways = [Way(m, e, c, g) for m in ("photons", "noise") for e, g in links for c in ("none", "blosc2")]
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    work: dict[Way, list[float]] = {way: [] for way in ways}
    ages: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            rate, worked, _ = taken(way, None, FRAMES // 3 if way.gigabit else FRAMES)
            rates[way].append(rate)
            work[way].append(worked)
            if not way.gigabit:
                ages[way] += taken(way, FPS, PACED)[2]
    for way in ways:
        plain = rates[way._replace(codec="none")]
        ratio = np.median([a / b for a, b in zip(rates[way], plain, strict=True)])
        p50, p99 = np.percentile(ages[way], (50, 99)) if ages[way] else (np.nan, np.nan)
        print(
            f"{way}: {np.median(rates[way]):5.0f} MB/s ({min(rates[way]):.0f} to {max(rates[way]):.0f}), {ratio:.2f} × "
            f"that uncompressed, {np.median(work[way]):.2f} s a GB, latency {p50:.2f} ms, 99 % {p99:.2f} ms"
        )
    for movie in ("photons", "noise"):
        plain, curve = (rates[Way(movie, encrypted, "none")] for encrypted in (False, True))
        ratio = np.median([c / p for p, c in zip(plain, curve, strict=True)])
        print(f"{movie}: CURVE over plain {ratio:.2f} × the rate")


if __name__ == "__main__":
    main()
