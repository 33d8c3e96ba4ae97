"""What the viewer shows and costs: age of the frame on screen, redraws, memory, processor, what the engine loses by it.

The viewer is the shipped window without a screen, in a process of its own, with its first arrangement of docks: frames,
mean image, total signal. `--minutes 10` watches its memory for that long.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bench import SPEC, served, show

from streamfluo import Spec, open_source
from streamfluo.engine.config import Config, parse_config
from streamfluo.engine.engine import Engine

FRAMES, ROUNDS, LOOK_S = 12032, 5, 20.0
LARGE = Spec(shape=(2048, 2048), dtype="uint16")


def config(preview_hz: float = 30) -> Config:
    """Return a run of `moments` that sends so many previews a second at most."""
    publish = f'[publish]\nuri = "tcp://127.0.0.1:0"\npreview_hz = {preview_hz}'
    return parse_config(f'{publish}\n[[step]]\nkind = "moments"')


def rss_mb() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def viewer(endpoint: str, seconds: float, began: float, hz: float) -> None:
    """Run the window for so long after its first image; print what was measured as JSON."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from streamfluo.cli import cli, view  # noqa: F401 - what the command line loads is part of the opening
    from streamfluo.network.watching import Watch
    from streamfluo.viewer import main
    from streamfluo.viewer.canvas import Canvas
    from streamfluo.viewer.model import Model
    from streamfluo.viewer.window import Window

    app = main._application("light")
    painted_at, ages_ms, memory_mb, cpu_s = [], [], [], []
    paint = Canvas.paintEvent

    def timed(canvas: Canvas, event: object) -> None:
        paint(canvas, event)
        picture = window.model.pictures.get("frames/source")
        if canvas.image.image is not None and picture is not None and picture.arrived_ns and canvas is source():
            painted_at.append(time.time())
            ages_ms.append((time.time_ns() - picture.arrived_ns) / 1e6)

    def source() -> Canvas:
        return window._content("frames/source").canvas

    Canvas.paintEvent = timed
    with Watch(endpoint) as watch:
        window = Window(watch, Model(endpoint), None, hz)
        window.show()
        sampled = 0.0
        while not painted_at or time.time() - painted_at[0] < seconds:
            app.processEvents()
            time.sleep(0.0005)
            if painted_at and time.time() - sampled >= 1:
                sampled = time.time()
                memory_mb.append(rss_mb())
                cpu_s.append((time.monotonic(), time.process_time()))
        lost = window.model.health.lost
    (t0, c0), (t1, c1) = cpu_s[0], cpu_s[-1]
    gaps_ms = np.diff(painted_at) * 1e3
    print(json.dumps({
        "opened_s": painted_at[0] - began, "ages_ms": ages_ms[10:], "redraws_hz": len(painted_at) / seconds,
        "cpu": (c1 - c0) / (t1 - t0), "memory_mb": memory_mb, "lost": lost, "gap_ms": float(np.percentile(gaps_ms, 99)),
    }))  # fmt: skip
    sys.stdout.flush()
    os._exit(0)


@contextmanager
def looking(endpoint: str, seconds: float, hz: float = 30) -> Iterator[subprocess.Popen[str]]:
    """Start the viewer on an endpoint."""
    words = [sys.executable, __file__, "--viewer", endpoint, "--seconds", str(seconds), "--began", str(time.time())]
    words += ["--hz", str(hz)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def measure(spec: Spec, fps: float, seconds: float, hz: float = 30) -> dict:
    """Return what a viewer that redraws `hz` times a second measured at a stream of so many frames a second."""
    with served(int(fps * (seconds + 12)), 1, fps, spec) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, config(hz), None)
        engine.start()
        while engine.health().frames < fps:
            time.sleep(0.01)
        with looking(engine.publisher.endpoint, seconds, hz) as process:
            found = json.loads(process.stdout.readline())
        engine.stop()
        engine.wait()
        assert engine.health().lost == found["lost"] == 0
        return found


def engine_fps(watched: bool, fps: float | None) -> float:
    """Return frames a second through the engine, with or without a viewer."""
    frames = FRAMES if fps is None else int(fps * 10)
    with served(frames, 32 if fps is None else 1, fps) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, config(), None)
        engine.publisher.start()
        engine.publisher.start = lambda: None  # it serves already, so that the viewer is there from the first frame
        if not watched:
            return _run(engine, frames)
        with looking(engine.publisher.endpoint, 1e6):
            while not engine.publisher._watched:
                time.sleep(0.05)
            time.sleep(1)
            return _run(engine, frames)


def _run(engine: Engine, frames: int) -> float:
    engine.start()
    while engine.health().frames < frames:
        time.sleep(0.002)
    elapsed = engine.health().elapsed_s
    engine.wait()
    assert engine.health().lost == 0
    return frames / elapsed


def tell(name: str, found: dict) -> None:
    """Print what a viewer measured."""
    ages = np.percentile(found["ages_ms"], (50, 99, 100))
    print(
        f"{name}: frame on screen p50 {ages[0]:.0f} ms, p99 {ages[1]:.0f}, max {ages[2]:.0f} (accepted 100); "
        f"{found['redraws_hz']:.1f} redraws/s, 99 % of them within {found['gap_ms']:.0f} ms of the last; "
        f"{100 * found['cpu']:.0f} % of a core; opened to first image {found['opened_s']:.2f} s (accepted 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=0, help="watch the viewer's memory for so long")
    parser.add_argument("--viewer")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--began", type=float)
    parser.add_argument("--hz", type=float, default=30)
    words = parser.parse_args()
    if words.viewer:
        viewer(words.viewer, words.seconds, words.began, words.hz)
    if words.minutes:
        found = measure(SPEC, 500, words.minutes * 60)
        tell(f"512 × 512 at 500 frames/s for {words.minutes:g} min", found)
        mb = np.array(found["memory_mb"])
        quarters = [np.median(part) for part in np.array_split(mb[30:], 4)]
        print(f"viewer's memory after 30 s, by quarters: {', '.join(f'{q:.1f}' for q in quarters)} MB")
        return
    tell("512 × 512 at 500 frames/s", measure(SPEC, 500, LOOK_S))
    tell("512 × 512 at 500 frames/s, 60 redraws/s asked for", measure(SPEC, 500, LOOK_S, 60))
    tell("2048 × 2048 at 100 frames/s, binned 2 × 2", measure(LARGE, 100, LOOK_S))
    for fps in (500, None):
        ratios = []
        for _ in range(ROUNDS if fps is None else 3):
            alone, watched = engine_fps(False, fps), engine_fps(True, fps)
            print(f"frames/s: without a viewer {alone:.0f}, with one {watched:.0f}")
            ratios.append(watched / alone)
        show(f"engine at {fps or 'full speed, not 500'} frames/s with a viewer", ratios, "≥ 0.97", "–")


if __name__ == "__main__":
    main()
