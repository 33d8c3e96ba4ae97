"""When snapshots and frames of a run are to be read for viewers, and which of them though nobody watches."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..core.operator import Gives
from .building import Step

LOOK_SHARE = 0.05  # of the chain's time at most goes into reading a step's snapshots; large ones come less often
PRESSED_HZ = 1.0  # while frames wait, snapshots and previews come once a second: the chain comes first
UNASKED_S = 5.0  # apart, what nobody watches: 720 looks an hour
UNASKED_SHARE = 0.01  # of the time at most goes into it, on any thread
FAILED_S = 10.0


class DueLooks:
    """Says what of `gives`, by step, is due. What is drawn as frames go by is read now and then though nobody watches:
    who comes late has its past. `computing` are steps that are being read. It belongs to the chain's thread, but for
    `took` and `failed`."""

    def __init__(
        self, steps: Sequence[Step], gives: Mapping[str, Mapping[str, Gives]], snapshots_hz: float, frames_hz: float
    ) -> None:
        self._snapshots = {
            step: {f"snapshot/{step}/{g.name}/": g.name for g in of.values() if g.kind == "snapshot"}
            for step, of in gives.items()
        }
        self._period_s = {"snapshot": 1 / snapshots_hz, "frames": 1 / frames_hz}
        self._due: dict[str, float] = {}
        self.computing: set[str] = set()
        self._unasked = over_time_of(steps)
        self._next_s = dict.fromkeys(self._unasked, 0.0)  # when what nobody asks for is read
        self._seen = dict.fromkeys(self._unasked, -1)  # after which frame it was

    def of_frames(self, step: str, pressed: bool) -> bool:
        """Whether a step's newest frame is due."""
        return self._is_due(f"frames/{step}", "frames", pressed)

    def of_snapshots(self, watched: Collection[str], index: int, pressed: bool) -> Iterator[tuple[str, list[str]]]:
        """Yield the names of a step's snapshots to read after a frame, of `watched` topics those that are due."""
        unasked = bool(self._unasked) and not pressed and time.monotonic() >= min(self._next_s.values())
        if not (watched or unasked):
            return
        for step, topics in self._snapshots.items():
            if step in self.computing:
                continue
            names = [name for topic, name in topics.items() if topic in watched]
            if names and not self._is_due(f"snapshot/{step}", "snapshot", pressed):
                names = []
            if unasked:
                names += [name for name in self._unasked_of(step, index) if name not in names]
            if names:
                yield step, names

    def read(self, step: str, began_s: float) -> None:
        """Note that the chain's thread has read of a step what cannot be read later, and since when."""
        now_s = time.monotonic()
        self._due[f"snapshot/{step}"] = max(self._due.get(f"snapshot/{step}", 0.0), _after(now_s, began_s, LOOK_SHARE))
        self.took(step, now_s - began_s)

    def took(self, step: str, spent_s: float) -> None:
        """Note what reading a step's snapshots cost."""
        if step in self._next_s:
            self._next_s[step] = max(self._next_s[step], time.monotonic() + spent_s / UNASKED_SHARE)

    def failed(self, step: str) -> None:
        """Leave a step alone for a while."""
        self._due[f"snapshot/{step}"] = time.monotonic() + FAILED_S
        self.took(step, FAILED_S * UNASKED_SHARE)

    def _unasked_of(self, step: str, index: int) -> tuple[str, ...]:
        now_s = time.monotonic()
        if step not in self._unasked or index <= self._seen[step] or now_s < self._next_s[step]:
            return ()
        self._seen[step], self._next_s[step] = index, now_s + UNASKED_S
        return self._unasked[step]

    def _is_due(self, what: str, kind: str, pressed: bool) -> bool:
        now_s = time.monotonic()
        if now_s < self._due.get(what, 0.0):
            return False
        period_s = 1 / PRESSED_HZ if pressed else self._period_s[kind]
        # From when it was due, not from when a frame came: 30 a second were 25, as each waits for the next frame.
        self._due[what] = max(self._due.get(what, 0.0) + period_s, now_s + period_s / 2)
        return True


def _after(now_s: float, began_s: float, share: float) -> float:
    return now_s + (now_s - began_s) / share


def over_time_of(steps: Sequence[Step]) -> Mapping[str, tuple[str, ...]]:
    """Return the snapshots of one axis that operators have drawn as frames go by, by the step that gives them, and the
    intervals of numbers, with the numbers."""
    by_id = {step.id: step for step in steps}
    found: dict[str, dict[str, None]] = {}
    for step in steps:
        for name in step.operator.presents.over_time if step.operator.presents is not None else ():
            giver: Step | None = step
            while giver is not None and all(g.name != name for g in giver.operator.gives):
                giver = by_id.get(giver.after)
            gives = giver.operator.gives if giver is not None else ()
            if giver is not None and any(g.name == name and g.kind == "snapshot" and len(g.dims) == 1 for g in gives):
                found.setdefault(giver.id, {})[name] = None
        numbers = {g.name for g in step.operator.gives if g.kind == "snapshot" and not g.dims}
        for given in step.operator.gives:
            if given.kind == "snapshot" and len(given.dims) == 1 and given.dims[0] in numbers:
                found.setdefault(step.id, {}).update({given.name: None, given.dims[0]: None})
    return {step: tuple(names) for step, names in found.items()}
