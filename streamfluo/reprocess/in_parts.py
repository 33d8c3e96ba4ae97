"""One long recording over several workers: parts of it, taken at the same time, and put together into one session.

Where every step merges, the law of merging holds: parts equal the serial run within 1e-12 of each array's scale. Steps
that learn from frame to frame do so from a sample first, and then take parts of frames with what they learned. Planes
that take nothing of each other are parts by themselves.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import SessionError, SourceError
from ..core.freezable import Freezable
from ..core.operator import Mergeable
from ..core.source import Gap, Source, first_index
from ..core.step_values import StepValues
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.config import Config, with_overrides
from ..session.checkpoint import Checkpoint, load_checkpoint
from ..session.health import Health
from ..session.writer import RunFacts, SessionWriter
from ..sources.opening import open_source
from .division import Division, cut_evenly, divided
from .one_recording import Outcome, Task, begun_before, config_of, note
from .part_values import PartValues, tables_alone, written_values
from .sampling import Learned, begin_part, learn, take_over
from .spans import frames_until, refuse_muted

SAMPLE = "sample.npz"


class PartTask(NamedTuple):
    """Frames from `first` on, before `stop`, of a recording, or some of its planes; what comes of them is kept in
    `folder`, under the part's `number`."""

    task: Task
    first: int
    stop: int
    folder: str
    number: int
    division: Division

    @property
    def place(self) -> Path:
        """Where the values are kept, and the state after the last frame."""
        return Path(self.folder) / str(self.number)

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes of the part, none where it has all."""
        return self.division.planes[self.number] if self.division.planes else ()


class Part(NamedTuple):
    """What a part saw: how many frames came, and which did not; `next_index`: the frame after its last one.

    seconds: that it took.
    """

    frames: int
    gaps: list[Gap]
    next_index: int
    seconds: float = 0.0


def parts_of(task: Task, count: int, folder: str, sample: int | None = None) -> list[PartTask]:
    """Return a recording in about so many parts; none where its session is there already.

    sample: frames to learn from, where steps do. Raises ConfigError where a step cannot be taken in parts, SessionError
    where a session of something else, or one that is not finished, is there.
    """
    config = config_of(task)
    with _opened(task, config) as source:
        begun = begun_before(task, config, source)
        if begun == "finished":
            return []
        if begun:
            raise SessionError(
                f"{Path(task.out) / task.recording.name}: is there, {begun}; reprocess it without parts, which goes on "
                "with it, or move it"
            )
        if source.series.frames is None:
            raise SourceError(f"{task.recording.uri}: only what has an end is taken in parts")
        if source.changes:
            raise SourceError(
                f"{task.recording.uri}: parameters were changed, or cells judged, while it was recorded; reprocess it "
                "without parts"
            )
        begin = first_index(source)
        stop = begin + source.series.frames
        chain = Chain(config, with_overrides(config, source.spec))
        division = divided(config, chain, (begin, stop), sample)
        note(task, config, source)
    if division.planes:
        return [PartTask(task, begin, stop, folder, n, division) for n in range(len(division.planes))]
    division = dataclasses.replace(division, cuts=tuple(cut_evenly(begin, stop, count)))
    return parts_as(task, division, folder)


def parts_as(task: Task, division: Division, folder: str) -> list[PartTask]:
    """Return a recording in the parts that a division by frames says."""
    return [PartTask(task, *span, folder, n, division) for n, span in enumerate(pairwise(division.cuts))]


def learn_first(part: PartTask) -> Learned:
    """Learn from the sample what all parts share, and keep it."""
    config = config_of(part.task)
    with _opened(part.task, config) as source:
        return learn(config, source, part.division.sample, Path(part.folder) / SAMPLE)


def process_part(part: PartTask) -> Part:
    """Run a part's frames through a chain of its own, and keep values and state."""
    config, began = config_of(part.task), time.monotonic()
    part.place.mkdir(exist_ok=True)
    with _opened(part.task, config) as source:
        chain = Chain(config, with_overrides(config, source.spec))
        values = PartValues(part.place, source.series.uid, chain, (part.first, part.stop))
        try:
            found = (_planes if part.planes else _frames)(part, source, chain, values)
        finally:
            values.close()
        refuse_muted(config, chain)
    return found._replace(seconds=time.monotonic() - began)


def _frames(part: PartTask, source: Source, chain: Chain, values: PartValues) -> Part:
    found, frames, division = Part(0, [], part.stop), 0, part.division
    warmed, fresh = division.way in ("sampled", "warmed"), chain.state()
    if division.way == "sampled":
        take_over(config_of(part.task), chain, _saved(Path(part.folder) / SAMPLE))
    begin, begun, saved = max(first_index(source), part.first - division.warm_up), False, False
    if begin:
        source.seek(begin)

    def save() -> None:
        Checkpoint(source.series.uid, part.stop, frames, chain.state(), {}).save(part.place / "state.npz")

    for item in frames_until(source, part.stop + division.run_out, (part.first, part.stop)):
        at = item.first if isinstance(item, Gap) else item.index
        if warmed and not begun and at >= part.first:
            begun = True
            for step in chain.steps:
                begin_part(step, fresh)
        own = part.first <= at < part.stop
        if not own and at >= part.stop and not saved:
            saved = True
            save()
        if isinstance(item, Gap):
            if own:
                found.gaps.append(item)
            results = chain.gap(item.first, item.count)
        else:
            frames += len(item) if own else 0
            results = chain.run(item)
        if own or warmed:
            values.add(results, own)
    if not saved:
        save()
    if warmed:
        values.add((r for r in chain.run_end() if isinstance(chain.step(r.step).operator, Freezable)), False)
    return found._replace(frames=frames)


