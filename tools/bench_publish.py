"""What watching costs: engine throughput with ten subscribers against none, and how old a preview is in a slow viewer.

The ten watch everything: values, all snapshots of `moments`, health, events, and the preview. The slow viewer looks
thirty times a second at a stream of 500 frames a second.
"""

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
from bench import another_process, served, show

from streamfluo import open_source
from streamfluo.core import wire
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask

FRAMES, ROUNDS, WATCHERS, VIEW_S = 12032, 5, 10, 10.0
CONFIG = parse_config('[publish]\nuri = "tcp://127.0.0.1:0"\n[[step]]\nkind = "moments"')


def watchers(connection: Connection, endpoint: str) -> None:
    """Ten subscribers to everything, read as fast as it comes."""
    endpoints = ask(endpoint, wire.Hello()).endpoints
    results = [ResultsSubscriber(endpoints["results"]) for _ in range(WATCHERS)]
    previews = [PreviewSubscriber(endpoints["preview"]) for _ in range(WATCHERS)]
    connection.send("watching")
    while not connection.poll():
        for viewer in results:
            while viewer.receive() is not None:
                pass
        for viewer in previews:
            viewer.receive()
        time.sleep(0.01)


def engine_fps(watched: bool) -> float:
    """Return frames a second through the engine with `moments`, watched or not."""
    with served(FRAMES, 32, None) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, CONFIG, None)
        if not watched:
            return _run(engine)
        engine.publisher.start()
        engine.publisher.start = lambda: None  # it serves already, so that all ten are there from the first frame
        with another_process(watchers, engine.publisher.endpoint):
            time.sleep(0.5)
            return _run(engine)


def _run(engine: Engine) -> float:
    engine.start()
    while engine.health().frames < FRAMES:
        time.sleep(0.005)
    elapsed = engine.health().elapsed_s
    engine.wait()
    assert engine.health().lost == 0
    return FRAMES / elapsed


def slow_viewer(connection: Connection, endpoint: str, ages: SimpleQueue) -> None:
    """Look at the newest frame thirty times a second and note how old it is."""
    found = []
    with PreviewSubscriber(ask(endpoint, wire.Hello()).endpoints["preview"]) as viewer:
        connection.send("watching")
        until = time.monotonic() + VIEW_S
        while time.monotonic() < until:
            time.sleep(1 / 30)
            frame = viewer.receive()
            if frame is not None:
                found.append((time.monotonic_ns() - frame[0].t_ns) / 1e6)
    ages.put(found)


def rss_mb() -> float:
    """Return this process's resident memory."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def preview_ages_ms() -> tuple[list[float], float]:
    """Return the ages of what the slow viewer saw, and by how many MB the publisher grew meanwhile."""
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    with served(int(500 * (VIEW_S + 3)), 1, 500.0) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, CONFIG, None)
        engine.start()
        while engine.health().frames < 250:
            time.sleep(0.01)
        before = rss_mb()
        with another_process(slow_viewer, engine.publisher.endpoint, queue):
            ages_ms = queue.get()
        grown = rss_mb() - before
        engine.wait()
        assert engine.health().lost == 0
        return ages_ms, grown


def main() -> None:
    ratios = []
    for _ in range(ROUNDS):
        alone, watched = engine_fps(False), engine_fps(True)
        print(f"frames/s: nobody watches {alone:.0f}, ten watch {watched:.0f}")
        ratios.append(watched / alone)
    show("engine with ten subscribers relative to none", ratios, "≥ 0.90", "–")
    ages_ms, grown_mb = preview_ages_ms()
    p50, p99 = np.percentile(ages_ms, (50, 99))
    print(
        f"preview in a slow viewer at 500 frames/s: {len(ages_ms)} looks, age p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"max {max(ages_ms):.1f} ms (accepted 100); publisher grew by {grown_mb:.1f} MB"
    )


if __name__ == "__main__":
    main()
