"""A bounded sample of frames for medians, which no sums can give."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State, require_int

MIN_FRAMES = 32


class FrameSample:
    """Every frame while they fit, then every second by the camera's index, every fourth, and so on.

    What is kept depends on the indices that came alone, neither on their cut into blocks nor on merging.
    """

    def __init__(self, spec: Spec, max_mib: int) -> None:
        self._spec = spec
        self._most = max(MIN_FRAMES, (max_mib << 20) // spec.frame_nbytes)
        self.step = 1
        self._frames: dict[int, np.ndarray] = {}

    def add(self, first: int, frames: Iterable[np.ndarray]) -> None:
        """Take frames (y, x) with consecutive indices from `first` on."""
        for index, frame in enumerate(frames, first):
            if index % self.step == 0:
                self._frames[index] = frame.copy()
                self._thin()

    def copy(self) -> FrameSample:
        """Return a sample of its own; the frames, which nobody changes, are shared."""
        copy = FrameSample.__new__(FrameSample)
        copy.__dict__ |= {**self.__dict__, "_frames": dict(self._frames)}
        return copy

    def merge(self, other: FrameSample) -> None:
        """Take the frames of a later part."""
        self.step = max(self.step, other.step)
        self._frames |= other._frames
        self._frames = {i: f for i, f in self._frames.items() if i % self.step == 0}
        self._thin()

    def stack(self) -> np.ndarray:
        """Return the frames kept as (n, pixels)."""
        frames = list(self._frames.values())
        return np.array(frames, self._spec.dtype).reshape(len(frames), self._spec.shape[0] * self._spec.shape[1])

    def state(self) -> State:
        """The frames kept, their indices and how many are passed over."""
        indices = np.array(list(self._frames), np.int64)
        return {"sample": self.stack(), "sample_index": indices, "sample_step": self.step}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError if it is another one's."""
        frames, indices = state.get("sample"), state.get("sample_index")
        pixels = self._spec.shape[0] * self._spec.shape[1]
        if (
            not isinstance(frames, np.ndarray)
            or not isinstance(indices, np.ndarray)
            or (frames.shape, frames.dtype) != ((len(indices), pixels), np.dtype(self._spec.dtype))
            or indices.dtype != np.int64
        ):
            raise StateError(f"gain: the sample of frames must be (n, {pixels}) {self._spec.dtype} with n indices")
        self.step = require_int(state, "sample_step", "gain")
        self._frames = {int(i): f.reshape(self._spec.shape).copy() for i, f in zip(indices, frames, strict=True)}

    def _thin(self) -> None:
        while len(self._frames) > self._most:
            self.step *= 2
            self._frames = {i: f for i, f in self._frames.items() if i % self.step == 0}
