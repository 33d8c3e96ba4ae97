"""A pause: a source that can wait waits; what comes of another one meanwhile is passed by, and a gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..core.block import Block
from ..core.source import PAUSED, Gap
from .parts import Parts

LOOK_S = 0.2


def while_taken(parts: Parts, items: Iterator[Block | Gap]) -> Iterator[Block | Gap]:
    """Yield what comes while it does not pause, after each pause the gap that it left in each plane."""
    missed: dict[str, tuple[int, int]] = {}
    for item in items:
        plane = parts.plane(item)
        start, stop = (item.first, item.first + item.count) if isinstance(item, Gap) else (item.index, item.stop)
        while parts.arriving.paused and parts.source.seekable and not parts.stopping.state:
            parts.arriving.wait(LOOK_S)
            parts.source.keep_alive()
        if parts.arriving.came(plane, stop) or parts.source.seekable:
            yield from _left_by(missed)
            missed.clear()
            yield item
        else:
            missed[plane] = (missed.get(plane, (start, 0))[0], stop)
            _acknowledge(parts, missed)
    yield from _left_by(missed)


def _left_by(missed: Mapping[str, tuple[int, int]]) -> Iterator[Gap]:
    for plane, (start, stop) in missed.items():
        yield Gap(start, stop - start, PAUSED, plane)


def _acknowledge(parts: Parts, missed: Mapping[str, tuple[int, int]]) -> None:
    """Let the source forget what is passed by, once all that came before it is written."""
    written = parts.position.written
    safe = [missed[p][1] if p in missed and at >= missed[p][0] else at for p, at in written.items()]
    parts.source.acknowledge(min(safe))
