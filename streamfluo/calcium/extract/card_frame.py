"""Frames of a block on a card, and what the host asks of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...core.block import Block
from ...core.card_block import CardBlock


class CardFrames:
    """The frames of a block: on the card, on the host where they are asked for, and every so many pixels of them."""

    def __init__(self, block: CardBlock, step: int) -> None:
        self._block, self.step = block, step

    @cached_property
    def sampled(self) -> np.ndarray:
        """Every step-th row and column of each frame (t, …), copied once for all."""
        there = self._block.there[:, :: self.step, :: self.step]
        return self._block.card.get(self._block.card.xp.ascontiguousarray(there))

    def there(self, t: int) -> Any:
        """A frame (y, x) on the card."""
        return self._block.there[t]

    def here(self, t: int) -> np.ndarray:
        """A frame (y, x) on the host."""
        frame: np.ndarray = self._block.pixels[t]
        return frame


class CardFrame(NamedTuple):
    """A frame of a block that is on a card."""

    of: CardFrames
    t: int

    @property
    def there(self) -> Any:
        """The frame (y, x) on the card."""
        return self.of.there(self.t)

    @property
    def here(self) -> np.ndarray:
        """The frame (y, x) on the host."""
        return self.of.here(self.t)

    @property
    def sampled(self) -> np.ndarray:
        """Every so many rows and columns of it."""
        frame: np.ndarray = self.of.sampled[self.t]
        return frame


Frame = np.ndarray | CardFrame


def frames_in(block: Block, step: int) -> list[Frame]:
    """Return the frames of a block where they are; of those on a card every step-th row and column is read together."""
    if not isinstance(block, CardBlock):
        return list(block.pixels)
    frames = CardFrames(block, step)
    return [CardFrame(frames, t) for t in range(len(block))]


def on_host(frame: Frame) -> np.ndarray:
    """Return a frame (y, x) where it is computed on by the processor."""
    return frame.here if isinstance(frame, CardFrame) else frame
