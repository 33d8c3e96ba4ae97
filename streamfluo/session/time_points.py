"""Frames of several planes put together: what each plane shows at one index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..core.block import Block


class Shown(NamedTuple):
    """One frame: when it was taken, and its pixels (y, x)."""

    t_ns: int
    pixels: np.ndarray


def time_points(blocks: Iterable[Block], planes: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Shown]]]:
    """Yield each index with the frames that there are of it, by plane.

    `blocks` give the planes evenly: what waits for the last plane of an index is held in memory.
    """
    waiting: dict[int, dict[str, Shown]] = {}
    reached = dict.fromkeys(planes, -1)
    for block in blocks:
        for n, pixels in enumerate(block.pixels):
            waiting.setdefault(block.index + n, {})[block.plane] = Shown(int(block.times_ns[n]), pixels)
        before = min(reached.values())
        reached[block.plane] = block.stop
        if (done := min(reached.values())) > before:
            for index in sorted(index for index in waiting if index < done):
                yield index, waiting.pop(index)
    for index in sorted(waiting):
        yield index, waiting[index]
