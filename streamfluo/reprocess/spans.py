"""Spans of a recording's frames: what a source gives of them, cut where they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.block import Block
from ..core.errors import SourceError
from ..core.plane import plane_in
from ..core.source import Gap, Source
from ..engine.chain import Chain
from ..engine.config import Config


def frames_until(source: Source, stop: int, cuts: Sequence[int] = ()) -> Iterator[Block | Gap]:
    """Yield what a source gives of the frames before `stop`, of every plane: blocks and gaps, cut there and at `cuts`,
    ascending."""
    left: set[str | None] = set(source.spec.plane_names)
    for item in source.blocks():
        at, end = (item.first, item.first + item.count) if isinstance(item, Gap) else (item.index, item.stop)
        for cut in (*(cut for cut in cuts if at < cut < min(end, stop)), min(end, stop)):
            if at < cut:
                yield _cut(item, at, cut)
            at = cut
        if end >= stop:
            left.discard(plane_in(source.spec.plane_names, item.plane))
            if not left:
                return


def _cut(item: Block | Gap, first: int, stop: int) -> Block | Gap:
    if isinstance(item, Gap):
        return replace(item, first=first, count=stop - first)
    return item if (item.index, item.stop) == (first, stop) else item.cut(first, stop)


def refuse_muted(config: Config, chain: Chain) -> None:
    """Raise SourceError where a step was muted: parts cannot tell the others, as of which frame."""
    for step in chain.steps:
        if step.muted:
            raise SourceError(f"{config.where}: step {step.id!r}: {step.muted}; reprocess it without parts")
