"""Frames of a block on a card, and what the host asks of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...core.block import Block
from ...core.card_block import CardBlock

STRIDE = 8  # pixels between those of a frame that are compared, at least
_SIDE = 32  # rows and columns of large frames that are compared as they come: 1024 pixels tell a quantile to 3 %


class Looks(Protocol):
    """What looks at frames on a card."""

    def look(self, frames: Any, step: int, /) -> tuple[np.ndarray, np.ndarray]: ...


class CardFrames:
    """The frames of a block: on the card, and on the host where they are asked for."""

    def __init__(self, block: CardBlock, memory: Looks) -> None:
        self._block, self._memory = block, memory

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each frame every so many rows and columns (t, …), and which bins of the ring are known, in one copy."""
        return self._memory.look(self._block.there, compared_step(self._block.shape[1:]))

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
        """Every so many rows and columns of it, on the host."""
        frame: np.ndarray = self.of.seen[0][self.t]
        return frame

    @property
    def known(self) -> np.ndarray:
        """Which bins of the ring's grid are known (rows, columns), as 1 or 0; of integers none is told of."""
        bins: np.ndarray = self.of.seen[1][self.t]
        return bins


Frame = np.ndarray | CardFrame


def frames_in(block: Block, memory: Looks | None) -> list[Frame]:
    """Return the frames of a block, where they are."""
    if memory is None or not isinstance(block, CardBlock):
        return list(block.pixels)
    frames = CardFrames(block, memory)
    return [CardFrame(frames, t) for t in range(len(block))]


def on_host(frame: Frame) -> np.ndarray:
    """Return a frame (y, x) where it is computed on by the processor."""
    return frame.here if isinstance(frame, CardFrame) else frame


def compared_step(shape: tuple[int, ...]) -> int:
    """Return how many pixels lie between those of a frame (y, x) that are compared as it comes."""
    return max(STRIDE, min(shape) // _SIDE)
