"""Calls to the disk that are watched: how long each kind takes, and which one has not come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from .health import StepTimes

# upper bounds of a histogram [s]; a bin of StepTimes that crosses one counts as below it
BOUNDS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATELY_S = 10.0  # what `lately_ms` looks back on, and at most twice that


class DiskCalls:
    """Times calls by kind, `journal write`; `with calls.timed(kind)` stands around each. Of any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, StepTimes] = {}
        self._sums_s: dict[str, float] = {}
        self._lasting: dict[object, tuple[str, float]] = {}
        self._lately: list[dict[str, StepTimes]] = [{}, {}]
        self._turned_s = time.monotonic()

    def timed(self, kind: str) -> _Call:
        """Return what times a call of that kind, as a context."""
        return _Call(self, kind)

    def lasting(self, over_s: float = 0.0) -> dict[str, float]:
        """Return the calls that have not come back for more than `over_s`, and for how long [s]."""
        now = time.monotonic()
        found = {kind: now - began_s for kind, began_s in list(self._lasting.values())}
        return {kind: elapsed_s for kind, elapsed_s in found.items() if elapsed_s > over_s}

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and max of each kind [ms]."""
        with self._lock:
            return {kind: times.summary_ms() for kind, times in self._all.items()}

    def lately_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and max of each kind over the last ten seconds or so [ms]."""
        with self._lock:
            self._turn()
            older, newer = self._lately[1], self._lately[0]
            return {kind: times.summary_ms() for kind, times in {**older, **newer}.items()}

    def slowest_lately_s(self) -> tuple[str, float]:
        """Return the kind and the time of the slowest call of the last ten seconds, one that lasts included."""
        with self._lock:
            self._turn()
            found = {k: t.max_ns / 1e9 for times in self._lately for k, t in times.items()}
        found |= {kind: max(found.get(kind, 0.0), elapsed_s) for kind, elapsed_s in self.lasting().items()}
        return max(found.items(), key=lambda item: item[1], default=("", 0.0))

    def histograms(self) -> dict[str, dict[str, Any]]:
        """Return of each kind how many calls took up to each of BOUNDS_S, how many there were, and their sum [s]."""
        with self._lock:
            return {
                kind: {"below": times.below(BOUNDS_S), "count": times.count, "sum_s": round(self._sums_s[kind], 6)}
                for kind, times in self._all.items()
            }

    def begin(self, call: object, kind: str, began_s: float) -> None:
        """A call begins."""
        self._lasting[call] = kind, began_s

    def end(self, call: object, kind: str, elapsed_s: float) -> None:
        """A call came back."""
        self._lasting.pop(call, None)
        with self._lock:
            self._turn()
            for times in (self._all, self._lately[0]):
                if kind not in times:
                    times[kind] = StepTimes()
                times[kind].add(int(elapsed_s * 1e9), 1)
            self._sums_s[kind] = self._sums_s.get(kind, 0.0) + elapsed_s

    def _turn(self) -> None:
        if (now := time.monotonic()) - self._turned_s >= LATELY_S:
            older: Mapping[str, StepTimes] = self._lately[0] if now - self._turned_s < 2 * LATELY_S else {}
            self._lately, self._turned_s = [{}, dict(older)], now


class _Call:
    """One call."""

    __slots__ = ("_began_s", "_calls", "_kind")

    def __init__(self, calls: DiskCalls, kind: str) -> None:
        self._calls, self._kind = calls, kind

    def __enter__(self) -> None:
        self._began_s = time.monotonic()
        self._calls.begin(self, self._kind, self._began_s)

    def __exit__(self, *_: object) -> None:
        self._calls.end(self, self._kind, time.monotonic() - self._began_s)
