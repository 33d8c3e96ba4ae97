"""Accounting: what went through each edge. Every frame that was ingested must have gone through every one."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.block import Block
from ..core.source import Gap
from ..session.health import Edge, Health


class Accounts:
    """The counters of a run, each edge counted by the thread that it belongs to."""

    def __init__(self, edges: Iterable[str]) -> None:
        self.health = Health(edges={name: Edge() for name in edges})

    def count(self, edge: str, block: Block) -> None:
        """Count a block that went through an edge."""
        counted = self.health.edges[edge]
        counted.frames += len(block)
        counted.bytes += block.pixels.nbytes
        counted.blocks += 1

    def gap(self, gap: Gap) -> None:
        """Count frames that never came, by who lost them."""
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
