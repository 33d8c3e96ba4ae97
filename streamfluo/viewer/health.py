"""How the run fares, as a viewer tells it: rates from counters that were told twice."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Literal, NamedTuple

from ..core import wire

WINDOW_S = 3.0
LATELY_S = 60.0  # so long a loss is news
BEHIND_S = 2.0  # of frames may wait before it is said
SOON_FULL_S = 600.0
SHORTEST_S = 0.3  # statuses that waited for a busy viewer come all at once, and would tell of 50,000 frames a second


class Verdict(NamedTuple):
    """How a run fares in one line: `level` is green, amber or red."""

    level: Literal["green", "amber", "red"]
    text: str


class RunHealth:
    """The counters of the newest status and the rates they give. Works for run, record, camera and replay."""

    def __init__(self) -> None:
        self.program, self.state = "", ""
        self.counters: dict[str, Any] = {}
        self._uid = ""
        self._told: deque[tuple[float, int, int, int]] = deque()  # when, frames in, frames out, bytes written
        self._losses: deque[tuple[float, int, int]] = deque()  # when more were told, by the camera, on the way

    def take(self, status: wire.Status, now_s: float) -> None:
        """Take a status that came at `now_s`."""
        before = self.program, self.state, self.counters
        self.program, self.state, self.counters = status.program, status.state, status.counters
        if self._told and self.frames_in < self._told[-1][1]:
            if status.series_uid == self._uid:  # it comes by two ways, and on one of them waited
                self.program, self.state, self.counters = before
                return
            self._told.clear()
            self._losses.clear()
        self._note_losses(now_s)
        self._uid = status.series_uid
        written = self._edge("journal", "bytes") + self._edge("frames", "bytes")
        self._told.append((now_s, self.frames_in, self.frames_out, written))
        while len(self._told) > 1 and now_s - self._told[1][0] > WINDOW_S:
            self._told.popleft()

    @property
    def frames_in(self) -> int:
        """Frames that came in so far."""
        return self._edge("ingest", "frames") if "edges" in self.counters else self._count("emitted")

    @property
    def frames_out(self) -> int:
        """Frames that went through the chain so far."""
        return self._edge("chain", "frames") if "edges" in self.counters else self._count("emitted")

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
        (t0, in0, out0, _), (t1, in1, out1, _) = self._told[0], self._told[-1]
        return (in1 - in0) / (t1 - t0), (out1 - out0) / (t1 - t0)

    @property
    def disk_free_bytes(self) -> int | None:
        """What the disk that is recorded to has left; None where nothing is recorded."""
        free = self.counters.get("disk_free_bytes")
        return free if isinstance(free, int) else None

    def disk_left_s(self) -> float | None:
        """Return how long that lasts at the rate of the last three seconds; None where nothing is written now."""
        if self.disk_free_bytes is None or len(self._told) < 2:
            return None
        (t0, *_, bytes0), (t1, *_, bytes1) = self._told[0], self._told[-1]
        return self.disk_free_bytes * (t1 - t0) / (bytes1 - bytes0) if bytes1 > bytes0 else None

    def lost_split(self) -> str:
        """Return who lost how many frames."""
        camera, transport = self._lost()
        return f"{camera} by the camera, {transport} on the way"

    def verdict(self, now_s: float | None = None) -> Verdict:
        """Return in one line how the run fares: the worst of what is wrong, else that nothing is."""
        now_s = time.monotonic() if now_s is None else now_s
        if self.stalled:
            return Verdict("red", f"recording waits for the disk: {next(iter(self.stalled.values()))}")
        if self.muted:
            step, why = next(iter(self.muted.items()))
            others = f" (and {len(self.muted) - 1} more)" if len(self.muted) > 1 else ""
            return Verdict("red", f"{step} failed and was taken out{others}; recording goes on: {why}")
        if lately := self._lost_since(now_s - LATELY_S):
            return Verdict("red", f"{lately} in the last minute")
        rate_in, _ = self.rates()
        if rate_in and self.waiting > BEHIND_S * rate_in:
            return Verdict("amber", f"{self.waiting} frames wait: {self.waiting / rate_in:.0f} s behind the camera")
        if (left_s := self.disk_left_s()) is not None and left_s < SOON_FULL_S:
            return Verdict("amber", f"the disk is full in {spelled_duration(left_s)} at this rate")
        if self.doubtful:
            step, why = next(iter(self.doubtful.items()))
            return Verdict("amber", f"{step} is doubtful: {why}")
        if self.lost:
            return Verdict("amber", f"{self.lost} of {self.frames_in + self.lost} frames lost, none in the last minute")
        return Verdict("green", f"all well, none of {self.frames_in} frames lost")

    def _lost(self) -> tuple[int, int]:
        return self._count("lost_camera") or self._count("dropped_camera"), self._count("lost_transport")

    def _note_losses(self, now_s: float) -> None:
        lost = self._lost()
        if not self._losses or self._losses[-1][1:] != lost:
            self._losses.append((now_s, *lost))
        while len(self._losses) > 1 and self._losses[1][0] < now_s - LATELY_S:
            self._losses.popleft()

    def _lost_since(self, since_s: float) -> str:
        """Say how many frames were lost since then, and who lost them; what was lost before we looked is no news."""
        if not self._losses or self._losses[-1][0] < since_s:
            return ""
        (_, *before), (_, *now) = self._losses[0], self._losses[-1]
        camera, transport = (max(0, b - a) for a, b in zip(before, now, strict=True))
        causes = [(n, who) for n, who in ((camera, "camera"), (transport, "network")) if n]
        if len(causes) < 2:
            return "".join(f"{n} frames lost by the {who}" for n, who in causes)
        return f"{camera + transport} frames lost ({camera} by the camera, {transport} by the network)"

    def _count(self, name: str) -> int:
        value = self.counters.get(name)
        return value if isinstance(value, int) else 0

    def _edge(self, name: str, counter: str) -> int:
        edges = self.counters.get("edges")
        edge = edges.get(name) if isinstance(edges, dict) else None
        count = edge.get(counter) if isinstance(edge, dict) else None
        return count if isinstance(count, int) else 0

    def _texts(self, name: str) -> dict[str, str]:
        value = self.counters.get(name)
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def spelled_duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{round(minutes / 1440)} days"


def age_s(arrived_ns: int | None) -> float | None:
    """Return how old a frame is that reached the engine then; None where clocks disagree or nobody says."""
    if arrived_ns is None:
        return None
    age = (time.time_ns() - arrived_ns) / 1e9
    return age if -0.001 <= age < 86400 else None