def _planes(part: PartTask, source: Source, chain: Chain, values: PartValues) -> Part:
    found, frames, reached = Part(0, [], part.stop), 0, 0
    for item in source.blocks():
        if item.plane not in part.planes:
            continue
        if isinstance(item, Gap):
            found.gaps.append(item)
            reached = max(reached, item.first + item.count)
            values.add(chain.gap(item.first, item.count, item.plane), True)
        else:
            frames += len(item)
            reached = max(reached, item.stop)
            values.add(chain.run(item), True)
    Checkpoint(source.series.uid, reached, frames, chain.state(), {}).save(part.place / "state.npz")
    values.add(chain.run_end(), True)
    return found._replace(frames=frames, next_index=reached)


def merged(parts: Sequence[tuple[PartTask, Part]], learned: Learned | None = None) -> Outcome:
    """Put together what the parts left, in their order, into the session of the recording."""
    began, (first, _) = time.monotonic(), parts[0]
    task, config = first.task, config_of(first.task)
    with _opened(task, config) as source:
        source.spec = with_overrides(config, source.spec)
        chain = merged_chain(config, source, [part for part, _ in parts])
        given = {step.id: step.operator.gives for step in chain.steps}
        told = {"parts": len(parts), "divided": first.division.facts(len(parts))}
        facts = RunFacts(chain.facts(), given, config.where, config.text, told=told)
        folder = Path(first.folder) / "session"
        writer = SessionWriter(folder, source, facts, raw=False)
        for values in learned.values if learned else ():
            writer.values[values.step].add(values)
        for task_of, part in parts:
            for gap in part.gaps:
                of = {"plane": gap.plane} if gap.plane else {}
                writer.event({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason, **of})
            for values in written_values(task_of.place, source.series.uid, chain):
                writer.values[values.step].add(values)
                writer.values[values.step].flush_if_due()
        for values in _ends(chain, first.division):
            writer.values[values.step].add(values)
        for step in chain.steps:
            if step.operator.doubt():
                writer.event({"event": "doubtful", "step": step.id, "frame": parts[-1][1].next_index,
                              "doubt": step.operator.doubt()})  # fmt: skip
        frames, lost = sum(part.frames for _, part in parts), sum(g.count for _, p in parts for g in p.gaps)
        health = Health(frames=frames, next_index=max(part.next_index for _, part in parts), lost_camera=lost)
        worked_s = (learned.seconds if learned else 0.0) + sum(part.seconds for _, part in parts)
        health.elapsed_s = worked_s + time.monotonic() - began  # what a single run would have taken, or so
        writer.close({s.id: chain.reader_of_all(s.id) for s in chain.steps}, health, source.truth, "finished")
        folder.rename(Path(task.out) / task.recording.name)
    return Outcome(*task.recording, "done", frames=frames, lost=lost, seconds=health.elapsed_s)


def _ends(chain: Chain, division: Division) -> Iterator[StepValues]:
    """Yield what steps say at the end that no part has said: planes, and what learned, ended by themselves."""
    for step in chain.steps:
        operator = step.operator
        if isinstance(operator, Freezable) and (last := operator.conclude()) is not None:
            found = step.gate.values(last, None)
            if found is not None and (rows := tables_alone(found, operator.of_sample)) is not None:
                yield rows
    for result in chain.run_end():
        learned = isinstance(chain.step(result.step).operator, Freezable)
        if result.values is not None and division.way != "planes" and not learned:
            yield result.values


def merged_chain(config: Config, source: Source, parts: Sequence[PartTask]) -> Chain:
    """Return a chain that stands behind the last part, as if it had seen all of them."""
    whole = Chain(config, source.spec)
    states = [_saved(part.place / "state.npz") for part in parts]
    if parts[0].planes:
        taken = {plane: state for part, state in zip(parts, states, strict=True) for plane in part.planes}
        whole.restore({step.id: taken[step.plane][step.id] for step in whole.steps})
        return whole
    whole.restore(states[0])
    for state in states[1:]:
        behind = Chain(config, source.spec)
        behind.restore(state)
        for step, other in zip(whole.steps, behind.steps, strict=True):
            if isinstance(step.operator, Mergeable) and isinstance(other.operator, Mergeable):
                step.operator.merge(other.operator)
            elif isinstance(step.operator, Freezable) and isinstance(other.operator, Freezable):
                step.operator.absorb(other.operator)
            step.next_index = other.next_index
    return whole


def _saved(path: Path) -> Mapping[str, Mapping[str, Any]]:
    checkpoint = load_checkpoint(path)
    if checkpoint is None:
        raise SourceError(f"{path}: what a worker left cannot be read")
    return checkpoint.steps


def _opened(task: Task, config: Config) -> Source:
    source = open_source(task.recording.uri, planes=bool(named_planes(config.steps)))
    if not source.seekable:
        source.close()
        raise SourceError(f"{task.recording.uri}: a stream goes by once; record it, and reprocess the session")
    return source
