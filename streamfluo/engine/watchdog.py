"""Which threads of a run stand still although something waits for them: by what they did, not by a timer of theirs."""

from __future__ import annotations

import time

from .engine import Engine

DISK_S = 1.0  # a call to the disk that takes longer is what a thread waits for


class Watchdog:
    """Looks at an engine from time to time. A thread hangs if work waits for it that has not moved for `hung_s`."""

    def __init__(self, engine: Engine, hung_s: float) -> None:
        self._engine, self._hung_s = engine, hung_s
        self._moved: dict[str, tuple[int, float]] = {}  # what a thread had done, and since when no more

    def hung(self) -> list[str]:
        """Return the threads that hang, or that ended while the run goes on. Who waits for the disk, and says so, does
        neither."""
        now, found = time.monotonic(), []
        session = self._engine.session
        stalled = self._engine.health().stalled or (session is not None and session.calls.lasting(DISK_S))
        for job, (waiting, done) in self._engine.progress().items():
            before, since = self._moved.get(job, (-1, now))
            if done != before or not waiting or stalled:
                self._moved[job] = done, now
            elif now - since > self._hung_s:
                found.append(job)
        return found + self._engine.dead_threads()
