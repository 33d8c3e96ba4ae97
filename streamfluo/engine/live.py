"""Live parameters and people's decisions: changes of a chain's steps, each from a frame of its plane on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ..core.block import Block
from ..core.control import Change
from ..core.decision import Decided, Decision, check_words
from ..core.errors import ConfigError, did_you_mean
from ..core.params import bounds_of, build_params, describe, range_of
from ..core.wire import LiveFacts
from .building import Step


class _Planned(NamedTuple):
    """A change that is to come, the parameters after it, and whether the session says so already."""

    change: Change | Decision
    params: Any
    told: bool


class LiveChanges:
    """The changes of steps that are to come; they are made as the frames come to theirs, whatever blocks they come in.

    `guard` calls an operator so that its fault mutes its step; what is made and not told is told by `tell`.
    """

    def __init__(
        self, steps: Sequence[Step], guard: Callable[..., Any], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._steps, self._guard, self._tell = steps, guard, tell
        self._planned: dict[str, deque[_Planned]] = {}

    @property
    def waiting(self) -> bool:
        """Whether any is to come."""
        return bool(self._planned)

    def put_aside(self) -> dict[str, deque[_Planned]]:
        """Return what is to come, for `put_back`; until then nothing is."""
        waiting, self._planned = self._planned, {}
        return waiting

    def put_back(self, waiting: dict[str, deque[_Planned]]) -> None:
        """Have what was put aside come in place of all else."""
        self._planned = waiting

    def steps(self, name: str) -> list[Step]:
        """Return the steps of that id, of several planes those of each. Raises ConfigError."""
        if found := [step for step in self._steps if name in (step.id, step.config.id)]:
            return found
        raise ConfigError(f"no step {name!r}{did_you_mean(name, [s.id for s in self._steps])}")

    def prepare(self, name: str, param: str, value: Any) -> None:
        """Compute what a change needs and takes long, on another thread than the chain's. Raises ConfigError."""
        for step in self.steps(name):
            step.operator.prepare(changed_params(step, step.operator.params, param, value))

    def plan(
        self, name: str, param: str, value: Any, reached: Mapping[str, int]
    ) -> tuple[list[Change], Callable[[], None]]:
        """Return the changes that this is in each step, and what makes them come about.

        Each begins at the frame that its plane has `reached`, or where the last one that is to come begins. Raises
        ConfigError for what a step does not take; then none is made.
        """
        planned: list[tuple[Step, _Planned]] = []
        changes: list[Change] = []
        for step in self.steps(name):
            waiting = self._planned.get(step.id)
            before = waiting[-1].params if waiting else step.operator.params
            params = changed_params(step, before, param, value)
            _try(step, params)
            frame = max(reached[step.plane], waiting[-1].change.frame if waiting else 0)
            changes.append(Change(frame, step.id, param, value))
            planned.append((step, _Planned(changes[-1], params, True)))

        def make() -> None:
            for step, one in planned:
                self._planned.setdefault(step.id, deque()).append(one)

        return changes, make

    def plan_decision(self, decision: Decision, reached: Mapping[str, int]) -> tuple[Decided, Callable[[], None]]:
        """Return what will be done of a decision about one step, and what makes it come about.

        It begins at the frame that the step's plane has `reached`, or behind what is to come. Raises ConfigError for
        what the step does not take; then nothing is done.
        """
        step, *others = self.steps(decision.step)
        if others:
            raise ConfigError(f"which step? there are {', '.join(s.id for s in (step, *others))}")
        if step.muted:
            raise ConfigError(f"step {step.id!r} is muted: {step.muted}")
        waiting = self._planned.get(step.id, ())
        frame = max(reached[step.plane], waiting[-1].change.frame if waiting else 0)
        decision = decision._replace(step=step.id, frame=frame)
        check_words(step.operator.takes, decision)
        decided = step.operator.decide(decision)
        taken = [one.change.number for one in waiting if isinstance(one.change, Decision)]
        number = max([decided.decision.number, *(n + 1 for n in taken)])
        decided = decided._replace(decision=decided.decision._replace(number=number))

        def make() -> None:
            params = waiting[-1].params if waiting else step.operator.params
            self._planned.setdefault(step.id, deque()).append(_Planned(decided.decision, params, True))

        return decided, make

    def plan_recorded(self, change: Change | Decision, told: bool) -> None:
        """Take a change at the frame at which it was recorded; those of a step come in order. Raises ConfigError."""
        steps = [step for step in self._steps if step.id == change.step]
        if not steps:
            raise ConfigError(f"no step {change.step!r}{did_you_mean(change.step, [s.id for s in self._steps])}")
        waiting = self._planned.get(change.step)
        params = waiting[-1].params if waiting else steps[0].operator.params
        if isinstance(change, Decision):
            check_words(steps[0].operator.takes, change)
        else:
            params = changed_params(steps[0], params, change.param, change.value)
            _try(steps[0], params)
        self._planned.setdefault(change.step, deque()).append(_Planned(change, params, told))

    def parts(self, plane: str, late: bool, block: Block) -> Iterator[Block]:
        """Yield a block of a plane in the parts between changes, each once what it begins with is changed."""
        at = block.index
        while at < block.stop:
            self.make(plane, late, at)
            ends = [p[0].change.frame for s in self._of(plane, late) if (p := self._planned.get(s.id))]
            stop = min([block.stop, *ends])
            yield block if (at, stop) == (block.index, block.stop) else block.cut(at, stop)
            at = stop

    def make(self, plane: str, late: bool, frame: int) -> None:
        """Make the changes of a plane's steps that are due before this frame."""
        for step in self._of(plane, late):
            waiting = self._planned[step.id]
            while waiting and waiting[0].change.frame <= frame:
                one = waiting.popleft()
                if isinstance(one.change, Decision):
                    self._guard(step, frame, self._decide, step, one.change, one.told)
                    continue
                self._guard(step, frame, step.operator.change, one.params)
                if not one.told:
                    self._tell(event_of(one.change))
            if not waiting:
                del self._planned[step.id]

    def _decide(self, step: Step, decision: Decision, told: bool) -> None:
        """Carry out a decision at its frame; one that the step does not take there is said, and left out."""
        try:
            decided = step.operator.decide(decision)
        except ConfigError as error:
            said = f"decision {decision.number}, {decision.verb}, is left out: {error}"
            self._tell({"event": "noted", "step": step.id, "frame": decision.frame, "said": said})
            return
        decided.make()
        if not told:
            self._tell(event_of(decided.decision))

    def _of(self, plane: str, late: bool) -> list[Step]:
        """The steps of a plane that changes are to come of."""
        if not self._planned:
            return []
        return [s for s in self._steps if s.id in self._planned and (s.plane, s.late) == (plane, late)]


