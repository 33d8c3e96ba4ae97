"""The trigger: decides at each frame, by values of steps before it, whether to act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .condition import Condition
from .condition_nodes import Frames

UNKNOWN_FRAMES = 100  # on end, after which it says that its condition is not known
NEVER_NS = -(1 << 62)


class TriggerParams(Params, frozen=True):
    """Parameters of `trigger`."""

    when: Annotated[str, Meta(description="the condition: `extract.traces[12] > 3 σ for 2 frames`")] = "false"
    level: Annotated[float, Meta(description="what `level` is in the condition, in the unit it is compared in")] = 0.0
    fires: Annotated[
        Literal["onset", "each"], Meta(description="when the condition begins to hold, or at each frame where it does")
    ] = "onset"
    read_frames: Annotated[
        int, Meta(ge=1, description="a snapshot in the condition is read each so many frames of the index")
    ] = 500
    refractory_s: Annotated[float, Meta(ge=0, description="no decision so long after the last one [s]")] = 0.0


@register("trigger")
class Trigger(Operator):
    """Decides at each frame whether to act, by a condition of values of the steps before it.

    What is not known (NaN, a component that is not there, a frame that is not valid) is neither true nor false; a
    condition that is not known does not fire, nor does one that begins to hold within `refractory_s` of the last
    decision. A component that is merged into another one is followed; that, and one that is not there any more, is an
    event. Frames that never came interrupt `for`, `rising` and `falling`. What is done then is an `[[action]]` of
    the config. Cost: some 40 µs a block, whatever the frames' size; state: a few numbers.
    """

    Params = TriggerParams
    version = 2  # ids are followed where components are merged
    live = {"level": 0.3, "refractory_s": 0.5}
    gives = (
        Gives("fired", "per_frame", ("t",), "", "whether it decided to act"),
        Gives("holds", "per_frame", ("t",), "", "whether the condition holds: 1, 0, NaN where it is not known"),
    )
    examples = (
        {"when": "frame > 12 for 3 frames or rising(time > level)", "level": 0.5, "fires": "each", "refractory_s": 0.1},
    )

    def __init__(self, params: TriggerParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._condition = Condition(params.when)
        self._condition.level = params.level
        self.needs, self.reads_every = self._condition.needs, params.read_frames
        self._held, self._fired_ns, self._unknown, self._next_index = False, NEVER_NS, 0, 0

    def meet(self, given: Mapping[str, Gives]) -> None:
        self._condition.settle(given)

    def change(self, params: TriggerParams) -> None:
        super().change(params)
        self._condition.level = params.level

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        if block.index != self._next_index:
            self._condition.interrupt()
            self._held = False
        self._next_index = block.stop
        holds = self._condition.holds(Frames(block.index, block.times_ns, inputs))
        fired = np.zeros(len(block), bool)
        refractory_ns = round(self.params.refractory_s * 1e9)
        for n, held in enumerate(holds):
            begins = held == 1 and (self.params.fires == "each" or not self._held)
            if begins and block.times_ns[n] - self._fired_ns >= refractory_ns:
                fired[n], self._fired_ns = True, int(block.times_ns[n])
            self._held = held == 1
            self._unknown = self._unknown + 1 if np.isnan(held) else 0
        return Output(block.index, {"fired": fired, "holds": holds})

    def notes(self) -> list[tuple[int, str]]:
        return self._condition.notes()

    def doubt(self) -> str:
        if self._unknown < UNKNOWN_FRAMES:
            return ""
        absent = self._condition.absent
        why = f"there is no {', '.join(absent)}" if absent else self._condition.failed or "a value that it takes is NaN"
        return f"whether {self.params.when!r} holds has not been known for {self._unknown} frames: {why}"

    def state(self) -> State:
        memory = self._condition.memory()
        return {
            "memory": np.array(list(memory.values()), float),
            "held": int(self._held), "fired_ns": self._fired_ns, "unknown": self._unknown,
            "next_index": self._next_index,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        memory = self._condition.memory()
        kept = require_array(state, "memory", np.zeros(len(memory)), "trigger")
        self._condition.recall(dict(zip(memory, kept.tolist(), strict=True)))
        self._held = bool(require_int(state, "held", "trigger"))
        self._fired_ns = require_int(state, "fired_ns", "trigger")
        self._unknown = require_int(state, "unknown", "trigger")
        self._next_index = require_int(state, "next_index", "trigger")
