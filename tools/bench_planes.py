"""Four planes of 256 × 256 against one plane of 512 × 512 at the same rate: the same bytes, one image or four of them.

Each goes through ring, journal and `moments` as a live stream does, image by image. The ring's memory stands beside.
Then the shift of a simulated volume against the truth: of each slice, and of the volume, pooled from all of them.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import show

from streamfluo import Block, Chain, Plane, Source, Spec, open_source
from streamfluo.core.source import Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES, ROUNDS = 1500, 5
ONE = Spec((512, 512), "uint16", 0.01)
FOUR = Spec((256, 256), "uint16", 0.01, planes=tuple(Plane("green", z) for z in range(4)))
CHAIN = '[[step]]\nkind = "moments"\n'
VOLUME = """
[[step]]
id = "slice"
kind = "motion"
[[step]]
id = "volume"
kind = "motion"
after = "source"
params = { mode = "apply" }
inputs = { shift_px = "*/slice.shift_px" }
"""
SLICES, SEEDS, BEGINNING = 4, (3, 11, 29), 100


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


def shift_errors_px(seed: int) -> tuple[float, float]:
    """Return the error of the shifts of slices, and of the volume's, about their means [px]."""
    with open_source(f"sim:calcium?z={SLICES}&shape=128x128&frames=400&seed={seed}", planes=True) as source:
        chain, found = Chain(parse_config(VOLUME, "bench"), source.spec), {}
        for block in source.blocks():
            for step, output in chain.push(block):
                found.setdefault(step.rpartition("/")[2], {}).setdefault(step, []).append(output.values["shift_px"])
        true_px = source.truth["shift_px"]
    errors_px = {kind: [np.concatenate(v) - true_px for v in steps.values()] for kind, steps in found.items()}
    slices_px, volume_px = (np.std([e[BEGINNING:] - e[BEGINNING:].mean(0) for e in errors_px[k]]) for k in errors_px)
    return float(slices_px), float(volume_px)


def main() -> None:
    """Print the rates side by side."""
    print(f"motion of {SLICES} slices, 128 × 128, {len(SEEDS)} seeds; 1/√{SLICES} = {SLICES**-0.5:.2f} is the limit")
    for slices_px, volume_px in map(shift_errors_px, SEEDS):
        print(f"  slice by slice {slices_px:.4f} px, by volume {volume_px:.4f} px: {volume_px / slices_px:.2f} of it")
    for raw, what in ((False, "ring and moments"), (True, "ring, journal and moments")):
        rates = [(run(ONE, raw), run(FOUR, raw)) for _ in range(ROUNDS)]
        ratios = [four[0] / one[0] for one, four in rates]
        show(f"{what}: rate of four planes over that of one", ratios, "1", "1")
        for n, planes in enumerate(("one plane of 512 × 512", "four planes of 256 × 256")):
            rate, held = (np.median([pair[n][i] for pair in rates]) for i in (0, 1))
            print(f"  {planes}: {rate:.0f} time points/s, {held:.0f} MB at most in the ring")


if __name__ == "__main__":
    main()
