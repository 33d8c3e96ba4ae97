"""Make the pictures of the window that the documentation shows: `python tools/pictures.py` for all, or some by name.

Each is a simulated recording that another process replays as a camera, a run of a shipped or written config, and the
shipped window on it without a screen. What is new on a picture is to be looked at before it is committed.
"""

import argparse
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parents[1]
IMAGES, CONFIGS, PLANES = HERE / "docs" / "images", HERE / "configs", HERE / "docs/how-to/planes.md"
STEP_S = 1.5  # between what is done to the window, and before its picture
PATIENCE_S = 400.0  # kernels may have to be compiled first
MAX_BYTES = 300_000
TINT = 10  # of 255, from which on a pixel is no grey
SPEED_HZ = 50.0

CALCIUM = "sim:calcium?shape=192x192&frames=2400&seed=5107"
FILAMENTS = "sim:blinking?shape=128x128&filaments=7&emitters=1200"
LOOP = """
[[input]]
name = "speed"
uri = "sub+tcp://127.0.0.1:{speed}"
[[step]]
kind = "motion"
params = {{ max_shift_px = 10 }}
[[step]]
kind = "extract"
params = {{ neuron_sigma_px = 4.0 }}
[[step]]
kind = "input"
id = "speed"
params = {{ name = "speed" }}
[[step]]
kind = "trigger"
id = "fires"
params = {{ when = "extract.spikes[5] > level and motion.valid", level = 120.0, refractory_s = 0.5 }}
[[step]]
kind = "trigger"
id = "runs"
params = {{ when = "rising(speed.value[0] > 2)" }}
[[action]]
on = "fires"
to = "pub+tcp://127.0.0.1:{pulses}"
"""


def of_planes() -> str:
    """Return the chain that is shown for several planes, which finds cells instead of taking moments."""
    chain = PLANES.read_text().partition('title="volume.toml"')[2].partition("```")[0]
    assert chain.count('kind = "moments"') == 1
    return chain.replace('kind = "moments"', 'kind = "extract"') + "params = { neuron_sigma_px = 4.0 }\n"


class Scene(NamedTuple):
    """A picture: its source, its config, at which frame what is done to the window, `dock`: of that one alone."""

    source: str
    config: str
    fps: float
    until: int
    does: tuple[Callable[[Any], None], ...] = ()
    size: tuple[int, int] = (1280, 720)
    dock: str = ""
    marks: tuple[tuple[int, str], ...] = ()
    sets: tuple[str, ...] = ()


def smooth(window: Any) -> None:
    """Show the mean of ten frames."""
    window.active._average.setValue(10)


def divided(window: Any) -> None:
    """Stand the divider in the middle of the reconstructed picture."""
    window._open("snapshot/reconstruct/deconvolved")
    window._content("snapshot/reconstruct/deconvolved").canvas.divider.move_to(0.5)


def several_planes(window: Any) -> None:
    """Frames of all planes side by side, and beside them the merged channels of the slice in the middle."""
    from PySide6.QtCore import Qt

    window.model.planes.choose_plane("green/1")
    raw = window.docks["frames/source"]
    merged = next(
        dock for dock in window.docks.values() if "apply" in dock.windowTitle() and "frames" in dock.objectName()
    )
    traces = next(dock for dock in window.docks.values() if dock.objectName().startswith("by_id/"))
    for dock in window.docks.values():
        dock.setVisible(dock in (raw, merged, traces))
    window.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, raw)
    window.splitDockWidget(raw, merged, Qt.Orientation.Horizontal)
    window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, traces)
    window.resizeDocks([raw, merged], [740, 520], Qt.Orientation.Horizontal)
    window.resizeDocks([raw, traces], [420, 130], Qt.Orientation.Vertical)
    for dock, mode in ((raw, "grid"), (merged, "composite")):
        image = window._content(dock.objectName())
        image.set_mode(mode)
    image._average.setValue(10)


def cells_of_slices(window: Any) -> None:
    """Corrected frames of all slices side by side, with the outlines of the cells, and the traces of those."""
    from PySide6.QtCore import Qt

    image = next(
        d
        for d in window.docks.values()
        if d.objectName().startswith("frames/motion") or "motion/frames" in d.objectName()
    )
    traces = next(d for d in window.docks.values() if d.objectName().startswith("by_id/volume"))
    for dock in window.docks.values():
        dock.setVisible(dock in (image, traces))
    window.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, image)
    window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, traces)
    window.resizeDocks([image, traces], [430, 290], Qt.Orientation.Vertical)
    shown = window._content(image.objectName())
    shown.set_mode("grid")
    shown._average.setValue(10)


