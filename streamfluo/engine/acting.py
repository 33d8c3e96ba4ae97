"""Acting: what is done for the decisions of triggers, each action on a thread of its own.

A decision goes to its action's queue from within the chain, before the steps after the trigger run. What is late,
what finds its queue full, and what comes from frames that are read again (a file, a journal) is counted and not done.
What an action is to do last (`at_end`) it does when its step is muted or the chain ends, whatever ended it.
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
from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError, did_you_mean
from ..core.step_values import StepValues
from ..session.health import StepTimes
from .building import Step
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
    """Does one action, decision after decision; `note` is told what became of each.

    `last` is the message that it ends with, None for nothing.
    """

    def __init__(self, config: ActionConfig, action: Action, note: Note, last: Message | None) -> None:
        self.config, self._action, self._note, self._last = config, action, note, last
        self._ending: Decision | None = None
        self.counts = dict.fromkeys(("done", "late", "crowded", "failed", "again"), 0)
        self.times = StepTimes()
        self._waiting: deque[tuple[Decision, int]] = deque()
        self._turn = threading.Condition()
        self._ends, self._since_s = False, 0.0  # since when it is at one decision
        self._became_last = ""
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

    def end(self, ending: Decision) -> None:
        """Take no more decisions: do what waits, then what is done last, and give the device back; as from now."""
        with self._turn:
            if not self._ends:
                self._ends, self._ending = True, ending
                self._turn.notify()

    def give_up(self) -> None:
        """Do nothing last."""
        self._last = None

    def close(self) -> None:
        """Wait until it has ended, for as long as END_S."""
        self._thread.join(END_S)
        if self._thread.is_alive() and self._last is not None and self._ending is not None:
            self._tell(self._ending, "failed", {"at_end": self._last.of(self._ending), "error": "it still hangs"})

    def facts(self) -> dict[str, Any]:
        """What it has done, in plain values."""
        at_s = self._since_s
        hangs_s = time.monotonic() - at_s if at_s else 0.0
        hangs: dict[str, Any] = {"hangs_s": round(hangs_s, 1)} if hangs_s > HANGS_S else {}
        hangs |= {"at_end": self._became_last} if self._became_last else {}
        return {**self.counts, "waiting": len(self._waiting), "from_arrival_ms": self.times.summary_ms(), **hangs}

    def _run(self) -> None:
        while True:
            with self._turn:
                while not (self._waiting or self._ends):
                    self._turn.wait()
                if not self._waiting:
                    break
                decision, arrived_ns = self._waiting.popleft()
            self._since_s = time.monotonic()
            self._do(decision, arrived_ns)
            self._since_s = 0.0
        if self._last is not None and self._ending is not None:
            self._do_last(self._last, self._ending)
        with contextlib.suppress(Exception):  # a device that is gone has nothing to give back
            self._action.close()

    def _do(self, decision: Decision, arrived_ns: int) -> None:
        became, more = "done", dict[str, str]()
        if time.monotonic_ns() - arrived_ns > self.config.deadline_ms * 1e6:
            became = "late"
        else:
            became, more = self._tried(decision)
        took_ns = time.monotonic_ns() - arrived_ns
        self.counts[became] += 1
        if became == "done":
            self.times.add(took_ns, 1)
        self._tell(decision, became, more, took_ns)

    def _do_last(self, message: Message, ending: Decision) -> None:
        self._action.message, began_ns = message, time.monotonic_ns()
        self._became_last, more = self._tried(ending)
        more = {"at_end": message.of(ending), **more}
        self._tell(ending, self._became_last, more, time.monotonic_ns() - began_ns)

    def _tried(self, decision: Decision) -> tuple[str, dict[str, str]]:
        """Do it, and return what became of it, and what else is to be said."""
        try:
            value = self._action.do(decision)
        except Exception as error:  # a device's fault is counted and told
            return "failed", {"error": f"{type(error).__name__}: {error}"[:200]}
        return "done", {} if value is None else {"value": value[:200]}

    def _tell(self, decision: Decision, became: str, more: Mapping[str, str], took_ns: int = 0) -> None:
        told = {name: value for name, value in decision._asdict().items() if name != "series_uid"}
        done_ns = decision.arrived_ns + took_ns
        self._note({"action": self.config.to, "became": became, **told, "done_ns": done_ns, **more})


class Acting:
    """The actions of a config, done for the decisions of a chain's steps. Raises ConfigError for one that cannot be
    opened, or is of no trigger.

    `live`: frames come for the first time, from a stream; those of a file move nothing, at the end neither.
    """

    def __init__(
        self, configs: Iterable[ActionConfig], chain: Chain, series_uid: str, note: Note, live: bool = True
    ) -> None:
        self._threads: dict[str, list[ActionThread]] = {}
        self._deciding: dict[ActionThread, list[Step]] = {}
        self._series_uid = series_uid
        self.frames: Frames | None = None
        deciding = [step for step in chain.steps if any(g.name == FIRED for g in step.operator.gives)]
        try:
            for config in configs:
                its = [step for step in deciding if step.config.id == config.on]
                if not its:
                    hint = did_you_mean(config.on, {step.config.id for step in deciding})
                    raise ConfigError(f"action {config.to!r}: no step {config.on!r} that decides{hint}")
                thread = _opened(config, note, live)
                self._deciding[thread] = its
                for step in its:
                    self._threads.setdefault(step.id, []).append(thread)
                    chain.listeners[step.id] = self.given
        except ConfigError:
            for thread in self._deciding:  # nothing has begun that could end
                thread.give_up()
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
        return {f"{thread.config.on}: {thread.config.to}": thread.facts() for thread in self._deciding}

    def end_muted(self) -> None:
        """End actions of which no step decides any more."""
        for thread, steps in self._deciding.items():
            if all(step.muted for step in steps):
                thread.end(self._now(thread))

    def end(self) -> None:
        """The chain is over: what waits is done, and what is done last; the devices are given back."""
        for thread in self._deciding:
            thread.end(self._now(thread))

    def close(self) -> None:
        """End, and wait until it has ended, for some seconds at most."""
        self.end()
        for thread in self._deciding:
            thread.close()

    def _now(self, thread: ActionThread) -> Decision:
        """What stands for a decision where it ends: at the frames that the chain is at."""
        frame, t_ns = -1, 0
        if (frames := self.frames) is not None:
            frame, t_ns = frames.first + len(frames.times_ns) - 1, int(frames.times_ns[-1])
        now_ns = time.time_ns()
        return Decision(thread.config.on, frame, t_ns, self._series_uid, now_ns, now_ns, now_ns)


def _opened(config: ActionConfig, note: Note, live: bool) -> ActionThread:
    """Open an action, and begin its thread. Raises ConfigError."""
    action = open_action(config.to, config.message)
    try:
        if (last := None if config.at_end is None else Message(config.at_end)) is not None:
            action.check(last)
    except ConfigError as error:
        action.close()
        raise ConfigError(f"at_end: {error}") from None
    return ActionThread(config, action, note, last if live or config.replayed else None)
