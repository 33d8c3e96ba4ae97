"""What the sciences read from a session, by the name that an operator gives to its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import SessionError
from ..core.loaded import SliceSteps
from ..core.plane import Plane
from ..core.registry import operator_of
from .recorded_step import SessionStep

if TYPE_CHECKING:
    from .reader import Session


class ScienceResults(ABC):
    """The part of a session that reaches results through the registry: no science is imported here."""

    path: Path

    @property
    @abstractmethod
    def recorded_steps(self) -> tuple[SessionStep, ...]:
        """The chain's steps, each with what it left."""

    @abstractmethod
    def plane(self, name: str) -> Session:
        """Return one plane."""

    @abstractmethod
    def _all_planes(self) -> Sequence[Plane]:
        """The planes of the whole stream."""

    @abstractmethod
    def _known(self, step: str) -> None:
        """Raises SessionError for a step there is not."""

    def readers(self, result: str) -> dict[str, Callable[[], Any]]:
        """Return what reads a result of that name, by step: what the operators name in `results`."""
        found: dict[str, Callable[[], Any]] = {}
        for step in self.recorded_steps:
            operator = operator_of(step.kind)
            if operator is not None and result in operator.results:
                found[step.id] = partial(operator.results[result], step)
        return found

    def results(self, result: str, step: str | None = None) -> Any:
        """Return a result by name, as the science reads it whose operator gave it.

        Raises SessionError if no step, or more than one and none is named, has such a result.
        """
        readers = self.readers(result)
        if step is not None and step not in readers:
            self._known(step)
        if not readers:
            raise SessionError(f"{self.path}: no step gives {result}")
        if step not in readers and (step is not None or len(readers) != 1):
            raise SessionError(f"{self.path}: {len(readers)} steps give {result}; name one of {list(readers)}")
        return readers[step if step is not None else next(iter(readers))]()

    def components(self, step: str | None = None) -> Any:
        """Return what source extraction found: footprints, traces, and the measures of each component.

        Raises SessionError if no step extracts, or the run left nothing to read.
        """
        return self.results("components", step)

    def joiners(self, result: str) -> dict[str, Callable[[], Any]]:
        """Return what joins a result over the slices of a channel, by channel and step, `green/extract`."""
        found: dict[str, dict[str, SessionStep]] = {}
        planes = sorted(self._all_planes(), key=lambda plane: plane.z)
        for plane in planes:
            for step in self.plane(plane.name).recorded_steps:
                found.setdefault(f"{plane.channel}/{step.id}", {})[plane.name] = step
        joiners: dict[str, Callable[[], Any]] = {}
        for name, steps in found.items():
            kind = operator_of(next(iter(steps.values())).kind)
            if kind is not None and result in kind.joins:
                of = tuple(plane for plane in planes if plane.name in steps)
                joiners[name] = partial(kind.joins[result], SliceSteps(steps, of, self._joined(found, name)))
        return joiners

    def _joined(self, found: Mapping[str, Mapping[str, SessionStep]], name: str) -> SessionStep | None:
        """The step that stands once for the slices of a channel and takes values of this step in each, if any."""
        channel, _, step_id = name.rpartition("/")
        taken = f"{channel}/*/{step_id}."
        for steps in found.values():
            for step in steps.values():
                kind = operator_of(step.kind)
                if kind is not None and kind.once and any(v.startswith(taken) for v in step.inputs.values()):
                    return step
        return None

    def cells(self, step: str | None = None) -> Any:
        """Return the cells of a volume: what was extracted in each slice, joined where it is the same cell.

        `step` is channel and step, `green/extract`, where there are several. Raises SessionError for another, or where
        no step extracts from several planes.
        """
        joiners = self.joiners("cells")
        name = next(iter(joiners)) if len(joiners) == 1 and step is None else step
        if name not in joiners:
            raise SessionError(f"{self.path}: cells of {name or 'which step'}? there is {list(joiners) or 'none'}")
        return joiners[name]()
