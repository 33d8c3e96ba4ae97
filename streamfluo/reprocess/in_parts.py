"""One long recording over several workers: parts of its frames, whose states merge into that of the whole.

What no merging step may change is the law of merging: parts equal the serial run within 1e-12 of each array's scale.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ..core.block import Block
from ..core.errors import ConfigError, SessionError, SourceError
from ..core.grid import GRID_FRAMES
from ..core.operator import Mergeable
from ..core.source import Gap, Source, first_index
from ..core.step_values import StepValues
from ..engine.chain import Chain
from ..engine.config import Config, with_overrides
from ..session.checkpoint import Checkpoint, load_checkpoint
from ..session.health import Health
from ..session.writer import RunFacts, SessionWriter
from ..sources.opening import open_source
from .one_recording import Outcome, Task, begun_before, config_of, note


class PartTask(NamedTuple):
    """Frames from `first` on, before `stop`, of a recording; what comes of them is kept in `folder`."""

    task: Task
    first: int
    stop: int
    folder: str

    @property
    def state(self) -> Path:
        """Where the state after the last frame is kept."""
        return Path(self.folder) / f"{self.first}.npz"


class Part(NamedTuple):
    """What a part gave: values in order, how many frames came and which did not."""

    values: list[StepValues]
    frames: int
    gaps: list[Gap]


def parts_of(task: Task, count: int, folder: str) -> list[PartTask]:
    """Return a recording in about so many parts, cut where steps flush; none where its session is there already.

    Raises ConfigError where a step has no merge, SessionError where a session of something else, or one that is not
    finished, is there.
    """
    with _opened(task) as source:
        config = config_of(task)
        begun = begun_before(task, config, source)
        if begun == "finished":
            return []
        if begun:
            raise SessionError(
                f"{Path(task.out) / task.recording.name}: is there, {begun}; reprocess it without parts, which goes on "
                "with it, or move it"
            )
        _require_merging(config, Chain(config, with_overrides(config, source.spec)))
        if source.series.frames is None or source.spec.planes:
            raise SourceError(f"{task.recording.uri}: only what has an end, and one plane, is taken in parts")
        begin, total = first_index(source), source.series.frames
        note(task, config, source)
    each, stop = max(GRID_FRAMES, -(-total // count // GRID_FRAMES) * GRID_FRAMES), begin + total
    cuts = [begin, *range(begin // GRID_FRAMES * GRID_FRAMES + each, stop, each), stop]
    return [PartTask(task, first, until, folder) for first, until in pairwise(cuts)]


def process_part(part: PartTask) -> Part:
    """Run a part's frames through a chain of its own, and keep the state."""
    config = config_of(part.task)
    with _opened(part.task) as source:
        chain = Chain(config, with_overrides(config, source.spec))
        found = Part([], 0, [])
        if part.first:
            source.seek(part.first)
        frames = 0
        for item in frames_until(source, part.stop):
            if isinstance(item, Gap):
                found.gaps.append(item)
                results = chain.gap(item.first, item.count)
            else:
                frames += len(item)
                results = chain.run(item)
            found.values.extend(result.values for result in results if result.values is not None)
        Checkpoint(source.series.uid, part.stop, frames, chain.state(), {}).save(part.state)
    return found._replace(frames=frames)


def merged(parts: Sequence[tuple[PartTask, Part]]) -> Outcome:
    """Merge what the parts left, in their order, into the session of the recording."""
    began, (first, _) = time.monotonic(), parts[0]
    task, config = first.task, config_of(first.task)
    with _opened(task) as source:
        source.spec = with_overrides(config, source.spec)
        chain = _merged_chain(config, source, [part for part, _ in parts])
        given = {step.id: step.operator.gives for step in chain.steps}
        facts = RunFacts(chain.facts(), given, config.where, config.text, told={"parts": len(parts)})
        part_folder = Path(first.folder) / "session"
        writer = SessionWriter(part_folder, source, facts, raw=False)
        for _, part in parts:
            for gap in part.gaps:
                writer.event({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason})
            for values in part.values:
                writer.values[values.step].add(values)
        for result in chain.run_end():
            if result.values is not None:
                writer.values[result.step].add(result.values)
        frames, lost = sum(part.frames for _, part in parts), sum(g.count for _, p in parts for g in p.gaps)
        health = Health(frames=frames, next_index=parts[-1][0].stop, lost_camera=lost)
        health.elapsed_s = time.monotonic() - began
        writer.close({s.id: chain.reader_of_all(s.id) for s in chain.steps}, health, source.truth, "finished")
        part_folder.rename(Path(task.out) / task.recording.name)
    return Outcome(*task.recording, "done", frames=frames, lost=lost, seconds=health.elapsed_s)


def _merged_chain(config: Config, source: Source, parts: Sequence[PartTask]) -> Chain:
    whole = Chain(config, source.spec)
    whole.restore(_steps(parts[0]))
    for part in parts[1:]:
        behind = Chain(config, source.spec)
        behind.restore(_steps(part))
        for step, other in zip(whole.steps, behind.steps, strict=True):
            if isinstance(step.operator, Mergeable) and isinstance(other.operator, Mergeable):
                step.operator.merge(other.operator)
                step.next_index = other.next_index
    return whole


def _steps(part: PartTask) -> Mapping[str, Mapping[str, Any]]:
    checkpoint = load_checkpoint(part.state)
    if checkpoint is None:
        raise SourceError(f"{part.state}: what a worker left of frames {part.first} to {part.stop - 1} cannot be read")
    return checkpoint.steps


def frames_until(source: Source, stop: int) -> Iterator[Block | Gap]:
    """Yield what a source gives of the frames before `stop`: blocks and gaps, cut there."""
    for item in source.blocks():
        at = item.first if isinstance(item, Gap) else item.index
        if at >= stop:
            return
        end = item.first + item.count if isinstance(item, Gap) else item.stop
        if end <= stop:
            yield item
        elif isinstance(item, Gap):
            yield replace(item, count=stop - at)
        else:
            yield item.cut(at, stop)


def _require_merging(config: Config, chain: Chain) -> None:
    for step in chain.steps:
        if step.lives_on_frames and not isinstance(step.operator, Mergeable):
            raise ConfigError(
                f"{config.where}: step {step.id!r}: {step.operator.kind} has no merge, so a recording cannot be taken "
                "in parts; reprocess it whole"
            )


def _opened(task: Task) -> Source:
    source = open_source(task.recording.uri)
    if not source.seekable:
        raise SourceError(f"{task.recording.uri}: a stream goes by once; record it, and reprocess the session")
    return source
