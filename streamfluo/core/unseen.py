"""What was not seen: pixels that are NaN, and frames that a step declares not valid."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .block import Block
from .errors import FrameError
from .operator import Values

VALID = "valid"  # the value by which a step declares frames valid or not


def valid_frames(block: Block, inputs: Values) -> np.ndarray:
    """Return which frames (t,) may be learned from: with a finite pixel, and not declared invalid.

    `inputs` may hold `valid` (t,) of a step before. Raises FrameError if it has another length.
    """
    seen = np.array([_has_seen_pixels(frame) for frame in block.pixels])
    if (declared := inputs.get(VALID)) is None:
        return seen
    valid = np.asarray(declared)
    if valid.shape != seen.shape:
        raise FrameError(f"'valid' of {len(seen)} frames must be {seen.shape}, found {valid.shape}")
    return seen & (valid.astype(float) > 0)


def seen_parts(block: Block, inputs: Values) -> Iterator[Block]:
    """Yield the runs of a block's frames that may be learned from; those in between count as a gap."""
    valid = valid_frames(block, inputs)
    edges = [0, *(np.flatnonzero(np.diff(valid)) + 1).tolist(), len(block)]
    for first, last in pairwise(edges):
        if valid[first]:
            yield block.cut(block.index + first, block.index + last)


def _has_seen_pixels(frame: np.ndarray) -> bool:
    return frame.dtype.kind != "f" or any(np.isfinite(row).any() for row in frame)
