"""The journal against a plain file write of the same bytes, both synced at the end; 512×512×u16 in blocks of 32."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench import SPEC, show

from streamfluo import Block
from streamfluo.session.journal import JournalWriter

ROUNDS, BLOCKS = 9, 48


def write_plain(folder: Path, blocks: list[Block]) -> None:
    """Write the pixels and nothing else into one file."""
    with (folder / "plain").open("wb", buffering=0) as file:
        for block in blocks:
            file.write(block.pixels)
        os.fdatasync(file.fileno())


def write_journal(folder: Path, blocks: list[Block]) -> None:
    """Write the frames as the recorder does."""
    writer = JournalWriter(folder, "bench")
    for block in blocks:
        writer.append(block)
    writer.close()


def seconds(write: Callable[[Path, list[Block]], None], blocks: list[Block]) -> float:
    """Return how long it takes, in an empty folder and with nothing else on its way to the disk."""
    Path("build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir="build"))
    os.sync()
    began = time.perf_counter()
    write(folder, blocks)
    elapsed = time.perf_counter() - began
    shutil.rmtree(folder)  # at once: the next one then finds the same memory and disk blocks free
    return elapsed


def main() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (4, 32, *SPEC.shape), np.uint16)
    blocks = [Block(32 * n, np.zeros(32), frames[n % 4]) for n in range(BLOCKS)]
    rounds = [(seconds(write_plain, blocks), seconds(write_journal, blocks)) for _ in range(ROUNDS)]
    plain, journal = (BLOCKS * frames[0].nbytes / np.median(rounds, axis=0) / 1e6).tolist()
    print(f"plain {plain:.0f} MB/s, journal {journal:.0f} MB/s")
    show("journal speed relative to a plain write", [p / j for p, j in rounds], "≥ 0.60", "–")


if __name__ == "__main__":
    main()
