"""The chain: a tree of steps that a block runs through by plain calls."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, StateError, did_you_mean
from ..core.operator import Operator, Output, SnapshotOperator, Values
from ..core.params import build_params
from ..core.registry import find_operator
from ..core.spec import Spec
from ..core.state import State, check_state
from ..core.wire import SOURCE
from ..session.health import StepTimes
from .config import Config, StepConfig, load_config, told_spec


@dataclass
class Step:
    """An operator placed in a chain: where its frames and inputs come from, and how it fares.

    `givers` maps each name in `needs` to (step id, name). `axis` names the frame axis it sees: steps on the same axis
    see the same frames. `muted` holds the error that took it out of the chain.
    """

    config: StepConfig
    operator: Operator
    axis: str
    givers: dict[str, tuple[str, str]]
    next_index: int | None = None
    muted: str | None = None
    times: StepTimes = field(default_factory=StepTimes)
    widths: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of its values of one frame, as they were first

    @property
    def id(self) -> str:
        """The step's id."""
        return self.config.id

    def check_widths(self, values: Values) -> None:
        """Raise FrameError where values of a frame have another shape than before: nobody could join them."""
        for name in (g.name for g in self.operator.gives if g.kind == "per_frame" and g.name in values):
            width = np.asarray(values[name]).shape[1:]
            if (was := self.widths.setdefault(name, width)) != width:
                raise FrameError(f"{name} of a frame was {was}, now {width}; give by id what comes and goes")


