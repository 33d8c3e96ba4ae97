"""Accounting: what went through each edge. Every frame that was ingested must have gone through every one."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.block import Block
from ..core.plane import ONE_PLANE
from ..core.source import PAUSED, Gap
from ..session.health import Edge, Health, PlaneHealth


class Accounts:
    """The counters of a run, each edge counted by the thread that it belongs to."""

    def __init__(self, edges: Iterable[str], planes: Iterable[str]) -> None:
        several = [plane for plane in planes if plane != ONE_PLANE]
        self.health = Health(edges={name: Edge() for name in edges}, planes={name: PlaneHealth() for name in several})

    def processed(self, plane: str, block: Block) -> None:
        """Count frames that the chain has seen for the first time."""
        self.health.frames += len(block)
        if (counted := self.health.planes.get(plane)) is not None:
            counted.frames += len(block)
            counted.next_index = block.stop

    def count(self, edge: str, block: Block) -> None:
        """Count a block that went through an edge."""
        counted = self.health.edges[edge]
        counted.frames += len(block)
        counted.bytes += block.pixels.nbytes
        counted.blocks += 1

    def gap(self, gap: Gap) -> None:
        """Count frames that never came, by who lost them."""
        if gap.reason == PAUSED:
            self.health.paused += gap.count
            return
        if (counted := self.health.planes.get(gap.plane)) is not None:
            counted.lost += gap.count
        if gap.reason == "camera":
            self.health.lost_camera += gap.count
        else:
            self.health.lost_transport += gap.count

    def backlog(self, edge: str, backlog: int, peak: int) -> None:
        """Note how many bytes wait behind an edge."""
        self.health.edges[edge].backlog, self.health.edges[edge].peak_backlog = backlog, peak

    def missing(self, edges: Iterable[str]) -> str | None:
        """Return which of these edges did not see every frame that was ingested: a fault of ours; None if all did."""
        ingested = self.health.edges["ingest"].frames
        for name in edges:
            if (seen := self.health.edges[name].frames) != ingested:
                return f"{name}: {seen} of {ingested} frames arrived; please report this"
        return None
