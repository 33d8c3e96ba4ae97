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
        self._newer: dict[str, StepTimes] = {}  # of these ten seconds, of the ten before, of all the time before those
        self._older: dict[str, StepTimes] = {}
        self._before: dict[str, StepTimes] = {}
        self._sums_s: dict[str, float] = {}
        self.calls: dict[object, tuple[str, float]] = {}  # that last, with their kind and when they began
        self._turned_s = time.monotonic()

    def timed(self, kind: str) -> _Call:
        """Return what times a call of that kind, as a context."""
        return _Call(self, kind)

    def lasting(self, over_s: float = 0.0) -> dict[str, float]:
        """Return the calls that have not come back for more than `over_s`, and for how long [s]."""
        now = time.monotonic()
        found = {kind: now - began_s for kind, began_s in list(self.calls.values())}
        return {kind: elapsed_s for kind, elapsed_s in found.items() if elapsed_s > over_s}

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and max of each kind [ms]."""
        return {kind: times.summary_ms() for kind, times in self._merged(lately=False).items()}

    def lately_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and max of each kind over the last ten to twenty seconds [ms]."""
        return {kind: times.summary_ms() for kind, times in self._merged(lately=True).items()}

    def slowest_lately_s(self) -> tuple[str, float]:
        """Return the kind and the time of the slowest call of the last ten to twenty seconds, one that lasts
        included."""
        found = {kind: times.max_ns / 1e9 for kind, times in self._merged(lately=True).items()}
        found |= {kind: max(found.get(kind, 0.0), elapsed_s) for kind, elapsed_s in self.lasting().items()}
        return max(found.items(), key=lambda item: item[1], default=("", 0.0))

    def histograms(self) -> dict[str, dict[str, Any]]:
        """Return of each kind how many calls took up to each of BOUNDS_S, how many there were, and their sum [s]."""
        return {
            kind: {"below": times.below(BOUNDS_S), "count": times.count, "sum_s": round(self._sums_s[kind], 6)}
            for kind, times in self._merged(lately=False).items()
        }

    def end(self, call: object, kind: str, elapsed_s: float) -> None:
        """A call came back."""
        self.calls.pop(call, None)
        with self._lock:
            self._turn()
            times = self._newer.get(kind)
            if times is None:
                times = self._newer[kind] = StepTimes()
            times.add(int(elapsed_s * 1e9), 1)
            self._sums_s[kind] = self._sums_s.get(kind, 0.0) + elapsed_s

    def _merged(self, lately: bool) -> dict[str, StepTimes]:
        with self._lock:
            self._turn()
            merged: dict[str, StepTimes] = {}
            for part in (self._newer, self._older) if lately else (self._before, self._older, self._newer):
                _merge(merged, part)
            return merged

    def _turn(self) -> None:
        if (since_s := time.monotonic() - self._turned_s) < LATELY_S:
            return
        _merge(self._before, self._older)
        if since_s >= 2 * LATELY_S:
            _merge(self._before, self._newer)
            self._newer = {}
        self._newer, self._older = {}, self._newer
        self._turned_s += since_s


def _merge(into: dict[str, StepTimes], part: Mapping[str, StepTimes]) -> None:
    for kind, times in part.items():
        if kind not in into:
            into[kind] = StepTimes()
        into[kind].merge(times)


class _Call:
    """One call."""

    __slots__ = ("_began_s", "_calls", "_kind")

    def __init__(self, calls: DiskCalls, kind: str) -> None:
        self._calls, self._kind = calls, kind

    def __enter__(self) -> None:
        self._began_s = began_s = time.monotonic()
        self._calls.calls[self] = self._kind, began_s

    def __exit__(self, *_: object) -> None:
        self._calls.end(self, self._kind, time.monotonic() - self._began_s)
