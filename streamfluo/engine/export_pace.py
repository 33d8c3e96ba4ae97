"""When exports may go on beside running series: not while one of them falls behind or its disk grows slow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

BEHIND_S = 0.5  # of frames that wait
REST_S = 10.0  # after the last sign of trouble


class Pace:
    """Looks at what stations tell. Trouble: a thread that waits for the disk or hangs, half a second of frames that
    wait and are more than before, a disk that answers much later than while nothing was exported."""

    def __init__(self) -> None:
        self._waited: dict[str, float] = {}
        self._trouble_s = -REST_S

    def free(self, stations: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return whether exports may go on now."""
        if any([self._troubled(name, facts) for name, facts in stations.items()]):
            self._trouble_s = time.monotonic()
        return time.monotonic() - self._trouble_s >= REST_S

    def _troubled(self, name: str, facts: Mapping[str, Any]) -> bool:
        if facts.get("state") != "running":
            self._waited.pop(name, None)
            return False
        waits_s = float(facts.get("backlog_s") or 0.0)
        grew = waits_s >= BEHIND_S and waits_s > self._waited.get(name, 0.0)
        self._waited[name] = waits_s
        return bool(grew or facts.get("stalled") or facts.get("hung"))
