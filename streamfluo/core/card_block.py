"""Frames on a card: they go there once, and come back where somebody needs them on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from .block import NO_USER, Block
from .card import Card


class CardBlock(Block):
    """A block whose frames are on a card: `there` (t, y, x), an array of the card that nobody changes.

    `pixels` copies them to the host when they are asked for first; raises CardLost where that is not possible.
    """

    card: Card
    there: Any

    def __init__(self, of: Block, card: Card, there: Any, host: np.ndarray | None = None) -> None:
        """Frames of a card in place of another block's; `host`: the same on the host."""
        about = {"index": of.index, "times_ns": of.times_ns, "channel": of.channel, "z": of.z, "user": of.user}
        self.__dict__.update(about, known=False, on_card=None, card=card, there=there, _host=host)

    def at(self, index: int, times_ns: np.ndarray) -> CardBlock:
        """Return these frames under other indices, from `index` on, and times."""
        user = {n + index - self.index: facts for n, facts in self.user.items()} if self.user else NO_USER
        moved = CardBlock(self, self.card, self.there, self.__dict__["_host"])
        moved.__dict__.update(index=index, times_ns=times_ns, user=user)
        return moved

    @property
    def pixels(self) -> np.ndarray:
        """The frames on the host (t, y, x), read-only."""
        host: np.ndarray | None = self.__dict__["_host"]
        if host is None:
            self.__dict__["_host"] = host = self.card.get(self.there)
            host.flags.writeable = False
        return host

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.there.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.there.dtype)

    def _part(self, a: int, b: int) -> Block:
        host = self.__dict__["_host"]
        part = CardBlock(self, self.card, self.there[a:b], None if host is None else host[a:b])
        part.__dict__.update(index=self.index + a, times_ns=self.times_ns[a:b], user=self._user_of(a, b))
        return part


def made_on_card(block: Block, card: Card, there: Any, index: int, times_ns: np.ndarray) -> CardBlock:
    """Return other frames (t, y, x) of a card, from `index` on, of the plane of a block."""
    made = CardBlock(block, card, there)
    made.__dict__.update(index=index, times_ns=times_ns, user=NO_USER)
    return made


def on_device(block: Block, card: Card | None) -> Block:
    """Return a block where an operator runs: on its card, where it is put once however many steps take it there, or
    (None) as it is."""
    if card is None or isinstance(block, CardBlock):
        return block
    if block.on_card is None:
        there = CardBlock(block, card, card.put(block.pixels), block.pixels)
        object.__setattr__(block, "on_card", there.as_known() if block.known else there)
    found: CardBlock = block.on_card
    return found


def frames_of(block: Block, card: Card | None) -> Any:
    """Return the frames (t, y, x) of a block of `on_device`: an array of the card, or (None) of the host."""
    return block.there if card is not None and isinstance(block, CardBlock) else block.pixels
