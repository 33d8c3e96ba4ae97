"""How long a closed loop takes on this machine: every frame is decided on, and each decision comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ..core.errors import ConfigError
from .config import ActionConfig, Config, StepConfig

TRIGGER, ADDED = "trigger", "latency"
NO_DEADLINE_MS = 1e9


class LoopTimes(NamedTuple):
    """Milliseconds (n,) of each decision: until the chain took the frame, in the chain, until its packet came."""

    waiting_ms: np.ndarray
    chain_ms: np.ndarray
    action_ms: np.ndarray

    @property
    def total_ms(self) -> np.ndarray:
        """From the frame's arrival to the packet's."""
        return self.waiting_ms + self.chain_ms + self.action_ms


def with_loop_back(config: Config, to: str) -> Config:
    """Return the config with its triggers deciding at each frame, and `to` as the only action.

    One without a trigger gets one behind its last step. Raises ConfigError for a config without steps.
    """
    if not config.steps:
        raise ConfigError(f"{config.where}: no steps; there is nothing whose latency could be measured")
    steps = [_deciding(step) if step.kind == TRIGGER else step for step in config.steps]
    if not any(step.kind == TRIGGER for step in steps):
        steps.append(_deciding(StepConfig(kind=TRIGGER, id=ADDED, after=steps[-1].id, params={"when": "true"})))
    actions = tuple(
        ActionConfig(on=step.id, to=to, deadline_ms=NO_DEADLINE_MS) for step in steps if step.kind == TRIGGER
    )
    return msgspec.structs.replace(config, steps=tuple(steps), actions=actions)


def loop_times(received: Iterable[tuple[Mapping[str, Any], int]], from_frame: int) -> LoopTimes:
    """Return the times of decisions as `LoopBack` received them, of frames from `from_frame` on."""
    rows = [
        (told["arrived_ns"], told["taken_ns"], told["decided_ns"], received_ns)
        for told, received_ns in received
        if told["frame"] >= from_frame
    ]
    return LoopTimes(*np.diff(np.array(rows, np.int64).reshape(-1, 4)).T / 1e6)


def _deciding(step: StepConfig) -> StepConfig:
    """A trigger that takes what it took, and decides at each frame."""
    params = {**step.params, "when": f"({step.params.get('when', 'true')}) or true", "fires": "each", "refractory_s": 0}
    return msgspec.structs.replace(step, params=params)