def changed_params(step: Step, before: Any, param: str, value: Any) -> Any:
    """Return a step's parameters with a live one changed. Raises ConfigError, with the range where it is out of it."""
    operator, where = step.operator, f"step {step.id!r}"
    param = operator.Params.former_names.get(param, param)
    if step.muted:
        raise ConfigError(f"{where} is muted: {step.muted}")
    if param not in operator.live:
        known = [f.encode_name for f in msgspec.structs.fields(operator.Params)]
        live = f"live are {', '.join(operator.live)}" if operator.live else "it has none that are live"
        if param in known:
            raise ConfigError(f"{where}: {param!r} cannot be changed while frames flow; {live}")
        raise ConfigError(f"{where}: no parameter {param!r}{did_you_mean(param, operator.live or known)}")
    try:
        return build_params(operator.Params, {**msgspec.structs.asdict(before), param: value}, where)
    except ConfigError as error:
        of = range_of(operator.Params, param)
        raise ConfigError(f"{error}; it is {of}" if of else str(error)) from None
    except OverflowError:
        raise ConfigError(f"{where}: {param}: expected a number, found one too large") from None


def live_values(step: Step) -> dict[str, Any]:
    """Return the parameters of a step that were changed, in plain values."""
    now, stated = step.operator.params, step.params
    return {
        name: msgspec.to_builtins(getattr(now, name))
        for name in step.operator.live
        if not _is_same(getattr(now, name), getattr(stated, name))
    }


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values of a parameter are the same; what a file held is an array, and is itself or another one."""
    arrays = [isinstance(one, np.ndarray) for one in (value, other)]
    return value is other if any(arrays) else bool(value == other)


def live_facts(steps: Sequence[Step]) -> dict[str, list[LiveFacts]]:
    """Return what `hello` says of live parameters that are numbers or switches, of steps by the id in the config."""
    found: dict[str, list[LiveFacts]] = {}
    for step in steps:
        if step.config.id in found:
            continue  # a change is one of all planes
        operator = step.operator
        meanings = {name: meaning for name, _, _, meaning in describe(operator.Params)}
        facts = []
        for name in operator.live:
            value = getattr(operator.params, name)
            bounds = bounds_of(operator.Params, name)
            if isinstance(value, bool | int | float) or (value is None and bounds):
                low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
                facts.append((name, value, low, high, meanings[name]))
        if facts:
            found[step.config.id] = facts
    return found


def take_live_values(step: Step, values: Mapping[str, Any]) -> None:
    """Give a step the parameters that `live_values` returned. Raises ConfigError for what it does not take."""
    params = step.params
    for param, value in values.items():
        params = changed_params(step, params, param, value)
    step.operator.change(params)


def event_of(change: Change | Decision) -> dict[str, Any]:
    """Return what a session says of a change, or of a decision."""
    if isinstance(change, Decision):
        drawn = [[list(corner) for corner in polygon] for polygon in change.polygons]
        said = {name: value for name, value in change._asdict().items() if name != "polygons" or drawn}
        return {"event": "curate", **said, "ids": list(change.ids), **({"polygons": drawn} if drawn else {})}
    return {"event": "set", "step": change.step, "param": change.param, "value": change.value, "frame": change.frame}


def _try(step: Step, params: Any) -> None:
    """Raises ConfigError for parameters that an operator does not go on under; it goes on under its own."""
    own = step.operator.params
    try:
        step.operator.change(params)
    except ConfigError as error:
        raise ConfigError(f"step {step.id!r}: {error}") from None
    step.operator.change(own)
