"""Counters: what went through each edge, and how long each step takes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

_BINS = 512
_LOW_NS, _DECADES = 100.0, 9  # 100 ns to 100 s a frame, 4 % a bin
_BINS_A_DECADE = _BINS / _DECADES


class StepTimes:
    """Time a step takes per frame: percentiles from a histogram of 4 % bins, so that memory stays flat."""

    def __init__(self) -> None:
        self._bins = array("q", bytes(8 * _BINS))  # an item of it is counted up in a third of numpy's time
        self.max_ns = 0.0

    def add(self, elapsed_ns: int, frames: int) -> None:
        """Count `frames` frames that took `elapsed_ns` together."""
        each = elapsed_ns / frames
        at = int(math.log10(each / _LOW_NS) * _BINS_A_DECADE) if each > _LOW_NS else 0
        self._bins[at if at < _BINS else _BINS - 1] += frames
        if each > self.max_ns:
            self.max_ns = each

    def merge(self, other: StepTimes) -> None:
        """Count what another one has counted as well."""
        np.add(self._counts, other._counts, out=self._counts)
        self.max_ns = max(self.max_ns, other.max_ns)

    @property
    def _counts(self) -> np.ndarray:
        return np.frombuffer(self._bins, np.int64)

    @property
    def count(self) -> int:
        """How many were counted."""
        return int(self._counts.sum())

    def below(self, bounds_s: Sequence[float]) -> list[int]:
        """Return how many took up to each bound, to within a bin."""
        cumulative = np.cumsum(self._counts)
        bins = [int(math.log10(bound * 1e9 / _LOW_NS) * _BINS / _DECADES) for bound in bounds_s]
        return [int(cumulative[min(at, _BINS - 1)]) for at in bins]

    def summary_ms(self) -> dict[str, float]:
        """Return p50, p99 and max in milliseconds a frame; empty before the first."""
        total = int(self._counts.sum())
        if not total:
            return {}
        cumulative = np.cumsum(self._counts)

        def percentile(q: float) -> float:
            at = int(np.searchsorted(cumulative, q * total))
            return float(min(_LOW_NS * 10 ** ((at + 1) * _DECADES / _BINS), self.max_ns)) / 1e6

        return {"p50": percentile(0.5), "p99": percentile(0.99), "max": self.max_ns / 1e6}


class Latency:
    """How long after their arrival frames were taken by the chain, and were through it."""

    def __init__(self) -> None:
        self.taken, self.through = StepTimes(), StepTimes()

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and max of both in milliseconds; empty before the first frame."""
        found = {"arrival to chain": self.taken.summary_ms(), "arrival to end of chain": self.through.summary_ms()}
        return {name: times for name, times in found.items() if times}


def spelled_facts(facts: Mapping[str, Any]) -> str:
    """Return what an action or an input says of itself in one line, without what is 0."""
    said = {name: spelled_ms(fact) if isinstance(fact, Mapping) else f"{fact}" for name, fact in facts.items() if fact}
    return ", ".join(f"{name} {text}" for name, text in said.items())


def spelled_ms(times: Mapping[str, float]) -> str:
    """Return p50, p99 and max in words."""
    return ", ".join(f"{name} {value:.3g}" for name, value in times.items()) + " ms"


@dataclass
class Edge:
    """What went through one edge; `backlog` and `peak_backlog` in bytes waiting behind it."""

    frames: int = 0
    bytes: int = 0
    blocks: int = 0
    backlog: int = 0
    peak_backlog: int = 0


@dataclass
class PlaneHealth:
    """How one plane of several fares."""

    frames: int = 0
    lost: int = 0
    next_index: int = 0


@dataclass
class Health:
    """How a run fares: frames, losses, edges and steps. `lost` = camera drops + transport drops.

    `paused`: frames passed by as asked, which are not lost;
    `next_index` is one past the last frame that the chain has seen, of several planes of the one furthest behind;
    `planes` has frames, lost frames and next index of each of several;
    `stalled`: which thread waits for the disk, and why; `blocked`: which calls to it have not come back; `disk`: how
    long they take, by kind; `latency_ms`: how long after a frame's arrival; `actions`: what each has done; `inputs`:
    how each fares; `disk_free_bytes`: what the session's disk had left lately, None where nothing is recorded;
    `unrecorded` frames were processed but not written; `doubtful`: what steps say against their
    results; `refused`: messages dropped, by the rule they broke.
    """

    frames: int = 0
    next_index: int = 0
    lost_camera: int = 0
    lost_transport: int = 0
    paused: int = 0
    elapsed_s: float = 0.0
    planes: dict[str, PlaneHealth] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)
    steps_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    muted: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    stalled: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    disk: dict[str, str] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    disk_free_bytes: int | None = None
    unrecorded: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Frames that never came."""
        return self.lost_camera + self.lost_transport

    def to_dict(self) -> dict[str, Any]:
        """Plain values for health.json."""
        return {**asdict(self), "lost": self.lost}