class Chain:
    """Steps built for one spec. `push` blocks in order; a jump of the index is a gap.

    A step that raises is muted: its last state stays readable, the steps that depend on it are muted with it, the
    others go on; `events` says so.
    """

    def __init__(self, config: Config, spec: Spec) -> None:
        self.spec = spec
        self.steps: list[Step] = []
        self.events: list[dict[str, Any]] = []
        for step in config.steps:
            self.steps.append(self._build(config.where, step))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], spec: Spec, changes: Sequence[str] = ()) -> Chain:
        """Build the chain a config file describes. Raises ConfigError with file, step and parameter."""
        config = load_config(path, changes)
        return cls(config, told_spec(config, spec))

    def step(self, name: str) -> Step:
        """Return a step by id. Raises ConfigError with the nearest one."""
        for step in self.steps:
            if step.id == name:
                return step
        raise ConfigError(f"no step {name!r}{did_you_mean(name, [s.id for s in self.steps])}")

    def push(self, block: Block) -> list[tuple[str, Output]]:
        """Run a block through every step. Returns (step id, Output) in step order. Raises FrameError for a block
        that is not of the chain's spec or goes back in the index."""
        if block.pixels.shape[1:] != self.spec.shape or block.pixels.dtype.name != self.spec.dtype:
            found = f"{block.pixels.shape[1:]} {block.pixels.dtype.name}"
            raise FrameError(f"frame {block.index}: expected {self.spec.shape} {self.spec.dtype}, found {found}")
        return self._flow([block], finishing=False)

    def gap(self, first: int, count: int) -> None:
        """`count` frames from index `first` on never came; steps behind one with its own frame axis see the jump."""
        for step in self.steps:
            if step.axis == SOURCE and self._runs(step):
                self._guarded(step, first, step.operator.gap, first, count)
                step.next_index = first + count

    def finish(self) -> list[tuple[str, Output]]:
        """End of the series: what steps still held back, run through the steps after them."""
        return self._flow([], finishing=True)

    def read(self, name: str, names: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return snapshots of a step by name (None: all it gives)."""
        return self.reader(name, names)()

    def reader(self, name: str, names: Sequence[str] | None = None) -> Callable[[], Mapping[str, np.ndarray]]:
        """Return what reads snapshots of a step, and the snapshots that they are made of, as of now.

        It may run on another thread while the chain goes on.
        """
        operator, givers = self.step(name).operator, self.step(name).givers
        if not isinstance(operator, SnapshotOperator):
            return operator.reader(names)
        wanted: dict[str, list[str]] = {}
        for giver, given in givers.values():
            wanted.setdefault(giver, []).append(given)
        readers = {giver: self.reader(giver, given) for giver, given in wanted.items()}

        def compute() -> Mapping[str, np.ndarray]:
            found = {giver: reader() for giver, reader in readers.items()}
            return operator.read(names, {need: found[giver][given] for need, (giver, given) in givers.items()})

        return compute

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return {id: {kind, version, params, after, inputs}} in plain values: what each step is."""
        return {
            s.id: {
                "kind": s.operator.kind,
                "version": s.operator.version,
                "params": msgspec.to_builtins(s.operator.params, enc_hook=lambda array: array.tolist()),
                "after": s.config.after,
                "inputs": {need: ".".join(giver) for need, giver in s.givers.items()},
            }
            for s in self.steps
        }

    def state(self) -> dict[str, dict[str, Any]]:
        """Return {id: {…facts, next_index, muted, state}}: all a checkpoint needs of the steps."""
        facts = self.facts()
        return {
            s.id: {**facts[s.id], "next_index": s.next_index, "muted": s.muted, "state": _state(s)} for s in self.steps
        }

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what `state` returned. Raises StateError if a step is missing, of another kind or version."""
        for step in self.steps:
            saved = state.get(step.id, {})
            found = (saved.get("kind"), saved.get("version"))
            if found != (step.operator.kind, step.operator.version):
                expected = (step.operator.kind, step.operator.version)
                raise StateError(f"step {step.id!r}: expected the state of {expected}, found {found}")
            step.next_index, step.muted = saved.get("next_index"), saved.get("muted")
            if saved["state"] or not step.muted:
                step.operator.restore(saved["state"])

    def _flow(self, blocks: list[Block], finishing: bool) -> list[tuple[str, Output]]:
        handed: dict[str, list[Block]] = {SOURCE: blocks}
        values: dict[str, list[Values]] = {}
        outputs: list[tuple[str, Output]] = []
        for step in self.steps:
            if not self._runs(step):
                continue
            outs: list[Output] = []
            handed[step.id] = []
            for n, block in enumerate(handed.get(step.config.after, [])):
                if (out := self._update(step, block, lambda giver, name, n=n: values[giver][n][name])) is None:  # type: ignore[misc]
                    break
                outs.append(out)
                if not out.held:
                    handed[step.id].append(out.block or block)
            if finishing and not step.muted:
                out = self._guarded(step, step.next_index or 0, step.operator.finish)
                if out is not None:
                    outs.append(out)
                    handed[step.id] += [out.block] if out.block else []
            values[step.id] = [out.values for out in outs]
            outputs += [(step.id, out) for out in outs]
        return outputs

    def _update(self, step: Step, block: Block, given: Callable[[str, str], Any]) -> Output | None:
        expected = step.next_index
        if expected is not None and block.index < expected:
            raise FrameError(f"step {step.id!r}: frame {block.index} after frame {expected - 1}; frames come in order")
        out: Output | None = self._guarded(step, block.index, self._updated, step, block, given)
        step.next_index = block.stop
        return out

    def _updated(self, step: Step, block: Block, given: Callable[[str, str], Any]) -> Output:
        """What a step makes of a block, the gap before it told; raises what the operator raises."""
        if step.next_index is not None and block.index > step.next_index:
            step.operator.gap(step.next_index, block.index - step.next_index)
        inputs: dict[str, Any] = {}
        if not isinstance(step.operator, SnapshotOperator):
            inputs = {need: given(*giver) for need, giver in step.givers.items()}
        began = time.perf_counter_ns()
        out = step.operator.update(block, inputs)
        step.times.add(time.perf_counter_ns() - began, len(block))
        after = out.block or block
        if step.operator.frame_axis == "same" and (out.held or (after.index, len(after)) != (block.index, len(block))):
            raise FrameError("hands on other frames than it sees, so it must declare frame_axis = 'own'")
        step.check_widths(out.values)
        return out

    def _guarded(self, step: Step, index: int, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:  # an operator's fault must not end the recording
            step.muted = f"frame {index}: {type(error).__name__}: {error}"
            self.events.append(
                {
                    "event": "muted",
                    "step": step.id,
                    "frame": index,
                    "error": f"{type(error).__name__}: {error}",
                    "traceback": traceback.format_exc(),
                }
            )
            return None

    def _runs(self, step: Step) -> bool:
        """Whether a step is not muted and depends on none that is; one that does is muted with it."""
        needs = {step.config.after}
        if not isinstance(step.operator, SnapshotOperator):  # a muted step's last snapshots stay readable
            needs |= {giver for giver, _ in step.givers.values()}
        muted = sorted(s.id for s in self.steps if s.muted and s.id in needs)
        if muted and not step.muted:
            step.muted = f"needs {', '.join(muted)}, which is muted"
        return not step.muted

    def _build(self, where: str, config: StepConfig) -> Step:
        place = f"{where}: step {config.id!r}"
        operator_class = find_operator(config.kind, place)
        parent = next((s for s in self.steps if s.id == config.after), None)
        spec = parent.operator.out_spec if parent else self.spec
        axis = SOURCE if parent is None else parent.axis
        if parent is not None and parent.operator.frame_axis == "own":
            axis = parent.id
        params = build_params(operator_class.Params, config.params, place)
        try:
            operator = operator_class(params, spec, config.device)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        return Step(config, operator, axis, self._givers(place, config, operator, axis))

    def _givers(self, place: str, config: StepConfig, operator: Operator, axis: str) -> dict[str, tuple[str, str]]:
        for name in config.inputs:
            if name not in operator.needs:
                hint = did_you_mean(name, operator.needs) if operator.needs else "; it takes none"
                raise ConfigError(f"{place}: no input {name!r}{hint}")
        return {need: self._giver(place, need, config.inputs.get(need), operator, axis) for need in operator.needs}

    def _giver(self, place: str, need: str, named: str | None, operator: Operator, axis: str) -> tuple[str, str]:
        wanted = ("snapshot",) if isinstance(operator, SnapshotOperator) else ("per_frame", "by_id", "table")
        step_id, _, name = (named or f".{need}").partition(".")
        for step in reversed(self.steps):
            if step_id and step.id != step_id:
                continue
            given = [g for g in step.operator.gives if g.name == (name or need) and g.kind in wanted]
            if given and "snapshot" not in wanted and step.axis != axis:
                raise ConfigError(
                    f"{place}: {need!r} of step {step.id!r} belongs to other frames: a step in between hands on its own"
                )
            if given:
                return step.id, given[0].name
        everything = [f"{s.id}.{g.name}" for s in self.steps for g in s.operator.gives if g.kind in wanted]
        raise ConfigError(f"{place}: nothing above gives {named or need!r}{did_you_mean(named or need, everything)}")


def _state(step: Step) -> State:
    """A step's state; of a muted step nothing, if what broke it broke its state."""
    try:
        return check_state(step.operator.state(), f"step {step.id!r}")
    except Exception:
        if not step.muted:
            raise
        return {}
