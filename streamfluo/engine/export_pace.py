"""How exports may go on beside running series: not while one of them falls behind or its disk grows slow, with rests
while one takes all that the machine has."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

GO, SHARE, PAUSE = "go", "share", "pause"
BUSY_S = 0.1  # of frames that wait, where a series is at its limit: a camera's, with time to spare, wait for less
BEHIND_S = 0.5  # of frames that wait
SLOWER, SLOWER_MS = (
    4.0,
    50.0,
)  # a call to the disk of a hundred takes so many times longer than before, and so much more
FORGETS = 0.02  # the share by which a new second changes what is known of calls
REST_S = 10.0  # after the last sign of trouble


class Pace:
    """Looks at what stations tell. Trouble: a thread that waits for the disk or hangs, half a second of frames that
    wait and are more than before, a disk that answers much later than it did."""

    def __init__(self) -> None:
        self._usual_ms: dict[tuple[str, str], float] = {}
        self._waited: dict[str, float] = {}
        self._trouble_s = -REST_S

    def order(self, stations: Mapping[str, Mapping[str, Any]]) -> str:
        """Return whether exports may GO on now, SHARE what is there, or are to PAUSE."""
        if any([self._troubled(name, facts) for name, facts in stations.items()]):
            self._trouble_s = time.monotonic()
        if time.monotonic() - self._trouble_s < REST_S:
            return PAUSE
        return SHARE if any(waits_s >= BUSY_S for waits_s in self._waited.values()) else GO

    def _troubled(self, name: str, facts: Mapping[str, Any]) -> bool:
        if facts.get("state") != "running":
            self._waited.pop(name, None)
            return False
        waits_s = float(facts.get("backlog_s") or 0.0)
        grew = waits_s >= BEHIND_S and waits_s > self._waited.get(name, 0.0)
        self._waited[name] = waits_s
        slower = [
            self._is_slower((name, call), times) for call, times in dict(facts.get("disk_lately_ms") or {}).items()
        ]
        return bool(grew or any(slower) or any(facts.get(key) for key in ("stalled", "blocked", "hung")))

    def _is_slower(self, key: tuple[str, str], times: Mapping[str, float]) -> bool:
        """Whether one call of a hundred takes much longer than usual; what is usual follows slowly."""
        now_ms = float(times.get("p99") or 0.0)
        usual_ms = self._usual_ms.setdefault(key, now_ms)
        if now_ms > SLOWER * usual_ms and now_ms > usual_ms + SLOWER_MS:
            return True
        self._usual_ms[key] = usual_ms + FORGETS * (now_ms - usual_ms)
        return False
