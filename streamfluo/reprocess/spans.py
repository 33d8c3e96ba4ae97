"""Spans of a recording's frames: what a source gives of them, cut where they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.block import Block
from ..core.errors import SourceError
from ..core.source import Gap, Source
from ..engine.chain import Chain
from ..engine.config import Config


def frames_until(source: Source, stop: int, cuts: Sequence[int] = ()) -> Iterator[Block | Gap]:
    """Yield what a source gives of the frames before `stop`: blocks and gaps, cut there and at `cuts`, ascending."""
    for item in source.blocks():
        at = item.first if isinstance(item, Gap) else item.index
        if at >= stop:
            return
        end = min(stop, item.first + item.count if isinstance(item, Gap) else item.stop)
        for cut in (*(cut for cut in cuts if at < cut < end), end):
            yield _cut(item, at, cut)
            at = cut


def _cut(item: Block | Gap, first: int, stop: int) -> Block | Gap:
    if isinstance(item, Gap):
        return replace(item, first=first, count=stop - first)
    return item if (item.index, item.stop) == (first, stop) else item.cut(first, stop)


def refuse_muted(config: Config, chain: Chain) -> None:
    """Raise SourceError where a step was muted: parts cannot tell the others, as of which frame."""
    for step in chain.steps:
        if step.muted:
            raise SourceError(f"{config.where}: step {step.id!r}: {step.muted}; reprocess it without parts")
