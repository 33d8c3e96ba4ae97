"""What was not seen: pixels that are NaN, infinite or absurd, and frames that a step declares not valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .block import Block
from .card_block import CardBlock
from .errors import FrameError
from .operator import Values

VALID = "valid"  # the value by which a step declares frames valid or not
MAX_ADU = 1e15  # sums of squares of 10⁸ such pixels still fit a float32, and powers to the 8th of 10⁹ a float64


def known_pixels(block: Block) -> Block:
    """Return the block with NaN for pixels that are infinite or beyond ±1e15: what they hold is no light.

    It is the block itself, not copied, where all are NaN or within. Cost: two reads of float frames, a fifth to a third
    of `moments` and `sofi`; once for each block, however many steps see it.
    """
    if block.known or block.dtype.kind != "f":
        return block
    if isinstance(block, CardBlock):
        if block.on_card is None:  # for all steps that take it there
            xp, there = block.card.xp, block.there
            light = xp.where(xp.abs(there) <= there.dtype.type(MAX_ADU), there, there.dtype.type(np.nan))
            object.__setattr__(block, "on_card", CardBlock(block, block.card, light).as_known())
        found: Block = block.on_card
        return found
    pixels = block.pixels
    if not any(_has_odd_pixels(frame) for frame in pixels):
        return block.as_known()
    with np.errstate(invalid="ignore"):
        known = np.abs(pixels) <= MAX_ADU
    return replace(block, pixels=np.where(known, pixels, pixels.dtype.type(np.nan))).as_known()


def known_values(values: np.ndarray) -> np.ndarray:
    """Return measured values, NaN where they are infinite or beyond ±1e15."""
    return np.where(np.abs(values) <= MAX_ADU, values, np.nan)


def valid_frames(block: Block, inputs: Values) -> np.ndarray:
    """Return which frames (t,) of `known_pixels` may be learned from: with a seen pixel, and not declared invalid.

    `inputs` may hold `valid` (t,) of a step before. Raises FrameError if it has another length.
    """
    seen = _seen_frames(block)
    if (declared := inputs.get(VALID)) is None:
        return seen
    valid = np.asarray(declared)
    if valid.shape != seen.shape:
        raise FrameError(f"'valid' of {len(seen)} frames must be {seen.shape}, found {valid.shape}")
    return seen & (valid.astype(float) > 0)


def seen_parts(block: Block, inputs: Values) -> Iterator[Block]:
    """Yield the runs of frames of `known_pixels` that may be learned from; those in between count as a gap."""
    if block.dtype.kind != "f" and inputs.get(VALID) is None:  # one part: to look for others took 6 µs a frame
        yield block
        return
    valid = valid_frames(block, inputs)
    edges = [0, *(np.flatnonzero(np.diff(valid)) + 1).tolist(), len(block)]
    for first, last in pairwise(edges):
        if valid[first]:
            yield block.cut(block.index + first, block.index + last)


def _seen_frames(block: Block) -> np.ndarray:
    """Which frames (t,) have a seen pixel: of integers all."""
    if block.dtype.kind != "f":
        return np.ones(len(block), bool)
    if isinstance(block, CardBlock):
        _, height, width = block.shape
        seen = block.card.get(~block.card.xp.isnan(block.there[:, height // 2, width // 2]))
        return seen if seen.all() else block.card.get((~block.card.xp.isnan(block.there)).any((1, 2)))
    return np.array([_has_seen_pixels(frame) for frame in block.pixels])


def _has_odd_pixels(frame: np.ndarray) -> bool:
    return bool(np.fmax.reduce(frame, None) > MAX_ADU or np.fmin.reduce(frame, None) < -MAX_ADU)


def _has_seen_pixels(frame: np.ndarray) -> bool:
    if frame.dtype.kind != "f" or np.isfinite(frame[len(frame) // 2, frame.shape[1] // 2]):
        return True
    return any(np.isfinite(row).any() for row in frame)
