"""A session that was made in parts, made in the same parts once more: as its facts say, so that each bit must be the
same, whatever parts differ in from a single run."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.source import Source, first_index
from ..core.step_values import StepValues
from ..engine.chain import Chain
from ..reprocess.division import Division, stated
from ..reprocess.in_parts import PartTask, learn_first, merged, parts_as, process_part
from ..reprocess.one_recording import Task
from ..reprocess.part_values import written_values
from ..reprocess.recordings import Recording
from ..session.reader import Session, open_session
from ..session.values import ValuesRecord
from .differing import Values, differing_snapshots, differing_values
from .findings import Finding
from .reopened import CannotTell


class Made(NamedTuple):
    """A session of parts: its chain as it was before the first frame, where its frames are, how they were divided."""

    session: Session
    chain: Chain
    uri: str
    division: Division


def division_of(session: Session, source: Source) -> Division | None:
    """Return how a session says that its recording was divided, None for one that was run whole, each of its planes.

    Raises SessionError where it cannot have been like that.
    """
    divided = session.facts.get("divided")
    if not session.facts.get("parts") or (isinstance(divided, Mapping) and divided.get("way") == "planes"):
        return None
    if divided is None or source.series.frames is None:
        raise CannotTell("made of parts, and does not say of which")
    begin = first_index(source)
    return stated(session, (begin, begin + source.series.frames))


def parts_again(made: Made, head_frames: int, progress: Callable[[int], None]) -> tuple[list[Finding], str]:
    """Make the parts again, one after the other, and return where values and snapshots differ, and what was done.

    head_frames: of a sample, so many frames of the first part alone; 0: all. `progress` is told of frames. Raises what
    making them raises.
    """
    session, chain, uri, division = made
    text = (session.path / "config.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="streamfluo-verify-") as work:
        task = Task((str(session.facts.get("config", "config.toml")), text, ()), Recording("again", uri), work)
        parts = parts_as(task, division, work)
        learned = learn_first(parts[0]) if division.way == "sampled" else None
        if head_frames:
            return _head(made, parts[0], head_frames)
        found = []
        for part in parts:
            found.append((part, process_part(part)))
            progress(part.stop - parts[0].first)
        merged(found, learned)
        again = open_session(Path(work) / "again")
        values = {step.id: _values(again.each_record(step.id)) for step in chain.steps}
        wrong = list(differing_values(session, values, "whole"))
        wrong += differing_snapshots(session, {step.id: again.snapshot(step.id) for step in chain.steps})
    said = f"frames {parts[0].first} to {parts[-1].stop - 1} recomputed in the same {len(parts)} parts"
    return wrong, f"{said}, with the snapshots"


def _head(made: Made, first: PartTask, frames: int) -> tuple[list[Finding], str]:
    """The first frames of the first part, their values of each frame alone: rows of tables come later and mixed."""
    part = first._replace(stop=min(first.stop, first.first + frames))
    process_part(part)
    by_step: dict[str, list[StepValues]] = {step.id: [] for step in made.chain.steps}
    for one in written_values(part.place, made.session.series["uid"], made.chain):
        of_frames = {name: array for name, array in one.arrays.items() if "/" not in name}
        if one.frames:
            by_step[one.step].append(dataclasses.replace(one, arrays=of_frames))
    wrong = differing_values(made.session, {step: _values(records) for step, records in by_step.items()}, "head")
    return list(wrong), f"frames {part.first} to {part.stop - 1} recomputed, of the first part"


def _values(records: Iterable[StepValues | ValuesRecord]) -> Values:
    values = Values()
    for record in records:
        values.arrays.append({name: np.array(array) for name, array in record.arrays.items()})
        values.index.append(np.arange(record.index, record.index + record.frames))
    return values
