"""A step of a session, as it is handed to what reads a science's results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .schema import FrameFacts

if TYPE_CHECKING:
    from .reader import Session


@dataclass(frozen=True)
class SessionStep:
    """A step of a session with what it left, each part read when it is asked for."""

    session: Session
    id: str

    @property
    def kind(self) -> str:
        """The operator's kind."""
        return self.session.steps[self.id].kind

    @property
    def values(self) -> Mapping[str, Any]:
        """Values by name."""
        return self.session.values(self.id)

    @property
    def index(self) -> np.ndarray:
        """The frame index (t,) of each row of the per-frame values."""
        return self.session.index(self.id)

    @property
    def snapshot(self) -> Mapping[str, np.ndarray]:
        """The last snapshots by name."""
        return self.session.snapshot(self.id)

    @property
    def sees(self) -> FrameFacts:
        """Shape, pixel size and origin of the frames that the step sees; of the session's, where it is an older one."""
        spec = self.session.spec
        return self.session.steps[self.id].sees or FrameFacts(spec.shape, spec.pixel_um, spec.origin_px)

    @property
    def units(self) -> Mapping[str, str]:
        """The unit of each thing that the step gives."""
        return {given.name: given.unit for given in self.session.steps[self.id].gives}

    @property
    def inputs(self) -> Mapping[str, str]:
        """Which `step.value` each of its needs was met by."""
        return self.session.steps[self.id].inputs

    def unit_of(self, value: str) -> str | None:
        """Return the unit of a `step.value` of the session, None for one that is not there."""
        step, _, name = value.rpartition(".")
        steps = self.session.steps
        facts = steps.get(step) or steps.get(step.rpartition("/")[2])
        found = [given.unit for given in facts.gives if given.name == name] if facts else []
        return found[0] if found else None

    @property
    def folder(self) -> Path:
        """The folder with what it left, which is also its own: the session's, or the plane's in it."""
        return self.session.folder_of(self.id)
