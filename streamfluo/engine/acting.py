"""Acting: what is done for the decisions of triggers, each action on a thread of its own.

A decision goes to its action's queue from within the chain, before the steps after the trigger run. What is late,
what finds its queue full, and what comes from frames that are read again (a file, a journal) is counted and not done.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..actions.opening import open_action
from ..core.action import Action, Decision
from ..core.errors import ConfigError, did_you_mean
from ..core.step_values import StepValues
from ..session.health import StepTimes
from .chain import Chain
from .config import ActionConfig

FIRED = "fired"
QUEUE = 64
HANGS_S = 1.0
END_S = 2.0  # for what waits when the run ends

Note = Callable[[Mapping[str, Any]], None]


class Frames(NamedTuple):
    """The frames that the chain is at: the first one's index, the times of all since the series began, when they
    arrived and were taken (monotonic clock), and which is the first that comes for the first time, from a stream."""

    first: int
    times_ns: np.ndarray
    arrived_ns: int
    taken_ns: int
    live_from: int


class ActionThread:
    """Does one action, decision after decision; `note` is told what became of each."""

    def __init__(self, config: ActionConfig, action: Action, note: Note) -> None:
        self.config, self._action, self._note = config, action, note
        self.counts = dict.fromkeys(("done", "late", "crowded", "failed", "again"), 0)
        self.times = StepTimes()
        self._waiting: deque[tuple[Decision, int]] = deque()
        self._turn = threading.Condition()
        self._ends, self._since_s = False, 0.0  # since when it is at one decision
        self._thread = threading.Thread(target=self._run, name=f"action {config.to}", daemon=True)
        self._thread.start()

    def decided(self, decision: Decision, arrived_ns: int, live: bool) -> None:
        """Take a decision of the chain's thread, on a frame that arrived then by the monotonic clock."""
        if not (live or self.config.replayed):
            self.counts["again"] += 1
            return
        with self._turn:
            if len(self._waiting) >= QUEUE:
                self.counts["crowded"] += 1
                return
            self._waiting.append((decision, arrived_ns))
            self._turn.notify()

    def close(self) -> None:
        """Do what waits, for as long as END_S, and give the device back."""
        with self._turn:
            self._ends = True
            self._turn.notify()
        self._thread.join(END_S)

    def facts(self) -> dict[str, Any]:
        """What it has done, in plain values."""
        at_s = self._since_s
        hangs_s = time.monotonic() - at_s if at_s else 0.0
        hangs = {"hangs_s": round(hangs_s, 1)} if hangs_s > HANGS_S else {}
        return {**self.counts, "waiting": len(self._waiting), "from_arrival_ms": self.times.summary_ms(), **hangs}

    def _run(self) -> None:
        while True:
            with self._turn:
                while not self._waiting:
                    if self._ends:
                        with contextlib.suppress(Exception):  # a device that is gone has nothing to give back
                            self._action.close()
                        return
                    self._turn.wait()
                decision, arrived_ns = self._waiting.popleft()
            self._since_s = time.monotonic()
            self._do(decision, arrived_ns)
            self._since_s = 0.0

    def _do(self, decision: Decision, arrived_ns: int) -> None:
        became, more = "done", dict[str, str]()
        if time.monotonic_ns() - arrived_ns > self.config.deadline_ms * 1e6:
            became = "late"
        else:
            try:
                value = self._action.do(decision)
                more = {} if value is None else {"value": value[:200]}
            except Exception as error:  # a device's fault is counted and told
                became, more = "failed", {"error": f"{type(error).__name__}: {error}"[:200]}
        took_ns = time.monotonic_ns() - arrived_ns
        self.counts[became] += 1
        if became == "done":
            self.times.add(took_ns, 1)
        told = {name: value for name, value in decision._asdict().items() if name != "series_uid"}
        self._note(
            {"action": self.config.to, "became": became, **told, "done_ns": decision.arrived_ns + took_ns, **more}
        )


class Acting:
    """The actions of a config, done for the decisions of a chain's steps. Raises ConfigError for one that cannot be
    opened, or is of no trigger."""

    def __init__(self, configs: Iterable[ActionConfig], chain: Chain, series_uid: str, note: Note) -> None:
        self._threads: dict[str, list[ActionThread]] = {}
        self._series_uid = series_uid
        self.frames: Frames | None = None
        deciding = [step for step in chain.steps if any(g.name == FIRED for g in step.operator.gives)]
        try:
            for config in configs:
                its = [step.id for step in deciding if step.config.id == config.on]
                if not its:
                    hint = did_you_mean(config.on, {step.config.id for step in deciding})
                    raise ConfigError(f"action {config.to!r}: no step {config.on!r} that decides{hint}")
                thread = ActionThread(config, open_action(config.to, config.message), note)
                for step_id in its:
                    self._threads.setdefault(step_id, []).append(thread)
                    chain.listeners[step_id] = self.given
        except ConfigError:
            self.close()
            raise

    def given(self, values: StepValues) -> None:
        """Take what a step gave, from within the chain."""
        fired = values.arrays.get(FIRED)
        if fired is None or self.frames is None:
            return
        first, times_ns, arrived_ns, taken_ns, live_from = self.frames
        now_ns, now_utc_ns = time.monotonic_ns(), time.time_ns()
        to_utc_ns = now_utc_ns - now_ns
        for frame in (values.index + np.flatnonzero(fired)).tolist():
            t_ns = int(times_ns[min(max(frame - first, 0), len(times_ns) - 1)])
            decision = Decision(
                values.step, frame, t_ns, self._series_uid, arrived_ns + to_utc_ns, taken_ns + to_utc_ns, now_utc_ns
            )
            for thread in self._threads[values.step]:
                thread.decided(decision, arrived_ns, frame >= live_from)

    def facts(self) -> dict[str, Any]:
        """What each action has done, by step and URI, in plain values."""
        return {f"{thread.config.on}: {thread.config.to}": thread.facts() for thread in self._all()}

    def close(self) -> None:
        """Do what waits, and give the devices back."""
        for thread in self._all():
            thread.close()

    def _all(self) -> list[ActionThread]:
        return list(dict.fromkeys(thread for threads in self._threads.values() for thread in threads))
