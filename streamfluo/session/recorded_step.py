"""A step of a session, as it is handed to what reads a science's results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import SessionError
from .frame_times import frame_times_s
from .schema import FrameFacts
from .step_frames import damaged_chunks, read_layout, read_step_frames, step_frames_path

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
    def t_s(self) -> np.ndarray:
        """The time (t,) of each row of the per-frame values since the series began [s], NaN where it is not known."""
        return self.times_s(self.index)

    def times_s(self, index: np.ndarray) -> np.ndarray:
        """Return the time (n,) of frames that the step sees, by index (n,) [s], NaN where it is not known.

        Frames of a step that hands on its own, as `bin` does, have an index of their own, and no time is known.
        """
        if self.session.steps[self.id].frames_of:
            return np.full(len(index), np.nan)
        session, plane = self.session, self.id.rpartition("/")[0]
        return frame_times_s(session.plane(plane) if plane else session, np.asarray(index, np.int64))

    @property
    def frames_path(self) -> Path | None:
        """The OME-Zarr with the frames that the step handed on, None where they were not recorded."""
        path = step_frames_path(self.folder, self.id.rpartition("/")[2])
        return path if path.is_dir() else None

    def each_frame(self, start: int = 0, stop: int = 1 << 62) -> Iterator[tuple[int, np.ndarray]]:
        """Yield index and pixels (y, x) of the frames with start ≤ index < stop that the step handed on.

        What is damaged is left out, and noted in the session. Raises SessionError where they were not recorded or none
        of them can be read.
        """
        if (path := self.frames_path) is None:
            raise SessionError(
                f"{self.session.path}: frames of step {self.id!r} were not recorded; a run does with [record] "
                f'steps = ["{self.id.rpartition("/")[2]}"]'
            )
        return read_step_frames(path, start, stop, self.session.note)

    def check_frames(self) -> None:
        """Have the session note what of the frames that the step handed on is damaged, where they were recorded."""
        if (path := self.frames_path) is not None:
            for damage in damaged_chunks(path):
                self.session.note(damage)

    def read_frames(self, start: int, stop: int) -> np.ndarray:
        """Return these frames at once (n, y, x). Raises SessionError."""
        if frames := [pixels for _, pixels in self.each_frame(start, stop)]:
            return np.stack(frames)
        path = self.frames_path
        return np.empty((0, *(read_layout(path).shape if path else self.session.spec.shape)), np.float32)

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
