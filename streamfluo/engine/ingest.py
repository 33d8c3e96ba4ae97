"""The ingest thread: source → ring buffer, of a resumed session first what its chain has not seen."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator

from ..core.block import Block
from ..core.source import Gap
from ..session.reader import open_session
from .parts import Parts
from .pausing import while_taken
from .silent_planes import SilentPlanes

log = logging.getLogger("streamfluo")


def ingest(parts: Parts) -> None:
    """Put what the source gives into the ring buffer until it ends, is stopped, or the session holds enough."""
    planes = SilentPlanes(parts.chain.spec.plane_names)
    try:
        for item in _items(parts):
            start, stop = (item.first, item.first + item.count) if isinstance(item, Gap) else (item.index, item.stop)
            if parts.began_s is None:
                parts.began_s = time.monotonic()
                if parts.source.joined_seq:
                    parts.tell({"event": "joined", "frame": start, "seq": parts.source.joined_seq})
            for event in planes.events(item.plane, start, stop):
                log.warning("%s: %s from frame %d on", event["event"], event["plane"], event["frame"])
                parts.tell(event)
            if not parts.ring.put(item):
                return
            if isinstance(item, Gap):
                parts.accounts.gap(item)
            else:
                parts.accounts.count("ingest", item)
            parts.source.acknowledge(min(parts.position.written.values()))
    finally:
        parts.ring.close()


def _items(parts: Parts) -> Iterator[Block | Gap]:
    stopping, frames = parts.stopping, 0
    if parts.position.resumes:
        frames = yield from _recorded(parts)
    if parts.max_frames is not None and frames >= parts.max_frames:
        stopping.state = stopping.state or "finished"
        return
    for item in while_taken(parts, _with_gaps(parts)):
        if parts.max_frames is not None and isinstance(item, Block):
            item = item.cut(item.index, item.index + parts.max_frames - frames)
            frames += len(item)
        if not stopping.state:
            yield item
        if parts.max_frames is not None and frames >= parts.max_frames:
            stopping.state = stopping.state or "finished"
        if stopping.state:
            return


def _with_gaps(parts: Parts) -> Iterator[Block | Gap]:
    """Yield what the source gives, and a gap where a plane's index jumps without a word, as that of a file may."""
    reached = dict(parts.position.resumed_at) if parts.position.resumes else {}
    for item in parts.source.blocks():
        plane = parts.plane(item)
        start, stop = (item.first, item.first + item.count) if isinstance(item, Gap) else (item.index, item.stop)
        if start > reached.get(plane, start):
            yield Gap(reached[plane], start - reached[plane], "camera", plane)
        reached[plane] = stop
        yield item if parts.listening is None or isinstance(item, Gap) else parts.listening.beside(item)


def _recorded(parts: Parts) -> Generator[Block | Gap, None, int]:
    """Yield the recorded frames that the chain has not seen, make the source go on behind them; return how many frames
    the session holds."""
    assert parts.session is not None
    journal, position = parts.session.journal, parts.position
    session = open_session(parts.session.folder)
    gaps = [gap for gap in session.gaps if gap.first < position.resumed_at[parts.plane(gap)]]
    for gap in gaps:
        parts.accounts.gap(gap)
    if journal is not None and any(position.reached[p] < at for p, at in position.resumed_at.items()):
        yield from session.journal.blocks(position.next_index)
    frames = journal.frames if journal is not None else parts.accounts.health.frames
    joined = next((event["seq"] for event in session.events if event["event"] == "joined"), 0)
    at, emitted = position.resumed_at, joined + frames + sum(g.count for g in gaps if g.reason != "camera")
    parts.source.resume(min(at.values()), emitted, at if parts.chain.spec.planes else {})
    return frames
