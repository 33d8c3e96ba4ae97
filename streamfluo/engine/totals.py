"""What a station has taken since it was started, over all of its series, and how long the disk lasts."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..session.health import Health

MINUTE_S = 60.0
NOTHING: Mapping[str, int] = MappingProxyType({})


class Totals:
    """Counts series that ended; the one that runs is added when it is asked for."""

    def __init__(self) -> None:
        self._frames = self._unrecorded = 0
        self._lost, self._refused = Counter[str](), Counter[str]()
        self._nbytes = 0
        self._lately: deque[tuple[float, int, int]] = deque()  # when, bytes that had come, frames not written

    def ended(self, health: Health, refused: Mapping[str, int]) -> None:
        """Add a series that is over, and the messages that were refused meanwhile, by rule."""
        self._frames += health.frames
        self._unrecorded += health.unrecorded
        self._nbytes += _nbytes(health)
        self._lost.update(_lost(health))
        self._refused.update(refused)

    def with_run(self, health: Health | None, refused_now: Mapping[str, int] = NOTHING) -> dict[str, Any]:
        """Return frames, those lost by reason and those not written, refused messages by rule, bytes a second; with
        those of the series that runs."""
        run = health or Health()
        nbytes, now = self._nbytes + _nbytes(run), time.monotonic()
        unrecorded = self._unrecorded + run.unrecorded
        self._lately.append((now, nbytes, unrecorded))
        while now - self._lately[0][0] > MINUTE_S:
            self._lately.popleft()
        since, before, unrecorded_before = self._lately[0]
        lost, refused = Counter(self._lost), Counter(self._refused)
        lost.update(_lost(run))
        refused.update(refused_now)
        return {
            "frames": self._frames + run.frames,
            "lost": dict(lost),
            "refused": dict(refused),
            "unrecorded": unrecorded,
            "unrecorded_lately": unrecorded - unrecorded_before,
            "bytes_per_s": round((nbytes - before) / (now - since)) if now > since else 0,
        }


def _nbytes(health: Health) -> int:
    """What came, and what steps made of it that is written too."""
    return sum(health.edges[edge].bytes for edge in ("ingest", "frames") if edge in health.edges)


def _lost(health: Health) -> dict[str, int]:
    return {"camera": health.lost_camera, "transport": health.lost_transport}
