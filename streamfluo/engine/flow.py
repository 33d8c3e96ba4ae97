"""How blocks flow through a chain's steps: one after the other, or on several threads with the same results.

A step takes a block once the step before it, and those whose values it takes, have done with it, and it has done with
the block before. What does not wait for each other may go on at the same time: branches of the tree, and, where several
blocks wait, a step on the next block while the steps behind it are at the last. Results, and events of faults and
doubts, have the order in which one thread would have given them.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.block import Block
from ..core.card import CardFull, CardLost, card_fault
from ..core.card_block import on_device
from ..core.errors import FrameError
from ..core.grid import GRID_FRAMES
from ..core.operator import Output
from ..core.plane import in_plane
from ..core.step_values import StepValues
from ..core.thread_pool import LEAST_NS, ThreadPool, using
from ..core.wire import SOURCE
from .across import PLANES, AcrossPlanes
from .building import Step, apart, runs_on_processor

Event = dict[str, Any]
BLOCKS = 16  # of a stream at most: planning it takes .5 ms
# That branches, or a stream, must save on each frame: where it is less, the time is Python's, which has one lock.
FRAME_NS = 300_000.0
AHEAD = 3  # blocks that are under way at the same time; no more than there are threads
STREAM_BYTES, FLOAT_BYTES = 512 << 20, 4  # of frames that a step made of those: two blocks of 1024 × 1024 are 256 MiB
USUAL_WEIGHT = 1 / 8

Pull = Callable[[], Block | None]


class StepResult(NamedTuple):
    """What a step made of a block: its Output, and its values once they have passed the gate (None: it gave none)."""

    step: str
    output: Output
    values: StepValues | None


Done = Callable[[Block, list[StepResult]], None]


@dataclass
class Turn:
    """What a block is to the steps of a plane: frames handed on and results by step, and which were muted by then."""

    handed: dict[str, list[Block]]
    results: dict[str, list[StepResult]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    muted: set[str] = field(default_factory=set)

    def flat(self, steps: Sequence[Step]) -> list[StepResult]:
        """Return all results in the order of the steps."""
        return [result for step in steps for result in self.results.get(step.id, ())]


class Flow:
    """Takes blocks through steps. `events` takes what is to be told, `listeners` are told at once what a step gave;
    `read` gives a step's snapshots by name."""

    def __init__(
        self,
        steps: Sequence[Step],
        events: list[Event],
        across: AcrossPlanes,
        read: Callable[[str, Sequence[str]], Mapping[str, np.ndarray]],
        pool: ThreadPool | None,
    ) -> None:
        self._steps, self._by_id = steps, {step.id: step for step in steps}
        self._events, self._across, self._read, self._pool = events, across, read, pool
        self._ahead = min(AHEAD, pool.threads) if pool is not None else 1
        self._own: dict[str, list[Event]] = {}  # of steps that are at it on several threads
        self.listeners: dict[str, Callable[[StepValues], None]] = {}
        at = {step.id: n for n, step in enumerate(steps)}
        self._needs = [sorted(at[name] for name in _waits_for(step) if name in at) for step in steps]
        self._in_line = all(n - 1 in needed for n, needed in enumerate(self._needs) if n)  # no branches
        # Snapshots that a step takes are those of one frame, and planes wait for each other: one thread for those.
        alone = pool is None or across or any(step.snapshots or step.late for step in steps)
        self.shares = not alone and len({step.plane for step in steps}) == 1

    def run(self, plane: str, blocks: list[Block], late: bool = False, finishing: bool = False) -> list[StepResult]:
        """Run a block of a plane, or none, through its steps."""
        if not finishing and self.shares and self._branches_pay(sum(map(len, blocks))):
            given, found = iter(blocks), list[StepResult]()
            self.run_stream(lambda: next(given, None), lambda _, results: found.extend(results), most=1)
            return found
        turn = Turn({in_plane(plane, SOURCE): blocks}, muted={step.id for step in self._steps if step.muted})
        with using(self._pool):
            for step in self._steps:
                if step.plane == plane and step.late == late:
                    self._take(step, turn, finishing)
        for block in blocks:
            self._across.came(plane, late, block, self.snapshot)
            self._across.passed(plane, block.stop, late)
        return turn.flat(self._steps)

    def snapshot(self, giver: str, name: str) -> np.ndarray | None:
        """Return a snapshot of a step that is not muted; None of one that is, or that breaks over it."""
        step = self._by_id[giver]
        index = step.next_index or 0
        found = None if step.muted else self.guarded(step, index, lambda: self._read(giver, [name])[name])
        return found if found is None else np.asarray(found)

    def streams(self, frame_px: int) -> int:
        """Of how many frames, a power of two, the blocks of a stream are, so that what is under way is not too much
        memory; 0 where a stream is not worth it."""
        usual = [step.usual_ns for step in self._steps]
        if not self.shares or sum(usual) - max(usual) < FRAME_NS:
            return 0
        most = STREAM_BYTES // (self._ahead * frame_px * FLOAT_BYTES)
        return min(GRID_FRAMES, 1 << most.bit_length() - 1) if most else 0

    def run_stream(self, pull: Pull, done: Done, most: int = BLOCKS) -> None:
        """Run blocks of the only plane through the steps as `pull` gives them, until it gives none, at most so many.

        `done` is told of each in order, with what it would have given by itself, its events told by then. Both are
        called on any thread of the pool, neither of them twice at the same time.
        """
        assert self._pool is not None
        steps, root = self._steps, in_plane(self._steps[0].plane, SOURCE)
        turns: list[tuple[Block, Turn] | None] = [None] * most
        a_turn, ahead = len(steps) + 2, self._ahead

        def go(at: int) -> None:
            t, n = divmod(at, a_turn)
            if n == 0:
                if (not t or turns[t - 1] is not None) and (block := pull()) is not None:
                    turns[t] = block, Turn({root: [block]})
            elif (found := turns[t]) is not None and n <= len(steps):
                self._take_own(steps[n - 1], found[1])
            elif found is not None:
                block, turn = found
                self._events += [event for step in steps for event in turn.events.get(step.id, ())]
                turn.handed.clear()
                done(block, turn.flat(steps))
                turn.results.clear()

        needs: list[list[int]] = []
        for t in range(most):
            first, last = t * a_turn, (t - 1) * a_turn
            needs.append([*([last] if t else []), *([first - ahead * a_turn + a_turn - 1] if t >= ahead else [])])
            for n, before in enumerate(self._needs, 1):
                needs.append([first, *(first + 1 + m for m in before), *([last + n] if t else [])])
            needs.append([*range(first + 1, first + a_turn - 1), *([first - 1] if t else [])])
        with using(self._pool):
            self._pool.in_order(needs, go)

    def _take_own(self, step: Step, turn: Turn) -> None:
        """Have a step take a turn on whatever thread; what it tells waits until the turn is over."""
        self._own[step.id] = turn.events[step.id] = []
        try:
            self._take(step, turn)
        finally:
            del self._own[step.id]

    def _branches_pay(self, frames: int) -> bool:
        """Whether branches at the same time save enough on a block, by what its steps took of late."""
        if self._in_line:
            return False
        ends: list[float] = []
        for n, step in enumerate(self._steps):
            ends.append(max((ends[m] for m in self._needs[n]), default=0.0) + step.usual_ns)
        saves_ns = sum(step.usual_ns for step in self._steps) - max(ends, default=0.0)
        return saves_ns >= FRAME_NS and saves_ns * frames >= LEAST_NS

    def guarded(self, step: Step, index: int, call: Any, *args: Any) -> Any:
        """Call what a step does; what it raises mutes it, and is told."""
        try:
            return call(*args)
        except (Exception, SystemExit) as error:  # an operator's fault must not end the recording
            if isinstance(fault := card_fault(error), CardLost):
                raise fault from error
            step.muted = f"frame {index}: {type(error).__name__}: {error}"
            self._tell(
                step,
                {
                    "event": "muted",
                    "step": step.id,
                    "frame": index,
                    "error": f"{type(error).__name__}: {error}",
                    "traceback": traceback.format_exc(),
                },
            )
            return None

    def runs(self, step: Step, muted: set[str] | None = None) -> bool:
        """Whether a step is not muted and depends on none that is; one that does is muted with it.

        `muted`: the steps that are, or were when they had done with the block; None: now.
        """
        if muted is None:
            muted = {s.id for s in self._steps if s.muted}
        if muted and not step.muted:
            needs = {step.after}
            if step.lives_on_frames:  # a muted step's last snapshots stay readable
                needs |= {giver for giver, _ in step.givers.values()}
            found = sorted(needs & muted)
            if step.pools and step.pools_of <= muted:
                found += sorted(step.pools_of)
            if found:
                step.muted = f"needs {', '.join(found)}, which is muted"
        return not step.muted

    def _tell(self, step: Step, event: Event) -> None:
        self._own.get(step.id, self._events).append(event)

    def _take(self, step: Step, turn: Turn, finishing: bool = False) -> None:
        """Have a step take what a turn hands to it."""
        if self.runs(step, turn.muted):
            self._takes(step, turn, finishing)
        if step.muted:
            turn.muted.add(step.id)

    def _takes(self, step: Step, turn: Turn, finishing: bool) -> None:
        made = turn.results[step.id] = []
        handed = turn.handed[step.id] = []
        for n, block in enumerate(turn.handed.get(step.after, [])):
            givers = {giver for giver, _ in step.givers.values() if giver in turn.results}
            given = {giver: turn.results[giver][n].values for giver in givers}
            if (result := self._update(step, block, given)) is None:
                break
            self._keep(result)
            made.append(result)
            if not result.output.held:
                handed.append(result.output.block or block)
        if finishing and not step.muted:
            result = self.guarded(step, step.next_index or 0, self._finished, step)
            if result is not None:
                self._keep(result)
                made.append(result)
                handed += [result.output.block] if result.output.block else []

    def _keep(self, result: StepResult) -> None:
        """Keep values that steps of other planes take, or this one with them."""
        if self._across and result.values is not None:
            self._across.add(result.values)

    def _update(self, step: Step, block: Block, given: Mapping[str, StepValues | None]) -> StepResult | None:
        expected = step.next_index
        if expected is not None and block.index < expected:
            raise FrameError(f"step {step.id!r}: frame {block.index} after frame {expected - 1}; frames come in order")
        result: StepResult | None = self.guarded(step, block.index, self._updated, step, block, given)
        step.next_index = block.stop
        return result

    def _updated(self, step: Step, block: Block, given: Mapping[str, StepValues | None]) -> StepResult:
        """What a step makes of a block, after the gap before it; raises what the operator raises."""
        if step.next_index is not None and block.index > step.next_index:
            step.operator.gap(step.next_index, block.index - step.next_index)
        inputs = self._inputs(step, block, given) if step.lives_on_frames else {}
        began = time.perf_counter_ns()
        out = self._made(step, block, inputs)
        took_ns = time.perf_counter_ns() - began
        step.times.add(took_ns, len(block))
        step.usual_ns += USUAL_WEIGHT * (took_ns / len(block) - step.usual_ns)
        values = step.gate.values(out, block)
        if values is not None and (listener := self.listeners.get(step.id)) is not None:
            listener(values)
        self._ask_for_doubt(step, block.index)
        return StepResult(step.id, out, values)

    def _made(self, step: Step, block: Block, inputs: Mapping[str, Any]) -> Output:
        """What its operator makes of a block; where the card has no room for it, on the processor, with its state.

        Raises CardLost where the card is full amid the block: part of it may be in the state already.
        """
        if step.operator.card is None:
            return step.operator.update(block, inputs)
        try:
            on_device(block, step.operator.card)
        except CardFull as full:
            why = str(full)
        else:
            try:
                return step.operator.update(block, inputs)
            except Exception as error:
                if isinstance(fault := card_fault(error), CardFull):
                    raise CardLost(str(fault)) from error
                raise
        params, state = step.operator.params, step.operator.state()  # as before this block
        step.to_processor()
        step.operator.change(params)
        step.operator.restore(state)
        self._tell(step, runs_on_processor(step.id, block.index, why))
        return step.operator.update(block, inputs)

    def _ask_for_doubt(self, step: Step, index: int) -> None:
        for frame, said in step.operator.notes():
            self._tell(step, {"event": "noted", "step": step.id, "frame": frame, "said": said})
        doubt = step.operator.doubt()
        if not isinstance(doubt, str):
            raise FrameError(f"doubt() must return a sentence, found {type(doubt).__name__}")
        if doubt and not step.doubt:  # once: its figures may change with each block
            self._tell(step, {"event": "doubtful", "step": step.id, "frame": index, "doubt": doubt})
        step.doubt = doubt

    def _finished(self, step: Step) -> StepResult | None:
        out = step.operator.finish()
        self._ask_for_doubt(step, step.next_index or 0)
        return None if out is None else StepResult(step.id, out, step.gate.values(out, None))

    def _inputs(self, step: Step, block: Block, given: Mapping[str, StepValues | None]) -> dict[str, Any]:
        """The values a step needs, by name; of those by id also whose they are, as NAME.ids, …"""
        inputs: dict[str, Any] = {}
        for need, givers in step.pools.items():
            if step.operator.once:
                inputs |= self._of_planes(step, need, block)
            else:
                inputs[need] = self._across.pooled(givers, block.index, len(block))
        for need, (giver, name) in step.givers.items():
            if need in step.snapshots:
                due = block.stop % step.operator.reads_every == 0
                if apart(self._by_id[giver], step):
                    inputs[need] = self._across.snapshot(giver, name, block.stop) if due else None
                else:
                    inputs[need] = self._read(giver, [name])[name] if due else None
                continue
            if apart(self._by_id[giver], step):
                if (found := self._across.values(giver, name, block.index, len(block))) is None:
                    raise FrameError(f"step {giver!r} gave no {name!r} for these frames, nor for any before them")
                inputs[need] = found
                continue
            values = given.get(giver)
            if values is None and need in step.operator.may_need:
                continue
            if values is None:
                raise FrameError(f"step {giver!r} gave no {name!r} for these frames")
            inputs[need] = values.value(name)
            for about in self._by_id[giver].gate.beside(name):
                inputs[f"{need}.{about}"] = values.value(about)
        return inputs

    def _of_planes(self, step: Step, need: str, block: Block) -> dict[str, Any]:
        """What a step takes of several planes: values by id side by side, snapshots end to end, and whose they are."""
        givers = step.pools[need]
        if need in step.snapshots:
            found = self._across.snapshots(givers, block.index)
            return {need: None} if found is None else {need: found[0], f"{need}.{PLANES}": found[1]}
        values = self._across.pooled_by_id(givers, block.index, len(block))
        return {need: values.pop(""), **{f"{need}.{about}": array for about, array in values.items()}}


def _waits_for(step: Step) -> set[str]:
    """The steps that must have done with a block before this one may take it."""
    return {step.after} | (step.takes_of if step.lives_on_frames else set())
