"""The chain: a tree of steps that a block runs through by plain calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, StateError, did_you_mean
from ..core.operator import Output, SnapshotOperator
from ..core.params import with_present_names
from ..core.plane import ONE_PLANE, in_plane
from ..core.source import Gap
from ..core.spec import Spec
from ..core.state import State, check_state
from ..core.wire import SOURCE
from .across import AcrossPlanes
from .building import Builder, Step
from .config import Config, load_config, with_overrides
from .flow import Done, Flow, Pull, StepResult
from .held_blocks import HeldBlocks
from .live import LiveChanges, live_values, take_live_values

NOTHING: Mapping[str, int] = MappingProxyType({})


class Chain:
    """Steps built for one spec, those of each plane apart. `push` blocks in order; a jump of the index is a gap.

    `follows` has the planes that take values from others: of those the same frames come first. Steps that take values
    of planes which take some of theirs are late: they run once all these planes have come to their frames.
    A step that raises is muted: its last state stays readable, the steps that depend on it are muted with it, the
    others go on; `events` says so, and where an operator begins to doubt its results.
    """

    def __init__(self, config: Config, spec: Spec) -> None:
        self.spec, self._dtype = spec, np.dtype(spec.dtype)
        builder = Builder(config, spec)
        self.steps: list[Step] = builder.steps
        self.follows = builder.leaders()
        self.events: list[dict[str, Any]] = builder.events
        self._across = AcrossPlanes(self.steps)
        self._flow = Flow(self.steps, self.events, self._across, self.read, config.chain.pool)
        self.listeners = self._flow.listeners  # told at once what a step gave
        self.changes = LiveChanges(self.steps, self._flow.guarded, self.events.append)
        # What a step that stands once takes of late ones in other planes must be there: its plane comes last.
        once = {step.plane for step in self.steps if step.operator.once}
        late = sorted(dict.fromkeys(step.plane for step in self.steps if step.late), key=lambda plane: plane in once)
        self._held = HeldBlocks(late, builder.awaited()) if late else None

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], spec: Spec, changes: Sequence[str] = ()) -> Chain:
        """Build the chain a config file describes. Raises ConfigError with file, step and parameter."""
        config = load_config(path, changes)
        return cls(config, with_overrides(config, spec))

    @property
    def on_card(self) -> bool:
        """Whether any step runs on a card."""
        return any(step.card for step in self.steps)

    @property
    def pin(self) -> Callable[[np.ndarray], None] | None:
        """What keeps memory of the host where the card that steps run on reads it; None where none does."""
        return next((step.operator.card.pin for step in self.steps if step.operator.card is not None), None)

    def to_processor(self, state: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Build the steps anew on the processor, with the state that `state` returned; None: as before any frame.

        Raises StateError.
        """
        for step in self.steps:
            step.to_processor()
            step.next_index, step.muted, step.doubt = None, None, ""
        if state is not None:
            self.restore(state)

    def step(self, name: str) -> Step:
        """Return a step by id. Raises ConfigError with the nearest one."""
        for step in self.steps:
            if step.id == name:
                return step
        raise ConfigError(f"no step {name!r}{did_you_mean(name, [s.id for s in self.steps])}")

    def push(self, block: Block) -> list[tuple[str, Output]]:
        """Run a block through every step and return (step id, Output) in step order.

        Raises FrameError for a block that is not of the chain's spec or planes, or goes back in the index.
        """
        return [(result.step, result.output) for result in self.run(block)]

    def run(self, block: Block) -> list[StepResult]:
        """Run a block through every step, as `push` does, and return what passed each step's gate."""
        self._check(block)
        plane = block.plane if self.spec.planes else ONE_PLANE
        return self._through(plane, block) + self._late(plane, block)

    def streams(self) -> int:
        """Of how many frames blocks are best that wait for a `run_stream`; 0 where it is not worth it."""
        return 0 if self.changes.waiting else self._flow.streams(self.spec.shape[0] * self.spec.shape[1])

    def run_stream(self, pull: Pull, done: Done) -> None:
        """Run blocks through every step as `pull` gives them, until it gives none: a step on the next one while those
        behind it are at the last. `done` is told of each, in order, what `run` would have returned; its events are
        told by then. Both may be called on other threads.
        """

        def checked() -> Block | None:
            if (block := pull()) is not None:
                self._check(block)
            return block

        if not self.changes.waiting and self._flow.shares:
            self._flow.run_stream(checked, done)
            return
        while (block := pull()) is not None:
            done(block, self.run(block))

    def _check(self, block: Block) -> None:
        """Raises FrameError for a block that is not of the chain's spec or planes."""
        if block.shape[1:] != self.spec.shape or block.dtype != self._dtype:
            found = f"{block.shape[1:]} {block.dtype.name}"
            raise FrameError(f"frame {block.index}: expected {self.spec.shape} {self.spec.dtype}, found {found}")
        if self.spec.planes and (plane := block.plane) not in self.spec.plane_names:
            raise FrameError(f"frame {block.index}: no plane {plane!r}{did_you_mean(plane, self.spec.plane_names)}")

    def gap(self, first: int, count: int, plane: str = ONE_PLANE) -> list[StepResult]:
        """`count` frames from index `first` on never came; steps behind one with its own frame axis see the jump.

        Returns what late steps made of frames of other planes that waited for these.
        """
        self.changes.make(plane, False, first)
        self._skip(plane, first, count)
        return self._late(plane, Gap(first, count, plane=plane))

    @property
    def settled(self) -> bool:
        """Whether no plane has yet to come to frames of which it takes values from another: what `state` leaves out."""
        return not (self._held or self._across.waits())

    def finish(self) -> list[tuple[str, Output]]:
        """End of the series: what steps still held back, run through the steps after them."""
        return [(result.step, result.output) for result in self.run_end()]

    def change_now(self, reached: Mapping[str, int]) -> None:
        """Make the changes that are due before the frames that planes have `reached`, also if no more come."""
        for plane, frame in reached.items():
            self.changes.make(plane, False, frame)
            if not self._held:
                self.changes.make(plane, True, frame)

    def run_end(self, reached: Mapping[str, int] = NOTHING) -> list[StepResult]:
        """End the series, as `finish` does, and return what passed each step's gate.

        Changes that are due before the frames that planes have `reached` are made first.
        """
        planes = self.spec.plane_names
        self.change_now(reached)
        results = [result for plane in planes for result in self._flow.run(plane, [], finishing=True)]
        if self._held is not None:
            results += self._released(self._held.rest())
            self.change_now(reached)
            results += [result for plane in planes for result in self._flow.run(plane, [], late=True, finishing=True)]
        return results

    def read(self, name: str, names: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return snapshots of a step by name (None: all it gives)."""
        return self.reader(name, names)()

    def reader_of_all(self, name: str) -> Callable[[], Mapping[str, np.ndarray]]:
        """Return what reads all snapshots of a step when it is called."""
        return lambda: self.read(name)

    def reader(self, name: str, names: Sequence[str] | None = None) -> Callable[[], Mapping[str, np.ndarray]]:
        """Return what reads snapshots of a step, and the snapshots that they are made of, as of now.

        It may run on another thread while the chain goes on.
        """
        operator, givers, gate = self.step(name).operator, self.step(name).givers, self.step(name).gate
        if not isinstance(operator, SnapshotOperator):
            read = operator.reader(names)
            return lambda: gate.snapshots(read())
        wanted: dict[str, list[str]] = {}
        for giver, given in givers.values():
            wanted.setdefault(giver, []).append(given)
        readers = {giver: self.reader(giver, given) for giver, given in wanted.items()}
        operator = copy(operator)  # with its parameters as of now

        def compute() -> Mapping[str, np.ndarray]:
            found = {giver: reader() for giver, reader in readers.items()}
            inputs = {need: found[giver][given] for need, (giver, given) in givers.items()}
            return gate.snapshots(operator.read(names, inputs))

        return compute

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return {id: {kind, version, params, after, inputs, sees}} in plain values: what each step is."""
        return {
            s.id: {
                "kind": s.operator.kind,
                "version": s.operator.version,
                "params": _stated(s),
                "after": s.after,
                "inputs": {need: ".".join(giver) for need, giver in s.givers.items()}
                | {need: s.config.inputs[need] for need in s.pools},
                "sees": _frames_of(s.operator.spec),
                **({"frames_of": s.axis} if s.axis != in_plane(s.plane, SOURCE) else {}),
                **({"device": s.card} if s.card else {}),
            }
            for s in self.steps
        }

    def state(self) -> dict[str, dict[str, Any]]:
        """Return {id: {…facts, live, next_index, muted, state}}: all a checkpoint needs of the steps.

        A step that cannot give its state is muted.
        """
        facts = self.facts()
        states = {s.id: self._state(s) for s in self.steps}
        return {s.id: {**facts[s.id], **_now(s), "state": states[s.id]} for s in self.steps}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what `state` returned. Raises StateError if a step is missing, of another kind or version."""
        for step in self.steps:
            saved = state.get(step.id, {})
            found = (saved.get("kind"), saved.get("version"))
            if found != (step.operator.kind, step.operator.version):
                expected = (step.operator.kind, step.operator.version)
                raise StateError(f"step {step.id!r}: expected the state of {expected}, found {found}")
            step.next_index, step.muted = saved.get("next_index"), None
            try:
                take_live_values(step, saved.get("live") or {})
            except ConfigError as error:
                raise StateError(str(error)) from None
            step.muted = saved.get("muted")
            if saved["state"] or not step.muted:
                _restore(step, saved["state"])
        self._across.restored({step.id: step.next_index for step in self.steps}, self._flow.snapshot)

    def _late(self, plane: str, item: Block | Gap) -> list[StepResult]:
        """Run late steps over what waited for this block or gap of a plane."""
        return [] if self._held is None else self._released(self._held.passes(plane, item))

    def _released(self, items: Iterable[tuple[str, Block | Gap]]) -> list[StepResult]:
        results = []
        for plane, item in items:
            if isinstance(item, Gap):
                self.changes.make(plane, True, item.first)
                self._skip(plane, item.first, item.count, late=True)
            else:
                results += self._through(plane, item, late=True)
        return results

    def _skip(self, plane: str, first: int, count: int, late: bool = False) -> None:
        for step in self.steps:
            if step.axis == in_plane(plane, SOURCE) and step.late == late and self._flow.runs(step):
                self._flow.guarded(step, first, step.operator.gap, first, count)
                step.next_index = first + count
        self._across.passed(plane, first + count, late)

    def _through(self, plane: str, block: Block, late: bool = False) -> list[StepResult]:
        """Run a block through a plane's steps, in parts where parameters change, or snapshots are read, within it."""
        parts = (part for uncut in self.changes.parts(plane, late, block) for part in self._cut(plane, late, uncut))
        return [r for part in parts for r in self._flow.run(plane, [part], late)]

    def _cut(self, plane: str, late: bool, block: Block) -> Iterator[Block]:
        """Yield a block in the parts that end where steps take snapshots: what they show must not depend on blocks."""
        taking = {s.operator.reads_every for s in self.steps if s.snapshots and (s.plane, s.late) == (plane, late)}
        taking |= self._across.cuts(plane, late)
        at = block.index
        while taking and (stop := min(at - at % every + every for every in taking)) < block.stop:
            yield block.cut(at, stop)
            at = stop
        yield block.cut(at, block.stop) if at > block.index else block

    def _state(self, step: Step) -> State:
        """A step's state; nothing of one that cannot give it."""
        if step.muted:
            try:
                return check_state(step.operator.state(), f"step {step.id!r}")
            except Exception:  # what broke it broke its state
                return {}
        found = self._flow.guarded(step, step.next_index or 0, lambda: check_state(step.operator.state(), "its state"))
        return found or {}


def _restore(step: Step, state: State) -> None:
    """Give an operator its state back. Raises StateError for one that is not its own, whatever it made of it."""
    try:
        step.operator.restore(state)
        step.doubt = "" if step.muted else step.operator.doubt()  # an event said so when it began
    except StateError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise StateError(f"step {step.id!r}: not the state of {step.operator.kind!r} ({what})") from error


def _frames_of(spec: Spec) -> dict[str, Any]:
    """What the frames of a spec are, in plain values."""
    return {"shape": list(spec.shape), "pixel_um": spec.pixel_um, "origin_px": list(spec.origin_px)}


def _now(step: Step) -> dict[str, Any]:
    """Where a step stands, in plain values."""
    return {"live": live_values(step), "next_index": step.next_index, "muted": step.muted}


def _stated(step: Step) -> dict[str, Any]:
    """A step's parameters in plain values; one that the config names by a file as it stands there."""
    given = with_present_names(step.operator.Params, step.config.params)
    named = {name: given.get(name) for name in step.operator.from_file}
    files = {name: str(value) for name, value in named.items() if isinstance(value, str | os.PathLike)}
    params = msgspec.structs.replace(step.params, **files)
    plain: dict[str, Any] = msgspec.to_builtins(params, enc_hook=lambda array: array.tolist())
    return plain
