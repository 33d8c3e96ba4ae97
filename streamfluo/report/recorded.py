"""A session's steps as a report reads them: record by record, so that an hour of values needs no more memory than a
minute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
        return self.session.index(self.id)

    def records(self) -> Iterator[ValuesRecord]:
        """Yield the values record by record."""
        return self.session.each_record(self.id)

    def per_frame(self, name: str) -> np.ndarray:
        """Return values of every frame (t, …), NaN where a record has none; empty where there are none at all."""
        parts, shape = [], None
        for record in self.records():
            found = record.arrays.get(name)
            shape = found.shape[1:] if found is not None else shape
            parts.append(np.array(found, float) if found is not None else record.frames)
        if shape is None:
            return np.empty(0)
        filled = [np.full((p, *shape), np.nan) if isinstance(p, int) else p for p in parts]
        return np.concatenate(filled)

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


def steps_of(session: Session) -> list[ReadStep]:
    """Return the steps of a session of one plane, in the chain's order."""
    return [ReadStep(session, step) for step in session.steps]
