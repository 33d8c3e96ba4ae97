"""How the run fares, as a viewer tells it: rates from counters that were told twice."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ..core import wire

WINDOW_S = 3.0
SHORTEST_S = 0.3  # statuses that waited for a busy viewer come all at once, and would tell of 50,000 frames a second


class RunHealth:
    """The counters of the newest status and the rates they give. Works for run, record, camera and replay."""

    def __init__(self) -> None:
        self.program, self.state = "", ""
        self.counters: dict[str, Any] = {}
        self._uid = ""
        self._told: deque[tuple[float, int, int]] = deque()  # when, frames in, frames out

    def take(self, status: wire.Status, now_s: float) -> None:
        """Take a status that came at `now_s`."""
        before = self.program, self.state, self.counters
        self.program, self.state, self.counters = status.program, status.state, status.counters
        if self._told and self.frames_in < self._told[-1][1]:
            if status.series_uid == self._uid:  # it comes by two ways, and on one of them waited
                self.program, self.state, self.counters = before
                return
            self._told.clear()
        self._uid = status.series_uid
        self._told.append((now_s, self.frames_in, self.frames_out))
        while len(self._told) > 1 and now_s - self._told[1][0] > WINDOW_S:
            self._told.popleft()

    @property
    def frames_in(self) -> int:
        """Frames that came in so far."""
        return self._edge("ingest") if "edges" in self.counters else self._count("emitted")

    @property
    def frames_out(self) -> int:
        """Frames that went through the chain so far."""
        return self._edge("chain") if "edges" in self.counters else self._count("emitted")

    @property
    def waiting(self) -> int:
        """Frames between the source and the end of the chain."""
        return max(0, self.frames_in - self.frames_out)

    @property
    def lost(self) -> int:
        """Frames that never came."""
        return self._count("lost") or self._count("dropped_camera")

    @property
    def refused(self) -> int:
        """Messages the program dropped."""
        refused = self.counters.get("refused")
        return sum(n for n in refused.values() if isinstance(n, int)) if isinstance(refused, dict) else 0

    @property
    def muted(self) -> dict[str, str]:
        """Step → why it was muted."""
        return self._texts("muted")

    @property
    def doubtful(self) -> dict[str, str]:
        """Step → what it says against its results."""
        return self._texts("doubtful")

    @property
    def stalled(self) -> dict[str, str]:
        """Who waits for the disk → why."""
        return self._texts("stalled")

    def rates(self) -> tuple[float, float]:
        """Return frames a second (in, out) over the last three seconds."""
        if not self._told or self._told[-1][0] - self._told[0][0] < SHORTEST_S:
            return 0.0, 0.0
        (t0, in0, out0), (t1, in1, out1) = self._told[0], self._told[-1]
        return (in1 - in0) / (t1 - t0), (out1 - out0) / (t1 - t0)

    def lost_split(self) -> str:
        """Return who lost how many frames."""
        camera, transport = self._count("lost_camera") or self._count("dropped_camera"), self._count("lost_transport")
        return f"{camera} by the camera, {transport} on the way"

    def _count(self, name: str) -> int:
        value = self.counters.get(name)
        return value if isinstance(value, int) else 0

    def _edge(self, name: str) -> int:
        edges = self.counters.get("edges")
        edge = edges.get(name) if isinstance(edges, dict) else None
        frames = edge.get("frames") if isinstance(edge, dict) else None
        return frames if isinstance(frames, int) else 0

    def _texts(self, name: str) -> dict[str, str]:
        value = self.counters.get(name)
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def age_s(arrived_ns: int | None) -> float | None:
    """Return how old a frame is that reached the engine then; None where clocks disagree or nobody says."""
    if arrived_ns is None:
        return None
    age = (time.time_ns() - arrived_ns) / 1e9
    return age if -0.001 <= age < 86400 else None
