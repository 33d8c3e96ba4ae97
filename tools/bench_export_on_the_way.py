"""How much exports on the way slow a series that runs at full speed: motion and moments, raw frames recorded, 512×512.

One series runs throughout. In turn housekeeping is told to wait and to share, as beside a series at its limit; a
moment passes, and the frames of the next seconds are counted; each pair of such windows is a ratio.
"""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import SPEC, show

from streamfluo import Block, Source, SourceError
from streamfluo.core.source import Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.exported import note_of

SECONDS, PAIRS, SESSIONS, SESSION_FRAMES = 0.7, 90, 6, 1200
CHAIN = '[record]\nraw = true\n[[step]]\nkind = "motion"\n[[step]]\nkind = "moments"\n'
RIG = """
[daemon]
folder = "sessions"
name = "{uid}"
[[source]]
name = "scope"
uri = "tcp://127.0.0.1:5555"
[export]
folder = "exported"
format = "FORMAT"
"""


class Endless(Source):
    """The same frames again and again, until it is interrupted or has given `frames`."""

    seekable = False

    def __init__(self, uid: str, frames: int) -> None:
        rng = np.random.default_rng(1)
        scene = rng.integers(100, 2000, SPEC.shape)
        self._pixels = (scene + rng.integers(0, 200, (64, *SPEC.shape))).astype(np.uint16)
        self.spec, self.series = SPEC, Series(uid, "bench")
        self._frames, self._over = frames, False

    def blocks(self, max_frames: int = 32) -> Iterator[Block]:
        for n in range(0, self._frames, 16):
            if self._over:
                return
            yield Block(n, np.arange(n, n + 16) * 10**7, self._pixels[n % 64 : n % 64 + 16])

    def seek(self, index: int) -> None:
        raise SourceError("these frames are made once, one after the other")

    def interrupt(self) -> None:
        self._over = True


def record(folder: Path, frames: int, text: str) -> Engine:
    """Return an engine that records."""
    engine = Engine(Endless(folder.name, frames), parse_config(text), folder, ring_bytes=64 << 20)
    engine.start()
    return engine


def windows(engine: Engine, keeper: subprocess.Popen[str]) -> Iterator[tuple[float, float]]:
    """Yield frames a second while housekeeping waits and while it works, in alternating order."""
    for n in range(PAIRS):
        rates = {}
        for order in ("pause", "share") if n % 2 else ("share", "pause"):
            assert keeper.stdin is not None
            keeper.stdin.write(f"{order}\n")
            keeper.stdin.flush()
            time.sleep(0.3)
            frames, began = engine.health().frames, time.perf_counter()
            time.sleep(SECONDS)
            rates[order] = (engine.health().frames - frames) / (time.perf_counter() - began)
        yield rates["pause"], rates["share"]


def main() -> None:
    to = sys.argv[1] if len(sys.argv) > 1 else "ome-zarr"
    Path("build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir="build"))
    try:
        (folder / "rig.toml").write_text(RIG.replace("FORMAT", to))
        first = folder / "sessions" / "s0"
        record(first, SESSION_FRAMES, "[record]\nraw = true\n").wait()
        for n in range(1, SESSIONS):
            shutil.copytree(first, first.with_name(f"s{n}"))
        engine = record(folder / "running", 10**9, CHAIN)
        keeper = subprocess.Popen(
            [sys.executable, "-m", "streamfluo", "housekeeping", str(folder / "rig.toml")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert keeper.stdout is not None
        heard: list[str] = []
        listener = threading.Thread(target=lambda: heard.extend(keeper.stdout or ()), daemon=True)
        listener.start()
        while not heard:
            time.sleep(0.1)
        rates = list(windows(engine, keeper))
        exported = sum(note_of(path) is not None for path in (folder / "sessions").glob("s*"))
        keeper.kill()
        engine.stop()
        engine.stop()
        engine.wait()
        waits, works = np.median(rates, axis=0)
        print(
            f"frames/s: {waits:.0f} while exports wait, {works:.0f} while they work; {exported} of {SESSIONS} exported"
        )
        print(f"housekeeping said last: {heard[-1].strip()[:200]}")
        ratios = [shared / alone for alone, shared in rates]
        print(f"mean of the ratios {np.mean(ratios):.3f} ± {np.std(ratios) / np.sqrt(len(ratios)):.3f}")
        show(f"series beside exports ({to}) relative to alone", ratios, "≥ 0.97", "1")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
