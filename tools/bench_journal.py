"""The journal against a plain file write of the same bytes, both synced at the end; 512×512×u16 in blocks of 32."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from bench import SPEC, show

from streamfluo import Block
from streamfluo.edges.journal import JournalWriter

ROUNDS, BLOCKS = 7, 48


def main() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (4, 32, *SPEC.shape), np.uint16)
    blocks = [Block(32 * n, np.zeros(32), frames[n % 4]) for n in range(BLOCKS)]
    total = BLOCKS * frames[0].nbytes
    ratios = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            with open(f"{folder}/plain", "wb", buffering=0) as file:
                for block in blocks:
                    file.write(block.pixels)
                os.fdatasync(file.fileno())
            plain = time.perf_counter() - began
            began = time.perf_counter()
            writer = JournalWriter(Path(folder) / "journal", "bench")
            for block in blocks:
                writer.append(block)
            writer.close()
            journal = time.perf_counter() - began
            ratios.append(plain / journal)
            shutil.rmtree(f"{folder}/journal")
            os.remove(f"{folder}/plain")
    print(f"last round: plain {total / plain / 1e6:.0f} MB/s, journal {total / journal / 1e6:.0f} MB/s")
    show("journal speed relative to a plain write", ratios, "≥ 0.60", "–")


if __name__ == "__main__":
    main()