SCENES = {
    "viewer": Scene(CALCIUM, LOOP, 30, 2200, (smooth,), marks=((700, "air puff"), (1600, "air puff"))),
    "voltage": Scene("sim:voltage?shape=64x96&frames=12000&snr=6&seed=5109", "voltage.toml", 400, 6000),
    "closed_loop": Scene(CALCIUM, LOOP, 60, 2200, size=(1920, 960), dock="by_id/extract/traces"),
    "spots": Scene(
        f"{FILAMENTS}&frames=4000&seed=5108&k_on_hz=0.05&k_off_hz=40&emitter_photons=2500&photons=4",
        "spots.toml", 150, 3300, sets=("spots.false_alarms=0.01",),
    ),
    "sofi_view": Scene(
        f"{FILAMENTS}&frames=5000&seed=5109&k_on_hz=1&k_off_hz=9", "sofi.toml", 150, 3300, (divided,),
    ),
    "counting_view": Scene(
        "sim:bleaching-steps?shape=160x160&frames=1600&max_y=5&p_bleach=0&seed=5110", "counting.toml", 20, 900,
    ),
    "planes": Scene(
        "sim:calcium?channels=2&z=3&shape=128x128&frames=1500&seed=5111", of_planes(), 20, 700, (several_planes,)
    ),
    "volume": Scene(
        "sim:calcium?z=3&z_step_um=6&z_psf_um=2&interleaved=true&shape=128x128&frames=1500&frame_rate_hz=10&motion_px=0.5"
        "&neurons=40&seed=5112", "calcium_volume.toml", 20, 900, (cells_of_slices, cells_of_slices),
    ),
}  # fmt: skip


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_wheel(port: int, ended: threading.Event) -> None:
    """Publish the speed of a wheel: a stretch of running every nineteen seconds."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUB) as wheel:
        wheel.bind(f"tcp://127.0.0.1:{port}")
        began_s = time.monotonic()
        while not ended.wait(1 / SPEED_HZ):
            phase = (time.monotonic() - began_s) % 19 - 9
            speed = 8 * math.exp(-phase * phase / 8) + 0.1 * math.sin(37 * phase)
            wheel.send(f"{speed:.3f}".encode())


@contextmanager
def running(scene: Scene, folder: Path) -> Iterator[str]:
    """Replay the recording and run the config on it; yields the run's endpoint."""
    ports = {name: free_port() for name in ("camera", "run", "speed", "pulses")}
    config = CONFIGS / scene.config
    if scene.config.startswith("\n"):
        config = folder / "config.toml"
        config.write_text(scene.config if "{{" not in scene.config else scene.config.format(**ports))
    camera, endpoint = (f"tcp://127.0.0.1:{ports[name]}" for name in ("camera", "run"))
    streamfluo = [sys.executable, "-m", "streamfluo"]
    ended = threading.Event()
    threading.Thread(target=run_wheel, args=(ports["speed"], ended), daemon=True).start()
    replay = ["replay", scene.source, "--bind", camera, "--fps", str(scene.fps), "--wait"]
    run = ["run", str(config), "--source", camera, "--publish", endpoint, "--out", str(folder / "session")]
    run += [word for changed in scene.sets for word in ("--set", changed)]
    programs = [
        subprocess.Popen([*streamfluo, *words], stdout=subprocess.DEVNULL, cwd=folder) for words in (replay, run)
    ]
    try:
        yield endpoint
    finally:
        ended.set()
        for program in programs:
            program.terminate()
            program.wait()


def take(name: str, out: Path) -> None:
    """Make one picture."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from streamfluo.network.control_client import Control
    from streamfluo.network.watching import Watch
    from streamfluo.viewer.main import _application
    from streamfluo.viewer.model import Model
    from streamfluo.viewer.window import Window

    scene = SCENES[name]
    with tempfile.TemporaryDirectory() as folder, running(scene, Path(folder)) as endpoint:
        app = _application("light")
        with Watch(endpoint) as watch:
            window = Window(watch, Model(endpoint))
            window.resize(*scene.size)
            window.show()

            def wait(over: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
                until_s = time.monotonic() + patience_s
                while not over() and time.monotonic() < until_s:
                    app.processEvents()
                    time.sleep(0.005)

            marks = list(scene.marks)
            while window.model.timeline.stop < scene.until:
                wait(lambda: window.model.timeline.stop >= (marks[0][0] if marks else scene.until))
                if marks:
                    with Control(endpoint) as control:
                        control.mark(marks.pop(0)[1])
                elif window.model.timeline.stop < scene.until:
                    raise SystemExit(f"{name}: frame {scene.until} did not come in {PATIENCE_S:g} s")
            for does in (*scene.does, lambda _: None):
                does(window)
                wait(lambda: False, STEP_S)
            shown = window.docks[scene.dock].widget() if scene.dock else window
            shown.grab().save(str(out / f"{name}.png"))
            window.close()


def make_small(path: Path) -> int:
    """Write a picture again in as few bytes as a PNG can be, of 256 colours where it is too large; returns them."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        with_palette(picture).save(path, optimize=True)
    return path.stat().st_size


def with_palette(picture: Any) -> Any:
    """Return a picture of 128 greys, the commonest grounds and 112 colours: one palette for all tints the greys."""
    from PIL import Image

    pixels = np.asarray(picture).reshape(-1, 3)
    coloured = np.ptp(pixels.astype(int), axis=1) > TINT
    colours = Image.fromarray(pixels[coloured][None]).quantize(112, dither=Image.Dither.NONE).getpalette()[: 3 * 112]
    grounds, times = np.unique(pixels[~coloured], axis=0, return_counts=True)
    common = grounds[np.argsort(-times)[:16]].ravel().tolist()
    greys = np.repeat(np.linspace(0, 255, 128).round().astype(int), 3).tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys, *common, *colours])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENES)}; none: all of them")
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--here", action="store_true", help="in this process; each has one of its own otherwise")
    words = parser.parse_args()
    for name in words.names or SCENES:
        if words.here:
            take(name, words.out)
            continue
        subprocess.run([sys.executable, __file__, name, "--here", "--out", str(words.out)], check=True)
        print(f"{name}: {make_small(words.out / f'{name}.png') / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
