"""A session's steps as a report reads them: record by record, so that an hour of values needs no more memory than a
minute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..core.registry import operator_of
from ..session.reader import Session
from ..session.recorded_step import SessionStep
from ..session.values import ValuesRecord


@dataclass(frozen=True)
class ReadStep(SessionStep):
    """A step of a session, or of one plane of it (`core.findings.ReportedStep`)."""

    session: Session
    id: str

    @property
    def stop(self) -> int:
        """One past the last frame's index."""
        return self.session.next_index

    @property
    def interval_s(self) -> float | None:
        """The frame interval; None where it is not known, or a step above binned or skipped frames."""
        at = self.above
        while at is not None:
            operator = operator_of(at.kind)
            if operator is None or operator.frame_axis != "same":
                return None
            at = at.above
        return self.session.spec.interval_s

    @property
    def params(self) -> Mapping[str, Any]:
        """The step's parameters."""
        return self.session.steps[self.id].params

    @cached_property
    def snapshot(self) -> Mapping[str, np.ndarray]:
        """The last snapshots by name."""
        return self.session.snapshot(self.id)

    @cached_property
    def index(self) -> np.ndarray:
        """The frame index (t,) of each row of the per-frame values."""
        return self._per_frame[0]

    def records(self) -> Iterator[ValuesRecord]:
        """Yield the values record by record."""
        return self.session.each_record(self.id)

    def per_frame(self, name: str) -> np.ndarray:
        """Return values of every frame (t, …), NaN where a record has none; empty where there are none at all."""
        return self._per_frame[1].get(name, np.empty(0))

    @cached_property
    def _per_frame(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The frame of each row, and all values of every frame, from one pass over the records."""
        names = [given.name for given in self.session.steps[self.id].gives if given.kind == "per_frame"]
        parts: dict[str, list[np.ndarray | int]] = {name: [] for name in names}
        ranges, shapes = [np.empty(0, np.int64)], dict[str, tuple[int, ...]]()
        for record in self.records():
            ranges.append(np.arange(record.index, record.index + record.frames))
            for name in names:
                found = record.arrays.get(name)
                parts[name].append(record.frames if found is None else np.array(found, float))
                if found is not None:
                    shapes[name] = found.shape[1:]
        return np.concatenate(ranges), {name: _filled(parts[name], shape) for name, shape in shapes.items()}

    def image(self, name: str) -> np.ndarray | None:
        """Return a snapshot of the frames' shape, of this step or the nearest one above it that has it."""
        at: ReadStep | None = self
        shape = self.sees.shape
        while at is not None:
            found = at.snapshot.get(name)
            if found is not None and found.shape == shape:
                return found
            at = at.above
        return None

    @property
    def above(self) -> ReadStep | None:
        """The step before it; None for the first."""
        before = self.session.steps[self.id].after
        return ReadStep(self.session, before) if before in self.session.steps else None

    def source_of(self, need: str) -> ReadStep | None:
        """Return the step whose values meet a need; None where there is none in this plane."""
        step = self.inputs.get(need, "").rpartition(".")[0]
        return ReadStep(self.session, step) if step in self.session.steps else None


def _filled(parts: Sequence[np.ndarray | int], shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.full((p, *shape), np.nan) if isinstance(p, int) else p for p in parts])


class Part(NamedTuple):
    """One plane of a session under its name, "" of a session of one, with the steps in the chain's order."""

    name: str
    session: Session
    steps: Sequence[ReadStep]


def parts_of(session: Session, most: int) -> list[Part]:
    """Return the planes of a session, at most so many; of a session of one it alone."""
    names = session.planes[:most] if session.spec.planes else ()
    found = [(name, session.plane(name)) for name in names] or [("", session)]
    return [Part(name, part, [ReadStep(part, step) for step in part.steps]) for name, part in found]
