"""`moments` in blocks of 32 frames of 512×512×u16 against one cold memory copy of the block."""

import time

import numpy as np
from bench import SPEC, show

from streamfluo import Block, create

ROUNDS, BLOCKS = 9, 12


def main() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (BLOCKS, 32, *SPEC.shape), np.uint16)
    target = np.zeros_like(frames)
    operator = create("moments", SPEC)
    ratios: dict[int, list[float]] = {32: [], 1: []}
    index = 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for n in range(BLOCKS):
            np.copyto(target[n], frames[n])
        copying = time.perf_counter() - began
        for size, found in ratios.items():
            began = time.perf_counter()
            for n in range(BLOCKS):
                for start in range(0, 32, size):
                    operator.update(Block(index, np.zeros(size), frames[n, start : start + size]))
                    index += size
            found.append((time.perf_counter() - began) / copying)
    print(f"cold copy of a block: {copying / BLOCKS * 1e3:.2f} ms, {frames.nbytes / copying / 1e9:.1f} GB/s")
    show("moments, blocks of 32, in copies of the block", ratios[32], "≤ 4", "≤ 2")
    show("moments, blocks of 1, in copies of the block", ratios[1], "–", "–")


if __name__ == "__main__":
    main()
