"""Four planes of 256 × 256 against one plane of 512 × 512 at the same rate: the same bytes, one image or four of them.

Each goes through ring, journal and `moments` as a live stream does, image by image. The ring's memory stands beside.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import show

from streamfluo import Block, Plane, Source, Spec
from streamfluo.core.source import Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES, ROUNDS = 1500, 5
ONE = Spec((512, 512), "uint16", 0.01)
FOUR = Spec((256, 256), "uint16", 0.01, planes=tuple(Plane("green", z) for z in range(4)))
CHAIN = '[[step]]\nkind = "moments"\n'


class Images(Source):
    """Images that wait in memory, each a block of its own."""

    seekable = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.series = Series("bench", "bench", 0, FRAMES * len(spec.plane_names))
        self._images = np.random.default_rng(0).integers(0, 4096, (16, *spec.shape), np.uint16)

    def blocks(self, max_frames: int = 32) -> Iterator[Block]:
        """Yield the planes in turn."""
        planes = self.spec.planes or (Plane("green"),)
        for index in range(FRAMES):
            for n, plane in enumerate(planes):
                at = (index + n) % 16
                yield Block(index, [index], self._images[at : at + 1], plane.channel, plane.z)

    def seek(self, index: int) -> None:
        """Stay where it is."""


def run(spec: Spec, raw: bool) -> tuple[float, float]:
    """Return time points a second, and the most MB that waited in the ring."""
    folder = Path(tempfile.mkdtemp(dir="."))
    try:
        config = parse_config(f"{CHAIN}[record]\nraw = {str(raw).lower()}\n", "bench")
        engine = Engine(Images(spec), config, folder / "S", ring_bytes=64 << 20)
        began = time.perf_counter()
        engine.start()
        engine.wait()
        assert engine.error is None, engine.error
        return FRAMES / (time.perf_counter() - began), engine.health().edges["ingest"].peak_backlog / 1e6
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print the rates side by side."""
    for raw, what in ((False, "ring and moments"), (True, "ring, journal and moments")):
        rates = [(run(ONE, raw), run(FOUR, raw)) for _ in range(ROUNDS)]
        ratios = [four[0] / one[0] for one, four in rates]
        show(f"{what}: rate of four planes over that of one", ratios, "1", "1")
        for n, planes in enumerate(("one plane of 512 × 512", "four planes of 256 × 256")):
            rate, held = (np.median([pair[n][i] for pair in rates]) for i in (0, 1))
            print(f"  {planes}: {rate:.0f} time points/s, {held:.0f} MB at most in the ring")


if __name__ == "__main__":
    main()
