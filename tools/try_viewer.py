"""Use the viewer as a person does: a real X server, mouse and keyboard; what each action brought about is checked.

Needs Xvfb, openbox and xdotool, and what Qt needs on Linux (docs/how-to/install.md). A simulated two-photon movie is
replayed, run and recorded; in the window a cell is chosen by click and by key, rejected and taken back, two are joined,
a threshold is changed, a mark is written, time is dragged back and returned, and the picture is saved. Pictures of each
step go to `--out`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import ImageGrab
from scipy import ndimage

SIDES = 1400, 900
PROGRAMS = {"Xvfb": "xvfb", "openbox": "openbox", "xdotool": "xdotool"}
PATIENCE_S, COMPILING_S, JOINING_S = 60.0, 300.0, 5.0
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # of outlines, light theme
CELL_PX = 25  # less far apart are two parts of one
AMBER, HANDLE = (178, 106, 0), (61, 126, 184)
CONFIG = Path(__file__).parents[1] / "configs" / "calcium_2p.toml"


class Person:
    """Somebody at the screen `display`, who notes whether what was wanted came about."""

    def __init__(self, display: str, out: Path) -> None:
        self._display, self._out = display, out
        self._env = {**os.environ, "DISPLAY": display}
        self.failed: list[str] = []

    def do(self, *words: object) -> str:
        """Move the mouse, click, type."""
        command = ["xdotool", *map(str, words)]
        return subprocess.run(command, env=self._env, check=True, capture_output=True, text=True).stdout.strip()

    def sees(self) -> np.ndarray:
        """Return what is on the screen (y, x, rgb)."""
        return np.asarray(ImageGrab.grab(xdisplay=self._display).convert("RGB")).astype(int)

    def expects(self, what: str, there: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait until it is there; keep a picture of it."""
        until = time.monotonic() + patience_s
        while not (found := there()) and time.monotonic() < until:
            time.sleep(0.2)
        ImageGrab.grab(xdisplay=self._display).save(self._out / f"{what.replace(' ', '-')}.png")
        print(f"{'ok' if found else 'NOT SEEN':9} {what}", flush=True)
        if not found:
            self.failed.append(what)

    def outlines(self) -> list[tuple[int, int]]:
        """Return the middle (x, y) of closed outlines of cells in the large picture."""
        screen = self.sees()[:, : SIDES[0] * 55 // 100]
        middles = []
        for colour in COLOURS:
            rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
            rings, _ = ndimage.label(np.abs(screen - rgb).max(2) < 40, np.ones((3, 3)))
            for y, x in ndimage.find_objects(rings):
                height, width = y.stop - y.start, x.stop - x.start
                inner = screen[(y.start + y.stop) // 2, (x.start + x.stop) // 2]
                if 18 < height < 60 and 18 < width < 60 and np.ptp(inner) < 12:  # grey inside
                    middles.append(((x.start + x.stop) // 2, (y.start + y.stop) // 2))
        return middles


def events(session: Path) -> list[dict[str, object]]:
    """Return what the session says happened."""
    file = session / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def told(session: Path, event: str, **fields: object) -> bool:
    """Whether an event with these fields happened."""
    return any(e["event"] == event and all(e.get(k) == v for k, v in fields.items()) for e in events(session))


def use(person: Person, session: Path, out: Path) -> None:
    """Go through the window."""
    person.expects("outlines of cells", lambda: len(person.outlines()) > 8, COMPILING_S)
    window = person.do("search", "--onlyvisible", "--name", "streamfluo").split()[0]
    person.do("windowfocus", "--sync", window)
    first = person.outlines()[0]
    person.do("mousemove", *first, "click", 1)
    person.do("key", "x")
    person.expects("a clicked cell is rejected", lambda: told(session, "curate", verb="reject"))
    person.do("key", "ctrl+z")
    person.expects("and taken back", lambda: told(session, "curate", verb="undo"))
    person.do("key", "Up", "key", "a")
    person.expects("a cell chosen by key is accepted", lambda: told(session, "curate", verb="accept"))
    pairs = iter(closest(person.outlines()))  # those that do not touch are refused, and the line on top says so

    def joined() -> bool:
        if not told(session, "curate", verb="merge") and (pair := next(pairs, None)) is not None:
            person.do("mousemove", *pair[0], "click", 1, "keydown", "shift")
            person.do("mousemove", *pair[1], "click", 1, "keyup", "shift", "key", "j")
            time.sleep(JOINING_S)
        return told(session, "curate", verb="merge")

    person.expects("two cells that touch are joined", joined)
    x, y = handle(person)
    person.do("mousemove", x, y, "mousedown", 1, "mousemove", x - 100, y)
    person.do("mousemove", x - 300, y, "mouseup", 1)
    person.expects("dragged back", lambda: amber(person))
    person.do("key", "comma", "key", "comma")
    person.do("key", "End")
    person.expects("and live again", lambda: not amber(person))
    person.do("key", "ctrl+m")
    time.sleep(1)
    person.do("type", "drug on")
    person.do("key", "Return")
    person.expects("a mark is written", lambda: told(session, "mark", text="drug on"))
    person.do("key", *["Tab"] * 5, "Right", "Right")
    person.expects("a threshold is changed", lambda: told(session, "set"))
    person.do("windowfocus", "--sync", window)
    person.do("mousemove", *first, "key", "s")
    time.sleep(2)
    saved = out / "saved.png"
    person.do("key", "ctrl+a")
    person.do("type", str(saved))
    person.do("key", "Return")
    person.expects("the picture is saved", saved.exists)


def closest(places: list[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return pairs of cells, those that are closest to each other first."""

    def apart(pair: tuple[tuple[int, int], tuple[int, int]]) -> float:
        return float(np.hypot(pair[0][0] - pair[1][0], pair[0][1] - pair[1][1]))

    pairs = [(a, b) for n, a in enumerate(places) for b in places[n + 1 :]]
    return sorted((pair for pair in pairs if apart(pair) > CELL_PX), key=apart)


def handle(person: Person) -> tuple[int, int]:
    """Return where the handle (x, y) of the bar of time is."""
    blue = np.abs(person.sees() - HANDLE).max(2) < 12
    blue[: SIDES[1] * 3 // 4] = False
    y, x = np.nonzero(blue)
    return round(float(np.median(x))), round(float(np.median(y)))


def amber(person: Person) -> bool:
    """Whether the line on how the run fares says that somebody looks back."""
    return bool((np.abs(person.sees()[:120, :150] - AMBER).max(2) < 30).sum() > 10)


def main() -> int:
    """Set everything up, go through it, say what was not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("try_viewer"))
    parser.add_argument("--display", default=":97")
    options = parser.parse_args()
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        print(f"this needs {', '.join(missing)}: apt-get install {' '.join(missing)} libxcb-cursor0")
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    person = Person(options.display, options.out.resolve())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as programs:

        def begin(*command: str, **env: str) -> None:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command, env={**os.environ, **env}, cwd=folder, **quiet)  # type: ignore[call-overload]
            programs.callback(process.wait)
            programs.callback(process.terminate)

        begin("Xvfb", options.display, "-screen", "0", f"{SIDES[0]}x{SIDES[1]}x24")
        time.sleep(1)
        begin("openbox", DISPLAY=options.display)
        ours = [sys.executable, "-m", "streamfluo"]
        movie = "sim:calcium?shape=192x192&seed=11&frames=9000"
        begin(*ours, "replay", movie, "--bind", "tcp://127.0.0.1:5971", "--fps", "30")
        where = ("--source", "tcp://127.0.0.1:5971", "--out", "S", "--publish", "tcp://127.0.0.1:5972")
        begin(*ours, "run", str(CONFIG), *where)
        begin(*ours, "view", "tcp://127.0.0.1:5972", "--theme", "light",
              DISPLAY=options.display, QT_QPA_PLATFORM="xcb", XDG_CONFIG_HOME=folder)  # fmt: skip
        use(person, Path(folder) / "S", options.out.resolve())
    print(f"{len(person.failed)} not seen" if person.failed else "all of it was seen")
    return 1 if person.failed else 0


if __name__ == "__main__":
    sys.exit(main())
