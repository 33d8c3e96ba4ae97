"""What it costs to paint the window with very many cells: the picture with their outlines, a page of their traces.

The reference, in the same run, is the picture without outlines. A frame has 33 ms at 30 redraws a second.
"""

import argparse
import os
import time
from collections.abc import Iterator

import numpy as np

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtWidgets import QApplication

from streamfluo.core import wire
from streamfluo.viewer import main
from streamfluo.viewer.image_panel import ImagePanel
from streamfluo.viewer.model import Model, Payload
from streamfluo.viewer.window import Window

SIDE_PX, RADIUS_PX, POINTS, FRAMES = 512, 6, 30, 200
FACTS = ((SIDE_PX, SIDE_PX), "<f4", 0.5, 1 / 30)
HELLO = wire.Hello(
    program="run", series={"series_uid": "one"}, steps=[("extract", "extract", "source")], frames={"source": FACTS},
    gives={
        "extract": [
            ("traces", "by_id", ("t", "id"), "σ", ""), ("contours", "snapshot", ("id", "point", "yx"), "", ""),
        ],
    },
    endpoints={"results": "tcp://127.0.0.1:1", "preview": "tcp://127.0.0.1:2"},
    presents={"extract": (["frames"], ["traces"])},
)  # fmt: skip


class Watch:
    """Stands in for the network: gives what it is handed, once."""

    connected, denied = True, ""

    def __init__(self) -> None:
        self.waiting: list[tuple[wire.Message, Payload]] = []
        self.refused = main.Watch("tcp://127.0.0.1:9").refused

    def turn(self) -> Iterator[tuple[wire.Message, Payload]]:
        """Give what waits."""
        waiting, self.waiting = self.waiting, []
        yield from waiting

    def want(self, topics: object, previews: object) -> None:
        """Nothing is asked for."""


def result(kind: str, index: int, count: int) -> wire.Result:
    """Return a result's header."""
    return wire.Result(series_uid="one", step="extract", kind=kind, index=index, count=count, arrays=())  # type: ignore[arg-type]


def painted_ms(window: Window, watch: Watch, cells: int, outlines: bool) -> tuple[list[float], list[float]]:
    """Return how long each turn of the clock and each painting took."""
    rng = np.random.default_rng(5)
    image = next(dock.widget() for dock in window.docks.values() if isinstance(dock.widget(), ImagePanel))
    traces = window.docks["by_id/extract/traces"].widget()
    image.overlays.toggle("extract/contours", outlines)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    circle = RADIUS_PX * np.stack([np.sin(angle), np.cos(angle)], -1)
    contours = rng.uniform(10, SIDE_PX - 10, (cells, 1, 2)) + circle
    first = window.model.timeline.stop
    turns, paints = [], []
    for index in range(first, first + FRAMES):
        pixels = rng.integers(90, 400, (SIDE_PX, SIDE_PX)).astype(np.float32)
        header = wire.Image(
            series_uid="one", seq=index, index=index, dtype="<f4", shape=pixels.shape, nbytes=pixels.nbytes,
            user={"step": "source", "bin_px": 1},
        )  # fmt: skip
        values = {"ids": np.arange(cells), "traces": rng.normal(size=(1, cells))}
        watch.waiting = [(header, pixels), (result("values", index, 1), values)]
        if index % 15 == 0:  # twice a second
            watch.waiting.append(
                (result("snapshot", index, 1), {"contours": contours + rng.normal(0, 0.1, (cells, 1, 2))})
            )
        traces.redraw()
        began = time.perf_counter()
        window.tick()
        turned = time.perf_counter()
        image.canvas.viewport().repaint()
        traces._plot.viewport().repaint()
        turns.append(1e3 * (turned - began))
        paints.append(1e3 * (time.perf_counter() - turned))
        QApplication.processEvents()
    return turns, paints


def run() -> None:
    """Measure with and without outlines, say both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=500)
    cells = parser.parse_args().cells
    app = main._application("light")
    watch = Watch()
    window = Window(watch, Model("tcp://127.0.0.1:9"))  # type: ignore[arg-type]
    window._timer.stop()
    window.resize(1400, 900)
    watch.waiting = [(HELLO, None)]
    window.show()
    for _ in range(4):
        window.tick()
        app.processEvents()
    for outlines in (False, True, False, True):
        turns, paints = painted_ms(window, watch, cells, outlines)
        what = f"{cells} outlines" if outlines else "no outlines"
        told = ", ".join(
            f"{name} p50 {np.median(ms):.1f}, p99 {np.quantile(ms, 0.99):.1f} ms"
            for name, ms in (("a turn", turns), ("painting", paints))
        )
        print(f"{what}, {cells} traces: {told}")
    window.close()


if __name__ == "__main__":
    run()
