"""Blocks of each plane that wait until all planes have come to their frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace

from ..core.block import Block
from ..core.source import Gap
from .silent_planes import SILENT_FRAMES


class HeldBlocks:
    """What planes wait with, for the late steps of a chain; `awaited` are the planes whose frames must have come.

    A plane 64 frames behind the first one is not waited for. Blocks that wait are copied once: their pixels are not
    theirs for longer than a call.
    """

    def __init__(self, planes: Collection[str], awaited: Collection[str]) -> None:
        self._items: dict[str, deque[Block | Gap]] = {plane: deque() for plane in planes}
        self._awaited = awaited
        self._reached: dict[str, int] = {}

    def __bool__(self) -> bool:
        return any(self._items.values())

    def passes(self, plane: str, item: Block | Gap) -> Iterator[tuple[str, Block | Gap]]:
        """Take what came of a plane, and yield with their planes all that need not wait any longer."""
        if not self._reached:
            self._reached = dict.fromkeys(self._awaited, _first(item))
        if plane in self._reached:
            self._reached[plane] = _stop(item)
        if plane in self._items:
            self._items[plane].append(item)
        newest = max(self._reached.values())
        yield from self._before(min(at for at in self._reached.values() if newest - at <= SILENT_FRAMES))
        if (left := self._items.get(plane)) and isinstance(block := left[-1], Block):
            left[-1] = replace(block, pixels=block.pixels.copy())

    def rest(self) -> Iterator[tuple[str, Block | Gap]]:
        """Yield with their planes all that wait: no more will come."""
        yield from self._before(max(self._reached.values(), default=0))

    def _before(self, stop: int) -> Iterator[tuple[str, Block | Gap]]:
        for plane, items in self._items.items():
            while items and _first(items[0]) < stop:
                item = items.popleft()
                if isinstance(item, Block) and item.stop > stop:
                    items.appendleft(item.cut(stop, item.stop))
                    item = item.cut(item.index, stop)
                yield plane, item


def _first(item: Block | Gap) -> int:
    return item.first if isinstance(item, Gap) else item.index


def _stop(item: Block | Gap) -> int:
    return item.first + item.count if isinstance(item, Gap) else item.stop
